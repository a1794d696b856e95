//! The affine coupling layer of RealNVP.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;

use super::{Conditioner, RealNvpConfig, Transform};
use crate::ops::{self, Affine, Direction};

/// One half of the vector passes; it decides scale and shift of the other half.
///
/// With `x = [a, b]`: `y = [a, b * exp(s(a)) + t(a)]`, `ln |det J| = sum s(a)` (Dinh et al.,
/// arXiv:1605.08803, equations 4 to 6), and back `x = [a, (b - t(a)) * exp(-s(a))]` with `y = [a, b]`.
/// The log-scale is clamped softly, `s = k tanh(raw / k)` with the clamp `k`, so that no input can
/// make `exp(s)` overflow. With a context `c`, scale and shift are functions of `[a, c]` (Ardizzone et
/// al., arXiv:1907.02392, section 3.1). All of this is one operation, `ops::affine_coupling`.
#[derive(Module, Debug)]
pub struct AffineCoupling {
    conditioner: Conditioner,
    passing: usize,
    clamp: f64,
    /// Which half passes: the first, or the second.
    first_passes: bool,
}

impl AffineCoupling {
    /// A coupling of vectors of `config.dim` entries in which the first or the second half passes.
    pub fn new(
        config: &RealNvpConfig,
        first_passes: bool,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let half = config.dim / 2;
        let passing = if first_passes {
            half
        } else {
            config.dim - half
        };
        let changed = config.dim - passing;
        Self {
            conditioner: Conditioner::new(
                [passing + config.context, 2 * changed],
                config.hidden,
                config.layers,
                rng,
                device,
            ),
            passing,
            clamp: config.clamp,
            first_passes,
        }
    }

    fn apply(
        &self,
        x: Tensor<2>,
        context: Option<&Tensor<2>>,
        direction: Direction,
    ) -> (Tensor<2>, Tensor<1>) {
        let affine = Affine {
            passing: self.passing,
            first_passes: self.first_passes,
            clamp: self.clamp,
        };
        ops::affine_coupling(x, context, self.conditioner.network(), affine, direction)
    }
}

impl Transform<2> for AffineCoupling {
    fn forward(&self, x: Tensor<2>, context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        self.apply(x, context, Direction::Forward)
    }

    fn inverse(&self, z: Tensor<2>, context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        self.apply(z, context, Direction::Inverse)
    }
}
