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
