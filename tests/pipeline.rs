//! `experiment` from images to report: what it leaves, that it repeats, and that nothing stops it
//! for good.

mod common;
#[path = "pipeline/damaged.rs"]
mod damaged;
#[path = "pipeline/interrupted.rs"]
mod interrupted;

use std::path::Path;
use std::process::Command;

use encoder_flow::encoder::SqueezeNet;

use common::{
    assert_stored_scores, curves, experiment, fails, json, program, run_folder, succeeds,
};

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
        "detector/model.safetensors",
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
    let summary: Vec<&str> = summary.collect();
    assert!(
        summary[5].starts_with("  false alarms by p-value: "),
        "{output}"
    );
    assert!(summary[9].ends_with("report.html"), "{output}");
    assert!(summary[10].contains("--method best"), "{output}");
    assert!(summary[10].contains(": pixels, patches)"), "{output}");

    let metrics = json(&run.join("metrics.json"));
    let auroc = metrics["anomalous"]["nll"]["auroc"].clone();
    assert!((0.0..=1.0).contains(&auroc.as_f64().unwrap()), "{auroc}");
    let alarms = metrics["false_alarms"][0].clone();
    assert_eq!(alarms["alpha"], 0.1);
    let (called, images) = (alarms["called"].as_f64(), alarms["images"].as_f64());
    let share = called.unwrap() / images.unwrap();
    // Of p-values that hold but for what chose the epoch.
    let deviation = alarms["deviation"].as_f64().unwrap();
    assert!((share - 0.1).abs() < 5.0 * deviation, "{alarms}");
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
fn later_scoring_gives_the_scores_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(experiment(folder.path(), "digits-3", &[]));
    assert_stored_scores(&run_folder(folder.path(), "digits-3", 0));
}

#[test]
fn a_changed_encoder_makes_latents_and_flow_anew() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(experiment(folder.path(), "digits-3", &[]));
    let run = run_folder(folder.path(), "digits-3", 0);
    let expected = results(&run);
    // As after a lost disk block: the run goes on from what is left, to the same end.
    std::fs::remove_file(run.join("done.json")).unwrap();
    let best = json(&run.join("encoder/done.json"))["best_epoch"].clone();
    std::fs::remove_file(run.join(format!("encoder/checkpoint/model-{best}.bpk"))).unwrap();
    let output = succeeds(experiment(folder.path(), "digits-3", &[]));
    assert!(output.contains("1/2 encoder"), "{output}");
    assert_eq!(results(&run), expected);
    // Scores that were lost are made again without training.
    std::fs::remove_file(run.join("scores.csv")).unwrap();
    let output = succeeds(experiment(folder.path(), "digits-3", &[]));
    assert!(
        !output.contains("1/2 encoder") && !output.contains("2/2 flow"),
        "{output}"
    );
    assert_eq!(results(&run), expected);
}

#[test]
fn a_stage_ends_early_and_keeps_its_best_epoch() {
    let folder = tempfile::tempdir().unwrap();
    // Without a schedule and with too large a step, the validation loss soon stops falling.
    let arguments = [
        "--set",
        "flow.training.epochs=300",
        "--set",
        "flow.training.patience=2",
        "--set",
        "flow.training.schedule=constant",
        "--set",
        "flow.training.learning_rate=0.02",
    ];
    succeeds(experiment(folder.path(), "digits-3", &arguments));
    let run = run_folder(folder.path(), "digits-3", 0);
    let done = json(&run.join("flow/done.json"));
    let (best, epochs) = (
        done["best_epoch"].as_u64().unwrap(),
        done["epochs"].as_u64().unwrap(),
    );
    assert!(epochs < 300, "{done}");
    assert_eq!(best + 2, epochs, "{done}");
}

/// The mixture that a flow starts from is a candidate like every epoch.
#[test]
fn a_flow_is_no_worse_than_its_base() {
    let folder = tempfile::tempdir().unwrap();
    // A step so large that an epoch does harm.
    let settings = [
        "encoder.kind=pca",
        "flow.base=fitted",
        "flow.gaussians=4",
        "flow.noise=0",
        "flow.training.epochs=1",
        "flow.training.schedule=constant",
        "flow.training.learning_rate=0.1",
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|set| ["--set", set]).collect();
    let output = succeeds(experiment(folder.path(), "digits-3", &arguments));
    assert!(
        output.contains("flow: as it started, no better in 1 epochs"),
        "{output}"
    );
    let run = run_folder(folder.path(), "digits-3", 0);
    let done = json(&run.join("done.json"));
    let stages = done["stages"].as_array().unwrap();
    let kept = stages.iter().find(|stage| stage["name"] == "flow").unwrap();
    assert_eq!(kept["best_epoch"], 0, "{done}");
    let trained = json(&run.join("flow/done.json"))["best_loss"]
        .as_f64()
        .unwrap();
    assert!(kept["best_loss"].as_f64().unwrap() < trained, "{done}");
    assert_stored_scores(&run);
}

