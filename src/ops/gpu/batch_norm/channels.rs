//! How channels are normalised, for all kernels.

use burn::tensor::Tensor;
use cubecl::prelude::*;

use crate::ops::gpu::primitive;

/// How a channel is normalised, and what follows.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    /// Means, `[channels]`.
    pub mean: Tensor<1>,
    /// Variances, `[channels]`.
    pub variance: Tensor<1>,
    /// Factors after that, `[channels]`.
    pub gamma: Tensor<1>,
    /// Summands after those, `[channels]`.
    pub beta: Tensor<1>,
    /// Added to the variance.
    pub epsilon: f32,
    /// The slope of the activation below zero.
    pub leak: f32,
}

impl Channels {
    pub fn on_gpu(&self) -> NormsLaunch {
        let [mean, variance, gamma, beta] = [&self.mean, &self.variance, &self.gamma, &self.beta]
            .map(|values| primitive(values.clone()).into_buffer_arg());
        NormsLaunch::new(mean, variance, gamma, beta, self.epsilon, self.leak)
    }
}

/// The same in a kernel.
#[derive(CubeLaunch, CubeType)]
pub(super) struct Norms {
    mean: Box<[f32]>,
    variance: Box<[f32]>,
    pub gamma: Box<[f32]>,
    beta: Box<[f32]>,
    epsilon: f32,
    leak: f32,
}

/// What a value of a channel becomes; forward and backward from the same operations, so that both see the same side of
/// the activation.
#[cube]
impl Norms {
    /// One over the standard deviation.
    pub fn inverse(&self, channel: usize) -> f32 {
        1.0f32 / (self.variance[channel] + self.epsilon).sqrt()
    }

    /// The normalised value, before gamma and beta.
    pub fn normal(&self, value: f32, channel: usize) -> f32 {
        (value - self.mean[channel]) * self.inverse(channel)
    }

    /// What a normalised value becomes.
    pub fn activated(&self, normal: f32, channel: usize) -> f32 {
        let value = normal * self.gamma[channel] + self.beta[channel];
        // What is infinite below zero is zero behind a ReLU, and what is no number stays none.
        let below = select(self.leak == 0.0f32, 0.0f32, value * self.leak);
        select(value <= 0.0f32, below, value)
    }

    /// The gradient before the activation, of one behind it.
    pub fn slope(&self, gradient: f32, normal: f32, channel: usize) -> f32 {
        let value = normal * self.gamma[channel] + self.beta[channel];
        select(value <= 0.0f32, gradient * self.leak, gradient)
    }
}
