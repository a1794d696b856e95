//! How a detector does on a labelled folder of MVTec AD's layout.

use crate::data::folder::{MvtecTest, load_mask};
use crate::data::{Conversion, Images};
use crate::detector::{Detector, HeatSource, Verdict};
use crate::evaluate::{auroc, pixel_auroc};

use super::ExperimentError;

/// Images per batch of heat maps.
const BATCH: usize = 64;

/// Metrics of a labelled folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// AUROC of each kind of defect against the good test images.
    pub by_defect: Vec<(String, f64)>,
    /// AUROC of all defects together; none without good or without defective images.
    pub image_auroc: Option<f64>,
    /// AUROC of pixels, by source of the heat map, where there are masks.
    pub pixel_auroc: Vec<(HeatSource, f64)>,
}

/// Compares the verdicts with the labels, and the heat maps with the masks.
///
/// # Errors
/// [`ExperimentError`] when a mask cannot be read or a score is not finite.
pub fn evaluate_labelled(
    detector: &Detector,
    tests: &[MvtecTest],
    images: &Images,
    verdicts: &[Verdict],
) -> Result<Labelled, ExperimentError> {
    let of = |defect: Option<&str>| -> Vec<f32> {
        let rows = tests.iter().zip(verdicts);
        rows.filter(|(test, _)| test.defect.as_deref() == defect)
            .map(|(_, verdict)| verdict.score)
            .collect()
    };
    let good = of(None);
    let mut kinds: Vec<&str> = tests
        .iter()
        .filter_map(|test| test.defect.as_deref())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut by_defect = Vec::new();
    let mut all = Vec::new();
    for kind in kinds {
        let scores = of(Some(kind));
        if !good.is_empty() {
            by_defect.push((kind.to_owned(), auroc(&good, &scores)?));
        }
        all.extend(scores);
    }
    let image_auroc = match good.is_empty() || all.is_empty() {
        true => None,
        false => Some(auroc(&good, &all)?),
    };
    Ok(Labelled {
        by_defect,
        image_auroc,
        pixel_auroc: pixels(detector, tests, images)?,
    })
}

fn pixels(
    detector: &Detector,
    tests: &[MvtecTest],
    images: &Images,
) -> Result<Vec<(HeatSource, f64)>, ExperimentError> {
    let Conversion { size, fit, .. } = detector.conversion();
    // A defective image without a mask says nothing about its pixels.
    let known: Vec<usize> = (0..tests.len())
        .filter(|&index| tests[index].defect.is_none() || tests[index].mask.is_some())
        .collect();
    if tests.iter().all(|test| test.mask.is_none()) {
        return Ok(Vec::new());
    }
    let mut masks = Vec::new();
    for &index in &known {
        masks.push(match &tests[index].mask {
            Some(path) => load_mask(path, size, fit)?,
            None => vec![false; size * size],
        });
    }
    let mut results = Vec::new();
    for &source in detector.scorer().heat_sources() {
        let mut maps = Vec::new();
        for indices in known.chunks(BATCH) {
            for map in detector.heat_of(&images.select(indices), Some(source))? {
                maps.push(map.values().to_vec());
            }
        }
        results.push((source, pixel_auroc(&maps, &masks)?));
    }
    Ok(results)
}
