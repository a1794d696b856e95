//! What is taken out of a description of an image, or of a position of one: its size.
//!
//! In a description that scales with contrast, what has little of it lies near the mode of any density,
//! whatever it shows. Divided by its norm, a description only says what something is like.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Norm below which a description counts as zero.
const LEAST_NORM: f64 = 1e-6;
/// Share of a block's sum below which an entry counts as zero.
const LEAST_SHARE: f64 = 1e-8;

/// What is taken out of a description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Nothing.
    #[default]
    None,
    /// Its Euclidean norm.
    L2,
    /// Its mean, then its norm.
    Contrast,
    /// Of each block, the sum; what is left is brought to the root, and what is below zero counts as zero. (Blocks are
    /// the maps of a network, and the tensors of one from an ONNX file; other descriptions are one.)
    Sqrt,
}

impl Normalisation {
    /// True when nothing is taken out.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Takes out of descriptions of these blocks what a density is not to see.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch, dim]`.
    pub(crate) fn apply(self, description: Tensor<2>, blocks: Vec<usize>) -> Tensor<2> {
        match self {
            Self::None => description,
            Self::L2 => by_norm(description),
            Self::Contrast => {
                let mean = description.clone().mean_dim(1);
                by_norm(description - mean)
            }
            Self::Sqrt => {
                let mut start = 0;
                let roots = blocks.into_iter().map(|length| {
                    let block = description.clone().narrow(1, start, length);
                    start += length;
                    let block = block.clamp_min(0.0);
                    let sum = block.clone().sum_dim(1).clamp_min(LEAST_NORM);
                    // The root of zero has no slope, and heat maps want one.
                    (block / sum + LEAST_SHARE).sqrt()
                });
                Tensor::cat(roots.collect(), 1)
            }
        }
    }
}

/// Divides every row by its Euclidean norm.
pub(super) fn by_norm(rows: Tensor<2>) -> Tensor<2> {
    // Bounded before the root, which has no slope at zero: heat maps want one of blank images too.
    let squares = rows.clone().square().sum_dim(1);
    rows / squares.clamp_min(LEAST_NORM * LEAST_NORM).sqrt()
}
