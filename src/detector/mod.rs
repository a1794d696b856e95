//! Fitted things that score images. Training, evaluation and later use all score through here.

mod baseline;
mod calibration;
mod density;
mod encoder_flow;
mod error;
mod ganomaly;
mod heat;
mod heatmap;
mod model;
mod model_file;
mod pictures;
mod positions;
mod representation;
mod scores;

pub(crate) use baseline::standardized;
pub use baseline::{Baseline, BaselineSizes, BaselineWeights};
pub use calibration::Calibration;
pub use density::{Density, DensitySizes, Gmm, GmmConfig, Knn, Mahalanobis};
pub use encoder_flow::{EncoderFlow, EncoderFlowWeights, Sizes};
pub use error::DetectorError;
pub use ganomaly::GanomalyDetector;
pub use heat::HeatSource;
pub use heatmap::Heatmap;
pub use model::{Detector, Verdict};
pub use model_file::{Description, Model, ModelSizes};
pub use positions::{PositionFlow, PositionSizes, PositionWeights};
pub use representation::Representation;
pub use scores::Scores;

use crate::data::Images;

/// Anything fitted on normal images that scores images: higher is more anomalous.
///
/// A score depends on its image alone, not on the other images, their order or the batch size.
pub trait Scorer {
    /// Names of the scores; the first is the one that the method is judged by.
    fn score_names(&self) -> &'static [&'static str];

    /// Names of the scores that a verdict rests on; unless it says otherwise, the method's own.
    fn deciding(&self) -> &'static [&'static str] {
        &self.score_names()[..1]
    }

    /// Scores every image, after bringing it to the size and colours that the method was fitted on.
    ///
    /// # Errors
    /// [`DetectorError::Images`] when that is not possible.
    fn score(&self, images: &Images) -> Result<Scores, DetectorError>;

    /// The images as the method brings them back, if it does.
    fn reconstruct(&self, _images: &Images) -> Option<Images> {
        None
    }

    /// `count` images drawn from the method's density, if it has one that can be drawn from.
    fn sample(&self, _count: usize, _seed: u64) -> Option<Images> {
        None
    }

    /// Where in each image the score comes from, if the method can tell by this source; the images
    /// have been converted.
    fn heat(&self, _images: &Images, _source: HeatSource) -> Option<Vec<Heatmap>> {
        None
    }

    /// Sources that [`heat`](Self::heat) knows, the method's own first.
    fn heat_sources(&self) -> &'static [HeatSource] {
        &[]
    }
}

/// The invariant of every detector.
#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// 32x32 grey images of noise.
    pub(super) fn noise(count: usize, seed: u64) -> Images {
        let mut pixels = vec![0; count * 1024];
        StdRng::seed_from_u64(seed).fill_bytes(&mut pixels);
        Images::new([1, 32, 32], pixels).unwrap()
    }

    /// Neither the order of the images nor their number changes a score.
    pub(super) fn assert_score_of_image_alone(detector: &dyn Scorer, images: &Images) {
        let scores = detector.score(images).unwrap();
        let order: Vec<usize> = (0..images.len()).rev().collect();
        let reversed = detector.score(&images.select(&order)).unwrap();
        let alone = detector.score(&images.select(&[7])).unwrap();
        for (column, name) in scores.names().iter().enumerate() {
            let [all, back, one] =
                [&scores, &reversed, &alone].map(|scores| &scores.columns()[column]);
            let back = back.iter().rev();
            for (left, right) in all.iter().zip(back).chain([(&all[7], &one[0])]) {
                let close = (left - right).abs() <= 1e-4 * (1.0 + right.abs());
                assert!(close, "{name}: {left} is not {right}");
            }
        }
    }
}