#[test]
fn another_data_set_is_a_further_test_set() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data/mnist");
    std::fs::create_dir_all(&data).unwrap();
    common::write_idx(&data, 60, 40);
    let arguments = ["--data-dir", "data", "--set", "data.ood=[\"mnist\"]"];
    let output = succeeds(experiment(folder.path(), "digits-3", &arguments));
    assert!(output.contains("mnist, 100 images"), "{output}");
    let run = run_folder(folder.path(), "digits-3", 0);
    let metrics = json(&run.join("metrics.json"));
    // Noise is nothing like a digit.
    assert!(
        metrics["mnist"]["nll"]["auroc"].as_f64().unwrap() > 0.9,
        "{metrics}"
    );
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(
        report.contains("mnist"),
        "the report does not name the test set"
    );
    // Missing data must not cost a run that is there.
    std::fs::remove_dir_all(&data).unwrap();
    let again = [&arguments[..], &["--fresh"]].concat();
    fails(experiment(folder.path(), "digits-3", &again));
    assert!(run.join("report.html").exists());
}

#[test]
fn colour_large_images_and_every_kind_of_layer_run() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--set",
        "data.channels=3",
        "--set",
        "data.size=64",
        "--set",
        "data.fit=resize",
        "--set",
        "data.limit=300",
        "--set",
        "flow.mixing=alternate",
        "--set",
        "flow.actnorm=true",
        "--set",
        "encoder.training.epochs=1",
    ];
    succeeds(experiment(folder.path(), "digits-3", &arguments));
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
fn begun_anew_nothing_is_taken_over_and_the_same_command_continues() {
    let folder = tempfile::tempdir().unwrap();
    let of = |method: &'static str, others: &[&'static str]| {
        let arguments = [&["--method", method], others].concat();
        succeeds(experiment(folder.path(), "digits-3", &arguments))
    };
    of("encoder-flow", &[]);
    let shares = of("autoencoder", &[]);
    assert!(!shares.contains("encoder  1/"), "{shares}");
    let fresh = of("autoencoder", &["--fresh"]);
    assert!(fresh.contains("encoder  1/"), "{fresh}");
    // As if it had been stopped after the training.
    let run = folder.path().join("artifacts/digits-3/autoencoder/seed-0");
    std::fs::remove_file(run.join("done.json")).unwrap();
    let again = of("autoencoder", &["--fresh"]);
    assert!(!again.contains("encoder  1/"), "{again}");
    let resumed = json(&run.join("environment.json"))["resumed"].clone();
    assert_eq!(resumed.as_array().unwrap().len(), 1);
    // Once finished, the same command starts over.
    let anew = of("autoencoder", &["--fresh"]);
    assert!(anew.contains("encoder  1/"), "{anew}");
}

#[test]
fn a_pretrained_network_s_features_are_computed_once_for_all_runs() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("data/backbones").join(SqueezeNet::FILE);
    common::random_weights(&place);
    let arguments = [
        "--data-dir",
        "data",
        "--set",
        "encoder.kind=squeezenet",
        "--set",
        "encoder.input=64",
        "--set",
        "data.limit=300",
    ];
    let first = succeeds(experiment(folder.path(), "digits-3", &arguments));
    assert!(!first.contains("1/2 encoder"), "{first}");
    // From the pictures themselves, as the stored detector has them, scores are what they are from the features.
    let run = run_folder(folder.path(), "digits-3", 0);
    assert_stored_scores(&run);
    let features = || {
        let files = std::fs::read_dir(folder.path().join("artifacts/features")).unwrap();
        let times = files.map(|file| file.unwrap().metadata().unwrap().modified().unwrap());
        times.collect::<Vec<_>>()
    };
    let before = features();
    assert_eq!(before.len(), 1);
    succeeds(experiment(folder.path(), "digits-4", &arguments));
    assert_eq!(features(), before);
}

#[test]
fn settings_that_nobody_reads_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    command.args(["experiment", "digits-3", "--offline", "--method", "knn"]);
    command.args(["--set", "data.limit=300", "--set", "encoder.latent=6"]);
    let output = command.output().unwrap();
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("--set encoder.latent=6 changes nothing here: knn"),
        "{told}"
    );
    assert!(!told.contains("data.limit"), "{told}");
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
    // The page says how it comes about, after an evaluation that keeps the confidence as well.
    let page = || std::fs::read_to_string(run.join("report.html")).unwrap();
    let repeated = "\nencoder-flow evaluate digits-3 --confidence 0.99";
    assert!(page().contains(repeated));
    let mut again = program(folder.path());
    again.args(["evaluate", "digits-3"]);
    succeeds(again);
    assert!(page().contains(repeated));
    assert!(page().contains("come from the scores of training images alone"));
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
