//! One pass over all values of a batch, forward and back.

use burn::backend::Wgpu;
use burn::tensor::Tensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::{Tensor as OnGpu, *};
use cubecl::std::tensor::layout::linear::{LinearView, LinearViewMut};

use super::channels::{Channels, Norms};
use crate::ops::gpu::primitive;

/// Activations of the normalised channels: `activation(gamma * (x - mean) / sqrt(variance + epsilon) + beta)`.
///
/// # Shapes
/// `[batch, channels, height, width]`, in and out.
pub(super) fn normalise(input: Tensor<4>, channels: &Channels) -> Tensor<4> {
    let shape = input.dims();
    let output = primitive(Tensor::<4>::empty(shape, &input.device()));
    let values = shape.iter().product();
    let input = primitive(input);
    let client = input.client.clone();
    let dim = CubeDim::new(&client, values);
    let count = calculate_cube_count_elemwise(&client, values, dim);
    normalise_values::launch(
        &client,
        count,
        dim,
        input.into_linear_view(),
        channels.on_gpu(),
        output.clone().into_linear_view(),
        (shape[2] * shape[3]) as u32,
        shape[1] as u32,
    );
    Tensor::from_primitive::<Wgpu>(output)
}

/// The gradient by the input, through the batch's own statistics as well: `back` holds the gradients by beta and gamma.
///
/// # Shapes
/// `[batch, channels, height, width]`, in and out.
pub(super) fn input_gradient(
    input: Tensor<4>,
    gradient: Tensor<4>,
    channels: &Channels,
    [by_beta, by_gamma]: [Tensor<1>; 2],
) -> Tensor<4> {
    let shape @ [images, maps, height, width] = input.dims();
    let output = primitive(Tensor::<4>::empty(shape, &input.device()));
    let values = shape.iter().product();
    let input = primitive(input);
    let client = input.client.clone();
    let dim = CubeDim::new(&client, values);
    let count = calculate_cube_count_elemwise(&client, values, dim);
    gradient_of_values::launch(
        &client,
        count,
        dim,
        input.into_linear_view(),
        primitive(gradient).into_linear_view(),
        channels.on_gpu(),
        primitive(by_beta).into_tensor_arg(),
        primitive(by_gamma).into_tensor_arg(),
        output.clone().into_linear_view(),
        (height * width) as u32,
        maps as u32,
        (images * height * width) as f32,
    );
    Tensor::from_primitive::<Wgpu>(output)
}

#[cube(launch)]
fn normalise_values(
    input: LinearView<'_, f32>,
    norms: Norms,
    mut output: LinearViewMut<'_, f32>,
    pixels: u32,
    channels: u32,
) {
    if !output.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let channel = (ABSOLUTE_POS as u32 / pixels % channels) as usize;
    let normal = norms.normal(input.read(ABSOLUTE_POS), channel);
    output.write(ABSOLUTE_POS, norms.activated(normal, channel));
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn gradient_of_values(
    input: LinearView<'_, f32>,
    gradient: LinearView<'_, f32>,
    norms: Norms,
    by_beta: &OnGpu<f32>,
    by_gamma: &OnGpu<f32>,
    mut output: LinearViewMut<'_, f32>,
    pixels: u32,
    channels: u32,
    values: f32,
) {
    if !output.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let channel = (ABSOLUTE_POS as u32 / pixels % channels) as usize;
    let normal = norms.normal(input.read(ABSOLUTE_POS), channel);
    let slope = norms.slope(gradient.read(ABSOLUTE_POS), normal, channel);
    let back = (by_beta[channel] + normal * by_gamma[channel]) / values;
    let scale = norms.gamma[channel] * norms.inverse(channel);
    output.write(ABSOLUTE_POS, (slope - back) * scale);
}
