//! How a detector does on a labelled folder of MVTec AD's layout.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RunError;
use crate::data::folder::{MvtecTest, Skipped, load_mask};
use crate::evaluate::{EvaluateError, FalseAlarms, PixelRanking, auroc};
use crate::method::{Detector, HeatSource, Heatmap, Verdict};

/// Metrics of a labelled folder.
#[derive(Clone, Debug, PartialEq)]
pub struct FolderMetrics {
    /// AUROC of each kind of defect against the good test images.
    pub by_defect: Vec<(String, f64)>,
    /// AUROC of all defects together; none without good or without defective images.
    pub image_auroc: Option<f64>,
    /// How often good test images have small p-values.
    pub false_alarms: Vec<FalseAlarms>,
    /// Defective images, and those of them that are called anomalous at the level of the verdicts.
    pub found: Found,
    /// Defective images without a mask that can be used, where others have one: their pixels are not compared.
    pub unmasked: usize,
    /// How well heat maps tell defective pixels from others, where there are masks.
    pub pixels: Vec<PixelMetrics>,
    /// What the detector's masks mark, where it has masks and the data set has.
    pub masks: Option<MaskMetrics>,
}

/// Defective images that are called anomalous.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    /// The level.
    pub alpha: f64,
    /// Defective images.
    pub images: usize,
    /// Those called anomalous.
    pub called: usize,
}

/// What the detector's masks mark at one level.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MaskMetrics {
    /// The level.
    pub alpha: f64,
    /// Pixels of defects, and those of them that are marked.
    pub defects: [usize; 2],
    /// Pixels beside the defects of defective images, and those of them that are marked.
    pub beside: [usize; 2],
    /// Pixels of good images, and those of them that are marked.
    pub good: [usize; 2],
}

/// How well the heat maps of one source tell defective pixels from others, on the pictures' own sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelMetrics {
    /// What the maps are made of.
    pub source: HeatSource,
    /// AUROC of the pixels of all images: see [`PixelRanking::auroc`].
    pub auroc: f64,
    /// AUPRO up to a false-positive rate of 30 %: see [`PixelRanking::aupro`].
    pub aupro: f64,
}

/// Compares the verdicts of a labelled folder with its labels, and the heat maps with its masks,
/// while the images are scored: no image and no map is kept.
pub struct FolderTest<'a> {
    detector: &'a Detector,
    tests: HashMap<PathBuf, MvtecTest>,
    alpha: f64,
    strict: bool,
    /// Scores of the good images.
    good: Vec<f32>,
    /// Scores of the others, by kind of defect.
    defective: BTreeMap<String, Vec<f32>>,
    /// Pixels by source of the heat map, the detector's own first; empty where no image has a mask.
    pixels: Vec<(HeatSource, PixelRanking)>,
    masks: Option<MaskMetrics>,
    /// Defective images without a mask that can be used.
    unmasked: usize,
}

impl<'a> FolderTest<'a> {
    /// Starts a test on the images `tests`, with the detector's masks at the level `alpha`. A mask that
    /// cannot be read is left out, or with `strict` an error.
    pub fn new(detector: &'a Detector, tests: Vec<MvtecTest>, alpha: f64, strict: bool) -> Self {
        let sources: &[HeatSource] = match tests.iter().any(|test| test.mask.is_some()) {
            true => detector.scorer().heat_sources(),
            false => &[],
        };
        let pixels = sources
            .iter()
            .map(|&source| (source, PixelRanking::default()));
        let masks = detector.mask_levels(alpha).ok().map(|_| MaskMetrics {
            alpha,
            ..MaskMetrics::default()
        });
        let tests = tests.into_iter().map(|test| (test.path.clone(), test));
        Self {
            detector,
            pixels: pixels.collect(),
            tests: tests.collect(),
            alpha,
            strict,
            good: Vec::new(),
            defective: BTreeMap::new(),
            masks: masks.filter(|_| !sources.is_empty()),
            unmasked: 0,
        }
    }

    /// Sources of the heat maps that are compared with masks.
    pub fn sources(&self) -> impl Iterator<Item = HeatSource> {
        self.pixels.iter().map(|&(source, _)| source)
    }

    /// Adds the verdict on an image; one that is not among those to be tested is passed over.
    ///
    /// # Errors
    /// [`RunError`] when its score is no finite number.
    pub fn add_verdict(&mut self, path: &Path, verdict: &Verdict) -> Result<(), RunError> {
        let Some(test) = self.tests.get(path) else {
            return Ok(());
        };
        if !verdict.score.is_finite() {
            let reason = format!(
                "its score is {}, and there is no AUROC with it: the detector has no numbers for this picture",
                verdict.score
            );
            return Err(RunError::pictures(path.display().to_string(), reason));
        }
        match &test.defect {
            None => self.good.push(verdict.score),
            Some(defect) => {
                let scores = self.defective.entry(defect.clone()).or_default();
                scores.push(verdict.score);
            }
        }
        Ok(())
    }

