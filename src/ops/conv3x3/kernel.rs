//! The convolution and the gradient of its weights, on slices.
//!
//! Windows are the columns of a matrix: row `9 c + 3 ky + kx` holds what tap `(ky, kx)` sees of
//! channel `c`, for every position in turn. That is the channel moved by `(ky - 1) width + kx - 1`
//! values, but for the edge. A few images at a time go all the way, on one thread: their windows stay
//! in its cache and are never in memory as a whole. Maps are `[image, channel, row, column]`, weights
//! `[to, from, 3, 3]`.

use rayon::prelude::*;

use crate::ops::matrix::{Matrix, multiply, multiply_views, with_scratch};

/// Taps of a window in one channel.
const TAPS: usize = 9;
/// Positions of the images that go through together: enough for a product at full speed.
const POSITIONS: usize = 256;
/// Values of the windows that are held at once: half a MiB, a part of one core's cache.
const WINDOWS: usize = 1 << 17;
/// Least number of tasks to cut the work into, where it has as many parts.
const TASKS: usize = 8;
/// Positions of a map beyond which its windows do not stay in a core's cache.
const LARGEST: usize = 64 * 64;

/// Sizes of a convolution that keeps the side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub images: usize,
    /// Channels of the input.
    pub from: usize,
    /// Channels of the output.
    pub to: usize,
    pub height: usize,
    pub width: usize,
}

impl Geometry {
    /// Whether the kernels take these sizes.
    pub fn is_served(&self) -> bool {
        let sizes = [self.images, self.from, self.to, self.height, self.width];
        sizes.iter().all(|size| *size > 0) && self.area() <= LARGEST
    }

    pub fn input_shape(&self) -> [usize; 4] {
        [self.images, self.from, self.height, self.width]
    }

    pub fn output_shape(&self) -> [usize; 4] {
        [self.images, self.to, self.height, self.width]
    }

    pub fn weight_shape(&self) -> [usize; 4] {
        [self.to, self.from, 3, 3]
    }

    /// Of the convolution that gives the gradient by the input.
    pub fn reversed(&self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..*self
        }
    }

    /// Positions of a map.
    fn area(&self) -> usize {
        self.height * self.width
    }

    /// Length of a window, and of a row of the weights.
    fn window(&self) -> usize {
        self.from * TAPS
    }

    /// How many of `images` go through together.
    fn together(&self, images: usize) -> usize {
        (POSITIONS / self.area()).clamp(1, images.div_ceil(TASKS).max(1))
    }

    /// Channels whose windows at that many positions are held at once.
    fn block(&self, positions: usize) -> usize {
        (WINDOWS / (TAPS * positions)).clamp(1, self.from)
    }

    /// Gathers the windows of `channels` channels from `first` on, for all images in `input`.
    fn gather(&self, input: &[f32], first: usize, channels: usize, windows: &mut [f32]) {
        let area = self.area();
        let image_len = self.from * area;
        let positions = input.len() / image_len * area;
        for (index, image) in input.chunks_exact(image_len).enumerate() {
            let channels = image[first * area..][..channels * area].chunks_exact(area);
            for (map, rows) in channels.zip(windows.chunks_exact_mut(TAPS * positions)) {
                for (tap, row) in rows.chunks_exact_mut(positions).enumerate() {
                    shift(map, self.width, tap, &mut row[index * area..][..area]);
                }
            }
        }
    }
}

/// What tap number `3 ky + kx` sees of a map, for every position.
fn shift(map: &[f32], width: usize, tap: usize, target: &mut [f32]) {
    let area = map.len();
    let (ky, kx) = (tap / 3, tap % 3);
    // Position `p` sees the value at `p + ky width + kx - (width + 1)`.
    let (ahead, back) = (ky * width + kx, width + 1);
    if ahead >= back {
        let by = (ahead - back).min(area);
        target[..area - by].copy_from_slice(&map[by..]);
        target[area - by..].fill(0.0);
    } else {
        let by = (back - ahead).min(area);
        target[..by].fill(0.0);
        target[by..].copy_from_slice(&map[..area - by]);
    }
    // Beyond the left or the right edge lies padding and not the row before or after.
    let edge = match kx {
        0 => 0,
        1 => return,
        _ => width - 1,
    };
    for value in target[edge..].iter_mut().step_by(width) {
        *value = 0.0;
    }
}

/// `[image, channel, position]` to `[channel, image and position]`.
fn group(images: &[f32], channels: usize, area: usize, grouped: &mut [f32]) {
    let positions = images.len() / channels;
    for (index, image) in images.chunks_exact(channels * area).enumerate() {
        let maps = image.chunks_exact(area);
        for (map, row) in maps.zip(grouped.chunks_exact_mut(positions)) {
            row[index * area..][..area].copy_from_slice(map);
        }
    }
}

/// The reverse of [`group`].
fn ungroup(grouped: &[f32], channels: usize, area: usize, images: &mut [f32]) {
    let positions = images.len() / channels;
    for (index, image) in images.chunks_exact_mut(channels * area).enumerate() {
        let maps = image.chunks_exact_mut(area);
        for (map, row) in maps.zip(grouped.chunks_exact(positions)) {
            map.copy_from_slice(&row[index * area..][..area]);
        }
    }
}

/// The convolution.
pub(super) fn convolve(geometry: &Geometry, input: &[f32], weight: &[f32]) -> Vec<f32> {
    let area = geometry.area();
    let together = geometry.together(geometry.images);
    let mut output = vec![0.0; geometry.images * geometry.to * area];
    output
        .par_chunks_mut(together * geometry.to * area)
        .zip(input.par_chunks(together * geometry.from * area))
        .for_each(|(output, input)| convolve_images(geometry, input, weight, output));
    output
}

