//! The network of Glow's couplings.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use rand::Rng;

use super::{constant_parameter, normal_parameter};
use crate::ops::{self, Activation};

/// Standard deviation of the initial weights (openai/glow).
const INITIAL_STD: f32 = 0.05;
/// What the log-scales of a [`ZeroConv`] are multiplied by (openai/glow).
const LOG_SCALE_FACTOR: f64 = 3.0;

/// Three convolutions, 3x3, 1x1 and 3x3, with ReLU between (Kingma & Dhariwal, arXiv:1807.03039,
/// section 4; the activation normalisation within is that of their code).
///
/// # Shapes
/// `[batch, from, height, width]` to `[batch, to, height, width]`.
#[derive(Module, Debug)]
pub struct GlowNetwork {
    first: NormalisedConv,
    second: NormalisedConv,
    last: ZeroConv,
}

impl GlowNetwork {
    /// From so many channels to so many, through `width`; its output is zero at first.
    pub fn new([from, to]: [usize; 2], width: usize, rng: &mut impl Rng, device: &Device) -> Self {
        Self {
            first: NormalisedConv::new([width, from, 3, 3], rng, device),
            second: NormalisedConv::new([width, width, 1, 1], rng, device),
            last: ZeroConv::new([width, to], device),
        }
    }

    /// # Shapes
    /// `[batch, from, height, width]` to `[batch, to, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.last
            .forward(self.second.forward(self.first.forward(x)))
    }

    /// The same with the scales of the hidden layers set from what they see of `x`.
    pub(super) fn initialised(self, x: Tensor<4>) -> Self {
        let first = self.first.initialised(x.clone());
        let second = self.second.initialised(first.forward(x));
        Self {
            first,
            second,
            ..self
        }
    }
}

/// A convolution, activation normalisation and ReLU.
#[derive(Module, Debug)]
struct NormalisedConv {
    weight: Param<Tensor<4>>,
    log_scale: Param<Tensor<1>>,
    shift: Param<Tensor<1>>,
}

impl NormalisedConv {
    fn new(shape: [usize; 4], rng: &mut impl Rng, device: &Device) -> Self {
        Self {
            weight: normal_parameter(shape, INITIAL_STD, rng, device),
            log_scale: constant_parameter([shape[0]], 0.0, device),
            shift: constant_parameter([shape[0]], 0.0, device),
        }
    }

    /// Before the ReLU. A scale of a map is one of its kernel.
    fn normalised(&self, x: Tensor<4>) -> Tensor<4> {
        let scale = self.log_scale.val().exp();
        let scale = scale.reshape([-1, 1, 1, 1]);
        ops::conv2d_same(x, self.weight.val() * scale, self.shift.val())
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        ops::activate(self.normalised(x), Activation::Relu)
    }

    /// With mean 0 and variance 1 in every map for `x`, before the ReLU.
    fn initialised(self, x: Tensor<4>) -> Self {
        let maps = self.normalised(x);
        let channels = maps.dims()[1];
        let rows: Tensor<2> = maps.swap_dims(0, 1).reshape([channels as i32, -1]);
        // The floor keeps a map that hardly varies from being blown up without bound.
        let deviation = rows.clone().var_bias(1).sqrt().clamp_min(1e-3);
        let shift = (rows.mean_dim(1) / deviation.clone()).neg();
        let parameter = |values: Tensor<2>| Param::from_tensor(values.squeeze_dim::<1>(1).detach());
        Self {
            weight: self.weight,
            log_scale: parameter(deviation.log().neg()),
            shift: parameter(shift),
        }
    }
}

/// A 3x3 convolution that starts at zero, its output scaled by `exp(3 s)` per channel (openai/glow).
#[derive(Module, Debug)]
pub struct ZeroConv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    log_scale: Param<Tensor<1>>,
}

impl ZeroConv {
    /// From so many channels to so many.
    pub fn new([from, to]: [usize; 2], device: &Device) -> Self {
        Self {
            weight: constant_parameter([to, from, 3, 3], 0.0, device),
            bias: constant_parameter([to], 0.0, device),
            log_scale: constant_parameter([to], 0.0, device),
        }
    }

    /// # Shapes
    /// `[batch, from, height, width]` to `[batch, to, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let scale = (self.log_scale.val() * LOG_SCALE_FACTOR).exp();
        let weight = self.weight.val() * scale.clone().reshape([-1, 1, 1, 1]);
        ops::conv2d_same(x, weight, self.bias.val() * scale)
    }
}
