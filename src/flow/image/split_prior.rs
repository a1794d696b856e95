//! What is left out at the end of a scale, given what goes on.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::ZeroConv;
use super::channel_coupling::halves;
use super::sum_per_image;
use crate::ops;

/// A Gaussian for every entry that is put aside, mean and log-deviation from a convolution of what stays
/// (Kingma & Dhariwal, arXiv:1807.03039, section 3.6 and their code).
///
/// It is written as a map to a standard normal, `(x - m) exp(-s)`, so that all noise of the flow has the
/// same distribution: the density is the same.
#[derive(Module, Debug)]
pub struct SplitPrior {
    conv: ZeroConv,
}

impl SplitPrior {
    /// Of so many channels, from as many; a standard normal at first.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self {
            conv: ZeroConv::new([channels, 2 * channels], device),
        }
    }

    /// To noise.
    ///
    /// # Shapes
    /// Both `[batch, channels, height, width]`; to the same and `[batch]`.
    pub(super) fn forward(&self, stays: Tensor<4>, aside: Tensor<4>) -> (Tensor<4>, Tensor<1>) {
        let [mean, log_deviation] = halves(self.conv.forward(stays));
        let noise = (aside - mean) * ops::exp(log_deviation.clone().neg());
        (noise, sum_per_image(log_deviation).neg())
    }

    /// From noise.
    ///
    /// # Shapes
    /// Both `[batch, channels, height, width]`; to the same and `[batch]`.
    pub(super) fn inverse(&self, stays: Tensor<4>, noise: Tensor<4>) -> (Tensor<4>, Tensor<1>) {
        let [mean, log_deviation] = halves(self.conv.forward(stays));
        let aside = noise * ops::exp(log_deviation.clone()) + mean;
        (aside, sum_per_image(log_deviation))
    }
}
