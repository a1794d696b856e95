//! Any network as an encoder: `fit` and `score` through an ONNX file, and what is said without it.

mod common;

use std::path::Path;
use std::process::Command;

use common::textures::{self, Cloth, Counts};
use common::{fails, program};

/// Three convolutions with random weights, see `fixtures/onnx/export.py`.
const NETWORK: &[u8] = include_bytes!("fixtures/onnx/convolutions.onnx");

const FEW: Counts = Counts {
    train: 60,
    good: 10,
    defective: 2,
};

/// `fit` to the textures in `folder/set` through `folder/network.onnx`.
fn fit(folder: &Path, out: &str, settings: &[&str]) -> Command {
    if !folder.join("set").exists() {
        textures::write(&folder.join("set"), Cloth::Woven, 2, FEW);
        std::fs::write(folder.join("network.onnx"), NETWORK).unwrap();
    }
    let mut command = program(folder);
    command.args(["fit", "set", "--plain", "--offline", "--out", out]);
    let common = ["data.size=64", "encoder.kind=onnx"];
    for setting in common.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    command
}

const FILE: &str = "encoder.file=network.onnx";

#[cfg(feature = "onnx")]
mod built {
    use super::*;
    use common::{json, run_folder, succeeds};
    use encoder_flow::Detector;
    use encoder_flow::backend::Backend;

    const OUTPUT: &str = r#"encoder.output=["early", "late"]"#;

    /// AUROC that is printed for a labelled folder.
    fn auroc(said: &str) -> f64 {
        let line = said.lines().find(|line| line.contains("image AUROC"));
        let line = line.unwrap_or_else(|| panic!("{said}"));
        let number = line.split(|letter: char| !(letter.is_ascii_digit() || letter == '.'));
        number.filter_map(|word| word.parse().ok()).next().unwrap()
    }

