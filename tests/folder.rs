//! From a folder of pictures to verdicts: `fit` and `score` as a user types them.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::textures::{self, Counts};
use common::{fails, program, succeeds};

/// Settings with which a fit takes seconds.
const TINY: [&str; 5] = [
    "encoder.latent=16",
    "encoder.patch_components=8",
    "flow.couplings=4",
    "flow.hidden=32",
    "flow.training.epochs=3",
];

const FEW: Counts = Counts {
    train: 60,
    good: 10,
    defective: 4,
};

fn fit(folder: &Path, out: &Path, settings: &[&str]) -> Command {
    let mut command = program(out.parent().unwrap());
    command.args(["fit", "--plain", "--offline", "--out"]);
    command.arg(out).arg(folder);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

fn score(model: &Path) -> Command {
    let mut command = program(model.parent().unwrap());
    command.arg("score").arg(model);
    command
}

/// Number after a label, as in `image AUROC 0.987`.
fn number(text: &str, label: &str) -> f64 {
    let rest = text.split(label).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no {label} in {text}"));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn small_defects_are_found_and_p_values_hold() {
    let place = tempfile::tempdir().unwrap();
    let (set, model) = (place.path().join("set"), place.path().join("m.safetensors"));
    textures::write(&set, 1, Counts::default());
    let output = succeeds(fit(&set, &model, &[]));
    println!("{output}");
    assert!(number(&output, "image AUROC") >= 0.95, "{output}");
    assert!(number(&output, "pixel AUROC") >= 0.90, "{output}");

    // 60 new normal images at level 0.1 with 63 calibration images: more than 15 alarms have a
    // probability of 0.6 % (beta-binomial), and the seed is fixed.
    let good = set.join("test/good");
    let mut command = score(&model);
    command
        .args(["--format", "jsonl", "--alpha", "0.1"])
        .arg(&good);
    let lines = succeeds(command);
    let rows: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 60);
    let alarms = rows.iter().filter(|row| row["anomalous"] == true).count();
    assert!(alarms <= 15, "{alarms} false alarms of 60");
}

#[test]
fn verdicts_in_every_format_agree() {
    let place = tempfile::tempdir().unwrap();
    let (set, model) = (place.path().join("set"), place.path().join("m.safetensors"));
    textures::write(&set, 2, FEW);
    succeeds(fit(&set, &model, &TINY));
    assert!(!place.path().join("m.safetensors.training").exists());

    let good = set.join("test/good");
    let mut command = score(&model);
    command
        .args(["--format", "csv", "--alpha", "0.1"])
        .arg(&good);
    let csv = succeeds(command);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!(
        header.iter().collect::<Vec<_>>(),
        [
            "path",
            "score",
            "p_value",
            "anomalous",
            "driver",
            "top_positions",
            "mean_position"
        ]
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), FEW.good);
    let mut command = score(&model);
    command
        .args(["--format", "jsonl", "--alpha", "0.1"])
        .arg(&good);
    for (line, row) in succeeds(command).lines().zip(&rows) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["path"], row[0]);
        assert_eq!(line["anomalous"].to_string(), row[3]);
        let p: f64 = row[2].parse().unwrap();
        assert_eq!(line["p_value"].as_f64().unwrap(), p);
        assert_eq!(p <= 0.1, &row[3] == "true");
    }

    // The Rust API says the same of the same file.
    let picture = image::open(&rows[0][0]).unwrap();
    let detector = encoder_flow::Detector::load(&model).unwrap();
    let verdict = detector.score(&picture).unwrap();
    assert_eq!(verdict.p_value.to_string(), rows[0][2]);
    let example = example("score_image");
    let output = Command::new(example)
        .arg(&model)
        .arg(&rows[0][0])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("p = ") && text.contains("oddest at row"),
        "{text}"
    );
}

/// An example's program, which `cargo test` builds beside this one.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    folder.join("examples").join(name)
}

#[test]
fn overlays_and_exit_status_serve_a_pipeline() {
    let place = tempfile::tempdir().unwrap();
    let (set, model) = (place.path().join("set"), place.path().join("m.safetensors"));
    textures::write(&set, 3, FEW);
    succeeds(fit(&set, &model, &TINY));
    let maps = place.path().join("maps");
    let black = place.path().join("black.png");
    image::RgbImage::new(150, 90).save(&black).unwrap();
    let mut command = score(&model);
    command.args(["--fail-on-anomaly", "--alpha", "0.1", "--heatmaps"]);
    let output = command.arg(&maps).arg(&black).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("ANOMALOUS"));
    let overlay = std::fs::read_dir(&maps).unwrap().next().unwrap().unwrap();
    assert_eq!(image::image_dimensions(overlay.path()).unwrap(), (150, 90));
}

#[test]
fn wrong_input_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (set, model) = (place.path().join("set"), place.path().join("m.safetensors"));
    textures::write(&set, 4, FEW);
    // Two broken files among the good ones.
    std::fs::write(set.join("train/good/zero.png"), []).unwrap();
    std::fs::write(set.join("train/good/text.jpg"), "no picture").unwrap();
    let mut strict = fit(&set, &model, &TINY);
    strict.arg("--strict");
    let error = fails(strict);
    assert!(
        error.contains("text.jpg") || error.contains("zero.png"),
        "{error}"
    );
    let output = fit(&set, &model, &TINY).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    for name in ["zero.png", "text.jpg", "2 files left out"] {
        assert!(warnings.contains(name), "{name}: {warnings}");
    }

    let error = fails(fit(&set, &model, &TINY));
    assert!(
        error.contains("exists already") && error.contains("--force"),
        "{error}"
    );
    let few = place.path().join("few");
    std::fs::create_dir(&few).unwrap();
    textures::normal(1).save(few.join("one.png")).unwrap();
    let error = fails(fit(&few, &place.path().join("x.safetensors"), &TINY));
    assert!(error.contains("at least 20"), "{error}");

    let good = set.join("test/good");
    let mut level = score(&model);
    level.args(["--alpha", "0.001"]).arg(&good);
    let error = fails(level);
    assert!(error.contains("999"), "{error}");
    let mut nothing = score(&model);
    nothing.args(["--alpha", "0.1"]);
    nothing.arg(place.path().join("nothing*.png"));
    assert!(fails(nothing).contains("nothing*.png"));
    std::fs::write(
        place.path().join("half"),
        &std::fs::read(&model).unwrap()[..500],
    )
    .unwrap();
    let mut damaged = score(&place.path().join("half"));
    damaged.arg(&good);
    let error = fails(damaged);
    assert!(error.contains("damaged"), "{error}");
}

/// For the eye: `ENCODER_FLOW_TEXTURES=/tmp/textures cargo test --test folder -- --ignored`.
#[test]
#[ignore = "writes the generated set to a folder of the user's choice"]
fn write_the_set() {
    let folder = std::env::var_os("ENCODER_FLOW_TEXTURES").expect("names a folder");
    textures::write(Path::new(&folder), 1, Counts::default());
}
