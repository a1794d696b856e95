//! The convolution, its transpose and the gradient of its weights, on slices.
//!
//! Each is a product of matrices between a gather of windows, or before their scatter. A few images
//! at a time go all the way, on one thread: their windows stay in its cache and are never in memory
//! as a whole. Maps are `[image, channel, row, column]`, weights `[small channel, large channel, 4, 4]`.

use rayon::prelude::*;

use super::geometry::{Geometry, TAPS};
use super::patches::{Place, gather, scatter};
use crate::ops::buffer::in_chunks;
use crate::ops::matrix::{Matrix, WINDOWS, multiply, transpose, transposed, with_scratch};

/// Output positions of the images that go through together: enough for a product at full speed.
const POSITIONS: usize = 256;
/// Least number of tasks to cut the work into, where it has as many parts.
const TASKS: usize = 8;
/// Fewest and most channels per task of the weights' gradient.
const GRADIENT_CHANNELS: [usize; 2] = [8, 32];
/// Rows of the weights' gradient that are summed together.
const GRADIENT_ROWS: usize = 8;

impl Geometry {
    /// How many of `images` go through together.
    fn together(&self, images: usize) -> usize {
        (POSITIONS / self.area()).clamp(1, images.div_ceil(TASKS).max(1))
    }

    /// Channels whose windows at that many positions are held at once.
    fn block(&self, positions: usize) -> usize {
        (WINDOWS / (TAPS * positions)).clamp(1, self.large)
    }

    /// Gathers the windows of `channels` channels from `first` on, for all images in `large`.
    fn gather(&self, large: &[f32], first: usize, channels: usize, windows: &mut [f32]) {
        let stride = large.len() / self.large_image() * self.area();
        for (index, image) in large.chunks_exact(self.large_image()).enumerate() {
            let place = Place {
                stride,
                first: index * self.area(),
            };
            let image = &image[first * 4 * self.area()..][..channels * 4 * self.area()];
            gather([self.height, self.width], image, windows, place);
        }
    }
}

/// The convolution of the large maps.
pub(super) fn convolve(geometry: &Geometry, large: &[f32], weight: &[f32]) -> Vec<f32> {
    let (small_image, large_image) = (geometry.small_image(), geometry.large_image());
    let together = geometry.together(geometry.images);
    let length = geometry.images * small_image;
    in_chunks(length, together * small_image, |index, small| {
        let images = small.len() / small_image;
        let large = &large[index * together * large_image..][..images * large_image];
        convolve_images(geometry, large, weight, small);
    })
}

