//! What `fit` and `score` say about labelled folders and unreadable files.

use crate::data::folder::{MvtecTest, Skipped, load};
use crate::detector::Detector;
use crate::experiment::{Labelled, evaluate_labelled};

/// Skipped files that are named; the others are counted.
const NAMED: usize = 10;

/// Scores the test images of MVTec AD's layout and compares with their labels and masks.
pub fn summary(detector: &Detector, tests: &[MvtecTest], strict: bool) -> anyhow::Result<String> {
    let files: Vec<_> = tests.iter().map(|test| test.path.clone()).collect();
    let loaded = load(&files, detector.conversion(), strict)?;
    tell_skipped(&loaded.skipped, "");
    let read: Vec<MvtecTest> = tests
        .iter()
        .filter(|test| loaded.paths.contains(&test.path))
        .cloned()
        .collect();
    if read.is_empty() {
        return Ok("no test images".to_owned());
    }
    let verdicts = detector.score_images(&loaded.images)?;
    let result = evaluate_labelled(detector, &read, &loaded.images, &verdicts)?;
    Ok(describe(&result))
}

/// The metrics as lines.
fn describe(result: &Labelled) -> String {
    let mut lines = Vec::new();
    if let Some(auroc) = result.image_auroc {
        lines.push(format!("image AUROC {auroc:.3}"));
    }
    for (defect, auroc) in &result.by_defect {
        lines.push(format!("  {defect:<16} {auroc:.3}"));
    }
    for (source, auroc) in &result.pixel_auroc {
        lines.push(format!("pixel AUROC {auroc:.3} ({source})"));
    }
    lines.join("\n")
}

/// Warns about files that were left out.
pub fn tell_skipped(skipped: &[Skipped], ignored: &str) {
    for file in skipped.iter().take(NAMED) {
        eprintln!("warning: {} left out: {}", file.path.display(), file.reason);
    }
    if skipped.len() > NAMED {
        eprintln!("warning: and {} more left out", skipped.len() - NAMED);
    }
    if !skipped.is_empty() {
        eprintln!(
            "warning: {} files left out (--strict stops instead)",
            skipped.len()
        );
    }
    if !ignored.is_empty() {
        eprintln!("note: ignored files that are no images: {ignored}");
    }
}
