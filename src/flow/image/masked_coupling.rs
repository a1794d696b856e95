//! RealNVP's affine coupling on images.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use rand::Rng;

use super::{Mask, ResidualNetwork, ResidualSizes, constant_parameter, per_channel, sum_per_image};
use crate::flow::Transform;
use crate::ops;

/// The pixels that a mask shows decide about those that it changes.
///
/// With the masks `b` and `c` of what is seen and changed, and `[r, t] = network(b x)`: `s = c k tanh(r)`
/// with a trained `k` per channel, `y = c (x + t) exp(s) + (1 - c) x`, `ln |det J| = sum s` (Dinh et al.,
/// arXiv:1605.08803, sections 3.4 and 4.1).
#[derive(Module, Debug)]
pub struct MaskedCoupling {
    network: ResidualNetwork,
    /// `k`.
    range: Param<Tensor<1>>,
    sees: Tensor<4>,
    changes: Tensor<4>,
}

impl MaskedCoupling {
    /// Of maps of this shape, `[channels, height, width]`, by a network of these sizes.
    pub fn new(
        shape: [usize; 3],
        mask: Mask,
        sizes: ResidualSizes,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let [channels, ..] = shape;
        let [sees, changes] = mask.tensors(shape, device);
        Self {
            network: ResidualNetwork::new(shape, 2 * channels, sizes, rng, device),
            range: constant_parameter([channels], 1.0, device),
            sees,
            changes,
        }
    }

    /// Log-scale and shift of every pixel, zero where nothing changes.
    pub(super) fn parameters(&self, x: Tensor<4>) -> [Tensor<4>; 2] {
        let [batch, channels, height, width] = x.dims();
        let output = self.network.forward(x * self.sees.clone());
        let part = |first| {
            output
                .clone()
                .slice([0..batch, first..first + channels, 0..height, 0..width])
        };
        let log_scale = ops::tanh(part(0)) * per_channel(self.range.val());
        [log_scale, part(channels)].map(|values| values * self.changes.clone())
    }
}

impl Transform<4> for MaskedCoupling {
    fn forward(&self, x: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let [log_scale, shift] = self.parameters(x.clone());
        let y = (x + shift) * ops::exp(log_scale.clone());
        (y, sum_per_image(log_scale))
    }

    fn inverse(&self, z: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let [log_scale, shift] = self.parameters(z.clone());
        let x = z * ops::exp(log_scale.clone().neg()) - shift;
        (x, sum_per_image(log_scale).neg())
    }
}
