//! Batch normalisation and the activation after it on a GPU: three launches each way.

mod channels;
mod sums;
mod values;

use burn::backend::wgpu::CubeTensor;
use burn::backend::{Autodiff, Wgpu};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use self::channels::Channels;
use self::sums::{parameter_gradients, statistics};
use self::values::{input_gradient, normalise};
use super::{primitive, tracked};
use crate::ops::activation::Activation;
use crate::ops::graph::{Differentiate, noted};

/// Normalises each channel by the running statistics, then applies the activation.
///
/// # Shapes
/// `[batch, channels, height, width]`, in and out.
///
/// # Panics
/// When a tensor is not on the GPU, or trains.
pub(in crate::ops) fn normalise_by_running(
    norm: &BatchNorm,
    input: Tensor<4>,
    activation: Activation,
) -> Tensor<4> {
    let [mean, variance] = [&norm.running_mean, &norm.running_var]
        .map(|state| state.value().without_autodiff().to_device(&input.device()));
    let channels = Channels {
        mean,
        variance,
        gamma: norm.gamma.val(),
        beta: norm.beta.val(),
        epsilon: norm.epsilon as f32,
        leak: leak(activation),
    };
    normalise(input, &channels)
}

/// Normalises each channel by the statistics of the batch, which enter the running ones, then applies the activation;
/// and notes the gradients.
///
/// # Shapes
/// `[batch, channels, height, width]`, in and out.
///
/// # Panics
/// When a tensor is not on the GPU.
pub(in crate::ops) fn normalise_by_batch(
    norm: &BatchNorm,
    input: Tensor<4>,
    activation: Activation,
) -> Tensor<4> {
    let device = input.device().inner();
    let (input, input_node) = tracked(input);
    let [(gamma, gamma_node), (beta, beta_node)] =
        [&norm.gamma, &norm.beta].map(|parameter| tracked(parameter.val()));
    let running = [&norm.running_mean, &norm.running_var]
        .map(|state| state.value_sync().without_autodiff().to_device(&device));
    let on_gpu = |tensor: &CubeTensor| Tensor::<4>::from_primitive::<Wgpu>(tensor.clone());
    let found = statistics(on_gpu(&input), running, norm.momentum as f32);
    norm.running_mean.update(found.running_mean);
    norm.running_var.update(found.running_variance);
    let [gamma, beta] = [gamma, beta].map(Tensor::from_primitive::<Wgpu>);
    let channels = Channels {
        mean: found.mean,
        variance: found.variance,
        gamma,
        beta,
        epsilon: norm.epsilon as f32,
        leak: leak(activation),
    };
    let output = primitive(normalise(on_gpu(&input), &channels));
    let inputs = [input_node, gamma_node, beta_node];
    let output = noted(Normalisation, inputs, Saved { input, channels }, output);
    Tensor::from_primitive::<Autodiff<Wgpu>>(output)
}

/// The slope of the activation below zero.
fn leak(activation: Activation) -> f32 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu => 0.0,
        Activation::LeakyRelu(slope) => slope,
    }
}

#[derive(Debug)]
struct Normalisation;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved {
    input: CubeTensor,
    channels: Channels,
}

impl Differentiate<Wgpu, 3> for Normalisation {
    type Saved = Saved;

    fn gradients(
        self,
        Saved { input, channels }: Saved,
        by_output: CubeTensor,
        [by_input, by_gamma, by_beta]: [bool; 3],
    ) -> [Option<CubeTensor>; 3] {
        let gradient = Tensor::<4>::from_primitive::<Wgpu>(by_output);
        let input = Tensor::<4>::from_primitive::<Wgpu>(input);
        let back = parameter_gradients(input.clone(), gradient.clone(), &channels);
        let [beta, gamma] = back.clone();
        [
            by_input.then(|| primitive(input_gradient(input, gradient, &channels, back))),
            by_gamma.then(|| primitive(gamma)),
            by_beta.then(|| primitive(beta)),
        ]
    }
}
