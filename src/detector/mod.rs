//! Fitted things that score images. Training, evaluation and later use all score through here.

mod encoder_flow;
mod error;
mod representation;
mod scores;

pub use encoder_flow::{EncoderFlow, Sizes};
pub use error::DetectorError;
pub use representation::Representation;
pub use scores::Scores;

use crate::data::Images;

/// Anything fitted on normal images that scores images: higher is more anomalous.
///
/// A score depends on its image alone, not on the other images, their order or the batch size.
pub trait Detector {
    /// Names of the scores; the first is the one that the method is judged by.
    fn score_names(&self) -> &'static [&'static str];

    /// Scores every image.
    fn score(&self, images: &Images) -> Scores;
}
