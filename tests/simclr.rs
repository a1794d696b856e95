//! The encoder that is trained without labels: its stage continues, methods share it, and what it makes
//! of images is stored whole.

mod common;

use std::path::{Path, PathBuf};

use common::{assert_stored_scores, curves, experiment, fails, json, run_folder, succeeds};

/// A network of seconds.
const SMALL: [&str; 6] = [
    "data.limit=700",
    "simclr.width=4",
    "simclr.projection=8",
    "simclr.training.epochs=3",
    "simclr.training.batch_size=64",
    "encoder.kind=simclr",
];

fn with_small<'a>(further: &[&'a str]) -> Vec<&'a str> {
    let set = SMALL.iter().flat_map(|setting| ["--set", *setting]);
    set.chain(further.iter().copied()).collect()
}

fn run_by(folder: &Path, method: &str) -> PathBuf {
    let ours = run_folder(folder, "digits-3", 0);
    let methods = ours.parent().and_then(Path::parent).unwrap();
    methods.join(method).join("seed-0")
}

#[test]
fn its_stage_continues_to_the_same_numbers_and_is_stored_whole() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = with_small(&[]);
    let output = succeeds(experiment(folder.path(), "digits-3", &arguments));
    assert!(output.contains("1/2 simclr  3/3"), "{output}");
    assert!(output.contains("2/2 flow  4/4"), "{output}");
    let run = run_by(folder.path(), "encoder-flow");
    assert_stored_scores(&run);
    let results = || {
        let scores = std::fs::read_to_string(run.join("scores.csv")).unwrap();
        (scores, curves(&run, "simclr"), curves(&run, "flow"))
    };
    let expected = results();
    let losses: Vec<f64> = expected
        .1
        .iter()
        .map(|(_, valid)| valid["NT-Xent"].as_f64().unwrap())
        .collect();
    assert!(losses[2] < losses[0], "{losses:?}");
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("simclr stage: NT-Xent"));

    // As if the process had died at the end of the second epoch: the state of that moment.
    for name in [
        "done.json",
        "simclr/done.json",
        "scores.csv",
        "latents.safetensors",
    ] {
        std::fs::remove_file(run.join(name)).unwrap();
    }
    std::fs::remove_dir_all(run.join("flow")).unwrap();
    for part in ["model", "optim", "scheduler"] {
        std::fs::remove_file(run.join(format!("simclr/checkpoint/{part}-3.bpk"))).unwrap();
    }
    let output = succeeds(experiment(folder.path(), "digits-3", &arguments));
    assert!(
        output.contains("1/2 simclr  continues with epoch 3 of 3"),
        "{output}"
    );
    assert_eq!(results(), expected);
}

#[test]
fn methods_share_it_and_views_look_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = with_small(&["--method", "knn", "--set", "knn.encoder=simclr"]);
    let output = succeeds(experiment(folder.path(), "digits-3", &first));
    assert!(output.contains("1/1 simclr  3/3"), "{output}");
    let list = r#"views.list=[
        { of = "simclr", normalise = "l2", components = 6, gaussians = 3 },
        { of = "pixels", normalise = "l2", components = 6, gaussians = 3 },
    ]"#;
    let second = with_small(&[
        "--method",
        "views",
        "--set",
        list,
        "--set",
        "views.couplings=2",
    ]);
    let output = succeeds(experiment(folder.path(), "digits-3", &second));
    assert!(!output.contains("simclr  1/3"), "{output}");
    assert!(
        output.contains("2/3 flow") && output.contains("3/3 flow"),
        "{output}"
    );
    let views = run_by(folder.path(), "views");
    assert_stored_scores(&views);
    let stages = json(&views.join("done.json"))["stages"].clone();
    let names: Vec<&str> = stages
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["simclr", "view-1/flow", "view-2/flow"]);

    // Another network is another run.
    let other = [&second[..], &["--set", "simclr.temperature=0.7"]].concat();
    let message = fails(experiment(folder.path(), "digits-3", &other));
    assert!(
        message.contains("simclr.temperature: 0.2 there, 0.7 now"),
        "{message}"
    );
}

#[test]
fn colour_images_have_views_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = with_small(&[
        "--set",
        "data.channels=3",
        "--set",
        "data.limit=300",
        "--set",
        "simclr.first_stride=1",
        "--set",
        "simclr.training.epochs=1",
        "--set",
        "flow.training.epochs=1",
    ]);
    succeeds(experiment(folder.path(), "digits-3", &arguments));
}

#[test]
fn it_describes_whole_images() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = with_small(&["--set", "encoder.positions=true"]);
    let message = fails(experiment(folder.path(), "digits-3", &arguments));
    assert!(
        message.contains("encoder.positions") && message.contains("simclr"),
        "{message}"
    );
}
