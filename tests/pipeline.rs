//! `experiment` from images to report: what it leaves, that it repeats, and that nothing stops it
//! for good.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{curves, experiment, fails, json, program, run_folder, succeeds};

/// Everything that must be the same in two runs of one seed.
fn results(
    run: &Path,
) -> (
    String,
    serde_json::Value,
    Vec<Vec<(serde_json::Value, serde_json::Value)>>,
) {
    let scores = std::fs::read_to_string(run.join("scores.csv")).unwrap();
    let stages = ["encoder", "flow"].map(|stage| curves(run, stage));
    (scores, json(&run.join("metrics.json")), stages.into())
}

#[test]
fn a_run_leaves_everything_and_repeats_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let output = succeeds(experiment(folder.path(), "digits-3", &[]));
    let run = run_folder(folder.path(), "digits-3", 0);
    for name in [
        "config.toml",
        "environment.json",
        "split.json",
        "encoder/history.json",
        "encoder/done.json",
        "flow/history.json",
        "latents.safetensors",
        "detector/detector.json",
        "detector/autoencoder.safetensors",
        "detector/flow.safetensors",
        "detector/thresholds.json",
        "scores.csv",
        "metrics.json",
        "report.html",
        "done.json",
    ] {
        assert!(run.join(name).is_file(), "{name} is missing");
    }
    assert!(output.contains("1/2 encoder  2/2"), "{output}");
    assert!(output.contains("2/2 flow  4/4"), "{output}");
    let summary = output
        .lines()
        .skip_while(|line| !line.starts_with("digits-3  encoder-flow"));
    assert_eq!(summary.clone().count(), 9, "{output}");
    assert!(summary.last().unwrap().ends_with("report.html"), "{output}");

    let auroc = json(&run.join("metrics.json"))["anomalous"]["nll"]["auroc"].clone();
    assert!((0.0..=1.0).contains(&auroc.as_f64().unwrap()), "{auroc}");
    let environment = json(&run.join("environment.json"));
    assert_eq!(environment["backend"], "flex");
    assert_eq!(environment["seed"], 0);
    assert_eq!(environment["burn"], "0.22.1");

    let elsewhere = tempfile::tempdir().unwrap();
    succeeds(experiment(elsewhere.path(), "digits-3", &[]));
    let second = run_folder(elsewhere.path(), "digits-3", 0);
    assert_eq!(results(&run), results(&second));
    let other_seed = tempfile::tempdir().unwrap();
    succeeds(experiment(other_seed.path(), "digits-3", &["--seed", "1"]));
    let other = run_folder(other_seed.path(), "digits-3", 1);
    assert_ne!(results(&run).0, results(&other).0);
}

#[test]
fn every_image_is_scored_once_and_no_anomaly_is_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(experiment(folder.path(), "digits-7", &[]));
    let run = run_folder(folder.path(), "digits-7", 0);
    let mut csv = csv::Reader::from_path(run.join("scores.csv")).unwrap();
    let mut seen = std::collections::HashSet::new();
    for record in csv.records() {
        let record = record.unwrap();
        assert!(
            seen.insert(record[1].to_owned()),
            "image {} twice",
            &record[1]
        );
        let anomalous = &record[2] == "7";
        assert_eq!(anomalous, &record[0] == "test-anomalous", "{record:?}");
        assert_eq!(anomalous, &record[3] == "anomalous", "{record:?}");
        for score in record.iter().skip(4) {
            assert!(score.parse::<f32>().unwrap().is_finite(), "{record:?}");
        }
    }
    assert_eq!(seen.len(), 1500);
}

#[test]
fn a_run_continues_where_its_epochs_were_cut_off() {
    let whole = tempfile::tempdir().unwrap();
    succeeds(experiment(whole.path(), "digits-3", &[]));
    let expected = results(&run_folder(whole.path(), "digits-3", 0));

    // As if the process had died at the end of the flow's third epoch: the state of that moment.
    let run = run_folder(whole.path(), "digits-3", 0);
    for name in [
        "done.json",
        "flow/done.json",
        "metrics.json",
        "report.html",
        "scores.csv",
    ] {
        std::fs::remove_file(run.join(name)).unwrap();
    }
    for part in ["model", "optim", "scheduler"] {
        std::fs::remove_file(run.join(format!("flow/checkpoint/{part}-4.bpk"))).unwrap();
    }
    let output = succeeds(experiment(whole.path(), "digits-3", &[]));
    assert!(
        output.contains("2/2 flow  continues with epoch 4 of 4"),
        "{output}"
    );
    assert!(!output.contains("1/2 encoder"), "{output}");
    assert_eq!(results(&run), expected);
}

