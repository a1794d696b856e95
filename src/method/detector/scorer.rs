//! Fitted things that score images. Training, evaluation and later use all score through here.

use burn::store::{SafetensorsStore, SafetensorsStoreError};

use super::findings::{Anew, Findings};
use crate::data::{Conversion, Images};
use crate::method::{DetectorError, HeatSource, Heatmap, Scores, Stored, Terms};
use crate::report::ImageRows;

/// Anything fitted on normal images that scores images: higher is more anomalous.
///
/// A score depends on its image alone, not on the other images, their order or the batch size.
pub trait Scorer: Send + Sync {
    /// Names of its scores.
    fn score_names(&self) -> &'static [&'static str];

    /// Names of the scores that the deciding one is made of, by [`Calibration::combined`]: a verdict
    /// rests on it, and the method is judged by it in every table. Unless it says otherwise, the
    /// first.
    ///
    /// [`Calibration::combined`]: crate::method::Calibration::combined
    fn deciding(&self) -> &'static [&'static str] {
        &self.score_names()[..1]
    }

    /// Names of the scores that the deciding one is a weighted sum of, where it is one: a verdict names the one that
    /// adds most.
    fn summands(&self) -> &'static [&'static str] {
        &[]
    }

    /// The weights of the [`summands`](Self::summands) in the sum: unless it says otherwise, that of a mean.
    fn summand_weights(&self) -> Vec<f32> {
        let count = self.summands().len();
        vec![1.0 / count as f32; count]
    }

    /// A score in words, where it can say more of it than [`Entry::describe`], which knows no settings.
    ///
    /// [`Entry::describe`]: crate::method::Entry::describe
    fn words(&self, _score: &str) -> Option<String> {
        None
    }

    /// What images are brought to before they are scored.
    fn conversion(&self) -> Conversion;

    /// Which scorer it is, and what it takes beside its weights to build it again.
    fn stored(&self) -> Stored;

    /// Puts its weights into a store.
    ///
    /// # Errors
    /// What keeps them from being stored.
    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError>;

    /// The ONNX file of the network that it looks through, where it does: a model file holds it beside the
    /// weights.
    fn onnx(&self) -> Option<&[u8]> {
        None
    }

    /// Scores every image, after bringing it to the size and colours that the method was fitted on.
    ///
    /// # Errors
    /// [`DetectorError::Images`] when that is not possible.
    fn score(&self, images: &Images) -> Result<Scores, DetectorError> {
        self.score_converted(&self.conversion().apply(images.clone())?)
    }

    /// Scores images that have been converted.
    ///
    /// # Errors
    /// [`DetectorError`] when they cannot be scored.
    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError>;

    /// The images as the method brings them back, if it does.
    fn reconstruct(&self, _images: &Images) -> Option<Images> {
        None
    }

    /// `count` images drawn from the method's density, if it has one that can be drawn from.
    fn sample(&self, _count: usize, _seed: u64) -> Option<Images> {
        None
    }

    /// The terms of the likelihoods that its scores are, where these are a flow's; the images have been
    /// converted.
    fn terms(&self, _images: &Images) -> Vec<Terms> {
        Vec::new()
    }

    /// Pictures for the report that only this method has, of a few images of each of several sets.
    fn pictures(&self, _sets: &[(String, Images)]) -> Vec<ImageRows> {
        Vec::new()
    }

    /// Where in each image the score comes from, if the method can tell by this source; the images
    /// have been converted.
    fn heat(&self, _images: &Images, _source: HeatSource) -> Option<Vec<Heatmap>> {
        None
    }

    /// Scores and heat maps of images that have been converted. Unless it says otherwise, it looks at the images
    /// again for everything that is asked: a scorer whose heat maps come of what it scores by describes them once.
    fn inspect<'a>(&'a self, images: &'a Images) -> Box<dyn Findings + 'a> {
        Box::new(Anew {
            scorer: self,
            images,
        })
    }

    /// Sources that [`heat`](Self::heat) knows, the method's own first.
    fn heat_sources(&self) -> &'static [HeatSource] {
        &[]
    }
}

