//! `sweep`: every method on several classes, one table, nothing lost on the way.

mod common;

use std::process::Command;

use encoder_flow::method::Method;

use common::{SMALL_NETWORKS, TINY, assert_stored_scores, fails, program, succeeds};

/// Settings with which mixtures take a second as well.
const SMALL_MIXTURE: [&str; 2] = ["gmm.gaussians=5", "gmm.components=8"];

fn sweep(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = program(folder);
    command.args(["sweep", "digits", "--offline"]);
    for setting in TINY.iter().chain(&SMALL_NETWORKS).chain(&SMALL_MIXTURE) {
        command.args(["--set", setting]);
    }
    command.args(arguments);
    command
}

fn rows(folder: &std::path::Path) -> Vec<csv::StringRecord> {
    let path = folder.join("artifacts/sweeps/digits/results.csv");
    let mut csv = csv::Reader::from_path(path).unwrap();
    csv.records().map(Result::unwrap).collect()
}

#[test]
fn every_method_runs_on_two_classes() {
    let folder = tempfile::tempdir().unwrap();
    let output = succeeds(sweep(folder.path(), &["--classes", "3,7", "--jobs", "2"]));
    let cells = 2 * Method::ALL.len();
    assert!(output.contains(&format!("[{cells}/{cells}]")), "{output}");
    let found = rows(folder.path());
    assert_eq!(found.len(), cells);
    for row in &found {
        let auroc: f64 = row[5].parse().unwrap_or(f64::NAN);
        assert!((0.0..=1.0).contains(&auroc), "{row:?}");
        // What it was made with stands beside it.
        assert_eq!(&row[12], "flex", "{row:?}");
        assert!(!row[15].is_empty(), "{row:?}");
        assert!(
            folder.path().join("artifacts").join(&row[13]).is_file(),
            "{row:?}"
        );
        // What lies at no distance from itself gives no threshold.
        let run = folder.path().join("artifacts").join(&row[13]);
        let scores = std::fs::read_to_string(run.with_file_name("scores.csv")).unwrap();
        let of_training = scores.lines().any(|line| line.starts_with("train,"));
        // Those whose training images' scores say nothing of others, or cost too much.
        let skips = ["knn", "patchcore", "padim", "kernel", "anogan"];
        let skips = run
            .ancestors()
            .any(|path| skips.iter().any(|name| path.ends_with(name)));
        assert_eq!(of_training, !skips, "{row:?}");
    }
    let sweeps = folder.path().join("artifacts/sweeps/digits");
    let page = std::fs::read_to_string(sweeps.join("report.html")).unwrap();
    assert!(
        page.contains("encoder-flow") && page.contains("<svg"),
        "no chart"
    );
    let markdown = std::fs::read_to_string(sweeps.join("results.md")).unwrap();
    assert!(markdown.contains("mahalanobis"), "{markdown}");
    assert!(markdown.contains("](chart.svg)"), "{markdown}");
    for text in [&markdown, &page] {
        assert!(text.contains("time of a run"), "{text}");
    }
    let chart = std::fs::read_to_string(sweeps.join("chart.svg")).unwrap();
    assert!(
        chart.starts_with("<?xml") && chart.contains("ganomaly") && chart.ends_with("</svg>\n"),
        "{chart}"
    );

    // Every method leaves a detector.
    for row in found.iter().filter(|row| &row[0] == "digits-3") {
        let page = folder.path().join("artifacts").join(&row[13]);
        assert_stored_scores(page.parent().unwrap());
    }

    // The two methods that need the autoencoder trained it once per class.
    let history = |method: &str| {
        let run = folder
            .path()
            .join("artifacts/digits-3")
            .join(method)
            .join("seed-0");
        std::fs::read_to_string(run.join("encoder/history.json")).unwrap()
    };
    assert_eq!(history("encoder-flow"), history("autoencoder"));

    // What is done is skipped, a damaged table is made anew, and a narrower sweep takes nothing away.
    std::fs::write(sweeps.join("results.csv"), "half a ro").unwrap();
    let again = succeeds(sweep(
        folder.path(),
        &["--classes", "3,7", "--methods", "knn,gmm"],
    ));
    assert!(again.contains("[4/4]"), "{again}");
    let kept = rows(folder.path());
    assert_eq!(kept.len(), found.len());
    for (kept, found) in kept.iter().zip(&found) {
        assert_eq!(
            (&kept[0], &kept[2], &kept[11]),
            (&found[0], &found[2], &found[11])
        );
        // Read back from the cell's JSON, which may move the last of seventeen digits.
        let auroc = |row: &csv::StringRecord| row[5].parse::<f64>().unwrap();
        assert!((auroc(kept) - auroc(found)).abs() < 1e-12, "{kept:?}");
    }
}

