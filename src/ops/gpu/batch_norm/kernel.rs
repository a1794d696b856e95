//! Kernels that normalise channels: sums over a channel, then one pass over all values, each way.

use burn::backend::Wgpu;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::{Device, Tensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::{Tensor as OnGpu, *};
use cubecl::std::tensor::layout::linear::{LinearView, LinearViewMut};

use crate::ops::gpu::primitive;

/// Threads of a workgroup that sums.
const UNITS: usize = 256;
/// Threads of a workgroup that adds up what those have found.
const FEW_UNITS: usize = 64;
/// Values of a workgroup that sums, at least.
const LEAST: usize = 4096;
/// Such workgroups to cut the work for.
const WANTED: usize = 1024;

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

/// Means and variances of the batch, and the running ones with so much of these in them.
pub(super) struct Statistics {
    pub mean: Tensor<1>,
    pub variance: Tensor<1>,
    pub running_mean: Tensor<1>,
    pub running_variance: Tensor<1>,
}

/// # Shapes
/// `[batch, channels, height, width]`, the running statistics `[channels]`.
pub(super) fn statistics(input: Tensor<4>, running: [Tensor<1>; 2], momentum: f32) -> Statistics {
    let [images, channels, height, width] = input.dims();
    let device = input.device();
    let (count, images_of_part, partial) = parts(input.dims(), &device);
    let fresh = || primitive(Tensor::<1>::empty([channels], &device));
    let [mean, variance, running_mean, running_variance] = [fresh(), fresh(), fresh(), fresh()];
    let input = primitive(input);
    let client = input.client.clone();
    add_powers::launch(
        &client,
        count,
        CubeDim::new_1d(UNITS as u32),
        input.clone().into_tensor_arg(),
        partial.clone().into_tensor_arg(),
        images_of_part as u32,
        UNITS,
    );
    let [old_mean, old_variance] = running.map(primitive);
    finish_statistics::launch(
        &client,
        CubeCount::Static(channels.div_ceil(FEW_UNITS) as u32, 1, 1),
        CubeDim::new_1d(FEW_UNITS as u32),
        input.into_tensor_arg(),
        partial.into_tensor_arg(),
        old_mean.into_tensor_arg(),
        old_variance.into_tensor_arg(),
        mean.clone().into_tensor_arg(),
        variance.clone().into_tensor_arg(),
        running_mean.clone().into_tensor_arg(),
        running_variance.clone().into_tensor_arg(),
        (images * height * width) as f32,
        momentum,
    );
    let [mean, variance, running_mean, running_variance] =
        [mean, variance, running_mean, running_variance]
            .map(|found| Tensor::from_primitive::<Wgpu>(found));
    Statistics {
        mean,
        variance,
        running_mean,
        running_variance,
    }
}

/// How the sums over channels are cut: the workgroups, the images of each, and room for two sums of each.
fn parts(
    [images, channels, height, width]: [usize; 4],
    device: &Device,
) -> (CubeCount, usize, CubeTensor) {
    let by_values = (images * height * width).div_ceil(LEAST);
    let parts = WANTED.div_ceil(channels).min(by_values).min(images);
    let each = images.div_ceil(parts);
    let parts = images.div_ceil(each);
    let partial = primitive(Tensor::<3>::empty([parts, channels, 2], device));
    (
        CubeCount::Static(channels as u32, parts as u32, 1),
        each,
        partial,
    )
}

/// Activations of the normalised channels: `activation(gamma * (x - mean) / sqrt(variance + epsilon) + beta)`.
///
/// # Shapes
/// `[batch, channels, height, width]`, in and out.
pub(super) fn normalise(input: Tensor<4>, channels: Channels) -> Tensor<4> {
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
        primitive(channels.mean).into_tensor_arg(),
        primitive(channels.variance).into_tensor_arg(),
        primitive(channels.gamma).into_tensor_arg(),
        primitive(channels.beta).into_tensor_arg(),
        output.clone().into_linear_view(),
        (shape[2] * shape[3]) as u32,
        channels.epsilon,
        channels.leak,
    );
    Tensor::from_primitive::<Wgpu>(output)
}