/// Starts a long run and waits until `file` is there.
fn started(folder: &Path, file: &Path) -> std::process::Child {
    let long = [
        "--set",
        "flow.training.epochs=400",
        "--set",
        "flow.training.patience=0",
    ];
    let mut command: Command = experiment(folder, "digits-3", &long);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(300);
    while !file.exists() {
        assert!(Instant::now() < patience, "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// Stops a run by `signal` in the middle of the flow stage, and finishes it with fewer epochs left.
#[cfg(unix)]
fn stopped_by(signal: &str, status: Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let run = run_folder(folder.path(), "digits-3", 0);
    let child = started(folder.path(), &run.join("flow/checkpoint/scheduler-3.bpk"));
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), status, "{}", common::both(&output));
    assert!(!run.join("done.json").exists());
    if status.is_some() {
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("run the same command again"), "{message}");
    }
    let before = json(&run.join("flow/history.json"))["epochs"]
        .as_array()
        .unwrap()
        .len();
    let again = started(
        folder.path(),
        &run.join(format!("flow/checkpoint/scheduler-{}.bpk", before + 2)),
    );
    let sent = Command::new("kill")
        .args(["-INT", &again.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let output = again.wait_with_output().unwrap();
    let text = common::both(&output);
    assert!(text.contains("2/2 flow  continues with epoch"), "{text}");
    assert!(!text.contains("1/2 encoder"), "{text}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_terminate_leave_a_run_that_continues() {
    stopped_by("-INT", Some(130));
    stopped_by("-TERM", Some(130));
}

#[cfg(unix)]
#[test]
fn a_killed_run_continues() {
    stopped_by("-KILL", None);
}

#[test]
fn a_complete_run_is_not_repeated_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(experiment(folder.path(), "digits-3", &[]));
    let again = succeeds(experiment(folder.path(), "digits-3", &[]));
    assert!(again.contains("complete before"), "{again}");
    assert!(!again.contains("1/2 encoder"), "{again}");

    let other = ["--set", "encoder.latent=6"];
    let refused = fails(experiment(folder.path(), "digits-3", &other));
    assert!(
        refused.contains("encoder.latent: 8 there, 6 now"),
        "{refused}"
    );
    assert!(refused.contains("--fresh"), "{refused}");
    let fresh = succeeds(experiment(
        folder.path(),
        "digits-3",
        &[&other[..], &["--fresh"]].concat(),
    ));
    assert!(fresh.contains("1/2 encoder"), "{fresh}");
}

#[test]
fn another_confidence_needs_no_training() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(experiment(folder.path(), "digits-3", &[]));
    let run = run_folder(folder.path(), "digits-3", 0);
    let rate = |confidence: &str| {
        let mut command = program(folder.path());
        command.args(["evaluate", "digits-3", "--confidence", confidence]);
        let output = succeeds(command);
        assert!(
            output.contains(&format!("confidence {confidence}")),
            "{output}"
        );
        let thresholds = json(&run.join("detector/thresholds.json"));
        assert_eq!(
            thresholds["nll"]["one_sided"]["rule"]["confidence"].to_string(),
            confidence
        );
        let metrics = json(&run.join("metrics.json"));
        metrics["anomalous"]["nll"]["one_sided"]["false_alarm_rate"]
            .as_f64()
            .unwrap()
    };
    assert!(rate("0.5") > rate("0.99"));
    let mut wrong = program(folder.path());
    wrong.args(["evaluate", "digits-3", "--confidence", "1.5"]);
    assert!(fails(wrong).contains("evaluation.confidence"));
    let mut missing = program(folder.path());
    missing.args(["evaluate", "digits-4"]);
    assert!(fails(missing).contains("experiment` first"));
}

#[test]
fn a_diverging_stage_stops_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    // A step of 1 without clipping drives the flow to infinity within an epoch or two.
    let wild = [
        "flow.training.learning_rate=1",
        "flow.training.clip_norm=0",
        "flow.clamp=20",
        "flow.couplings=24",
        "flow.training.schedule=constant",
        "flow.training.epochs=50",
        "flow.training.patience=0",
    ];
    let arguments: Vec<&str> = wild
        .iter()
        .flat_map(|&setting| ["--set", setting])
        .collect();
    let message = fails(experiment(folder.path(), "digits-3", &arguments));
    assert!(message.contains("its loss is not finite"), "{message}");
    assert!(message.contains("flow.training.learning_rate"), "{message}");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(experiment(folder.path(), "digits-3", &[]));
    let run = run_folder(folder.path(), "digits-3", 0);
    std::fs::remove_file(run.join("done.json")).unwrap();
    let best = json(&run.join("flow/done.json"))["best_epoch"].clone();
    let checkpoint = run.join(format!("flow/checkpoint/model-{best}.bpk"));
    std::fs::write(&checkpoint, b"not a checkpoint").unwrap();
    let message = fails(experiment(folder.path(), "digits-3", &[]));
    assert!(message.contains(&format!("model-{best}.bpk")), "{message}");
}
