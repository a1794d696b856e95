//! Glow's affine coupling.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use rand::Rng;

use super::{GlowNetwork, sum_per_image};
use crate::flow::Transform;
use crate::ops;

/// The first half of the channels passes and decides about the second.
///
/// With `x = [a, b]` and `[t, r] = network(a)`: `y = [a, (b + t) sigmoid(r + 2)]`, `ln |det J| = sum ln
/// sigmoid(r + 2)` (Kingma & Dhariwal, arXiv:1807.03039, section 3.3; the sigmoid is their code's).
#[derive(Module, Debug)]
pub struct ChannelCoupling {
    network: GlowNetwork,
}

impl ChannelCoupling {
    /// Of maps with an even number of channels, by a network of this width.
    pub fn new(channels: usize, width: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let passing = channels / 2;
        let changed = channels - passing;
        Self {
            network: GlowNetwork::new([passing, 2 * changed], width, rng, device),
        }
    }

    /// With its network's scales set from `x`.
    pub(super) fn initialised(self, x: Tensor<4>) -> Self {
        let [passing, _] = halves(x);
        Self {
            network: self.network.initialised(passing),
        }
    }

    /// Log-scale and shift of every channel, zero where it passes.
    pub(super) fn predictions(&self, x: Tensor<4>) -> [Tensor<4>; 2] {
        let [passing, _] = halves(x);
        let zeros = passing.zeros_like();
        let [shift, log_scale] = self.parameters(passing);
        [log_scale, shift].map(|half| Tensor::cat(vec![zeros.clone(), half], 1))
    }

    /// Shift and log-scale of the second half.
    fn parameters(&self, passing: Tensor<4>) -> [Tensor<4>; 2] {
        let [shift, raw] = halves(self.network.forward(passing));
        [shift, activation::log_sigmoid(raw + 2.0)]
    }
}

/// The first and the second half of the channels.
pub(super) fn halves(x: Tensor<4>) -> [Tensor<4>; 2] {
    let channels = x.dims()[1];
    let half = channels / 2;
    [
        x.clone().narrow(1, 0, half),
        x.narrow(1, half, channels - half),
    ]
}

impl Transform<4> for ChannelCoupling {
    fn forward(&self, x: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let [passing, changed] = halves(x);
        let [shift, log_scale] = self.parameters(passing.clone());
        let changed = (changed + shift) * ops::exp(log_scale.clone());
        let log_det = sum_per_image(log_scale);
        (Tensor::cat(vec![passing, changed], 1), log_det)
    }

    fn inverse(&self, z: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let [passing, changed] = halves(z);
        let [shift, log_scale] = self.parameters(passing.clone());
        let changed = changed * ops::exp(log_scale.clone().neg()) - shift;
        let log_det = sum_per_image(log_scale).neg();
        (Tensor::cat(vec![passing, changed], 1), log_det)
    }
}
