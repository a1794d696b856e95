//! From a folder of pictures to verdicts: `fit` and `score` as a user types them.

mod common;
#[path = "folder/default.rs"]
mod default;
#[path = "folder/groups.rs"]
mod groups;
#[path = "folder/interrupted.rs"]
mod interrupted;
#[path = "folder/maps.rs"]
mod maps;
#[path = "folder/positions.rs"]
mod positions;
#[path = "folder/refusals.rs"]
mod refusals;
#[path = "folder/report.rs"]
mod report;
/// The example that the documentation points to.
#[allow(dead_code)]
#[path = "../examples/score_image.rs"]
mod score_image;
#[path = "folder/sets.rs"]
mod sets;
#[path = "folder/whole.rs"]
mod whole;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use common::textures::{self, Cloth, Counts, Defect};
use common::{SMALL_NETWORKS, both, experiment, fails, json, program, run_folder, succeeds};
use encoder_flow::Detector;
use encoder_flow::data::digits;
use encoder_flow::evaluate::auroc;
use encoder_flow::method::{Identity, Method, schema};
use encoder_flow::run::Workspace;
use encoder_flow::study::Studies;

/// Settings with which a fit takes seconds.
const TINY: [&str; 7] = [
    "data.size=128",
    "encoder.kind=pca",
    "encoder.patch_components=8",
    "positions.components=16",
    "flow.couplings=4",
    "flow.hidden=32",
    "flow.training.epochs=3",
];

const FEW: Counts = Counts {
    train: 60,
    good: 10,
    defective: 4,
};

/// A tiny model and what it was fitted to, for all tests that need any model.
struct Fitted {
    /// In MVTec AD's layout, with two broken files among the good ones.
    set: PathBuf,
    model: PathBuf,
    /// What `fit` printed, and its warnings.
    said: String,
    warned: String,
    /// Held until this process ends: the folder is one for all.
    _lock: File,
}

static FITTED: LazyLock<Fitted> = LazyLock::new(|| {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(place).unwrap();
    let lock = File::create(place.join("folder.lock")).unwrap();
    lock.lock().unwrap();
    let folder = place.join("folder");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let (set, model) = (folder.join("set"), folder.join("m.safetensors"));
    textures::write(&set, Cloth::Woven, 2, FEW);
    std::fs::write(set.join("train/good/zero.png"), []).unwrap();
    std::fs::write(set.join("train/good/text.jpg"), "no picture").unwrap();
    leave_an_unfinished_fit(&model);
    let mut command = fit(&set, &model, &TINY);
    command.arg("--force");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    assert!(!folder.join("m.safetensors.training").exists());
    Fitted {
        set,
        model,
        said: text(&output.stdout),
        warned: text(&output.stderr),
        _lock: lock,
    }
});

/// As if a fit with other settings had been stopped in its training.
fn leave_an_unfinished_fit(model: &Path) {
    let studies = Studies::open(None, &schema()).unwrap();
    let settings = studies.study("digits").unwrap().shared(&[]).unwrap();
    let plan = Method::EncoderFlow.plan(&settings).unwrap();
    let identity = Identity::new("encoder-flow", plan.as_ref(), &settings, None);
    let workspace = Workspace::for_fit(model, &identity, &settings, false).unwrap();
    std::fs::create_dir_all(workspace.stage("encoder").join("checkpoint")).unwrap();
}

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

/// [`score`] at a level that so few calibration images reach.
fn score_at_a_tenth(model: &Path, path: &Path) -> Command {
    let mut command = score(model);
    command.args(["--alpha", "0.1"]).arg(path);
    command
}

/// What `fit` says on both streams.
fn command_output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    both(&output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed; both of its outputs.
#[track_caller]
fn runs(mut command: Command) -> Output {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", both(&output));
    output
}

/// Runs a command that must fail with one line on standard error, and returns that.
#[track_caller]
fn complains(command: Command) -> String {
    let error = fails(command);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("error: "), "{error}");
    error
}

/// Number after a label, as in `image AUROC 0.987`.
#[track_caller]
fn number(text: &str, label: &str) -> f64 {
    let rest = text.split(label).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no {label} in {text}"));
    let word = rest.split_whitespace().next().unwrap();
    word.trim_end_matches(',').parse().unwrap()
}

