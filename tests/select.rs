//! `select`: settings compared on classes that stand in for the anomaly; the class left out is in
//! nothing that a run leaves.

mod common;

use std::path::Path;
use std::process::Command;

use common::{experiment, fails, json, program, succeeds};

fn select(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program(folder);
    command.args(["select", "digits", "--offline", "--set", "data.limit=1500"]);
    command.args(["--experiments", "studies"]);
    let studies = folder.join("studies");
    std::fs::create_dir_all(&studies).unwrap();
    std::fs::write(studies.join("digits.toml"), STUDY).unwrap();
    command.args(arguments);
    command
}

/// A study with variants.
const STUDY: &str = r#"# Digits with two candidates.
[data]
dataset = "digits"

[variants.few-neighbours]
method = "knn"
knn = { components = 4, neighbours = 3 }

[variants.same-as-knn]
method = "knn"

[variants.fewer-images]
method = "knn"
data.train_share = 0.5
"#;

const CANDIDATES: [&str; 2] = ["--candidate", "few-neighbours,knn"];

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The split of the run whose settings are chosen for the class.
fn final_split(folder: &Path, class: usize) -> serde_json::Value {
    let name = format!("digits-{class}");
    let arguments = ["--method", "mahalanobis", "--set", "data.limit=1500"];
    succeeds(experiment(folder, &name, &arguments));
    json(&folder.join(format!("artifacts/{name}/mahalanobis/seed-0/split.json")))
}

#[test]
fn two_candidates_are_compared_without_the_classes_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        &["--classes", "3,9", "--stand-ins", "1"][..],
        &CANDIDATES[..],
    ]
    .concat();
    let output = succeeds(select(folder.path(), &arguments));
    assert!(output.contains("[4/4] stand-in 1: "), "{output}");
    assert!(output.contains("| `knn` |"), "{output}");

    let root = folder.path().join("artifacts/digits-select");
    let selection = json(&root.join("selection.json"));
    assert_eq!(selection["classes"], serde_json::json!(["3", "9"]));
    assert_eq!(selection["stand_ins"], 1);
    let candidates = selection["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2);
    let mean = |candidate: &serde_json::Value| candidate["mean"].as_f64().unwrap();
    let best = candidates
        .iter()
        .max_by(|left, right| mean(left).total_cmp(&mean(right)))
        .unwrap();
    assert_eq!(selection["chosen"], best["name"]);
    let mut environments = Vec::new();
    for candidate in candidates {
        let runs = candidate["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        for (run, (left_out, stand_in)) in runs.iter().zip([(3, 4), (9, 0)]) {
            assert_eq!(run["left_out"], left_out.to_string());
            assert_eq!(run["stand_in"], stand_in.to_string());
            let page = root.join(run["report"].as_str().unwrap());
            let run = page.parent().unwrap();
            let split = json(&run.join("split.json"));
            assert_eq!(split["excluded_class"], left_out);
            assert_eq!(split["anomalous_class"], stand_in);
            let metrics = json(&run.join("metrics.json"));
            assert!(metrics["stand-in"].is_object(), "{metrics}");
            assert!(metrics.get("anomalous").is_none(), "{metrics}");
            assert!(
                text(&page).contains("stands in as the anomaly"),
                "no word of it"
            );
            let scores = text(run.join("scores.csv"));
            let mut anomalies = 0;
            for row in csv::Reader::from_reader(scores.as_bytes()).records() {
                let row = row.unwrap();
                assert_ne!(row[2], left_out.to_string(), "{row:?}");
                let plays = row[2] == stand_in.to_string();
                assert_eq!(plays, &row[0] == "test-anomalous", "{row:?}");
                anomalies += usize::from(plays);
            }
            assert!(anomalies > 80, "{anomalies}");
            // What the final run of the class left out tests on is not scored.
            let last = final_split(folder.path(), left_out);
            let tested = |part: &str| last[part].as_array().unwrap().clone();
            let tested = [tested("test_normal"), tested("test_anomalous")].concat();
            for part in ["train", "validation", "test_normal", "test_anomalous"] {
                for index in split[part].as_array().unwrap() {
                    assert!(!tested.contains(index), "{part}: {index}");
                }
            }
            environments.push(run.join("environment.json"));
        }
    }
    let table = text(root.join("selection.csv"));
    let mut csv = csv::Reader::from_reader(table.as_bytes());
    let head = csv.headers().unwrap().clone();
    assert_eq!(
        head.iter().collect::<Vec<_>>(),
        [
            "candidate",
            "method",
            "3",
            "9",
            "mean",
            "chosen_by",
            "chosen"
        ]
    );
    assert_eq!(csv.records().map(Result::unwrap).count(), 2);
    assert!(text(root.join("selection.md")).contains("# digits: settings chosen"));

    // The same call again does nothing anew and says the same.
    let before: Vec<String> = environments.iter().map(text).collect();
    let again = succeeds(select(folder.path(), &arguments));
    assert_eq!(again.matches("done before").count(), 4, "{again}");
    let after: Vec<String> = environments.iter().map(text).collect();
    assert_eq!(before, after);
    let repeated = json(&root.join("selection.json"));
    assert_eq!(repeated["chosen"], selection["chosen"]);
    assert_eq!(repeated["chosen_by_class"], selection["chosen_by_class"]);
}

#[test]
fn a_run_with_a_stand_in_says_so_and_is_not_taken_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let run = |stand_in: &str| {
        let setting = format!("data.stand_in={stand_in}");
        let arguments = ["--method", "knn", "--set", &setting];
        experiment(folder.path(), "digits-3", &arguments)
    };
    let output = succeeds(run("1"));
    for expected in [
        "class \"4\" stands in as the anomaly, class \"3\" is left out of everything",
        "class \"4\" stands in as the anomaly; class \"3\", which is left out, was not used",
        "class \"4\" against",
    ] {
        assert!(output.contains(expected), "{expected}\n{output}");
    }
    let refused = fails(run("0"));
    assert!(refused.contains("data.stand_in: 1 there"), "{refused}");
    let refused = fails(run("2"));
    assert!(
        refused.contains("data.stand_in: 1 there, 2 now"),
        "{refused}"
    );
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&[][..], "--candidate"),
        (
            &["--candidate", "few-neighbors"],
            "did you mean `few-neighbours`",
        ),
        (&["--candidate", "knn,knn"], "given twice"),
        (&["--candidate", "knn,same-as-knn"], "given twice"),
        (&["--candidate", "knn", "--stand-ins", "10"], "from 1 to 9"),
        (&["--candidate", "knn", "--stand-ins", "0"], "--stand-ins"),
        (&["--candidate", "fewer-images"], "test images"),
        (&["--candidate", "knn", "--classes", "11"], "no such class"),
    ] {
        let message = fails(select(folder.path(), arguments));
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    assert!(!folder.path().join("artifacts").exists());
}
