//! The detector that `fit` makes unless it is told otherwise, on a network with random weights: from images to verdicts,
//! masks, overlays and pages.

use std::collections::BTreeMap;

use encoder_flow::encoder::SqueezeNet;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize_to_file};

use super::*;

/// Written by PyTorch with `fixtures/squeezenet.py`, for its names and shapes: its values are constants.
const CHECKPOINT: &[u8] = include_bytes!("../fixtures/squeezenet1_1.pth");

/// A file of weights, uniform and as large as keeps the maps' size (He et al., arXiv:1502.01852), without biases.
fn random_weights(folder: &Path) -> PathBuf {
    let checkpoint = folder.join("squeezenet1_1.pth");
    let path = folder.join("weights.safetensors");
    std::fs::write(&checkpoint, CHECKPOINT).unwrap();
    SqueezeNet::convert(&checkpoint, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let rng = &mut StdRng::seed_from_u64(0);
    let mut tensors = BTreeMap::new();
    for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().iter() {
        let shape = tensor.shape().to_vec();
        let fan_in: usize = shape[1..].iter().product();
        let bound = if shape.len() > 1 {
            (6.0 / fan_in as f32).sqrt()
        } else {
            0.0
        };
        let count: usize = shape.iter().product();
        let values = (0..count).map(|_| bound * rng.random_range(-1.0f32..1.0));
        let values: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        tensors.insert(name.to_owned(), (shape, values));
    }
    let views = tensors.iter().map(|(name, (shape, values))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), values).unwrap();
        (name.clone(), view)
    });
    serialize_to_file(views, None, &path).unwrap();
    path
}

#[test]
fn the_default_detector_goes_from_images_to_verdicts_masks_and_pages() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let inside = |name: &str| place.path().join(name);
    let model = inside("m.safetensors");
    let weights = random_weights(place.path());
    // Half the side of the default, and no rival: both cost minutes in a test's build.
    let fit_by = |model: &Path, more: &[&str]| {
        let mut command = fit(set, model, &[]);
        command.args(["--method", "encoder-flow", "--size", "128", "--backbone"]);
        command.arg(&weights).args(more);
        command
    };
    let page = inside("fit.html");
    let said = succeeds(fit_by(&model, &["--report", page.to_str().unwrap()]));
    for part in ["image AUROC ", "pixel AUROC ", "levels from "] {
        assert!(said.contains(part), "{said}");
    }
    assert!(
        std::fs::read_to_string(&page)
            .unwrap()
            .contains("scale 1 (128x128 pixels)")
    );
    let detector = Detector::load(&model).unwrap();
    assert_eq!(detector.conversion().sides(), [128, 128]);
    assert!(std::fs::metadata(&model).unwrap().len() < 20_000_000);

    let (masks, maps, second) = (inside("masks"), inside("maps"), inside("score.html"));
    let mut score = score_at_a_tenth(&model, set);
    score
        .arg("--masks")
        .arg(&masks)
        .arg("--heatmaps")
        .arg(&maps);
    score.arg("--report").arg(&second);
    let verdicts = succeeds(score);
    let images = FEW.good + FEW.defective * Defect::ALL.len();
    assert_eq!(verdicts.lines().count(), 1 + images, "{verdicts}");
    for folder in [&masks, &maps] {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), images);
    }
    assert!(second.is_file());

    // The same images and seed make the same model.
    let again = inside("again.safetensors");
    succeeds(fit_by(&again, &[]));
    let [first, second] = [&model, &again].map(|path| std::fs::read(path).unwrap());
    assert!(first == second);

    // Too small for the second scale, which is said before an image is read.
    let mut small = fit(set, &inside("small.safetensors"), &[]);
    small.args(["--method", "encoder-flow", "--size", "48", "--backbone"]);
    small.arg(&weights);
    let error = fails(small);
    assert!(
        error.contains("48x48 pixels shrunk 2 times") && error.contains("data.size"),
        "{error}"
    );
}
