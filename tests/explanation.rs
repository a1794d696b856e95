//! What a run says of its scores: what they follow, how a recommended variant does, and which view drove a
//! verdict.

mod common;

use common::{digits_as_files, experiment, json, program, run_folder, succeeds};

/// The built-in digits with a variant of views, each a mixture with a small flow on it.
const STUDY: &str = r#"
[data]
dataset = "digits"

[variants.best]
method = "views"
views.couplings = 2
views.list = [
    { of = "pixels", normalise = "l2", components = 4, gaussians = 2 },
    { of = "bands", normalise = "none", components = 4, gaussians = 2 },
]
"#;

#[test]
fn a_run_says_what_its_scores_follow_and_how_the_recommended_variant_does() {
    let folder = tempfile::tempdir().unwrap();
    let studies = folder.path().join("experiments");
    std::fs::create_dir(&studies).unwrap();
    std::fs::write(studies.join("digits.toml"), STUDY).unwrap();

    let output = succeeds(experiment(folder.path(), "digits-3", &[]));
    assert!(
        output.contains("recommended here: --method best"),
        "{output}"
    );
    assert!(output.contains("not run yet"), "{output}");
    let run = run_folder(folder.path(), "digits-3", 0);
    let explanation = json(&run.join("metrics.json"))["explanation"].clone();
    assert_eq!(explanation["compressor"], "PNG");
    for set in ["normal", "anomalous"] {
        let set = &explanation["sets"][set];
        assert!(
            (1..=300).contains(&set["images"].as_u64().unwrap()),
            "{set}"
        );
        assert!(set["bits_per_pixel"].as_f64().unwrap() > 0.5, "{set}");
        for kind in ["pearson", "spearman"] {
            let found = set["correlation"]["nll"][kind].as_f64().unwrap();
            assert!((-1.0..=1.0).contains(&found), "{set}");
        }
        assert_eq!(set["terms"]["nll"]["unit"], "nats");
        assert!(
            set["terms"]["nll"]["log_det"].as_f64().unwrap() != 0.0,
            "{set}"
        );
    }
    for size in ["contrast", "norm"] {
        let size = &explanation["size"][size];
        assert!(
            size["means"]["anomalous"].as_f64().unwrap() > 10.0,
            "{size}"
        );
        let found = &size["correlation"]["normal"]["nll"]["spearman"];
        assert!(found.as_f64().unwrap().abs() <= 1.0, "{size}");
        assert!(size["together"]["nll"].is_object(), "{size}");
    }
    let by_length = |set: &str| explanation["sets"][set]["by_length"].clone();
    assert!(by_length("normal").is_null() && by_length("anomalous").is_f64());
    let auroc = |set: &str| explanation["sets"][set]["terms"]["nll"]["auroc"].clone();
    assert!(auroc("normal").is_null() && auroc("anomalous")[0].is_f64());
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    for part in [
        "What the score follows",
        "Table 2",
        "Table 3",
        "all together",
        "with the contrast",
    ] {
        assert!(report.contains(part), "{part}");
    }

    succeeds(experiment(folder.path(), "digits-3", &["--method", "best"]));
    let best = folder.path().join("artifacts/digits-3/best/seed-0");
    let metrics = json(&best.join("metrics.json"));
    let terms = &metrics["explanation"]["sets"]["anomalous"]["terms"];
    assert!(
        terms["view_1"].is_object() && terms["view_2"].is_object(),
        "{terms}"
    );
    // Run again, the paper's pipeline knows.
    let output = succeeds(experiment(folder.path(), "digits-3", &[]));
    let auroc = metrics["anomalous"]["views"]["auroc"].as_f64().unwrap();
    let expected = format!("AUROC {auroc:.3} class \"3\"");
    assert!(output.contains(&expected), "{expected}: {output}");
    // Another seed is another run.
    let output = succeeds(experiment(folder.path(), "digits-3", &["--seed", "1"]));
    assert!(output.contains("not run yet"), "{output}");

    let files = digits_as_files(&folder.path().join("new"), 20);
    let mut score = program(folder.path());
    score
        .arg("score")
        .arg(best.join("detector/model.safetensors"));
    score
        .arg(files)
        .args(["--format", "jsonl", "--report", "page.html"]);
    let lines = succeeds(score);
    assert_eq!(lines.lines().count(), 20);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let view = |name: &str| line["scores"][name].as_f64().unwrap();
        let largest = if view("view_1") > view("view_2") {
            "view_1"
        } else {
            "view_2"
        };
        assert_eq!(line["driver"], largest, "{line}");
    }
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("driven by view "), "no view is named");
}
