//! The convolution, its transpose and the gradient of its weights by Winograd's minimal filtering: nine products of
//! matrices for every tile of 2x2 outputs where windows take sixteen ([`tiles`](super::tiles) has the transforms).
//!
//! A few images at a time go all the way, on one thread, as in [`direct`](super::direct): maps to factors, factors to
//! products, products to maps. The results are those of windows but for the last bits of the largest value of a tile.
//!
//! What is summed over, large channels and their phases, are the rows of the factors of weights: `[group of channels,
//! phase, channel of the group]`, as lanes lie.

use rayon::prelude::*;

use super::geometry::{Geometry, TAPS};
use super::tiles::{
    COMPONENTS, LANES, Lanes, PHASES, Place, channels_first, join_kernel, join_large, join_small,
    plus, positions_first, spread_kernel, spread_large, spread_small,
};
use crate::ops::buffer::in_chunks;
use crate::ops::matrix::{Matrix, multiply, multiply_views, with_scratch};
use crate::ops::vectors::vectorised;

/// Fewest channels on either side that are worth the transforms of maps.
const LEAST_CHANNELS: usize = 16;
/// Fewest tiles of all images that are worth the transform of weights.
const LEAST_TILES: usize = 256;
/// Most tiles of one image, and most values of the products for those that go through together (9 MiB): a thread keeps
/// room for them.
const MOST_TILES_OF_IMAGE: usize = 256;
const MOST_PRODUCTS: usize = COMPONENTS << 18;
/// Tiles that go through together.
const TILES: usize = 64;
/// Tasks that images are shared out to, about, where there are enough of them.
const TASKS: usize = 8;
/// Values of the factors of large maps that are held at once for a product with weights: a MiB.
const FACTORS: usize = 1 << 18;
/// Most large channels per product with weights.
const CHANNELS: usize = 64;
/// Large channels per task of the weights' gradient.
const GRADIENT_CHANNELS: usize = 32;
/// Tasks of the weights' gradient, shares of the images where there are fewer blocks of channels. Each has a sum of its
/// own, so they are few.
const GRADIENT_TASKS: usize = 4;

/// Whether fewer products are worth the transforms.
pub(super) fn serves(geometry: &Geometry) -> bool {
    let even = |size: usize| size > 0 && size.is_multiple_of(2);
    let channels = |count: usize| count >= LEAST_CHANNELS && count.is_multiple_of(LANES);
    even(geometry.height)
        && even(geometry.width)
        && channels(geometry.large)
        && channels(geometry.small)
        && geometry.tiles() <= MOST_TILES_OF_IMAGE
        && COMPONENTS * geometry.tiles().max(TILES) * geometry.small <= MOST_PRODUCTS
        && geometry.images * geometry.tiles() >= LEAST_TILES
}

impl Geometry {
    /// Tiles of 2x2 outputs in one small map.
    fn tiles(&self) -> usize {
        self.area() / 4
    }

    fn small_size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    fn large_size(&self) -> [usize; 2] {
        [2 * self.height, 2 * self.width]
    }

    /// Positions of a large map and the frame of zeros around it.
    fn framed_area(&self) -> usize {
        (2 * self.height + 2) * (2 * self.width + 2)
    }

    /// How many images go through together, at most.
    fn tiled_together(&self, most: usize) -> usize {
        (TILES / self.tiles()).clamp(1, most.max(1))
    }

    /// Large channels whose factors for so many images are held at once.
    fn channels_together(&self, images: usize) -> usize {
        let fit = FACTORS / (COMPONENTS * PHASES * images * self.tiles());
        (fit / LANES * LANES).clamp(LANES, CHANNELS).min(self.large)
    }

    /// Where the tiles of an image of `images` lie, whose matrices have so many columns.
    fn place(&self, images: usize, columns: usize, image: usize) -> Place {
        let tile = columns / LANES;
        Place {
            component: images * self.tiles() * tile,
            tile,
            first: image * self.tiles() * tile,
        }
    }
}

fn lanes(values: &[f32]) -> &[Lanes] {
    values.as_chunks().0
}

fn lanes_mut(values: &mut [f32]) -> &mut [Lanes] {
    values.as_chunks_mut().0
}

/// One of nine matrices that lie one after the other.
fn component(values: &[f32], [rows, columns]: [usize; 2], component: usize) -> Matrix<'_> {
    Matrix {
        values: &values[component * rows * columns..],
        rows,
        columns,
        stride: columns,
    }
}

