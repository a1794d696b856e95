//! A mixture of many Gaussians whose covariance is the unit matrix.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::ops::shifted_log_sum_exp;

/// What a [`TiedMixture`](super::TiedMixture) is on rows that are whitened by its covariance already.
#[derive(Module, Debug)]
pub struct WhiteMixture {
    /// `[dim, gaussians]`.
    centres: Param<Tensor<2>>,
    /// `[1, gaussians]`: log-weights and the constant of the normal density.
    constants: Param<Tensor<2>>,
}

impl WhiteMixture {
    /// Around centres `[dim, gaussians]`, with constants `[1, gaussians]`.
    pub(super) fn new(centres: Tensor<2>, constants: Tensor<2>) -> Self {
        Self {
            centres: Param::from_tensor(centres),
            constants: Param::from_tensor(constants),
        }
    }

    /// With so many Gaussians of rows of `dim` entries, to be filled from a store.
    pub(crate) fn empty(dim: usize, gaussians: usize, device: &Device) -> Self {
        let zeros = |shape: [usize; 2]| Tensor::zeros(shape, device);
        Self::new(zeros([dim, gaussians]), zeros([1, gaussians]))
    }

    /// Log-density, in nats, of the rows before they were whitened.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch]`.
    pub(crate) fn log_prob(&self, white: Tensor<2>) -> Tensor<1> {
        log_prob(white, self.centres.val(), self.constants.val())
    }
}

/// Log-density of whitened rows under Gaussians around `centres`.
///
/// # Shapes
/// `[batch, dim]`, `[dim, gaussians]` and `[1, gaussians]` to `[batch]`.
pub(super) fn log_prob(white: Tensor<2>, centres: Tensor<2>, constants: Tensor<2>) -> Tensor<1> {
    let own = white.clone().square().sum_dim(1) * 0.5; // [batch, 1]
    let others = centres.clone().square().sum_dim(0) * 0.5; // [1, gaussians]
    let products = white.matmul(centres); // [batch, gaussians]
    (shifted_log_sum_exp(products, constants - others) - own).squeeze_dim(1)
}