/// Gradients by beta and by gamma, `[channels]` each.
///
/// # Shapes
/// Input and the gradient by the output `[batch, channels, height, width]`.
pub(super) fn parameter_gradients(
    input: Tensor<4>,
    gradient: Tensor<4>,
    channels: Channels,
) -> [Tensor<1>; 2] {
    let device = input.device();
    let [_, maps, ..] = input.dims();
    let (count, images_of_part, partial) = parts(input.dims(), &device);
    let [by_beta, by_gamma] = [(); 2].map(|()| primitive(Tensor::<1>::empty([maps], &device)));
    let input = primitive(input);
    let client = input.client.clone();
    add_slopes::launch(
        &client,
        count,
        CubeDim::new_1d(UNITS as u32),
        input.into_tensor_arg(),
        primitive(gradient).into_tensor_arg(),
        primitive(channels.mean).into_tensor_arg(),
        primitive(channels.variance).into_tensor_arg(),
        primitive(channels.gamma).into_tensor_arg(),
        primitive(channels.beta).into_tensor_arg(),
        partial.clone().into_tensor_arg(),
        images_of_part as u32,
        channels.epsilon,
        channels.leak,
        UNITS,
    );
    finish_sums::launch(
        &client,
        CubeCount::Static(maps.div_ceil(FEW_UNITS) as u32, 1, 1),
        CubeDim::new_1d(FEW_UNITS as u32),
        partial.into_tensor_arg(),
        by_beta.clone().into_tensor_arg(),
        by_gamma.clone().into_tensor_arg(),
    );
    [by_beta, by_gamma].map(|found| Tensor::from_primitive::<Wgpu>(found))
}

/// The gradient by the input, through the batch's own statistics as well: `back` holds the gradients by beta and gamma.
///
/// # Shapes
/// `[batch, channels, height, width]`, in and out.
pub(super) fn input_gradient(
    input: Tensor<4>,
    gradient: Tensor<4>,
    channels: Channels,
    [by_beta, by_gamma]: [Tensor<1>; 2],
) -> Tensor<4> {
    let shape @ [images, _, height, width] = input.dims();
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
        primitive(channels.mean).into_tensor_arg(),
        primitive(channels.variance).into_tensor_arg(),
        primitive(channels.gamma).into_tensor_arg(),
        primitive(channels.beta).into_tensor_arg(),
        primitive(by_beta).into_tensor_arg(),
        primitive(by_gamma).into_tensor_arg(),
        output.clone().into_linear_view(),
        (height * width) as u32,
        (images * height * width) as f32,
        channels.epsilon,
        channels.leak,
    );
    Tensor::from_primitive::<Wgpu>(output)
}

/// The sums of both over all threads of the workgroup, in the first places.
#[cube]
fn add_up(first: &mut Shared<[f32]>, second: &mut Shared<[f32]>, #[comptime] units: usize) {
    let unit = UNIT_POS as usize;
    sync_cube();
    let mut step = comptime!(units / 2).runtime();
    while step > 0 {
        if unit < step {
            first[unit] = first[unit] + first[unit + step];
            second[unit] = second[unit] + second[unit + step];
        }
        sync_cube();
        step /= 2;
    }
}

/// Where the value at a place of a channel of some images lies.
#[cube]
fn place_of(maps: &OnGpu<f32>, channel: usize, first_image: u32, at: u32) -> usize {
    let width = maps.shape(3) as u32;
    let pixels = maps.shape(2) as u32 * width;
    let pixel = at % pixels;
    (first_image + at / pixels) as usize * maps.stride(0)
        + channel * maps.stride(1)
        + (pixel / width) as usize * maps.stride(2)
        + (pixel % width) as usize * maps.stride(3)
}