/// Channels from `first` on of large maps, `[image, channel, line, column]`, as factors:
/// `[component, image and tile, row]`.
fn large_factors(
    geometry: &Geometry,
    large: &[f32],
    [first, channels]: [usize; 2],
    framed: &mut [f32],
    factors: &mut [f32],
) {
    let images = large.len() / geometry.large_image();
    let map = 4 * geometry.area();
    let framed = lanes_mut(&mut framed[..geometry.framed_area() * channels]);
    vectorised(
        #[inline(always)]
        || {
            for (image, maps) in large.chunks_exact(geometry.large_image()).enumerate() {
                let maps = &maps[first * map..][..channels * map];
                positions_first(maps, geometry.large_size(), 1, framed);
                let place = geometry.place(images, PHASES * channels, image);
                spread_large(geometry.small_size(), framed, lanes_mut(factors), place);
            }
        },
    );
}

/// Small maps, `[image, channel, line, column]`, as factors: `[component, image and tile, channel]`.
fn small_factors(geometry: &Geometry, small: &[f32], turned: &mut [f32], factors: &mut [f32]) {
    let images = small.len() / geometry.small_image();
    let turned = lanes_mut(turned);
    vectorised(
        #[inline(always)]
        || {
            for (image, maps) in small.chunks_exact(geometry.small_image()).enumerate() {
                positions_first(maps, geometry.small_size(), 0, turned);
                let place = geometry.place(images, geometry.small, image);
                spread_small(geometry.small_size(), turned, lanes_mut(factors), place);
            }
        },
    );
}

/// Weights as factors for [`convolve`]: `[row, component, small channel]`.
fn factors_by_large(geometry: &Geometry, weight: &[f32]) -> Vec<f32> {
    let row = COMPONENTS * geometry.small;
    let groups = geometry.small / LANES;
    let rows = PHASES * geometry.large;
    in_chunks(rows * row, PHASES * LANES * row, |block, factors| {
        vectorised(
            #[inline(always)]
            || {
                for group in 0..groups {
                    for lane in 0..LANES {
                        let taps = taps_of_group(geometry, weight, group, block * LANES + lane);
                        for phase in 0..PHASES {
                            let row = &mut factors[(phase * LANES + lane) * row..][..row];
                            let row = lanes_mut(row);
                            let spread = spread_kernel(taps, phase);
                            for (component, value) in spread.into_iter().enumerate() {
                                row[component * groups + group] = value;
                            }
                        }
                    }
                }
            },
        );
    })
}

/// The taps of a large channel for a group of small ones.
#[inline(always)]
fn taps_of_group(
    geometry: &Geometry,
    weight: &[f32],
    group: usize,
    channel: usize,
) -> [Lanes; TAPS] {
    let mut taps = [[0.0; LANES]; TAPS];
    for lane in 0..LANES {
        let kernels = &weight[(group * LANES + lane) * geometry.window()..];
        let kernel = &kernels[channel * TAPS..][..TAPS];
        for (tap, value) in taps.iter_mut().zip(kernel) {
            tap[lane] = *value;
        }
    }
    taps
}

/// Weights as factors for [`expand`]: `[small channel, component, row]`.
fn factors_by_small(geometry: &Geometry, weight: &[f32]) -> Vec<f32> {
    let row = COMPONENTS * PHASES * geometry.large;
    let groups = geometry.large / LANES;
    in_chunks(geometry.small * row, row, |channel, factors| {
        let kernels = &weight[channel * geometry.window()..][..geometry.window()];
        vectorised(
            #[inline(always)]
            || {
                let factors = lanes_mut(factors);
                for (group, kernels) in kernels.chunks_exact(LANES * TAPS).enumerate() {
                    let mut taps = [[0.0; LANES]; TAPS];
                    positions_first(kernels, [4, 4], 0, &mut taps);
                    for phase in 0..PHASES {
                        let spread = spread_kernel(taps, phase);
                        for (component, value) in spread.into_iter().enumerate() {
                            factors[(component * groups + group) * PHASES + phase] = value;
                        }
                    }
                }
            },
        );
    })
}

/// The convolution of the large maps.
pub(super) fn convolve(geometry: &Geometry, large: &[f32], weight: &[f32]) -> Vec<f32> {
    let weight = factors_by_large(geometry, weight);
    let together = geometry.tiled_together(geometry.images.div_ceil(TASKS));
    let (small_image, large_image) = (geometry.small_image(), geometry.large_image());
    let length = geometry.images * small_image;
    in_chunks(length, together * small_image, |index, small| {
        let images = small.len() / small_image;
        let large = &large[index * together * large_image..][..images * large_image];
        convolve_images(geometry, large, &weight, small);
    })
}

