//! The linear encoder of positions: principal components of patches at three scales.

use std::ops::RangeInclusive;

use burn::module::{Module, Param};
use burn::tensor::module::{avg_pool2d, conv2d, unfold4d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, PadMode, UnfoldOptions};
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand::seq::index::sample;
use serde::{Deserialize, Serialize};

use super::Grid;
use super::directions::directions;
use super::preparation::resize;
use crate::data::{Images, Samples, Vectors};

/// Positions lie so many pixels apart.
pub(super) const STRIDE: usize = 4;
/// How often each scale halves the image, and the side of its patches: fields of 8, 16 and 28
/// pixels around every position.
const SCALES: [(usize, usize); 3] = [(1, 8), (2, 8), (4, 7)];
/// Patches that the components are fitted to, at most.
const PATCHES: usize = 1 << 16;
/// So many patches are enough to look at no further image, but for the first [`IMAGES`].
const ENOUGH: usize = 40_000;
/// Images whose patches are looked at, at least where there are so many.
const IMAGES: usize = 64;
/// Images per step, at most, and their pixels.
const BATCH: usize = 16;
const BATCH_PIXELS: usize = 1 << 20;
/// Smallest squared residual: what bytes can tell from zero.
const RESIDUAL_FLOOR: f32 = 1e-4;

/// Sizes of a [`PatchPca`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchSizes {
    /// Components for each of the three scales.
    pub components: usize,
    /// Shorter side in pixels that smaller images are enlarged to before; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub smallest: usize,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl PatchSizes {
    /// Components that each scale may have: no patch has more than 8 x 8 values of three channels.
    pub(crate) const COMPONENTS: RangeInclusive<usize> = 1..=192;
    /// Sides that smaller images may be enlarged to.
    pub(crate) const SMALLEST: RangeInclusive<usize> = 0..=1024;

    /// Whether there are patches of these sizes.
    pub(crate) fn are_possible(&self) -> bool {
        Self::COMPONENTS.contains(&self.components) && Self::SMALLEST.contains(&self.smallest)
    }

    /// Entries of a position's description.
    pub fn features(&self, channels: usize) -> usize {
        SCALES
            .iter()
            .map(|&(_, side)| self.components.min(channels * side * side) + 1)
            .sum()
    }

    /// `[height, width]` in which an image of these sides is looked at: its own, or such of the same proportions as have
    /// whole positions.
    pub(super) fn seen(&self, sides: [usize; 2]) -> [usize; 2] {
        let shorter = sides[0].min(sides[1]).max(1);
        match shorter < self.smallest {
            true => sides.map(|side| {
                let positions = side as f64 * self.smallest as f64 / (shorter * STRIDE) as f64;
                // A damaged file may ask for any side.
                STRIDE.saturating_mul((positions.round() as usize).max(1))
            }),
            false => sides,
        }
    }

    /// The positions of an image of `[height, width]`.
    pub(super) fn grid(&self, sides: [usize; 2]) -> Grid {
        let positions = self.seen(sides).map(|side| side / STRIDE);
        let stride = [0, 1].map(|axis| sides[axis] as f64 / positions[axis].max(1) as f64);
        Grid {
            sides: positions,
            stride,
            first: stride.map(|stride| stride / 2.0),
        }
    }

    /// Images as their patches are taken.
    fn enlarged(&self, images: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = images.dims();
        resize(images, self.seen([height, width]))
    }
}

/// Describes every position of an image by the patches around it: their principal components, and
/// how much of each patch these leave unexplained.
///
/// The counterpart of principal components of whole images, for defects that are small: a texture's
/// patches lie near a subspace of few dimensions, and what leaves it shows in the residual.
#[derive(Module, Debug)]
pub struct PatchPca {
    scales: Vec<Scale>,
    #[module(skip)]
    sizes: PatchSizes,
}

/// The components of one scale.
#[derive(Module, Debug)]
struct Scale {
    /// `[components, channels, side, side]`.
    directions: Param<Tensor<4>>,
    /// `[channels, side, side]`.
    mean: Param<Tensor<3>>,
    halvings: usize,
}

impl PatchPca {
    /// Fits the components of every scale to `images`.
    pub fn fit(images: &Images, sizes: PatchSizes, rng: &mut impl Rng, device: &Device) -> Self {
        let scales = SCALES.map(|scale| Scale::fit(scale, images, sizes, rng, device));
        Self {
            scales: scales.into(),
            sizes,
        }
    }