fn rows(csv: &[u8]) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_reader(csv);
    reader.records().map(Result::unwrap).collect()
}

/// Whether a test image is in `test/good`.
fn is_good(path: &str) -> bool {
    Path::new(path).parent().unwrap().ends_with("good")
}

#[test]
fn small_defects_are_found_and_p_values_hold() {
    let place = tempfile::tempdir().unwrap();
    let (set, model) = (place.path().join("set"), place.path().join("m.safetensors"));
    textures::write(&set, Cloth::Woven, 1, Counts::default());
    let output = succeeds(fit(&set, &model, &[]));
    println!("{output}");
    assert!(number(&output, "image AUROC") >= 0.95, "{output}");
    assert!(number(&output, "pixel AUROC") >= 0.90, "{output}");
    assert!(number(&output, "AUPRO") >= 0.75, "{output}");

    // 60 new normal images at level 0.1 with 63 calibration images: more than 15 alarms have a
    // probability of 0.6 % (beta-binomial), and the seed is fixed.
    let mut command = score_at_a_tenth(&model, &set.join("test/good"));
    command.args(["--format", "jsonl"]);
    let lines = succeeds(command);
    let rows: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 60);
    let alarms = rows.iter().filter(|row| row["anomalous"] == true).count();
    assert!(alarms <= 15, "{alarms} false alarms of 60");
}

/// `cargo test --release --test folder irregular -- --ignored --nocapture`
#[test]
#[ignore = "a measurement on the harder set, which takes minutes"]
fn defects_on_an_irregular_texture_are_found_more_often_than_by_chance() {
    let place = tempfile::tempdir().unwrap();
    let (set, model) = (place.path().join("set"), place.path().join("m.safetensors"));
    textures::write(&set, Cloth::Granite, 1, Counts::default());
    let output = succeeds(fit(&set, &model, &[]));
    println!("{output}");
    assert!(number(&output, "image AUROC") > 0.85, "{output}");
    assert!(number(&output, "pixel AUROC") > 0.9, "{output}");
}

#[test]
fn verdicts_in_every_format_agree() {
    let Fitted { set, model, .. } = &*FITTED;
    let good = set.join("test/good");
    let formatted = |format: &str| {
        let mut command = score_at_a_tenth(model, &good);
        command.args(["--format", format]);
        succeeds(command)
    };
    let csv = formatted("csv");
    let header = csv.lines().next().unwrap();
    assert_eq!(
        header,
        "path,score,p_value,anomalous,driver,positions,scale_1"
    );
    let rows = rows(csv.as_bytes());
    assert_eq!(rows.len(), FEW.good);
    for (line, row) in formatted("jsonl").lines().zip(&rows) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["path"], row[0]);
        assert_eq!(line["anomalous"].to_string(), row[3]);
        let p: f64 = row[2].parse().unwrap();
        assert_eq!(line["p_value"].as_f64().unwrap(), p);
        assert_eq!(p <= 0.1, &row[3] == "true");
    }
    let table = formatted("table");
    assert_eq!(table.lines().count(), 1 + FEW.good, "{table}");
    for (line, row) in table.lines().skip(1).zip(&rows) {
        let word = match &row[3] {
            "true" => "ANOMALOUS",
            _ => "normal",
        };
        assert!(line.starts_with(word) && line.ends_with(&row[0]), "{line}");
    }

    // The Rust API says the same of the same file.
    let picture = image::open(&rows[0][0]).unwrap();
    let verdict = Detector::load(model).unwrap().score(&picture).unwrap();
    assert_eq!(verdict.p_value.to_string(), rows[0][2]);
    let said = score_image::describe(model, Path::new(&rows[0][0])).unwrap();
    assert!(
        said.contains(&format!("p = {:.4}", verdict.p_value)) && said.contains("oddest at row"),
        "{said}"
    );
}