fn convolve_images(geometry: &Geometry, large: &[f32], weight: &[f32], small: &mut [f32]) {
    let images = small.len() / geometry.small_image();
    let positions = images * geometry.area();
    let block = geometry.block(positions);
    // The product is [channel, image, position]; of a single image it is the result itself.
    let grouped = if images == 1 { 0 } else { small.len() };
    with_scratch(
        [TAPS * block * positions, grouped],
        |[windows, grouped]: [&mut [f32]; 2]| {
            let mut multiply_into = |product: &mut [f32]| {
                for first in (0..geometry.large).step_by(block) {
                    let channels = block.min(geometry.large - first);
                    geometry.gather(large, first, channels, windows);
                    let weight = Matrix {
                        values: &weight[TAPS * first..],
                        rows: geometry.small,
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
            };
            if images == 1 {
                multiply_into(small);
            } else {
                multiply_into(grouped);
                for (index, image) in small.chunks_exact_mut(geometry.small_image()).enumerate() {
                    let maps = image.chunks_exact_mut(geometry.area());
                    for (map, row) in maps.zip(grouped.chunks_exact(positions)) {
                        map.copy_from_slice(&row[index * geometry.area()..][..geometry.area()]);
                    }
                }
            }
        },
    );
}

/// The transposed convolution of the small maps: the gradient of [`convolve`] by the large ones.
pub(super) fn expand(geometry: &Geometry, small: &[f32], weight: &[f32]) -> Vec<f32> {
    let together = geometry.together(geometry.images);
    let weight = transposed(weight, geometry.window()); // [window, small channel]
    let (small_image, large_image) = (geometry.small_image(), geometry.large_image());
    let length = geometry.images * large_image;
    in_chunks(length, together * large_image, |index, large| {
        let images = large.len() / large_image;
        let small = &small[index * together * small_image..][..images * small_image];
        expand_images(geometry, small, &weight, large);
    })
}

fn expand_images(geometry: &Geometry, small: &[f32], weight: &[f32], large: &mut [f32]) {
    let images = small.len() / geometry.small_image();
    let positions = images * geometry.area();
    let block = geometry.block(positions);
    let grouped = if images == 1 { 0 } else { small.len() };
    with_scratch(
        [TAPS * block * positions, grouped],
        |[windows, grouped]: [&mut [f32]; 2]| {
            let small: &[f32] = if images == 1 {
                small
            } else {
                for (index, image) in small.chunks_exact(geometry.small_image()).enumerate() {
                    let maps = image.chunks_exact(geometry.area());
                    for (map, row) in maps.zip(grouped.chunks_exact_mut(positions)) {
                        row[index * geometry.area()..][..geometry.area()].copy_from_slice(map);
                    }
                }
                grouped
            };
            for first in (0..geometry.large).step_by(block) {
                let channels = block.min(geometry.large - first);
                let weight = Matrix {
                    values: &weight[TAPS * first * geometry.small..],
                    rows: TAPS * channels,
                    columns: geometry.small,
                    stride: geometry.small,
                };
                let small = Matrix {
                    values: small,
                    rows: geometry.small,
                    columns: positions,
                    stride: positions,
                };
                multiply(weight, small, windows, false);
                for (index, image) in large.chunks_exact_mut(geometry.large_image()).enumerate() {
                    let place = Place {
                        stride: positions,
                        first: index * geometry.area(),
                    };
                    let area = 4 * geometry.area();
                    let image = &mut image[first * area..][..channels * area];
                    scatter([geometry.height, geometry.width], windows, place, image);
                }
            }
        },
    );
}

/// The gradient of [`convolve`] by its weights, for the gradient of its result.
///
/// A task is a block of the large channels and a share of the images. Its part of the sum is its
/// own, and the parts are added in the order of the images.
pub(super) fn weight_gradient(geometry: &Geometry, large: &[f32], small: &[f32]) -> Vec<f32> {
    let [fewest, most] = GRADIENT_CHANNELS;
    let block = geometry.block(geometry.area()).clamp(fewest, most);
    let block = block.min(geometry.large);
    let blocks = geometry.large.div_ceil(block);
    let share = geometry.images.div_ceil((TASKS / blocks).max(1));
    let shares = geometry.images.div_ceil(share);

    let part = TAPS * block * geometry.small; // [window, small channel]
    let mut parts = vec![0.0; shares * blocks * part];
    parts
        .par_chunks_mut(part)
        .enumerate()
        .for_each(|(task, part)| {
            let first = (task % blocks) * block;
            let channels = block.min(geometry.large - first);
            let images = (task / blocks) * share;
            let images = images..geometry.images.min(images + share);
            let large = &large[images.start * geometry.large_image()..];
            let large = &large[..images.len() * geometry.large_image()];
            let small = &small[images.start * geometry.small_image()..];
            let small = &small[..images.len() * geometry.small_image()];
            share_of_gradient(geometry, large, small, first, channels, part);
        });

    let mut gradient = vec![0.0; geometry.small * geometry.window()];
    gradient
        .par_chunks_mut(GRADIENT_ROWS * geometry.window())
        .enumerate()
        .for_each(|(band, rows)| {
            let count = rows.len() / geometry.window();
            for (task, part) in parts.chunks_exact(part).enumerate() {
                let first = (task % blocks) * block * TAPS;
                let taps = part.chunks_exact(geometry.small);
                for (column, values) in (first..geometry.window()).zip(taps) {
                    let values = &values[band * GRADIENT_ROWS..][..count];
                    for (row, value) in values.iter().enumerate() {
                        rows[row * geometry.window() + column] += value;
                    }
                }
            }
        });
    gradient
}

/// The gradient of the weights of some large channels, from some images: `[window, small channel]`.
fn share_of_gradient(
    geometry: &Geometry,
    large: &[f32],
    small: &[f32],
    first: usize,
    channels: usize,
    gradient: &mut [f32],
) {
    let together = geometry.together(large.len() / geometry.large_image());
    let most = together * geometry.area();
    with_scratch(
        [TAPS * channels * most, most * geometry.small],
        |[windows, positions_first]: [&mut [f32]; 2]| {
            let large = large.chunks(together * geometry.large_image());
            let small = small.chunks(together * geometry.small_image());
            for (index, (large, small)) in large.zip(small).enumerate() {
                geometry.gather(large, first, channels, windows);
                // [image, channel, position] to [image, position, channel]
                let images = small.chunks_exact(geometry.small_image());
                let targets = positions_first.chunks_exact_mut(geometry.small_image());
                for (image, target) in images.zip(targets) {
                    transpose(image, geometry.area(), target);
                }
                let positions = small.len() / geometry.small;
                let windows = Matrix {
                    values: windows,
                    rows: TAPS * channels,
                    columns: positions,
                    stride: positions,
                };
                let small = Matrix {
                    values: positions_first,
                    rows: positions,
                    columns: geometry.small,
                    stride: geometry.small,
                };
                multiply(windows, small, gradient, index > 0);
            }
        },
    );
}