fn convolve_images(geometry: &Geometry, large: &[f32], weight: &[f32], small: &mut [f32]) {
    let images = small.len() / geometry.small_image();
    let tiles = images * geometry.tiles();
    let block = geometry.channels_together(images);
    let of_product = tiles * geometry.small;
    let sizes = [
        geometry.framed_area() * block,
        COMPONENTS * tiles * PHASES * block,
        COMPONENTS * of_product,
        geometry.small_image(),
    ];
    with_scratch(sizes, |[framed, factors, products, turned]| {
        for first in (0..geometry.large).step_by(block) {
            let channels = block.min(geometry.large - first);
            large_factors(geometry, large, [first, channels], framed, factors);
            let rows = PHASES * channels;
            let weight = &weight[PHASES * first * COMPONENTS * geometry.small..];
            for (index, product) in products.chunks_exact_mut(of_product).enumerate() {
                let factors = component(factors, [tiles, rows], index);
                let weight = Matrix {
                    values: &weight[index * geometry.small..],
                    rows,
                    columns: geometry.small,
                    stride: COMPONENTS * geometry.small,
                };
                multiply(factors, weight, product, first > 0);
            }
        }
        let turned = lanes_mut(turned);
        vectorised(
            #[inline(always)]
            || {
                let images_of_small = small.chunks_exact_mut(geometry.small_image());
                for (image, maps) in images_of_small.enumerate() {
                    let place = geometry.place(images, geometry.small, image);
                    join_small(geometry.small_size(), lanes(products), turned, place);
                    channels_first(turned, geometry.small_size(), 0, maps);
                }
            },
        );
    });
}

/// The transposed convolution of the small maps: the gradient of [`convolve`] by the large ones.
pub(super) fn expand(geometry: &Geometry, small: &[f32], weight: &[f32]) -> Vec<f32> {
    let weight = factors_by_small(geometry, weight);
    let together = geometry.tiled_together(geometry.images.div_ceil(TASKS));
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
    let tiles = images * geometry.tiles();
    let block = geometry.channels_together(images);
    let map = 4 * geometry.area();
    let sizes = [
        geometry.small_image(),
        COMPONENTS * tiles * geometry.small,
        COMPONENTS * tiles * PHASES * block,
        geometry.framed_area() * block,
    ];
    with_scratch(sizes, |[turned, factors, products, framed]| {
        small_factors(geometry, small, turned, factors);
        for first in (0..geometry.large).step_by(block) {
            let channels = block.min(geometry.large - first);
            let rows = PHASES * channels;
            let products = &mut products[..COMPONENTS * tiles * rows];
            for (index, product) in products.chunks_exact_mut(tiles * rows).enumerate() {
                let factors = component(factors, [tiles, geometry.small], index);
                let weight = Matrix {
                    values: &weight[PHASES * (index * geometry.large + first)..],
                    rows: geometry.small,
                    columns: rows,
                    stride: COMPONENTS * PHASES * geometry.large,
                };
                multiply(factors, weight, product, false);
            }
            let framed = lanes_mut(&mut framed[..geometry.framed_area() * channels]);
            vectorised(
                #[inline(always)]
                || {
                    let images_of_large = large.chunks_exact_mut(geometry.large_image());
                    for (image, maps) in images_of_large.enumerate() {
                        let place = geometry.place(images, rows, image);
                        framed.fill([0.0; LANES]);
                        join_large(geometry.small_size(), lanes(products), framed, place);
                        let maps = &mut maps[first * map..][..channels * map];
                        channels_first(framed, geometry.large_size(), 1, maps);
                    }
                },
            );
        }
    });
}

/// The gradient of [`convolve`] by its weights, for the gradient of its result.
///
/// A task is a block of the large channels and a share of the images. Its part of the sum is its
/// own, and the parts are added in the order of the images.
pub(super) fn weight_gradient(geometry: &Geometry, large: &[f32], small: &[f32]) -> Vec<f32> {
    let block = GRADIENT_CHANNELS.min(geometry.large);
    let blocks = geometry.large.div_ceil(block);
    let share = geometry.images.div_ceil(GRADIENT_TASKS.div_ceil(blocks));
    let shares = geometry.images.div_ceil(share);

    let row = COMPONENTS * geometry.small;
    let part = PHASES * block * row; // [row, component, small channel]
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
            share_of_gradient(geometry, large, small, [first, channels], part);
        });

    let groups = geometry.small / LANES;
    let of_group = LANES * geometry.window();
    in_chunks(groups * of_group, of_group, |group, kernels| {
        vectorised(
            #[inline(always)]
            || {
                for channel in 0..geometry.large {
                    let (of_block, channel_of_block) = (channel / block, channel % block);
                    let (of_lanes, lane) = (channel_of_block / LANES, channel_of_block % LANES);
                    for phase in 0..PHASES {
                        let first = ((of_lanes * PHASES + phase) * LANES + lane) * row;
                        let mut sums = [[0.0; LANES]; COMPONENTS];
                        for share in 0..shares {
                            let part = &parts[(share * blocks + of_block) * part..];
                            let part = lanes(&part[first..][..row]);
                            for (component, sum) in sums.iter_mut().enumerate() {
                                *sum = plus(*sum, part[component * groups + group]);
                            }
                        }
                        for (tap, values) in join_kernel(sums, phase) {
                            for (lane, value) in values.into_iter().enumerate() {
                                kernels[lane * geometry.window() + channel * TAPS + tap] = value;
                            }
                        }
                    }
                }
            },
        );
    })
}