#[test]
fn every_method_can_be_fitted_to_a_folder() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    for method in Method::ALL.into_iter().skip(1) {
        let model = place.path().join(format!("{method}.safetensors"));
        let settings = [
            "data.size=32",
            "encoder.kind=pca",
            "knn.encoder=pca",
            "views.list=[{ of = \"autoencoder\", normalise = \"l2\", components = 4, gaussians = 1 }]",
            "gmm.encoder=pca",
            "mahalanobis.encoder=pca",
            "patchcore.encoder=pca",
            "padim.encoder=pca",
            "kernel.encoder=pca",
            "encoder.width=4",
            "encoder.latent=8",
            "encoder.training.epochs=1",
            "gmm.components=4",
            "gmm.gaussians=2",
        ];
        let settings = [&settings[..], &SMALL_NETWORKS].concat();
        let mut command = fit(set, &model, &settings);
        command.args(["--method", method.name()]);
        let said = succeeds(command);
        assert!(
            (0.0..=1.0).contains(&number(&said, "image AUROC")),
            "{said}"
        );
        let mut command = score_at_a_tenth(&model, &set.join("test/good"));
        command.args(["--format", "csv", "--heatmaps"]);
        command.arg(place.path().join(method.name()));
        assert_eq!(
            rows(succeeds(command).as_bytes()).len(),
            FEW.good,
            "{method}"
        );
    }
    let mut unknown = fit(set, &place.path().join("m.safetensors"), &[]);
    unknown.args(["--method", "kn"]);
    assert!(fails(unknown).contains("did you mean `knn`"));
}

