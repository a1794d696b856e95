//! What `fit` and `score` say about labelled folders and unreadable files.

use std::path::PathBuf;

use crate::data::folder::{MvtecTest, Skipped};
use crate::folder::{SCORING_BATCH, Scored, Scoring, ScoringOptions};
use crate::method::Detector;
use crate::progress::progress;
use crate::run::{FolderMetrics, Found};

/// Skipped files that are named; the others are counted.
const NAMED: usize = 10;

/// Scores images with their labels, where they have any, and says which could not be read.
pub fn pass(
    detector: &Detector,
    files: &[PathBuf],
    tests: Option<Vec<MvtecTest>>,
    options: ScoringOptions,
) -> anyhow::Result<Scored> {
    let mut scoring = Scoring::new(detector, tests, options)?;
    let progress = progress("testing", files.len());
    for batch in files.chunks(SCORING_BATCH) {
        scoring.add(batch)?;
        progress.inc(batch.len() as u64);
    }
    progress.finish_and_clear();
    let scored = scoring.finish()?;
    tell_skipped(&scored.skipped, "");
    Ok(scored)
}

/// The metrics as lines.
pub fn describe(result: &FolderMetrics) -> String {
    let mut lines = vec![match result.image_auroc {
        Some(auroc) => format!("image AUROC {auroc:.3}"),
        None => {
            "no image AUROC: the test images that can be read are all good or all defective".into()
        }
    }];
    for (defect, auroc) in &result.by_defect {
        lines.push(format!("  {defect:<16} {auroc:.3}"));
    }
    let Found {
        alpha,
        images,
        called,
    } = result.found;
    if images > 0 {
        lines.push(format!(
            "{called} of {images} defective images are found at {alpha}"
        ));
    }
    if let [first, ..] = &result.false_alarms[..] {
        let counts = result.false_alarms.iter();
        let counts = counts.map(|at| format!("{} with p <= {}", at.called, at.alpha));
        let counts = counts.collect::<Vec<_>>().join(", ");
        lines.push(format!(
            "false alarms among {} good images: {counts}",
            first.images
        ));
    }
    lines.extend(result.pixels.iter().map(ToString::to_string));
    if !result.pixels.is_empty() && result.unmasked > 0 {
        lines.push(format!(
            "{} of {} defective images have no mask that can be used, and no part in these",
            result.unmasked, result.found.images
        ));
    }
    if let Some(masks) = &result.masks {
        lines.push(format!("masks at {}: {}", masks.alpha, masks.in_words()));
    }
    lines.join("\n")
}

/// Warns of masks that are of no test image: under another name they would be compared with.
pub fn tell_stray(masks: &[PathBuf]) {
    if let Some(first) = masks.first() {
        eprintln!(
            "warning: {} masks in ground_truth are of no test image, such as {}: test/<defect>/<name>.png has its mask in \
             ground_truth/<defect>/<name>_mask.png",
            masks.len(),
            first.display()
        );
    }
}

/// Warns about files that were left out: one line for each, and one for all where there are several.
pub fn tell_skipped(skipped: &[Skipped], ignored: &str) {
    const ADVICE: &str = "(--strict stops instead)";
    if let [only] = skipped {
        let (path, reason) = (only.path.display(), &only.reason);
        eprintln!("warning: {path} left out {ADVICE}: {reason}");
    } else if !skipped.is_empty() {
        for file in skipped.iter().take(NAMED) {
            eprintln!("warning: {} left out: {}", file.path.display(), file.reason);
        }
        if skipped.len() > NAMED {
            eprintln!("warning: and {} more left out", skipped.len() - NAMED);
        }
        eprintln!("warning: {} files left out {ADVICE}", skipped.len());
    }
    if !ignored.is_empty() {
        eprintln!("note: ignored files that are no images: {ignored}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::FalseAlarms;
    use crate::method::HeatSource;
    use crate::run::{MaskMetrics, PixelMetrics};

    #[test]
    fn metrics_are_said_where_there_are_any() {
        let mut result = FolderMetrics {
            by_defect: vec![("hole".to_owned(), 0.5)],
            image_auroc: Some(0.98765),
            found: Found {
                alpha: 0.05,
                images: 50,
                called: 31,
            },
            false_alarms: vec![FalseAlarms {
                alpha: 0.1,
                images: 56,
                called: 2,
                expected: 0.1,
                deviation: 0.05,
            }],
            unmasked: 2,
            pixels: vec![PixelMetrics {
                source: HeatSource::Positions,
                auroc: 0.9,
                aupro: 0.75,
            }],
            masks: Some(MaskMetrics {
                alpha: 0.05,
                defects: [200, 101],
                beside: [5000, 199],
                good: [10_000, 3],
            }),
        };
        assert_eq!(
            describe(&result),
            "image AUROC 0.988\n  hole             0.500\n31 of 50 defective images are found at 0.05\nfalse alarms among 56 good images: 2 with p <= 0.1\npixel AUROC 0.900, AUPRO 0.750 (positions)\n\
             2 of 50 defective images have no mask that can be used, and no part in these\n\
             masks at 0.05: 50.5 % of the defects' area, with 1.5 times that area marked around and in them, 0.03 % of good images"
        );
        result.image_auroc = None;
        result.by_defect.clear();
        result.false_alarms.clear();
        result.found = Found::default();
        let described = describe(&result);
        assert!(
            described.starts_with("no image AUROC") && described.contains("\npixel AUROC 0.900")
        );
    }
}
