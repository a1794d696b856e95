//! The convolution that keeps the side and the gradient of its weights, on slices.
//!
//! Both are products of matrices behind a gather of windows, a band of rows of one image (or a few
//! small images) at a time, so that the windows stay in one core's cache. Maps are
//! `[image, channel, row, column]`, weights `[to, from, kernel, kernel]`.

use rayon::prelude::*;

use crate::ops::buffer::in_chunks;
use crate::ops::matrix::{Matrix, WINDOWS, multiply_views, start_from, transpose, with_scratch};

/// Positions of small images that go through one product together.
const POSITIONS: usize = 256;
/// Shares of the images whose parts of the weights' gradient are summed apart.
const SHARES: usize = 8;

/// Shares of a single image's channels, and the channels that are worth a gather of their own.
const CHANNEL_SHARES: usize = 2;
const LEAST_CHANNELS: usize = 16;

/// Sizes of a convolution with padding such that height and width stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub images: usize,
    /// Channels before.
    pub from: usize,
    /// Channels after.
    pub to: usize,
    pub height: usize,
    pub width: usize,
    /// Side of the kernel, odd.
    pub kernel: usize,
}

impl Geometry {
    pub fn output_shape(&self) -> [usize; 4] {
        [self.images, self.to, self.height, self.width]
    }

    pub fn input_shape(&self) -> [usize; 4] {
        [self.images, self.from, self.height, self.width]
    }

    pub fn weight_shape(&self) -> [usize; 4] {
        [self.to, self.from, self.kernel, self.kernel]
    }

