//! The detector that a user loads: from a picture to a verdict and a heat map.

mod agreement;
mod calibration;
pub(in crate::method) mod findings;
mod heat;
mod heatmap;
mod held_out;
mod maps;
pub(in crate::method) mod model_file;
pub(in crate::method) mod pictures;
pub(in crate::method) mod scorer;
mod scores;
mod spread;
mod terms;

pub use calibration::Calibration;
pub use findings::{Findings, Inspection, PictureMaps};
pub use heat::HeatSource;
pub use heatmap::{Heatmap, MaskLevels};
pub use held_out::{HeldOut, NormalMaps};
pub use model_file::{Description, Stored};
pub use scorer::Scorer;
pub use scores::Scores;
pub use spread::Spread;
pub use terms::Terms;

use std::path::Path;

use burn::tensor::Device;
use image::DynamicImage;

use crate::backend::Backend;
use crate::data::{Conversion, Images, Picture};
use crate::evaluate::Conformal;
use crate::method::DetectorError;

/// A fitted and calibrated detector.
///
/// ```no_run
/// use encoder_flow::Detector;
///
/// let detector = Detector::load("model.safetensors")?;
/// let image = image::open("part.png")?;
/// let verdict = detector.score(&image)?;
/// if verdict.is_anomalous(0.05) {
///     println!("odd: p = {}", verdict.p_value);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A detector is [`Send`] and [`Sync`]: scoring takes `&self`, so one detector can be shared by
/// threads in an [`Arc`](std::sync::Arc). Scoring already uses all cores; batches
/// ([`score_batch`](Self::score_batch)) are faster than threads.
pub struct Detector {
    scorer: Box<dyn Scorer>,
    pub(in crate::method) description: Description,
}

/// What a detector says of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The combined score, in spreads above the median of normal images; higher is more anomalous.
    pub score: f32,
    /// Share of normal images that are at least as odd, after the conformal correction: small is
    /// anomalous. See [`Conformal`] for what it guarantees.
    pub p_value: f64,
    /// Name of the score that the combined one comes from; where that is a mean of others, of the largest
    /// of these: of several views the one that sees most that is odd.
    pub driver: String,
    /// All scores by name, as the method computes them.
    pub scores: Vec<(&'static str, f32)>,
}

impl Verdict {
    /// True when the image is anomalous at the level `alpha`, the share of false alarms allowed.
    pub fn is_anomalous(&self, alpha: f64) -> bool {
        self.p_value <= alpha
    }
}

impl Detector {
    /// Puts a scorer and its calibration together.
    pub fn new(scorer: Box<dyn Scorer>, calibration: Calibration, origin: &str) -> Self {
        let description = Description::new(scorer.as_ref(), Some(calibration), origin);
        Self {
            scorer,
            description,
        }
    }

    /// Says that the images which its p-values come from had a say in the fit, as in choosing the epoch.
    pub fn approximate(mut self) -> Self {
        self.description.approximate = true;
        self
    }

