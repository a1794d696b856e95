//! Files of a run that were damaged or lost.

use super::*;

#[test]
fn a_lost_history_costs_the_stage_and_a_damaged_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(experiment(folder.path(), "digits-3", &[]));
    let run = run_folder(folder.path(), "digits-3", 0);
    let expected = results(&run);
    let history = run.join("flow/history.json");

    let mut damaged = json(&history);
    damaged["epochs"][0]["valid"] = serde_json::json!({});
    std::fs::write(&history, damaged.to_string()).unwrap();
    std::fs::remove_file(run.join("done.json")).unwrap();
    let message = fails(experiment(folder.path(), "digits-3", &[]));
    assert!(message.contains("history.json is damaged"), "{message}");
    assert!(message.contains("epoch 1 has no validation"), "{message}");

    std::fs::remove_file(&history).unwrap();
    let output = succeeds(experiment(folder.path(), "digits-3", &[]));
    assert!(output.contains("2/2 flow  starts over"), "{output}");
    assert_eq!(results(&run), expected);
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

/// Files of a finished run that were edited, or that another version of the program wrote.
#[test]
fn scores_and_metrics_that_lack_the_run_s_own_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let knn = ["--method", "knn"];
    succeeds(experiment(folder.path(), "digits-3", &knn));
    let run = folder.path().join("artifacts/digits-3/knn/seed-0");
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    // Training images are at no distance from what is remembered: they are not scored.
    assert!(page.contains("come from the scores of held-out normal images alone"));
    assert!(page.contains("of held-out normal images"));

    let metrics = run.join("metrics.json");
    let whole = std::fs::read_to_string(&metrics).unwrap();
    std::fs::write(&metrics, r#"{"anomalous": {}}"#).unwrap();
    let message = fails(experiment(folder.path(), "digits-3", &knn));
    assert!(
        message.contains("metrics.json lacks the numbers"),
        "{message}"
    );
    std::fs::write(&metrics, whole).unwrap();

    let scores = run.join("scores.csv");
    let table = std::fs::read_to_string(&scores).unwrap();
    std::fs::write(&scores, table.replace("neighbour_distance", "other")).unwrap();
    let mut evaluate = program(folder.path());
    evaluate.args(["evaluate", "digits-3", "--method", "knn"]);
    let message = fails(evaluate);
    assert!(
        message.contains("no score `neighbour_distance`"),
        "{message}"
    );
    std::fs::write(&scores, table).unwrap();

    // Without its model, or what it was made on, a run is made again.
    for name in ["detector/model.safetensors", "environment.json"] {
        let done = std::fs::metadata(run.join("done.json")).unwrap();
        std::fs::remove_file(run.join(name)).unwrap();
        let said = succeeds(experiment(folder.path(), "digits-3", &knn));
        assert!(run.join(name).is_file() && !said.contains("complete before"));
        let again = std::fs::metadata(run.join("done.json")).unwrap();
        assert!(again.modified().unwrap() > done.modified().unwrap());
    }
}
