//! Fitted things that score images. Training, evaluation and later use all score through here.

mod baseline;
mod density;
mod encoder_flow;
mod error;
mod ganomaly;
mod pictures;
mod representation;
mod scores;

pub(crate) use baseline::standardized;
pub use baseline::{Baseline, Density};
pub use density::{Gmm, GmmConfig, Knn, Mahalanobis};
pub use encoder_flow::{EncoderFlow, Sizes};
pub use error::DetectorError;
pub use ganomaly::GanomalyDetector;
pub use representation::Representation;
pub use scores::Scores;

use crate::data::Images;

/// Anything fitted on normal images that scores images: higher is more anomalous.
///
/// A score depends on its image alone, not on the other images, their order or the batch size.
pub trait Detector {
    /// Names of the scores; the first is the one that the method is judged by.
    fn score_names(&self) -> &'static [&'static str];

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
}