#[test]
fn a_fit_that_cannot_begin_leaves_nothing_behind() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let mut command = fit(set, &place.path().join("m.safetensors"), &["data.size=128"]);
    command.args(["--method", "egbad"]);
    let said = fails(command);
    assert!(said.contains("wants squares of 32 or 64"), "{said}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn methods_are_compared_on_a_folder() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let sweep = |arguments: &[&str]| {
        let mut command = program(place.path());
        command.args([
            "sweep",
            "folder",
            "--offline",
            "--methods",
            "encoder-flow,knn",
        ]);
        for setting in TINY.into_iter().chain(["data.size=32", "knn.encoder=pca"]) {
            command.args(["--set", setting]);
        }
        command.args(arguments);
        command
    };
    let named = format!("data.folder={}", set.display());
    let output = runs(sweep(&["--set", &named]));
    assert!(text(&output.stdout).contains("[2/2] folder-defect knn"));
    let run = run_folder(place.path(), "folder-defect", 0);
    let split = json(&run.join("split.json"));
    let size = |part: &str| split[part].as_array().unwrap().len();
    assert_eq!(size("train") + size("validation"), FEW.train);
    assert_eq!(size("test_normal"), FEW.good);
    assert_eq!(size("test_anomalous"), Defect::ALL.len() * FEW.defective);
    let environment = json(&run.join("environment.json"));
    let source = environment["data"][0].as_str().unwrap();
    assert!(source.contains("2 files left out"), "{source}");
    // Every score has its picture.
    let scores = std::fs::read_to_string(run.join("scores.csv")).unwrap();
    assert!(scores.starts_with("split,index,label,truth,file,"));
    let is_named = |line: &str| line.contains(",anomalous,test/") && line.contains(".png,");
    let named_rows = scores.lines().filter(|line| is_named(line)).count();
    assert_eq!(named_rows, Defect::ALL.len() * FEW.defective);
    // Pixels are compared with masks, and as by `score`.
    let pixels = json(&run.join("metrics.json"))["pixels"][0].clone();
    assert_eq!(pixels["source"], "positions");
    let mut again = program(place.path());
    again.args(["score", "--format", "csv", "--alpha", "0.5"]);
    again.arg(run.join("detector/model.safetensors")).arg(set);
    let said = text(&runs(again).stderr);
    for (name, key) in [("pixel AUROC", "auroc"), ("AUPRO", "aupro")] {
        let (told, stored) = (number(&said, name), pixels[key].as_f64().unwrap());
        assert!((told - stored).abs() < 6e-4, "{name}: {told} {stored}");
    }
    let table = std::fs::read_to_string(place.path().join("artifacts/sweeps/folder/results.md"));
    assert!(table.unwrap().contains("| pixel AUROC | AUPRO |"));

    // What a newcomer types.
    let elsewhere = tempfile::tempdir().unwrap();
    let complaint = |name: &str, settings: &[&str]| {
        let mut command = program(elsewhere.path());
        command.args(["experiment", name, "--plain"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        complains(command)
    };
    assert!(complaint("folder-defect", &[]).contains("--set data.folder=PATH"));
    let plain = format!("data.folder={}", set.join("train/good").display());
    assert!(complaint("folder-defect", &[&plain]).contains("no train/good"));
    assert!(complaint("folder-good", &[&named]).contains("`folder-defect`"));
    assert!(complaint("digits-3", &[&named]).contains("unless data.dataset is"));
}

#[test]
fn from_copies_of_one_picture_nothing_is_learnt() {
    let folder = tempfile::tempdir().unwrap();
    common::digits_as_files(&folder.path().join("one"), 1);
    let copies = folder.path().join("copies");
    std::fs::create_dir(&copies).unwrap();
    for copy in 0..30 {
        let from = folder.path().join("one/000.png");
        std::fs::copy(from, copies.join(format!("{copy}.png"))).unwrap();
    }
    let refused = fails(fit(
        &copies,
        &folder.path().join("m.safetensors"),
        &["data.size=32"],
    ));
    assert!(refused.contains("30 images are all the same"), "{refused}");
}

#[test]
fn a_run_is_of_the_pictures_that_it_saw() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    for (part, count) in [("train/good", 60), ("test/good", 20), ("test/odd", 10)] {
        std::fs::create_dir_all(set.join(part).parent().unwrap()).unwrap();
        common::digits_as_files(&set.join(part), count);
    }
    let command = |verb: &str, settings: &[&str]| {
        let mut command = program(folder.path());
        command.args([verb, "folder-defect", "--offline", "--method", "knn"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command
    };
    let settings = ["data.folder=set", "data.size=32", "knn.encoder=pixels"];
    runs(command("experiment", &settings));
    let again = runs(command("experiment", &settings));
    assert!(text(&again.stdout).contains("complete before"));
    std::fs::remove_file(set.join("train/good/000.png")).unwrap();
    let refused = fails(command("experiment", &settings));
    assert!(refused.contains("pictures in the folder"), "{refused}");
    let mut evaluate = program(folder.path());
    evaluate.args(["evaluate", "folder-defect", "--offline", "--method", "knn"]);
    let refused = complains(evaluate);
    assert!(refused.contains("are not those that"), "{refused}");
}

#[cfg(unix)]
#[test]
fn odd_names_survive_every_format() {
    let model = &FITTED.model;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a \"b\", c.png");
    textures::normal(Cloth::Woven, 9).save(&path).unwrap();
    let formatted = |format: &str| {
        let mut command = score_at_a_tenth(model, &path);
        command.args(["--format", format]);
        succeeds(command)
    };
    let name = path.to_str().unwrap();
    assert_eq!(&rows(formatted("csv").as_bytes())[0][0], name);
    let line: serde_json::Value = serde_json::from_str(&formatted("jsonl")).unwrap();
    assert_eq!(line["path"], name);
    assert!(formatted("table").trim_end().ends_with(name));
}

#[test]
fn a_labelled_folder_is_compared_while_it_is_scored() {
    let Fitted {
        set, model, said, ..
    } = &*FITTED;
    let mut command = score_at_a_tenth(model, set);
    command.args(["--format", "csv"]);
    let output = runs(command);
    let rows = rows(&output.stdout);
    assert_eq!(rows.len(), FEW.good + Defect::ALL.len() * FEW.defective);
    let scores = |good: bool| -> Vec<f32> {
        let of_class = rows.iter().filter(|row| is_good(&row[0]) == good);
        of_class.map(|row| row[1].parse().unwrap()).collect()
    };
    let area = auroc(&scores(true), &scores(false)).unwrap();
    let compared = text(&output.stderr);
    let told = number(&compared, "image AUROC");
    assert!((told - area).abs() < 6e-4, "{told} {area}");
    // `fit` has said the same of these images.
    let metrics: Vec<&str> = compared.lines().collect();
    assert_eq!(metrics.len(), 5 + Defect::ALL.len(), "{compared}");
    for line in metrics {
        // At another level.
        let at_its_own = [
            (" found at 0.1", " found at 0.0625"),
            ("masks at 0.1: ", "masks at 0.0625: "),
        ];
        let of_fit = at_its_own.iter().find(|(own, _)| line.contains(own));
        let expected = of_fit.map_or(line, |(_, of_fit)| of_fit);
        assert!(said.contains(expected), "{expected}: {said}\n{compared}");
    }
}