/// The gradient by the factors of the weights of some large channels, from some images:
/// `[row, component, small channel]`.
fn share_of_gradient(
    geometry: &Geometry,
    large: &[f32],
    small: &[f32],
    [first, channels]: [usize; 2],
    gradient: &mut [f32],
) {
    let together = geometry.tiled_together(large.len() / geometry.large_image());
    let most = together * geometry.tiles();
    let rows = PHASES * channels;
    let sizes = [
        geometry.framed_area() * channels,
        COMPONENTS * most * rows,
        geometry.small_image(),
        COMPONENTS * most * geometry.small,
    ];
    with_scratch(sizes, |[framed, large_values, turned, small_values]| {
        let large = large.chunks(together * geometry.large_image());
        let small = small.chunks(together * geometry.small_image());
        for (index, (large, small)) in large.zip(small).enumerate() {
            large_factors(geometry, large, [first, channels], framed, large_values);
            small_factors(geometry, small, turned, small_values);
            let tiles = small.len() / geometry.small_image() * geometry.tiles();
            for of in 0..COMPONENTS {
                let large = component(large_values, [tiles, rows], of).turned();
                let small = component(small_values, [tiles, geometry.small], of).view();
                let sum = &mut gradient[of * geometry.small..];
                multiply_views(large, small, sum, COMPONENTS * geometry.small, index > 0);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::direct;
    use super::*;
    use crate::ops::tests::{assert_close, in_pool, normal, read};
    use burn::tensor::Device;

    fn noise(length: usize, seed: u64) -> Vec<f32> {
        read(normal([length], seed, &Device::flex()))
    }

    #[test]
    fn fewer_products_give_what_windows_give() {
        // `[images, large, small, height, width]`: a last group of one tile, tiles in a row and in a column, blocks of
        // channels and shares of images with a rest, maps that go through alone and by few channels.
        for [images, large, small, height, width] in [
            [513, 16, 24, 2, 2],
            [131, 72, 16, 2, 4],
            [67, 40, 16, 4, 4],
            [17, 24, 16, 16, 4],
            [9, 104, 40, 8, 16],
            [2, 40, 16, 32, 32],
        ] {
            let geometry = Geometry {
                images,
                large,
                small,
                height,
                width,
            };
            assert!(serves(&geometry), "{geometry:?}");
            let of_large = noise(images * geometry.large_image(), 1);
            let of_small = noise(images * geometry.small_image(), 2);
            let weight = noise(small * geometry.window(), 3);
            // By one thread, whose scratch holds nothing that could be taken for a number.
            let found = in_pool(1, || {
                with_scratch([1 << 22], |[all]| all.fill(f32::NAN));
                [
                    convolve(&geometry, &of_large, &weight),
                    expand(&geometry, &of_small, &weight),
                    weight_gradient(&geometry, &of_large, &of_small),
                ]
            });
            let expected = [
                direct::convolve(&geometry, &of_large, &weight),
                direct::expand(&geometry, &of_small, &weight),
                direct::weight_gradient(&geometry, &of_large, &of_small),
            ];
            let parts = ["convolution", "transpose", "gradient by weights"];
            for ((found, expected), part) in found.iter().zip(&expected).zip(parts) {
                assert_close(found, expected, &format!("{part} of {geometry:?}"));
            }
        }
    }

    #[test]
    fn what_is_not_worth_it_stays_with_windows() {
        let worth = Geometry {
            images: 64,
            large: 64,
            small: 128,
            height: 8,
            width: 8,
        };
        for worth in [
            worth,
            Geometry {
                images: 16,
                ..worth
            },
            Geometry {
                height: 32,
                width: 32,
                ..worth
            },
        ] {
            assert!(serves(&worth), "{worth:?}");
        }
        for not_worth in [
            Geometry {
                images: 15,
                ..worth
            },
            Geometry { large: 8, ..worth },
            Geometry { small: 8, ..worth },
            Geometry { large: 20, ..worth },
            Geometry { small: 20, ..worth },
            Geometry {
                small: 8192,
                ..worth
            },
            Geometry { height: 7, ..worth },
            Geometry { width: 0, ..worth },
            Geometry {
                width: 130,
                ..worth
            },
        ] {
            assert!(!serves(&not_worth), "{not_worth:?}");
        }
    }
}