    /// Adds the heat maps of an image on its picture, of all [sources](Self::sources) at least; returns its mask when
    /// that could not be read. An image that is not among those to be tested is passed over.
    ///
    /// # Errors
    /// [`RunError`] when, with `strict`, its mask cannot be read.
    pub fn add_maps(
        &mut self,
        path: &Path,
        maps: &[(HeatSource, Heatmap)],
    ) -> Result<Option<Skipped>, RunError> {
        let of = |wanted: HeatSource| maps.iter().find(|(source, _)| *source == wanted);
        let Some(test) = self.tests.get(path) else {
            return Ok(None);
        };
        let own = self.pixels.first().and_then(|(source, _)| of(*source));
        let Some((_, own)) = own else {
            return Ok(None);
        };
        let sides = [own.height(), own.width()];
        let mask = match (&test.defect, &test.mask) {
            (None, _) => vec![false; sides[0] * sides[1]],
            // Without a mask nothing is known of the pixels of a defective image.
            (Some(_), None) => {
                self.unmasked += 1;
                return Ok(None);
            }
            (Some(_), Some(path)) => match load_mask(path, sides) {
                Ok(mask) => mask,
                Err(error) if self.strict => return Err(error.into()),
                Err(error) => {
                    self.unmasked += 1;
                    let (path, reason) = (path.clone(), error.reason());
                    return Ok(Some(Skipped { path, reason }));
                }
            },
        };
        for (source, ranking) in &mut self.pixels {
            if let Some((_, map)) = of(*source) {
                ranking.add(map.values(), &mask, map.width());
            }
        }
        if let Some(found) = &mut self.masks {
            let levels = self.detector.mask_levels(found.alpha)?;
            found.add(&mask, &levels.mask(own, found.alpha), test.defect.is_none());
        }
        Ok(None)
    }

    fn is_called(&self, score: f32) -> bool {
        self.detector.conformal().is_anomalous(score, self.alpha)
    }

    /// The metrics of all images that have been added.
    ///
    /// # Errors
    /// [`RunError`] when a score or a value of a heat map is not finite.
    pub fn finish(self) -> Result<FolderMetrics, RunError> {
        let against_good = |scores: &[f32]| -> Result<Option<f64>, EvaluateError> {
            match self.good.is_empty() || scores.is_empty() {
                true => Ok(None),
                false => auroc(&self.good, scores).map(Some),
            }
        };
        let mut by_defect = Vec::new();
        for (kind, scores) in &self.defective {
            if let Some(area) = against_good(scores)? {
                by_defect.push((kind.clone(), area));
            }
        }
        let all: Vec<f32> = self.defective.values().flatten().copied().collect();
        let mut pixels = Vec::new();
        for &(source, ref ranking) in &self.pixels {
            let areas = ranking
                .auroc()
                .and_then(|auroc| Ok((auroc, ranking.aupro()?)));
            match areas {
                Ok((auroc, aupro)) => pixels.push(PixelMetrics {
                    source,
                    auroc,
                    aupro,
                }),
                // As with images, there is nothing to compare.
                Err(EvaluateError::OneClass { .. } | EvaluateError::Empty { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(FolderMetrics {
            by_defect,
            image_auroc: against_good(&all)?,
            false_alarms: FalseAlarms::with_level(
                self.detector.conformal(),
                &self.good,
                self.alpha,
            ),
            found: Found {
                alpha: self.alpha,
                images: all.len(),
                called: all.iter().filter(|&&score| self.is_called(score)).count(),
            },
            pixels,
            unmasked: self.unmasked,
            // Of no defect's area there is no share.
            masks: self.masks.filter(|masks| masks.defects[0] > 0),
        })
    }
}

/// `pixel AUROC 0.950, AUPRO 0.812 (positions)`.
impl fmt::Display for PixelMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            auroc,
            aupro,
        } = self;
        write!(f, "pixel AUROC {auroc:.3}, AUPRO {aupro:.3} ({source})")
    }
}

impl MaskMetrics {
    /// In words: what is found of the defects, how much is marked of their pictures, and of good ones.
    pub fn in_words(&self) -> String {
        let share = |[of, marked]: [usize; 2]| 100.0 * marked as f64 / of.max(1) as f64;
        let marked = self.defects[1] + self.beside[1];
        format!(
            "{:.1} % of the defects' area, with {:.1} times that area marked around and in them, {:.2} % of good images",
            share(self.defects),
            marked as f64 / self.defects[0].max(1) as f64,
            share(self.good)
        )
    }

    /// Counts the pixels of an image that are defective, by its `mask`, and those that are `marked`.
    fn add(&mut self, mask: &[bool], marked: &[bool], good: bool) {
        for (&defective, &marked) in mask.iter().zip(marked) {
            let counts = match (defective, good) {
                (true, _) => &mut self.defects,
                (false, true) => &mut self.good,
                (false, false) => &mut self.beside,
            };
            counts[0] += 1;
            counts[1] += usize::from(marked);
        }
    }
}