    /// The convolution whose result is this one's gradient by its input.
    pub fn reversed(&self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..*self
        }
    }

    fn area(&self) -> usize {
        self.height * self.width
    }

    /// Length of a window, and of a row of the weights.
    fn window(&self) -> usize {
        self.from * self.kernel * self.kernel
    }

    /// Channels after that one core makes of a single image, where they can be shared out. The windows are gathered
    /// anew for every share, so there are few.
    fn part_of_channels(&self) -> Option<usize> {
        let part = self.to / CHANNEL_SHARES;
        (self.to.is_multiple_of(CHANNEL_SHARES) && part >= LEAST_CHANNELS).then_some(part)
    }

    /// How many images go through one product.
    fn together(&self) -> usize {
        (POSITIONS / self.area()).clamp(1, self.images.max(1))
    }

    /// Rows of a map whose windows are held at once.
    fn band(&self) -> usize {
        (WINDOWS / (self.window() * self.width * self.together())).clamp(1, self.height)
    }

    /// Gathers the windows at the `rows` rows from `first` on of some images:
    /// `[from * kernel * kernel, images * rows * width]`.
    fn gather(&self, images: &[f32], first: usize, rows: usize, windows: &mut [f32]) {
        let reach = self.kernel / 2;
        let count = images.len() / (self.from * self.area());
        let columns = count * rows * self.width;
        let mut lines = windows.chunks_exact_mut(columns);
        for channel in 0..self.from {
            for down in 0..self.kernel {
                for across in 0..self.kernel {
                    let Some(line) = lines.next() else { return };
                    for (image, line) in line.chunks_exact_mut(rows * self.width).enumerate() {
                        let map = (image * self.from + channel) * self.area();
                        let map = &images[map..][..self.area()];
                        for (row, target) in line.chunks_exact_mut(self.width).enumerate() {
                            // The row above the map by `reach` is row 0.
                            let source = (first + row + down).checked_sub(reach);
                            match source.filter(|source| *source < self.height) {
                                Some(source) => {
                                    let source = &map[source * self.width..][..self.width];
                                    shift(source, target, across, reach);
                                }
                                None => target.fill(0.0),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `target[i] = source[i + across - reach]`, zero beyond its ends.
fn shift(source: &[f32], target: &mut [f32], across: usize, reach: usize) {
    let width = source.len();
    if across >= reach {
        let by = (across - reach).min(width);
        target[..width - by].copy_from_slice(&source[by..]);
        target[width - by..].fill(0.0);
    } else {
        let by = (reach - across).min(width);
        target[by..].copy_from_slice(&source[..width - by]);
        target[..by].fill(0.0);
    }
}

/// The convolution, with a bias per channel where there is one.
pub(super) fn convolve(
    geometry: &Geometry,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    if let (1, Some(part)) = (geometry.images, geometry.part_of_channels()) {
        return convolve_image(geometry, part, input, weight, bias);
    }
    let (together, area) = (geometry.together(), geometry.area());
    let length = geometry.images * geometry.to * area;
    in_chunks(length, together * geometry.to * area, |index, output| {
        start_from(bias, area, output);
        let images = output.len() / (geometry.to * area);
        let input = &input[index * together * geometry.from * area..];
        convolve_images(
            geometry,
            &input[..images * geometry.from * area],
            weight,
            output,
        );
    })
}

/// The convolution of one image, a `part` of the channels after at a time: there are no other images to keep
/// the other cores busy.
fn convolve_image(
    geometry: &Geometry,
    part: usize,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (window, area) = (geometry.window(), geometry.area());
    let of_part = Geometry {
        to: part,
        ..*geometry
    };
    in_chunks(geometry.to * area, part * area, |index, output| {
        let first = index * part;
        start_from(bias.map(|bias| &bias[first..][..part]), area, output);
        let weight = &weight[first * window..][..part * window];
        convolve_images(&of_part, input, weight, output);
    })
}

/// Adds the convolution of a few images to what is in `output`.
fn convolve_images(geometry: &Geometry, input: &[f32], weight: &[f32], output: &mut [f32]) {
    let area = geometry.area();
    let images = output.len() / (geometry.to * area);
    let weight = Matrix {
        values: weight,
        rows: geometry.to,
        columns: geometry.window(),
        stride: geometry.window(),
    };
    if geometry.kernel == 1 && images == 1 {
        // A window is a position: the maps are the matrix.
        let input = matrix(input, geometry.from, area);
        multiply_views(weight.view(), input.view(), output, area, true);
        return;
    }
    let band = geometry.band();
    let most = images * band * geometry.width;
    let grouped = if images == 1 { 0 } else { geometry.to * most };
    with_scratch(
        [geometry.window() * most, grouped],
        |[windows, grouped]: [&mut [f32]; 2]| {
            for first in (0..geometry.height).step_by(band) {
                let rows = band.min(geometry.height - first);
                let part = rows * geometry.width;
                let columns = images * part;
                let windows = &mut windows[..geometry.window() * columns];
                geometry.gather(input, first, rows, windows);
                let windows = matrix(windows, geometry.window(), columns);
                let start = first * geometry.width;
                if images == 1 {
                    let output = &mut output[start..];
                    multiply_views(weight.view(), windows.view(), output, area, true);
                    continue;
                }
                let grouped = &mut grouped[..geometry.to * columns];
                multiply_views(weight.view(), windows.view(), grouped, columns, false);
                for (index, map) in output.chunks_exact_mut(area).enumerate() {
                    let (image, channel) = (index / geometry.to, index % geometry.to);
                    let sums = &grouped[channel * columns + image * part..][..part];
                    for (value, sum) in map[start..start + part].iter_mut().zip(sums) {
                        *value += sum;
                    }
                }
            }
        },
    );
}

/// The weights of the convolution that gives the gradient by the input: turned over, and the two
/// kinds of channels exchanged.
pub(super) fn reversed_weight(geometry: &Geometry, weight: &[f32]) -> Vec<f32> {
    let taps = geometry.kernel * geometry.kernel;
    let mut reversed = Vec::with_capacity(weight.len());
    for from in 0..geometry.from {
        for to in 0..geometry.to {
            let kernel = &weight[(to * geometry.from + from) * taps..][..taps];
            reversed.extend(kernel.iter().rev());
        }
    }
    reversed
}

/// The gradients of [`convolve`] by its weights and its bias, for the gradient of its result.
///
/// Each share of the images has sums of its own, which are added in the order of the images.
pub(super) fn parameter_gradients(
    geometry: &Geometry,
    input: &[f32],
    gradient: &[f32],
) -> [Vec<f32>; 2] {
    let share = geometry.images.div_ceil(SHARES).max(1);
    let weights = geometry.to * geometry.window();
    let mut parts: Vec<f32> = vec![0.0; geometry.images.div_ceil(share) * (weights + geometry.to)];
    parts
        .par_chunks_mut(weights + geometry.to)
        .zip(input.par_chunks(share * geometry.from * geometry.area()))
        .zip(gradient.par_chunks(share * geometry.to * geometry.area()))
        .for_each(|((sums, input), gradient)| {
            let (weight, bias) = sums.split_at_mut(weights);
            share_of_gradient(geometry, input, gradient, weight);
            let maps = gradient.chunks_exact(geometry.area());
            for (index, map) in maps.enumerate() {
                bias[index % geometry.to] += map.iter().sum::<f32>();
            }
        });
    let mut parts = parts.chunks_exact(weights + geometry.to);
    let mut total = parts
        .next()
        .map_or_else(|| vec![0.0; weights + geometry.to], |first| first.to_vec());
    for part in parts {
        for (total, value) in total.iter_mut().zip(part) {
            *total += value;
        }
    }
    let bias = total.split_off(weights);
    let mut weight = vec![0.0; weights];
    transpose(&total, geometry.to, &mut weight);
    [weight, bias]
}

/// Adds to the gradient of the weights, turned over: `[window, channel after]`, what some images give.
///
/// That way round the product reads the windows where they lie and packs the gradient alone, of which there is a
/// ninth as much.
fn share_of_gradient(geometry: &Geometry, input: &[f32], gradient: &[f32], sums: &mut [f32]) {
    let (area, band, together) = (geometry.area(), geometry.band(), geometry.together());
    let most = together * band * geometry.width;
    let direct = together == 1;
    let grouped = if direct { 0 } else { geometry.to * most };
    with_scratch(
        [geometry.window() * most, grouped],
        |[windows, grouped]: [&mut [f32]; 2]| {
            let inputs = input.chunks(together * geometry.from * area);
            let gradients = gradient.chunks(together * geometry.to * area);
            for (input, gradient) in inputs.zip(gradients) {
                let images = gradient.len() / (geometry.to * area);
                for first in (0..geometry.height).step_by(band) {
                    let rows = band.min(geometry.height - first);
                    let part = rows * geometry.width;
                    let columns = images * part;
                    let windows = &mut windows[..geometry.window() * columns];
                    let start = first * geometry.width;
                    let windows = if direct && geometry.kernel == 1 {
                        // A window is a position: the maps are the matrix.
                        Matrix {
                            values: &input[start..],
                            rows: geometry.from,
                            columns,
                            stride: area,
                        }
                    } else {
                        geometry.gather(input, first, rows, windows);
                        matrix(windows, geometry.window(), columns)
                    };
                    let gradient = if direct {
                        Matrix {
                            values: &gradient[start..],
                            rows: geometry.to,
                            columns,
                            stride: area,
                        }
                    } else {
                        for (index, map) in gradient.chunks_exact(area).enumerate() {
                            let (image, channel) = (index / geometry.to, index % geometry.to);
                            let target = channel * columns + image * part;
                            grouped[target..][..part].copy_from_slice(&map[start..start + part]);
                        }
                        matrix(grouped, geometry.to, columns)
                    };
                    let to = geometry.to;
                    multiply_views(windows.view(), gradient.turned(), sums, to, true);
                }
            }
        },
    );
}

/// A matrix without gaps.
fn matrix(values: &[f32], rows: usize, columns: usize) -> Matrix<'_> {
    Matrix {
        values,
        rows,
        columns,
        stride: columns,
    }
}
