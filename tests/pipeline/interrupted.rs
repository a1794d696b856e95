//! Runs that ended before they were done, and go on to the same numbers.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::*;

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

/// Methods with a single stage, with what makes them small.
const ONE_STAGE: [(&str, &str, &[&str]); 5] = [
    ("realnvp", "pixel-flow", &["width=4", "draws=1"]),
    ("glow", "pixel-flow", &["width=4", "draws=1"]),
    (
        "anogan",
        "gan",
        &["width=4", "latent=6", "steps=10", "starts=8"],
    ),
    ("egbad", "bigan", &["width=2", "hidden=8", "latent=6"]),
    ("ganomaly", "ganomaly", &["width=4", "latent=6"]),
];

#[test]
fn methods_of_one_stage_continue_to_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for (method, stage, small) in ONE_STAGE {
        let own = small.iter().chain(&["training.epochs=2"]);
        let own = own.map(|setting| format!("{method}.{setting}"));
        let settings: Vec<String> = own.chain(["data.limit=300".to_owned()]).collect();
        let mut arguments = vec!["--method", method];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let output = succeeds(experiment(folder.path(), "digits-3", &arguments));
        assert!(output.contains(&format!("1/1 {stage}")), "{output}");
        let run = folder
            .path()
            .join(format!("artifacts/digits-3/{method}/seed-0"));
        let results = || {
            let scores = std::fs::read_to_string(run.join("scores.csv")).unwrap();
            (scores, json(&run.join("metrics.json")), curves(&run, stage))
        };
        let expected = results();
        let report = std::fs::read_to_string(run.join("report.html")).unwrap();
        let pictures = report.contains("What the couplings predict: digit 3");
        assert_eq!(pictures, stage == "pixel-flow", "{method}");
        // As if the process had died at the end of the second epoch's training.
        for name in ["done.json", "metrics.json", "scores.csv"] {
            std::fs::remove_file(run.join(name)).unwrap();
        }
        std::fs::remove_file(run.join(stage).join("done.json")).unwrap();
        for part in ["model", "optim", "scheduler"] {
            let file = run.join(stage).join(format!("checkpoint/{part}-2.bpk"));
            std::fs::remove_file(file).unwrap();
        }
        let output = succeeds(experiment(folder.path(), "digits-3", &arguments));
        assert!(output.contains("continues with epoch 2 of 2"), "{output}");
        assert_eq!(results(), expected, "{method}");
    }
}

/// A run long enough to be stopped in the middle of its flow stage.
const LONG: [&str; 4] = [
    "--set",
    "flow.training.epochs=60",
    "--set",
    "flow.training.patience=0",
];

/// A running program that does not outlive its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Starts a long run and waits until `file` is there.
fn started(folder: &Path, file: &Path) -> Started {
    let mut command: Command = experiment(folder, "digits-3", &LONG);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = Started(command.spawn().unwrap());
    let patience = Instant::now() + Duration::from_secs(300);
    while !file.exists() {
        assert!(Instant::now() < patience, "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// Ends a run by `signal` in the middle of its flow stage.
#[cfg(unix)]
fn stopped_by(folder: &Path, signal: &str, status: Option<i32>) {
    let run = run_folder(folder, "digits-3", 0);
    let mut child = started(folder, &run.join("flow/checkpoint/scheduler-3.bpk"));
    let sent = Command::new("kill")
        .args([signal, &child.0.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let mut message = String::new();
    child
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut message)
        .unwrap();
    assert_eq!(child.0.wait().unwrap().code(), status, "{message}");
    assert!(!run.join("done.json").exists());
    if status.is_some() {
        assert!(message.contains("run the same command again"), "{message}");
    }
}

/// Whatever ended it, a run that is started again ends like one that was never interrupted.
#[cfg(unix)]
#[test]
fn interrupted_terminated_and_killed_runs_continue_to_the_same_numbers() {
    let whole = tempfile::tempdir().unwrap();
    succeeds(experiment(whole.path(), "digits-3", &LONG));
    let expected = results(&run_folder(whole.path(), "digits-3", 0));
    for (signal, status) in [("-INT", Some(130)), ("-TERM", Some(130)), ("-KILL", None)] {
        let folder = tempfile::tempdir().unwrap();
        stopped_by(folder.path(), signal, status);
        let output = succeeds(experiment(folder.path(), "digits-3", &LONG));
        assert!(
            output.contains("2/2 flow  continues with epoch"),
            "{output}"
        );
        assert!(!output.contains("1/2 encoder"), "{output}");
        assert_eq!(
            results(&run_folder(folder.path(), "digits-3", 0)),
            expected,
            "{signal}"
        );
    }
}
