//! The nearest of many remembered positions: PatchCore.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use rand::Rng;

use super::coreset::coreset;
use crate::data::{Samples, Vectors};
use crate::ops::Bank;

/// Distance to the nearest position of a coreset of those that were seen (Roth et al.,
/// arXiv:2106.08265, section 3).
#[derive(Module, Debug)]
pub struct PatchBank {
    /// `[features, patches]`.
    patches: Param<Tensor<2>>,
}

impl PatchBank {
    /// Remembers so many of `train`, `[len, features]`.
    pub fn fit(train: &Vectors, patches: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let chosen = coreset(train, patches, rng, device);
        let rows = train.batch(&chosen, device);
        Self {
            patches: Param::from_tensor(rows.transpose()),
        }
    }

    /// With so many patches, to be filled from a store.
    pub fn empty(features: usize, patches: usize, device: &Device) -> Self {
        Self {
            patches: Param::from_tensor(Tensor::zeros([features, patches], device)),
        }
    }

    /// Number of remembered positions.
    pub fn patches(&self) -> usize {
        self.patches.val().dims()[1]
    }

    /// Euclidean distance of each position to the nearest remembered one.
    ///
    /// # Shapes
    /// `[len, features]` to `[len]`.
    pub fn distances(&self, features: Tensor<2>) -> Tensor<1> {
        let device = features.device();
        let rows: Vec<f32> = features.into_data().iter().collect();
        let bank = Bank::from_columns(self.patches.val());
        let distances = bank.mean_distances(&rows, 1);
        Tensor::from_data(distances.as_slice(), &device)
    }
}