/// How many values of a channel the workgroup sums.
#[cube]
fn count_of(maps: &OnGpu<f32>, first_image: u32, images_of_part: u32) -> u32 {
    let images = min(images_of_part, maps.shape(0) as u32 - first_image);
    images * maps.shape(2) as u32 * maps.shape(3) as u32
}

/// Sums of the first and second powers of every channel's distances from its first value, by parts of the images.
#[cube(launch)]
fn add_powers(
    input: &OnGpu<f32>,
    partial: &mut OnGpu<f32>,
    images_of_part: u32,
    #[comptime] units: usize,
) {
    let channel = CUBE_POS_X as usize;
    let first_image = CUBE_POS_Y * images_of_part;
    let count = count_of(input, first_image, images_of_part);
    // Squares of values far from zero would leave nothing of their variance.
    let pivot = input[channel * input.stride(1)];
    let mut powers = 0.0f32;
    let mut squares = 0.0f32;
    let mut at = UNIT_POS;
    while at < count {
        let value = input[place_of(input, channel, first_image, at)] - pivot;
        powers += value;
        squares += value * value;
        at += comptime!(units as u32);
    }
    let mut first = Shared::<[f32]>::new_slice(units);
    let mut second = Shared::<[f32]>::new_slice(units);
    first[UNIT_POS as usize] = powers;
    second[UNIT_POS as usize] = squares;
    add_up(&mut first, &mut second, units);
    if UNIT_POS == 0 {
        let place = CUBE_POS_Y as usize * partial.stride(0) + channel * partial.stride(1);
        partial[place] = first[0];
        partial[place + 1] = second[0];
    }
}