    #[test]
    fn positions_and_whole_images_are_scored_without_the_network_s_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let positions = succeeds(fit(folder, "a.safetensors", &[FILE, OUTPUT]));
        // Even random convolutions see where threads are broken; of 18 images, some.
        assert!(auroc(&positions) > 0.6, "{positions}");
        let whole = [
            FILE,
            OUTPUT,
            "encoder.positions=false",
            "encoder.latent=8",
            "encoder.input=48",
            "flow.couplings=2",
            "flow.hidden=8",
        ];
        succeeds(fit(folder, "b.safetensors", &whole));
        std::fs::remove_file(folder.join("network.onnx")).unwrap();
        for model in ["a.safetensors", "b.safetensors"] {
            let mut command = program(folder);
            command.args(["score", model, "set/test/spot", "--alpha", "0.1"]);
            let first = succeeds(command);
            assert!(first.contains("000.png"), "{first}");
            let cpu = Backend::choose(Some(common::DEVICE)).unwrap().device;
            let detector = Detector::load_on(folder.join(model), &cpu).unwrap();
            let images = textures::normal(Cloth::Woven, 99);
            let verdict = detector.score(&images.into()).unwrap();
            assert!(verdict.p_value > 0.0);
        }
    }

    #[test]
    fn other_methods_look_through_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (method, own) in [("patchcore", "patchcore"), ("knn", "knn")] {
            let encoder = format!("{own}.encoder=onnx");
            let settings = [FILE, "encoder.output=[\"late\"]", &encoder];
            let mut command = fit(folder, &format!("{method}.safetensors"), &settings);
            command.args(["--method", method]);
            succeeds(command);
        }
    }

    #[test]
    fn views_look_through_it_beside_others() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let list = r#"views.list=[
            { of = "onnx", normalise = "sqrt", components = 16, gaussians = 0 },
            { of = "onnx", normalise = "l2", components = 8, gaussians = 1 },
            { of = "bands", normalise = "none", components = 17, gaussians = 1, guard = 0.9 },
        ]"#;
        let settings = [FILE, OUTPUT, list];
        let mut command = fit(folder, "views.safetensors", &settings);
        command.args(["--method", "views"]);
        let said = succeeds(command);
        assert!(said.contains("view 1: onnx, sqrt, 16 components"), "{said}");
        std::fs::remove_file(folder.join("network.onnx")).unwrap();
        let mut command = program(folder);
        command.args(["score", "views.safetensors", "set/test", "--alpha", "0.1"]);
        assert!(succeeds(command).contains("000.png"));
        // Two networks would be read, and one of them named in the run's identity.
        let both = r#"views.list=[
            { of = "onnx", normalise = "l2", components = 8, gaussians = 1 },
            { of = "squeezenet", normalise = "l2", components = 8, gaussians = 1 },
        ]"#;
        let mut command = fit(folder, "both.safetensors", &[FILE, both]);
        command.args(["--method", "views"]);
        assert!(fails(command).contains("not both"));
    }

    /// The file's SHA-256 is part of a run's identity, and its features are computed once.
    #[test]
    fn another_file_is_another_run() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::write(folder.join("network.onnx"), NETWORK).unwrap();
        let run = || {
            let settings = [FILE, "encoder.kind=onnx", "encoder.output=[\"vector\"]"];
            let mut command = common::experiment(folder, "digits-3", &[]);
            for setting in settings {
                command.args(["--set", setting]);
            }
            command
        };
        succeeds(run());
        let identity = json(&run_folder(folder, "digits-3", 0).join("identity.json"));
        assert_eq!(identity["weights"].as_str().map(str::len), Some(64));
        let features = folder.join("artifacts/features");
        let kept = std::fs::read_dir(&features).unwrap().flatten();
        let kept: Vec<_> = kept
            .map(|file| file.file_name().into_string().unwrap())
            .collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(kept[0].starts_with("onnx-64x64-"), "{kept:?}");
        // The same network, another file.
        let other = [NETWORK, b"\x32\x01x"].concat();
        std::fs::write(folder.join("network.onnx"), other).unwrap();
        let error = fails(run());
        assert!(error.contains("pretrained weights"), "{error}");
    }

    #[test]
    fn a_network_that_gives_no_numbers_is_not_fitted_to() {
        let folder = tempfile::tempdir().unwrap();
        // Divided by next to nothing, pixels are so large that sums of them are infinite.
        let settings = [FILE, OUTPUT, "encoder.mean=[0.0]", "encoder.std=[1e-38]"];
        let error = fails(fit(folder.path(), "m.safetensors", &settings));
        assert!(error.contains("set/train/good/"), "{error}");
        assert!(error.contains("not finite"), "{error}");
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // Each with a model file of its own: an unfinished fit with other settings is not replaced.
        let refused = |settings: &[&str]| {
            let count = std::fs::read_dir(folder).unwrap().count();
            let out = format!("{count}.safetensors");
            let error = fails(fit(folder, &out, settings));
            assert!(!folder.join(&out).exists());
            error
        };
        let error = refused(&[]);
        assert!(
            error.contains("`encoder.file`") && error.contains("must name the ONNX file"),
            "{error}"
        );
        let error = refused(&["encoder.file=none.onnx"]);
        assert!(
            error.contains("none.onnx") && error.contains("missing"),
            "{error}"
        );
        let error = refused(&[FILE, "encoder.output=[\"layer4\"]"]);
        for part in [
            "network.onnx",
            "no tensor `layer4`",
            "Outputs: early, late, vector",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let error = refused(&[FILE, "encoder.output=[\"vector\"]"]);
        assert!(
            error.contains("has no positions") && error.contains("encoder.positions=false"),
            "{error}"
        );
        std::fs::write(folder.join("cut.onnx"), &NETWORK[..NETWORK.len() / 2]).unwrap();
        let error = refused(&["encoder.file=cut.onnx"]);
        assert!(error.contains("cut.onnx: is damaged"), "{error}");
    }
}

#[cfg(not(feature = "onnx"))]
#[test]
fn a_program_without_the_engine_says_how_to_build_one_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = fails(fit(folder.path(), "m.safetensors", &[FILE]));
    assert!(
        error.contains("encoder.kind") && error.contains("`--features onnx`"),
        "{error}"
    );
}