/// The invariant of every scorer.
#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::data::Framing;
    use burn::module::{ModuleMapper, Param};
    use burn::tensor::Tensor;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// To grey images of 32x32 pixels.
    pub(in crate::method) fn grey_32() -> Conversion {
        Conversion {
            channels: 1,
            height: 32,
            width: 32,
            fit: Framing::Pad,
        }
    }

    /// 32x32 grey images of noise.
    pub(in crate::method) fn noise(count: usize, seed: u64) -> Images {
        let mut pixels = vec![0; count * 1024];
        StdRng::seed_from_u64(seed).fill_bytes(&mut pixels);
        Images::new([1, 32, 32], pixels).unwrap()
    }

    /// Multiplies all weights of convolutions: by DCGAN's initial ones every image is the same to a network.
    pub(in crate::method) struct Enlarge(pub f64);

    impl ModuleMapper for Enlarge {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|weight| match D {
                4 => weight * self.0,
                _ => weight,
            })
        }
    }

    /// Neither the order of the images nor their number changes a score; what is found in images is what is said
    /// when it is asked for alone.
    pub(in crate::method) fn assert_score_of_image_alone(detector: &dyn Scorer, images: &Images) {
        let few = images.select(&[2, 0, 1]);
        let findings = detector.inspect(&few);
        assert_eq!(findings.scores().unwrap(), detector.score(&few).unwrap());
        for source in HeatSource::ALL {
            assert_eq!(findings.heat(source), detector.heat(&few, source));
        }
        let scores = detector.score(images).unwrap();
        let order: Vec<usize> = (0..images.len()).rev().collect();
        let reversed = detector.score(&images.select(&order)).unwrap();
        let alone = detector.score(&images.select(&[7])).unwrap();
        for (column, name) in scores.names().iter().enumerate() {
            let [all, back, one] =
                [&scores, &reversed, &alone].map(|scores| &scores.columns()[column]);
            let [least, most] =
                [f32::min, f32::max].map(|of| all.iter().copied().reduce(of).unwrap());
            // Where all images had one score, nothing could be told.
            assert!(
                most - least > 1e-6 * (1.0 + most.abs()),
                "{name}: {least} to {most}"
            );
            let back = back.iter().rev();
            for (left, right) in all.iter().zip(back).chain([(&all[7], &one[0])]) {
                let allowed = 1e-3 * (most - least) + 1e-6 * right.abs();
                assert!(
                    (left - right).abs() <= allowed,
                    "{name}: {left} is not {right}"
                );
            }
        }
    }

    /// The heat map by gradients is the slope of the deciding score by a grey level, where it is steepest; `step` levels to
    /// either side are small.
    pub(in crate::method) fn assert_gradient_is_slope(detector: &dyn Scorer, step: i16) {
        let image = noise(1, 6);
        let map = &detector.heat(&image, HeatSource::Gradient).unwrap()[0];
        let mut pixels: Vec<usize> = (0..1024).collect();
        pixels.sort_by(|&a, &b| map.values()[b].total_cmp(&map.values()[a]));
        for &pixel in &pixels[..3] {
            let shifted = |by: i16| {
                let mut bytes = image.to_bytes();
                let value = i16::from(bytes[pixel]).clamp(step, 255 - step) + by;
                bytes[pixel] = value as u8;
                let image = Images::new([1, 32, 32], bytes).unwrap();
                f64::from(detector.score(&image).unwrap().columns()[0][0])
            };
            let slope = (shifted(step) - shifted(-step)).abs() / (2.0 * f64::from(step) / 127.5);
            let found = f64::from(map.values()[pixel]);
            assert!(slope > 0.0, "{pixel}: nothing changes");
            assert!(
                (found - slope).abs() < 0.1 * slope,
                "{pixel}: {found} {slope}"
            );
        }
    }
}