/// Both sums of a channel over all parts.
#[cube]
fn sums_of_parts(partial: &OnGpu<f32>, channel: usize) -> (f32, f32) {
    let mut first = 0.0f32;
    let mut second = 0.0f32;
    for part in 0..partial.shape(0) {
        let place = part * partial.stride(0) + channel * partial.stride(1);
        first += partial[place];
        second += partial[place + 1];
    }
    (first, second)
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn finish_statistics(
    input: &OnGpu<f32>,
    partial: &OnGpu<f32>,
    old_mean: &OnGpu<f32>,
    old_variance: &OnGpu<f32>,
    mean: &mut OnGpu<f32>,
    variance: &mut OnGpu<f32>,
    running_mean: &mut OnGpu<f32>,
    running_variance: &mut OnGpu<f32>,
    values: f32,
    momentum: f32,
) {
    let channel = ABSOLUTE_POS;
    if channel >= partial.shape(1) {
        terminate!();
    }
    let (powers, squares) = sums_of_parts(partial, channel);
    let distance = powers / values;
    let found_mean = input[channel * input.stride(1)] + distance;
    let found_variance = max(squares / values - distance * distance, 0.0f32);
    mean[channel] = found_mean;
    variance[channel] = found_variance;
    running_mean[channel] = old_mean[channel] * (1.0f32 - momentum) + found_mean * momentum;
    running_variance[channel] =
        old_variance[channel] * (1.0f32 - momentum) + found_variance * momentum;
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn normalise_values(
    input: LinearView<'_, f32>,
    mean: &OnGpu<f32>,
    variance: &OnGpu<f32>,
    gamma: &OnGpu<f32>,
    beta: &OnGpu<f32>,
    mut output: LinearViewMut<'_, f32>,
    pixels: u32,
    epsilon: f32,
    leak: f32,
) {
    if !output.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let channel = (ABSOLUTE_POS as u32 / pixels) as usize % mean.shape(0);
    let inverse = 1.0f32 / (variance[channel] + epsilon).sqrt();
    let normal = (input.read(ABSOLUTE_POS) - mean[channel]) * inverse;
    let value = normal * gamma[channel] + beta[channel];
    // What is infinite below zero is zero behind a ReLU, and what is no number stays none.
    let below = select(leak == 0.0f32, 0.0f32, value * leak);
    output.write(ABSOLUTE_POS, select(value <= 0.0f32, below, value));
}

/// The gradient before the activation, of one behind it: as the activation decided, from the same operations.
#[cube]
fn before_activation(slope: f32, normal: f32, gamma: f32, beta: f32, leak: f32) -> f32 {
    select(normal * gamma + beta <= 0.0f32, slope * leak, slope)
}

/// Sums of the gradients behind the activation, and of their products with the normalised values, by parts of the images.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn add_slopes(
    input: &OnGpu<f32>,
    gradient: &OnGpu<f32>,
    mean: &OnGpu<f32>,
    variance: &OnGpu<f32>,
    gamma: &OnGpu<f32>,
    beta: &OnGpu<f32>,
    partial: &mut OnGpu<f32>,
    images_of_part: u32,
    epsilon: f32,
    leak: f32,
    #[comptime] units: usize,
) {
    let channel = CUBE_POS_X as usize;
    let first_image = CUBE_POS_Y * images_of_part;
    let count = count_of(input, first_image, images_of_part);
    let centre = mean[channel];
    let inverse = 1.0f32 / (variance[channel] + epsilon).sqrt();
    let factor = gamma[channel];
    let summand = beta[channel];
    let mut slopes = 0.0f32;
    let mut projected = 0.0f32;
    let mut at = UNIT_POS;
    while at < count {
        let value = (input[place_of(input, channel, first_image, at)] - centre) * inverse;
        let slope = gradient[place_of(gradient, channel, first_image, at)];
        let slope = before_activation(slope, value, factor, summand, leak);
        slopes += slope;
        projected += slope * value;
        at += comptime!(units as u32);
    }
    let mut first = Shared::<[f32]>::new_slice(units);
    let mut second = Shared::<[f32]>::new_slice(units);
    first[UNIT_POS as usize] = slopes;
    second[UNIT_POS as usize] = projected;
    add_up(&mut first, &mut second, units);
    if UNIT_POS == 0 {
        let place = CUBE_POS_Y as usize * partial.stride(0) + channel * partial.stride(1);
        partial[place] = first[0];
        partial[place + 1] = second[0];
    }
}

#[cube(launch)]
fn finish_sums(partial: &OnGpu<f32>, first: &mut OnGpu<f32>, second: &mut OnGpu<f32>) {
    let channel = ABSOLUTE_POS;
    if channel >= partial.shape(1) {
        terminate!();
    }
    let sums = sums_of_parts(partial, channel);
    first[channel] = sums.0;
    second[channel] = sums.1;
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn gradient_of_values(
    input: LinearView<'_, f32>,
    gradient: LinearView<'_, f32>,
    mean: &OnGpu<f32>,
    variance: &OnGpu<f32>,
    gamma: &OnGpu<f32>,
    beta: &OnGpu<f32>,
    by_beta: &OnGpu<f32>,
    by_gamma: &OnGpu<f32>,
    mut output: LinearViewMut<'_, f32>,
    pixels: u32,
    values: f32,
    epsilon: f32,
    leak: f32,
) {
    if !output.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let channel = (ABSOLUTE_POS as u32 / pixels) as usize % mean.shape(0);
    let inverse = 1.0f32 / (variance[channel] + epsilon).sqrt();
    let value = (input.read(ABSOLUTE_POS) - mean[channel]) * inverse;
    let slope = gradient.read(ABSOLUTE_POS);
    let slope = select(
        value * gamma[channel] + beta[channel] > 0.0f32,
        slope,
        slope * leak,
    );
    let back = (by_beta[channel] + value * by_gamma[channel]) / values;
    output.write(ABSOLUTE_POS, (slope - back) * gamma[channel] * inverse);
}
