//! Batch normalisation and the activation after it on a GPU: three launches each way.

mod channels;
mod sums;
mod values;

use burn::backend::Wgpu;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::wgpu::CubeTensor;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use self::channels::Channels;
use self::sums::{parameter_gradients, statistics};
use self::values::{input_gradient, normalise};
use super::{noted, primitive, tracked};
use crate::ops::activation::Activation;

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
    noted(Normalisation, inputs, Saved { input, channels }, output)
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

impl Backward<Wgpu, 3> for Normalisation {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Saved, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Wgpu>(&ops.node);
        let gradient = Tensor::<4>::from_primitive::<Wgpu>(gradient);
        let Saved { input, channels } = ops.state;
        let input = Tensor::<4>::from_primitive::<Wgpu>(input);
        let back = parameter_gradients(input.clone(), gradient.clone(), &channels);
        let [input_node, gamma_node, beta_node] = ops.parents;
        if let Some(node) = input_node {
            let found = input_gradient(input, gradient, &channels, back.clone());
            gradients.register::<Wgpu>(node.id, primitive(found));
        }
        let [by_beta, by_gamma] = back;
        for (node, found) in [(gamma_node, by_gamma), (beta_node, by_beta)] {
            if let Some(node) = node {
                gradients.register::<Wgpu>(node.id, primitive(found));
            }
        }
    }
}