    /// An encoder of these sizes, to be filled with stored weights.
    pub fn empty(channels: usize, sizes: PatchSizes, device: &Device) -> Self {
        let components = sizes.components;
        let scale = |(halvings, side): (usize, usize)| Scale {
            directions: Param::from_tensor(Tensor::zeros(
                [components.min(channels * side * side), channels, side, side],
                device,
            )),
            mean: Param::from_tensor(Tensor::zeros([channels, side, side], device)),
            halvings,
        };
        Self {
            scales: SCALES.map(scale).into(),
            sizes,
        }
    }

    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to `[batch, features, rows, columns]`: a position for every four
    /// pixels, of an image that was enlarged where it is small.
    pub fn maps(&self, images: Tensor<4>) -> Tensor<4> {
        let images = self.sizes.enlarged(images);
        let maps = self
            .scales
            .iter()
            .map(|scale| scale.describe(images.clone()));
        Tensor::cat(maps.collect(), 1)
    }
}

impl Scale {
    fn fit(
        (halvings, side): (usize, usize),
        images: &Images,
        sizes: PatchSizes,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let [channels, height, width] = images.shape();
        let dim = channels * side * side;
        let components = sizes.components.min(dim);
        let [height, width] = sizes.seen([height, width]);
        let per_image = (height / STRIDE) * (width / STRIDE);
        let count = images.len().min((ENOUGH / per_image).max(IMAGES));
        let of_each = per_image.min(PATCHES / count.max(1));
        let chosen = sample(rng, images.len(), count).into_vec();
        let mut patches = Vectors::new(dim);
        let batch = (BATCH_PIXELS / (height * width)).clamp(1, BATCH);
        for indices in chosen.chunks(batch) {
            let padded = shrunk(
                sizes.enlarged(images.batch(indices, device)),
                halvings,
                side,
            );
            let options = UnfoldOptions::new([STRIDE / halvings; 2], [0, 0], [1, 1]);
            let columns = unfold4d(padded, [side, side], options); // [n, dim, positions]
            let rows = columns.swap_dims(1, 2).reshape([-1, dim as i64]);
            let rows: Tensor<2> = match of_each < per_image {
                true => {
                    let own = (0..indices.len()).flat_map(|image| {
                        let own = sample(rng, per_image, of_each).into_iter();
                        own.map(move |at| (image * per_image + at) as i64)
                            .collect::<Vec<_>>()
                    });
                    let own: Vec<i64> = own.collect();
                    rows.select(0, Tensor::from_data(own.as_slice(), device))
                }
                false => rows,
            };
            patches.extend(rows.into_data().iter::<f32>());
        }
        let mean = patches.means();
        let rows = |indices: &[usize]| patches.batch(indices, device);
        let (directions, _) = directions(&mean, patches.len(), components, device, rows, rng);
        // A convolution's weights have the components first.
        let directions: Vec<f32> = (0..components)
            .flat_map(|column| directions[column..].iter().step_by(components))
            .copied()
            .collect();
        let shape = [components, channels, side, side];
        let mean = TensorData::new(mean, [channels, side, side]);
        Self {
            directions: Param::from_tensor(Tensor::from_data(
                TensorData::new(directions, shape),
                device,
            )),
            mean: Param::from_tensor(Tensor::from_data(mean, device)),
            halvings,
        }
    }

    /// Components and, last, the logarithm of the residual's length.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` to `[batch, components + 1, size / 4, size / 4]`.
    fn describe(&self, images: Tensor<4>) -> Tensor<4> {
        let directions = self.directions.val();
        let [_, _, side, _] = directions.dims();
        let stride = [STRIDE / self.halvings; 2];
        let convolve = |x: Tensor<4>, weights: Tensor<4>| {
            conv2d(
                x,
                weights,
                None,
                ConvOptions::new(stride, [0, 0], [1, 1], 1),
            )
        };
        let x = shrunk(images, self.halvings, side);
        let mean = self.mean.val().unsqueeze::<4>();
        let offset = (directions.clone() * mean.clone())
            .sum_dim(1)
            .sum_dim(2)
            .sum_dim(3)
            .swap_dims(0, 1); // [1, components, 1, 1]
        let components = convolve(x.clone(), directions) - offset;
        // |patch - mean|^2 = |patch|^2 - 2 patch mean + |mean|^2.
        let squares = convolve(x.clone().square(), Tensor::ones_like(&mean));
        let products = convolve(x, mean.clone());
        let length = mean.square().sum().reshape([1, 1, 1, 1]);
        let energy = squares - products * 2.0 + length;
        let residual = energy - components.clone().square().sum_dim(1);
        let residual = residual.clamp_min(RESIDUAL_FLOOR).log() * 0.5;
        Tensor::cat(vec![components, residual], 1)
    }
}