    /// Loads a model file onto the preferred backend that this program was built with.
    ///
    /// # Errors
    /// [`DetectorError`] when the file is missing, damaged, something else, of a newer format or not
    /// calibrated, or when there is no device, or one that [computes otherwise](Self::check_device) than the CPU.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, DetectorError> {
        let open = Backend::choose(None)?;
        let detector = Self::load_on(path, &open.device)?;
        detector.check_device(&open)?;
        Ok(detector)
    }

    /// Loads a model file onto `device`, which [`check_device`](Self::check_device) compares with the CPU where
    /// it is asked to.
    ///
    /// # Errors
    /// [`DetectorError`] as for [`load`](Self::load).
    pub fn load_on(path: impl AsRef<Path>, device: &Device) -> Result<Self, DetectorError> {
        let path = path.as_ref();
        let (scorer, description) = model_file::load(path, device)?;
        if description.calibration.is_none() {
            return Err(DetectorError::model(
                path,
                "is not calibrated: fit it again",
            ));
        }
        Ok(Self {
            scorer,
            description,
        })
    }

    /// A copy on another device.
    ///
    /// # Errors
    /// [`DetectorError`] when it cannot be built there.
    pub fn on(&self, device: &Device) -> Result<Self, DetectorError> {
        let path = Path::new("(in memory)");
        let bytes = model_file::to_bytes(self.scorer(), &self.description);
        let bytes = bytes.map_err(|reason| DetectorError::model(path, reason))?;
        let (scorer, description) = model_file::from_bytes(bytes, path, device)?;
        Ok(Self {
            scorer,
            description,
        })
    }

    /// Writes the model file.
    ///
    /// # Errors
    /// [`DetectorError`] naming the file when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DetectorError> {
        model_file::save(self.scorer(), &self.description, path.as_ref())
    }

    /// Scores one picture of any size.
    ///
    /// # Errors
    /// [`DetectorError::Images`] when the picture cannot be brought to the size that the detector
    /// was fitted on.
    pub fn score(&self, image: &DynamicImage) -> Result<Verdict, DetectorError> {
        let images = self.converted(image)?;
        let mut verdicts = self.score_images(&images)?;
        verdicts
            .pop()
            .ok_or(DetectorError::NoAnswer { what: "score" })
    }

    /// Scores pictures of any sizes, many at a time; the verdicts are those of
    /// [`score`](Self::score).
    ///
    /// # Errors
    /// [`DetectorError::Images`] as for [`score`](Self::score).
    pub fn score_batch(&self, images: &[DynamicImage]) -> Result<Vec<Verdict>, DetectorError> {
        let mut all: Option<Images> = None;
        for image in images {
            let one = self.converted(image)?;
            all = Some(match all {
                Some(before) => before.concat(&one)?,
                None => one,
            });
        }
        all.map_or(Ok(Vec::new()), |images| self.score_images(&images))
    }

    /// Scores images that have one size.
    ///
    /// # Errors
    /// [`DetectorError::Images`] as for [`score`](Self::score).
    pub fn score_images(&self, images: &Images) -> Result<Vec<Verdict>, DetectorError> {
        Ok(self.verdicts(&self.scorer().score(images)?))
    }

    /// The p-values' calibration: how many images it rests on, and the smallest level.
    pub fn conformal(&self) -> &Conformal {
        self.calibration().conformal()
    }

    /// What pictures are brought to before they are scored.
    pub fn conversion(&self) -> Conversion {
        self.description.conversion
    }

    /// Everything that the model file says beside the weights.
    pub fn description(&self) -> &Description {
        &self.description
    }

    fn converted(&self, image: &DynamicImage) -> Result<Images, DetectorError> {
        let picture = Picture::from_image(image)?;
        Ok(self.conversion().apply(picture.into_images())?)
    }

    /// What the score called `driver` is, in words, where verdicts of this detector can be driven by more
    /// than one.
    pub fn driver_in_words(&self, driver: &str) -> Option<String> {
        let alternatives = self
            .scorer
            .deciding()
            .len()
            .max(self.scorer.summands().len());
        let words = || self.scorer.words(driver);
        (alternatives > 1).then(|| words().unwrap_or_else(|| driver.to_owned()))
    }

    /// The method that computes the scores.
    pub fn scorer(&self) -> &dyn Scorer {
        self.scorer.as_ref()
    }

    fn calibration(&self) -> &Calibration {
        // `new` and `load_on` see to it.
        let calibration = self.description.calibration.as_ref();
        calibration.expect("a detector is calibrated")
    }

    fn verdicts(&self, scores: &Scores) -> Vec<Verdict> {
        let rows = 0..scores.len();
        rows.map(|row| self.verdict(scores, row)).collect()
    }

    fn verdict(&self, scores: &Scores, row: usize) -> Verdict {
        let (score, combined) = self.calibration().combined(scores, row);
        let weights = self.scorer.summand_weights();
        let driver = scores.largest(self.scorer.summands(), &weights, row);
        let names = scores.names().iter().zip(scores.columns());
        Verdict {
            score,
            p_value: self.conformal().p_value(score),
            driver: driver.unwrap_or(combined).to_owned(),
            scores: names.map(|(&name, column)| (name, column[row])).collect(),
        }
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::method::detector::scorer::tests::noise;
    use crate::method::on_positions::detectors;
    use image::{GrayImage, Luma};

    pub(in crate::method) fn detector() -> Detector {
        let model = detectors().remove(0);
        let [validation, calibration] = [1, 2].map(|seed| model.score(&noise(20, seed)).unwrap());
        let calibration = Calibration::fit(model.deciding(), &validation, &calibration).unwrap();
        Detector::new(Box::new(model), calibration, "a test")
    }

    /// 32x32 grey noise.
    pub(in crate::method) fn picture(seed: u64) -> DynamicImage {
        let noise = noise(1, seed);
        DynamicImage::ImageLuma8(GrayImage::from_fn(32, 32, |x, y| {
            Luma([noise.get(0)[(y * 32 + x) as usize]])
        }))
    }

    #[test]
    fn a_detector_can_be_shared_by_threads() {
        fn assert_shared<T: Send + Sync>() {}
        assert_shared::<Detector>();
    }

    #[test]
    fn single_batched_and_reloaded_verdicts_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let detector = detector();
        detector.save(&path).unwrap();
        let loaded = Detector::load_on(&path, &test_device()).unwrap();
        let pictures = [
            picture(7),
            picture(8),
            picture(9).resize_exact(50, 40, image::imageops::FilterType::Nearest),
        ];
        let batch = detector.score_batch(&pictures).unwrap();
        for (picture, verdict) in pictures.iter().zip(&batch) {
            let alone = detector.score(picture).unwrap();
            assert_eq!(loaded.score(picture).unwrap(), alone);
            assert_eq!(alone.driver, verdict.driver);
            assert!((alone.score - verdict.score).abs() < 1e-3 * (1.0 + alone.score.abs()));
            assert_eq!(alone.scores.len(), 2);
        }
        assert!(detector.score_batch(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_verdict_names_the_view_that_drove_it() {
        let model = crate::method::views::detector::tests::detector();
        let scores = [1, 2].map(|seed| model.score(&noise(20, seed)).unwrap());
        let calibration = Calibration::fit(model.deciding(), &scores[0], &scores[1]).unwrap();
        let detector = Detector::new(Box::new(model), calibration, "a test");
        let verdicts = detector.score_images(&noise(20, 3)).unwrap();
        for verdict in &verdicts {
            let views = &verdict.scores[1..];
            let largest = views.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            assert_eq!(verdict.driver, largest.0, "{verdict:?}");
        }
        let driver = |verdict: &Verdict| verdict.driver.clone();
        let drivers: std::collections::BTreeSet<_> = verdicts.iter().map(driver).collect();
        assert!(drivers.len() > 1, "{drivers:?}");
        let words = detector.driver_in_words("view_1").unwrap();
        assert_eq!(words, "view 1 (pixels, l2)");
        assert_eq!(self::detector().driver_in_words("positions"), None);
    }

    #[test]
    fn an_uncalibrated_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let scorer = detectors().remove(0);
        let description = Description::new(&scorer, None, "a test");
        model_file::save(&scorer, &description, &path).unwrap();
        let error = Detector::load_on(&path, &test_device()).err().unwrap();
        assert!(error.to_string().contains("not calibrated"), "{error}");
    }
}