#[test]
fn a_changed_setting_repeats_the_cells_that_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--classes", "3", "--methods", "knn,mahalanobis"];
    let both = [&arguments[..], &["--set", "knn.neighbours=2"]].concat();
    succeeds(sweep(folder.path(), &arguments));
    let before = rows(folder.path());
    let again = succeeds(sweep(folder.path(), &both));
    assert_eq!(again.matches("done before").count(), 1, "{again}");
    let after = rows(folder.path());
    assert_ne!(before[0][11], after[0][11], "the fingerprint of knn");
    assert_eq!(before[1][11], after[1][11], "that of mahalanobis");
    // The run of the other settings is kept.
    let kept = std::fs::read_dir(folder.path().join("artifacts/digits-3/knn")).unwrap();
    let kept: Vec<String> = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        kept.iter().any(|name| name.starts_with("replaced-seed-0-")),
        "{kept:?}"
    );
    // And has its place back when its settings are asked for again.
    let back = succeeds(sweep(folder.path(), &arguments));
    assert_eq!(back.matches("done before").count(), 2, "{back}");
    assert!(
        back.contains("where the run of these settings was"),
        "{back}"
    );
    assert_eq!(rows(folder.path())[0][11], before[0][11]);
}

#[test]
fn a_sweep_that_is_made_anew_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--classes", "3", "--methods", "knn,mahalanobis"];
    let fresh = [&arguments[..], &["--fresh"]].concat();
    succeeds(sweep(folder.path(), &arguments));
    let anew = succeeds(sweep(folder.path(), &fresh));
    assert!(!anew.contains("done before"), "{anew}");
    // One that ends after its first cell, as its table cannot be written, leaves a note of when it was begun.
    let sweeps = folder.path().join("artifacts/sweeps/digits");
    let (note, table) = (sweeps.join("fresh.json"), sweeps.join("results.csv"));
    assert!(!note.exists());
    let begun = || {
        let run = folder.path().join("artifacts/digits-3/knn/seed-0");
        std::fs::read_to_string(run.join("environment.json")).unwrap()
    };
    let before = begun();
    std::fs::remove_file(&table).unwrap();
    std::fs::create_dir_all(table.join("in the way")).unwrap();
    fails(sweep(folder.path(), &fresh));
    assert!(note.exists());
    let first = begun();
    assert_ne!(first, before);
    std::fs::remove_dir_all(&table).unwrap();
    // A sweep of something else in between changes nothing of that.
    succeeds(sweep(
        folder.path(),
        &["--classes", "4", "--methods", "knn"],
    ));
    let rest = succeeds(sweep(folder.path(), &fresh));
    assert_eq!(rest.matches("done before").count(), 1, "{rest}");
    assert_eq!(begun(), first);
    assert!(!note.exists());
    let once_more = succeeds(sweep(folder.path(), &fresh));
    assert!(!once_more.contains("done before"), "{once_more}");
}

#[test]
fn a_damaged_run_costs_its_cell() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--classes", "3", "--methods", "knn,mahalanobis"];
    succeeds(sweep(folder.path(), &arguments));
    let run = folder.path().join("artifacts/digits-3/knn/seed-0");
    for file in ["metrics.json", "identity.json", "environment.json"] {
        let whole = std::fs::read(run.join(file)).unwrap();
        std::fs::write(run.join(file), "{\"half\": ").unwrap();
        // It is found on the way to another cell, and does not stop it.
        succeeds(sweep(
            folder.path(),
            &["--classes", "3", "--methods", "mahalanobis"],
        ));
        let found = rows(folder.path());
        assert_eq!(found.len(), 1, "{file}: {found:?}");
        std::fs::write(run.join(file), whole).unwrap();
    }
    succeeds(sweep(folder.path(), &arguments));
    assert_eq!(rows(folder.path()).len(), 2);
}

/// The built-in digits are easy: whatever cannot tell a digit from the others there is broken.
#[test]
fn simple_methods_tell_digits_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    command.args(["sweep", "digits", "--offline", "--methods", "knn,gmm"]);
    command.args(["--set", "data.limit=6000", "--set", "gmm.gaussians=20"]);
    command.args(["--classes", "0,3"]);
    succeeds(command);
    for row in rows(folder.path()) {
        let auroc: f64 = row[5].parse().unwrap();
        assert!(auroc > 0.75, "{row:?}");
    }
}

#[test]
fn a_cell_that_fails_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    // Something else is where a cell's folder should be.
    let place = folder.path().join("artifacts/digits-3/knn");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("seed-0"), "not a folder").unwrap();
    let message = fails(sweep(
        folder.path(),
        &["--classes", "3,4", "--methods", "knn,mahalanobis"],
    ));
    assert!(message.contains("1 of 4 cells failed"), "{message}");
    let rows = rows(folder.path());
    assert_eq!(rows.len(), 4);
    assert_eq!(
        rows.iter().filter(|row| row[14].is_empty()).count(),
        3,
        "{rows:?}"
    );
}

#[test]
fn wrong_lists_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (["--methods", "kn"], "did you mean `knn`"),
        (["--classes", "11"], "no such class"),
        (["--seeds", "one"], "--seeds"),
        (["--jobs", "0"], "--jobs"),
    ] {
        let message = fails(sweep(folder.path(), &arguments));
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    let mut unknown = program(folder.path());
    unknown.args(["sweep", "mnits"]);
    assert!(fails(unknown).contains("did you mean `mnist`"));
}
