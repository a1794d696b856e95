//! The detector that `fit` makes unless it is told otherwise, on a network with random weights: from images to verdicts,
//! masks, overlays and pages.

use super::*;

#[test]
fn the_default_detector_goes_from_images_to_verdicts_masks_and_pages() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let inside = |name: &str| place.path().join(name);
    let model = inside("m.safetensors");
    let weights = common::random_weights(&place.path().join("weights.safetensors"));
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
        error.contains("48x48 pixels shrunk 2 times") & error.contains("data.size"),
        "{error}"
    );
}