/// Images at a smaller scale, with their edges repeated so that there is a patch around every
/// position.
fn shrunk(images: Tensor<4>, halvings: usize, side: usize) -> Tensor<4> {
    let images = match halvings {
        1 => images,
        times => avg_pool2d(images, AvgPoolOptions::new([times; 2])),
    };
    // Patches start (side - stride) / 2 pixels before their cell of stride pixels.
    let stride = STRIDE / halvings;
    let before = (side - stride) / 2;
    let after = side - stride - before;
    images.pad((before, after, before, after), PadMode::Edge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn sizes(components: usize) -> PatchSizes {
        PatchSizes {
            components,
            smallest: 0,
        }
    }

    /// RGB stripes whose phase varies, 32x32.
    fn stripes(count: usize, noise: u8, seed: u64) -> Images {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut pixels = Vec::new();
        for _ in 0..count {
            let phase: f32 = rng.random_range(0.0..6.0);
            for channel in 0..3 {
                for cell in 0..1024 {
                    let wave = ((cell % 32) as f32 * 0.8 + phase + channel as f32).sin();
                    let jitter = rng.random_range(0..=noise);
                    pixels.push((110.0 + 80.0 * wave) as u8 + jitter);
                }
            }
        }
        Images::new([3, 32, 32], pixels).unwrap()
    }

    #[test]
    fn there_is_a_description_every_four_pixels() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(0);
        let images = stripes(6, 9, 1);
        let encoder = PatchPca::fit(&images, sizes(5), rng, &device);
        let maps = encoder.maps(images.batch(&[0, 1], &device));
        assert_eq!(maps.dims(), [2, sizes(5).features(3), 8, 8]);
        assert_eq!(sizes(5).features(3), 3 * 6);
    }

    #[test]
    fn small_images_are_enlarged_where_that_is_asked_for() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(0);
        let images = stripes(6, 9, 1);
        let twice = PatchSizes {
            smallest: 64,
            ..sizes(5)
        };
        let encoder = PatchPca::fit(&images, twice, rng, &device);
        let maps = encoder.maps(images.batch(&[0], &device));
        let grid = twice.grid([32, 32]);
        assert_eq!(maps.dims(), [1, twice.features(3), 16, 16]);
        assert_eq!(
            (grid.sides, grid.stride, grid.first),
            ([16; 2], [2.0; 2], [1.0; 2])
        );
        // Proportions stay as well as whole positions let them.
        assert_eq!(twice.seen([48, 100]), [64, 132]);
        assert_eq!(twice.seen([64, 20]), [204, 64]);
        assert_eq!(twice.seen([80, 64]), [80, 64]);
        assert_eq!(sizes(5).grid([80, 64]).sides, [20, 16]);
    }

    #[test]
    fn components_and_residual_hold_all_of_a_patch() {
        // Parseval: the squares of the components and of the residual add up to the patch's.
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(0);
        let images = stripes(8, 40, 1);
        let all = PatchPca::fit(&images, sizes(192), rng, &device);
        let few = PatchPca::fit(&images, sizes(3), rng, &device);
        let batch = images.batch(&[3], &device);
        let read = |encoder: &PatchPca, channels: usize| -> Vec<f32> {
            let map = encoder.scales[0].describe(batch.clone());
            let map = map.narrow(2, 4, 1).narrow(3, 4, 1);
            assert_eq!(map.dims()[1], channels);
            map.into_data().iter::<f32>().collect()
        };
        let (all, few) = (read(&all, 193), read(&few, 4));
        let energy = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>();
        let expected = energy(&all[..192]);
        let found = energy(&few[..3]) + (2.0 * few[3]).exp();
        assert!(
            (found - expected).abs() < 1e-3 * expected,
            "{found} {expected}"
        );
    }

    #[test]
    fn another_texture_leaves_the_subspace() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(0);
        let normal = stripes(12, 6, 1);
        let encoder = PatchPca::fit(&normal, sizes(8), rng, &device);
        // The same stripes, upright.
        let turned: Vec<u8> = (0..3 * 1024)
            .map(|cell| normal.get(0)[cell / 1024 * 1024 + cell % 32 * 32 + cell % 1024 / 32])
            .collect();
        let turned = Images::new([3, 32, 32], turned).unwrap();
        let residual = |images: &Images| {
            let map = encoder.maps(images.batch(&[0], &device));
            map.narrow(1, 8, 1).mean().into_scalar::<f32>()
        };
        let (normal, turned) = (residual(&normal), residual(&turned));
        assert!(turned > normal + 1.0, "{normal} {turned}");
    }
}
