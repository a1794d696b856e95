//! Sums over channels: by parts of the images, then of the parts.

use burn::backend::Wgpu;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::{Device, Tensor};
use cubecl::prelude::{Tensor as OnGpu, *};

use super::channels::{Channels, Norms};
use crate::ops::gpu::primitive;

/// Threads of a workgroup that sums.
const UNITS: usize = 256;
/// Threads of a workgroup that adds up what those have found.
const FEW_UNITS: usize = 64;
/// Values of a workgroup that sums, at least.
const LEAST: usize = 4096;
/// Such workgroups to cut the work for.
const WANTED: usize = 1024;

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
        [mean, variance, running_mean, running_variance].map(Tensor::from_primitive::<Wgpu>);
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

/// Gradients by beta and by gamma, `[channels]` each.
///
/// # Shapes
/// Input and the gradient by the output `[batch, channels, height, width]`.
pub(super) fn parameter_gradients(
    input: Tensor<4>,
    gradient: Tensor<4>,
    channels: &Channels,
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
        channels.on_gpu(),
        partial.clone().into_tensor_arg(),
        images_of_part as u32,
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
    [by_beta, by_gamma].map(Tensor::from_primitive::<Wgpu>)
}

/// Writes the sums of both over all threads of the workgroup as those of its part.
#[cube]
fn add_up(
    partial: &mut OnGpu<f32>,
    channel: usize,
    one: f32,
    other: f32,
    #[comptime] units: usize,
) {
    let mut first = Shared::<[f32]>::new_slice(units);
    let mut second = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    first[unit] = one;
    second[unit] = other;
    sync_cube();
    let mut step = comptime!(units / 2).runtime();
    while step > 0 {
        if unit < step {
            let (one, other) = (first[unit + step], second[unit + step]);
            first[unit] += one;
            second[unit] += other;
        }
        sync_cube();
        step /= 2;
    }
    if unit == 0 {
        let place = CUBE_POS_Y as usize * partial.stride(0) + channel * partial.stride(1);
        partial[place] = first[0];
        partial[place + 1] = second[0];
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
    add_up(partial, channel, powers, squares, units);
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

/// Sums of the gradients behind the activation, and of their products with the normalised values, by parts of the images.
#[cube(launch)]
fn add_slopes(
    input: &OnGpu<f32>,
    gradient: &OnGpu<f32>,
    norms: Norms,
    partial: &mut OnGpu<f32>,
    images_of_part: u32,
    #[comptime] units: usize,
) {
    let channel = CUBE_POS_X as usize;
    let first_image = CUBE_POS_Y * images_of_part;
    let count = count_of(input, first_image, images_of_part);
    let mut slopes = 0.0f32;
    let mut projected = 0.0f32;
    let mut at = UNIT_POS;
    while at < count {
        let normal = norms.normal(input[place_of(input, channel, first_image, at)], channel);
        let behind = gradient[place_of(gradient, channel, first_image, at)];
        let slope = norms.slope(behind, normal, channel);
        slopes += slope;
        projected += slope * normal;
        at += comptime!(units as u32);
    }
    add_up(partial, channel, slopes, projected, units);
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
