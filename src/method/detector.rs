//! The detector that a user loads: from a picture to a verdict and a heat map.

use std::path::Path;

use burn::tensor::Device;
use image::{DynamicImage, RgbImage};

use super::model_file;
use super::{Calibration, Description, DetectorError, HeatSource, Heatmap, Scorer, Scores};
use crate::backend::Backend;
use crate::data::{Conversion, Images, Picture};
use crate::evaluate::Conformal;

/// Standard deviation of the blur of a heat map, in pixels of the image that the detector sees.
const SMOOTHING: f32 = 2.0;
/// Images that the range of the heat maps' colours is taken from, at most.
const RANGE_IMAGES: usize = 64;

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
    description: Description,
}

/// What a detector says of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The combined score, in spreads above the median of normal images; higher is more anomalous.
    pub score: f32,
    /// Share of normal images that are at least as odd, after the conformal correction: small is
    /// anomalous. See [`Conformal`] for what it guarantees.
    pub p_value: f64,
    /// Name of the score that the combined one comes from.
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

    /// Takes the range of the heat maps' colours from the first of the normal images, which have been
    /// converted: nearly all of their pixels are drawn as normal, and what is as far above their
    /// maximum as that is above their median as quite odd. Without heat maps there is no range.
    ///
    /// # Errors
    /// [`DetectorError`] when a heat map cannot be made.
    pub fn with_heat_range(mut self, normal: &Images) -> Result<Self, DetectorError> {
        if self.scorer().heat_sources().is_empty() {
            return Ok(self);
        }
        let first: Vec<usize> = (0..normal.len().min(RANGE_IMAGES)).collect();
        let maps = self.heat_of(&normal.select(&first), None)?;
        let mut values: Vec<f32> = maps.iter().flat_map(|map| map.values()).copied().collect();
        values.retain(|value| value.is_finite());
        values.sort_by(f32::total_cmp);
        if let Some(&largest) = values.last() {
            let at = |share: f64| values[(share * (values.len() - 1) as f64) as usize];
            self.description.heat_range = Some([at(0.99), largest + (largest - at(0.5))]);
        }
        Ok(self)
    }

    /// The picture in grey with its heat map in colour.
    ///
    /// # Errors
    /// [`DetectorError`] as for [`heatmap`](Self::heatmap).
    pub fn overlay(
        &self,
        picture: &Picture,
        source: Option<HeatSource>,
    ) -> Result<RgbImage, DetectorError> {
        let images = self.conversion().apply(picture.to_images())?;
        let map = self.first_heat(&images, source)?;
        let original = [picture.height(), picture.width()];
        let map = map.onto_original(self.conversion().fit, original);
        let own = map
            .values()
            .iter()
            .copied()
            .fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], value| {
                [low.min(value), high.max(value)]
            });
        // The stored range is that of the method's own map.
        let default =
            source.is_none_or(|source| self.scorer().heat_sources().first() == Some(&source));
        let stored = self.description.heat_range.filter(|_| default);
        let [low, high] = stored.unwrap_or(own);
        let overlay = map.overlay(picture.pixels(), picture.channels(), (low, high));
        overlay.ok_or(DetectorError::Overlay {
            map: [map.height(), map.width()],
            picture: original,
        })
    }

    fn first_heat(
        &self,
        images: &Images,
        source: Option<HeatSource>,
    ) -> Result<Heatmap, DetectorError> {
        let first = self.heat_of(images, source)?.into_iter().next();
        first.ok_or(DetectorError::NoAnswer { what: "heat map" })
    }

    /// Loads a model file onto the preferred backend that this program was built with.
    ///
    /// # Errors
    /// [`DetectorError`] when the file is missing, damaged, something else, of a newer format or not
    /// calibrated, or when there is no device.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, DetectorError> {
        let device = Backend::choose(None)?.device;
        Self::load_on(path, &device)
    }

    /// Loads a model file onto `device`.
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
        let scores = self.scorer().score(images)?;
        Ok((0..scores.len())
            .map(|row| self.verdict(&scores, row))
            .collect())
    }

    /// Where the picture departs from normal, on its own size; larger is odder. `None` for the
    /// source that the method is best at, in the method's own units.
    ///
    /// # Errors
    /// [`DetectorError`] when the picture cannot be converted or the method has no such map.
    pub fn heatmap(
        &self,
        image: &DynamicImage,
        source: Option<HeatSource>,
    ) -> Result<Heatmap, DetectorError> {
        let images = self.converted(image)?;
        let map = self.first_heat(&images, source)?;
        let original = [image.height() as usize, image.width() as usize];
        Ok(map.onto_original(self.conversion().fit, original))
    }

    /// What a heat map is made of when `source` is asked for: that, and for `None` what the method is
    /// best at.
    ///
    /// # Errors
    /// [`DetectorError::NoHeat`] when the method has no such map.
    pub fn heat_source(&self, source: Option<HeatSource>) -> Result<HeatSource, DetectorError> {
        let known = self.scorer().heat_sources();
        source
            .or(known.first().copied())
            .filter(|chosen| known.contains(chosen))
            .ok_or(DetectorError::NoHeat {
                wanted: source,
                known,
            })
    }

    /// Heat maps of images that have been converted, on the size that the detector sees.
    ///
    /// # Errors
    /// [`DetectorError::NoHeat`] when the method has no such map.
    pub fn heat_of(
        &self,
        images: &Images,
        source: Option<HeatSource>,
    ) -> Result<Vec<Heatmap>, DetectorError> {
        let source = self.heat_source(source)?;
        let maps = self.scorer().heat(images, source);
        let maps = maps.ok_or(DetectorError::NoAnswer { what: "heat map" })?;
        let [height, width] = self.conversion().sides();
        Ok(maps
            .into_iter()
            .map(|map| map.resized(height, width).smoothed(SMOOTHING))
            .collect())
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

    /// The method that computes the scores.
    pub fn scorer(&self) -> &dyn Scorer {
        self.scorer.as_ref()
    }

    fn calibration(&self) -> &Calibration {
        // `new` and `load_on` see to it.
        let calibration = self.description.calibration.as_ref();
        calibration.expect("a detector is calibrated")
    }

    fn verdict(&self, scores: &Scores, row: usize) -> Verdict {
        let (score, driver) = self.calibration().combined(scores, row);
        let names = scores.names().iter().zip(scores.columns());
        Verdict {
            score,
            p_value: self.conformal().p_value(score),
            driver: driver.to_owned(),
            scores: names.map(|(&name, column)| (name, column[row])).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::method::on_positions::detectors;
    use crate::method::scorer::tests::noise;
    use image::{GrayImage, Luma};

    fn detector() -> Detector {
        let model = detectors().remove(0);
        let [validation, calibration] = [1, 2].map(|seed| model.score(&noise(20, seed)).unwrap());
        let calibration = Calibration::fit(model.deciding(), &validation, &calibration).unwrap();
        Detector::new(Box::new(model), calibration, "a test")
    }

    fn picture(seed: u64) -> DynamicImage {
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
            assert_eq!(&loaded.score(picture).unwrap().driver, &verdict.driver);
            let alone = detector.score(picture).unwrap();
            assert!((alone.score - verdict.score).abs() < 1e-3 * (1.0 + alone.score.abs()));
            assert_eq!(alone.scores.len(), 2);
        }
        assert!(detector.score_batch(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_heat_map_has_the_picture_s_size() {
        let wide = picture(3).resize_exact(90, 40, image::imageops::FilterType::Nearest);
        let map = detector().heatmap(&wide, None).unwrap();
        assert_eq!((map.height(), map.width()), (40, 90));
        let error = detector()
            .heatmap(&wide, Some(HeatSource::Gradient))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("gradient") && error.contains("positions"),
            "{error}"
        );
    }

    #[test]
    fn with_a_range_overlays_of_normal_images_stay_grey() {
        let picture = Picture::from_image(&picture(5)).unwrap();
        let grey = |detector: &Detector| {
            let overlay = detector.overlay(&picture, None).unwrap();
            let grey = overlay
                .pixels()
                .filter(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]);
            grey.count()
        };
        // Without one, the colours run through each image's own values.
        let before = grey(&detector());
        let detector = detector().with_heat_range(&noise(20, 6)).unwrap();
        let [low, high] = detector.description().heat_range.unwrap();
        assert!(low < high);
        let after = grey(&detector);
        assert!(after > 820 && after > before, "{before} {after}");
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