fn convolve_images(geometry: &Geometry, input: &[f32], weight: &[f32], output: &mut [f32]) {
    let area = geometry.area();
    let positions = output.len() / geometry.to;
    let block = geometry.block(positions);
    // The product is [channel, image, position]; of a single image it is the result itself.
    let single = positions == area;
    let grouped = if single { 0 } else { output.len() };
    with_scratch(
        [TAPS * block * positions, grouped],
        |[windows, grouped]: [&mut [f32]; 2]| {
            let product: &mut [f32] = if single { &mut *output } else { &mut *grouped };
            for first in (0..geometry.from).step_by(block) {
                let channels = block.min(geometry.from - first);
                geometry.gather(input, first, channels, windows);
                let weight = Matrix {
                    values: &weight[TAPS * first..],
                    rows: geometry.to,
                    columns: TAPS * channels,
                    stride: geometry.window(),
                };
                let windows = Matrix {
                    values: windows,
                    rows: TAPS * channels,
                    columns: positions,
                    stride: positions,
                };
                multiply(weight, windows, product, first > 0);
            }
            if !single {
                ungroup(grouped, geometry.to, area, output);
            }
        },
    );
}

/// The weights of the convolution that gives the gradient by the input: from and to change places,
/// and the taps are read backwards.
pub(super) fn reversed(geometry: &Geometry, weight: &[f32]) -> Vec<f32> {
    let mut reversed = vec![0.0; weight.len()];
    for (index, taps) in weight.chunks_exact(TAPS).enumerate() {
        let (to, from) = (index / geometry.from, index % geometry.from);
        let target = &mut reversed[(from * geometry.to + to) * TAPS..][..TAPS];
        for (target, tap) in target.iter_mut().zip(taps.iter().rev()) {
            *target = *tap;
        }
    }
    reversed
}

/// The gradient of [`convolve`] by its weights, for the gradient of its result.
///
/// A task is a share of the images. Its part of the sum is its own, and the parts are added in the
/// order of the images.
pub(super) fn weight_gradient(geometry: &Geometry, input: &[f32], gradient: &[f32]) -> Vec<f32> {
    let area = geometry.area();
    let share = geometry.images.div_ceil(TASKS);
    let mut parts: Vec<Vec<f32>> = Vec::new();
    input
        .par_chunks(share * geometry.from * area)
        .zip(gradient.par_chunks(share * geometry.to * area))
        .map(|(input, gradient)| share_of_gradient(geometry, input, gradient))
        .collect_into_vec(&mut parts);
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or_default();
    parts.fold(first, |mut sum, part| {
        for (sum, value) in sum.iter_mut().zip(&part) {
            *sum += value;
        }
        sum
    })
}

/// The gradient of the weights from some images.
fn share_of_gradient(geometry: &Geometry, input: &[f32], gradient: &[f32]) -> Vec<f32> {
    let area = geometry.area();
    let together = geometry.together(gradient.len() / (geometry.to * area));
    let most = together * area;
    let block = geometry.block(most);
    let mut sum = vec![0.0; geometry.to * geometry.window()];
    with_scratch(
        [TAPS * block * most, geometry.to * most],
        |[windows, grouped]: [&mut [f32]; 2]| {
            let inputs = input.chunks(together * geometry.from * area);
            let gradients = gradient.chunks(together * geometry.to * area);
            for (index, (input, gradient)) in inputs.zip(gradients).enumerate() {
                let positions = gradient.len() / geometry.to;
                group(gradient, geometry.to, area, grouped);
                for first in (0..geometry.from).step_by(block) {
                    let channels = block.min(geometry.from - first);
                    geometry.gather(input, first, channels, windows);
                    let gradient = Matrix {
                        values: grouped,
                        rows: geometry.to,
                        columns: positions,
                        stride: positions,
                    };
                    let windows = Matrix {
                        values: windows,
                        rows: TAPS * channels,
                        columns: positions,
                        stride: positions,
                    };
                    multiply_views(
                        gradient.view(),
                        windows.turned(),
                        &mut sum[TAPS * first..],
                        geometry.window(),
                        index > 0,
                    );
                }
            }
        },
    );
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_what_the_definition_says() {
        for [height, width] in [[1, 1], [1, 3], [3, 1], [2, 2], [3, 4]] {
            let area = height * width;
            let map: Vec<f32> = (1..=area).map(|value| value as f32).collect();
            for tap in 0..TAPS {
                let mut found = vec![f32::NAN; area];
                shift(&map, width, tap, &mut found);
                for (position, found) in found.iter().enumerate() {
                    let y = (position / width + tap / 3).checked_sub(1);
                    let x = (position % width + tap % 3).checked_sub(1);
                    let expected = match (y, x) {
                        (Some(y), Some(x)) if y < height && x < width => map[y * width + x],
                        _ => 0.0,
                    };
                    assert_eq!(
                        *found, expected,
                        "{height}x{width}, tap {tap} at {position}"
                    );
                }
            }
        }
    }

    #[test]
    fn grouping_is_undone() {
        let images: Vec<f32> = (0..2 * 3 * 4).map(|value| value as f32).collect();
        let mut grouped = vec![f32::NAN; images.len()];
        group(&images, 3, 4, &mut grouped);
        assert_eq!(grouped[..8], [0.0, 1.0, 2.0, 3.0, 12.0, 13.0, 14.0, 15.0]);
        let mut back = vec![f32::NAN; images.len()];
        ungroup(&grouped, 3, 4, &mut back);
        assert_eq!(back, images);
    }
}
