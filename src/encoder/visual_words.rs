//! How near an image's patches come to those of a dictionary (Coates, Lee & Ng, "An Analysis of
//! Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011).

use burn::module::{Module, Param};
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand::seq::index::sample;
use serde::{Deserialize, Serialize};

use super::Projection;
use super::view::unit;
use crate::data::{Images, Samples, Vectors};
use crate::ops;

/// Side of a patch in pixels (the authors': 6).
const SIDE: usize = 6;
/// Pixels between patches (the authors': 1, which takes four times as long).
const STRIDE: usize = 2;
/// Images and patches of each that the dictionary is fitted to, at most.
const IMAGES: usize = 5000;
const PATCHES: usize = 8;
/// Images per step, at most, and numbers of a step.
const PART: usize = 8;
const STEP: usize = 1 << 22;
/// Quarters of the image, of each of which the nearness of every word is averaged.
const QUARTERS: usize = 4;
/// Variance that is added to that of a patch, whose pixels are in `[0, 1]` (the authors': a tenth of it, 10 of
/// squared grey levels; the two have not been compared).
const LEAST_VARIANCE: f64 = 1.5e-3;
/// Variance that is added to that of a whitened component (the authors': 0.1).
const REGULARISATION: f64 = 0.1;
/// Smallest squared distance: its root has a slope.
const LEAST_DISTANCE: f64 = 1e-8;

/// Sizes of a [`VisualWords`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisualWordsConfig {
    /// Image channels: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Patches of the dictionary.
    pub words: usize,
}

impl VisualWordsConfig {
    /// Words that a dictionary may have.
    pub(crate) const WORDS: std::ops::RangeInclusive<usize> = 2..=2048;
    /// Smallest side of an image.
    const SMALLEST: usize = SIDE + STRIDE;
    /// Numbers that an image is compared by, at most: positions times words.
    const MOST: usize = 1 << 25;

    /// Entries of a patch.
    fn dim(&self) -> usize {
        self.channels * SIDE * SIDE
    }

    /// Entries of a description.
    pub fn features(&self) -> usize {
        QUARTERS * self.words
    }

    /// Checks that such a dictionary can describe images of `shape`.
    ///
    /// # Errors
    /// In words, that it cannot.
    pub(crate) fn check(&self, shape: [usize; 3]) -> Result<(), String> {
        let [channels, height, width] = shape;
        let possible = Self::WORDS.contains(&self.words)
            && channels == self.channels
            && height.min(width) >= Self::SMALLEST
            && positions([height, width]).into_iter().product::<usize>() * self.words <= Self::MOST;
        match possible {
            true => Ok(()),
            false => Err(format!(
                "a dictionary of {} patches of {} channels is not supported for images of shape {shape:?}: set data.size, or fewer views.words",
                self.words, self.channels
            )),
        }
    }

    /// A dictionary of these sizes, to be filled with stored weights.
    pub fn empty(&self, device: &Device) -> VisualWords {
        let dim = self.dim();
        VisualWords {
            whitening: Projection::empty(dim, dim, device),
            words: Param::from_tensor(Tensor::zeros([dim, self.words], device)),
        }
    }

    /// Fits the dictionary to patches of `images`: words are the centres of their clusters, once every
    /// patch has mean 0 and variance 1 and all of them are whitened.
    pub fn fit(&self, images: &Images, rng: &mut impl Rng, device: &Device) -> VisualWords {
        let dim = self.dim();
        let [_, height, width] = images.shape();
        let positions: usize = positions([height, width]).into_iter().product();
        let chosen = sample(rng, images.len(), images.len().min(IMAGES)).into_vec();
        // Of few images more patches each.
        let each = (IMAGES * PATCHES).div_ceil(chosen.len().max(1));
        let mut rows = Vectors::new(dim);
        for indices in chosen.chunks(part(positions, dim)) {
            let found = patches(unit(images.batch(indices, device))); // [n * positions, dim]
            let values: Vec<f32> = found.into_data().iter::<f32>().collect();
            for image in values.chunks_exact(positions * dim) {
                for position in sample(rng, positions, positions.min(each)) {
                    rows.extend(image[position * dim..][..dim].iter().copied());
                }
            }
        }
        let whitening = Projection::regularised(&rows, REGULARISATION, rng, device);
        let all: Vec<usize> = (0..rows.len()).collect();
        let white = whitening.forward(rows.batch(&all, device)).into_data();
        let white: Vec<f32> = white.iter::<f32>().collect();
        let centres = ops::k_means(&white, dim, self.words, rng).centres;
        let words = TensorData::new(centres, [self.words, dim]);
        let words = Tensor::<2>::from_data(words, device).transpose();
        VisualWords {
            whitening,
            words: Param::from_tensor(words),
        }
    }
}

/// A dictionary of patches.
#[derive(Module, Debug)]
pub struct VisualWords {
    /// Of patches, all components.
    whitening: Projection,
    /// `[dim, words]`.
    words: Param<Tensor<2>>,
}

impl VisualWords {
    /// By quarter of the image and word, how much nearer the patches are to the word than to words on
    /// average, where they are (the authors' "triangle" activation).
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to `[batch, 4 * words]`.
    pub fn describe(&self, images: Tensor<4>) -> Tensor<2> {
        let [_, _, height, width] = images.dims();
        let positions = positions([height, width]).into_iter().product();
        let [dim, count] = self.words.val().dims();
        let size = part(positions, dim.max(count));
        let parts = ops::by_parts(images, size, |images| self.describe_part(images));
        Tensor::cat(parts, 0)
    }

    fn describe_part(&self, images: Tensor<4>) -> Tensor<2> {
        let [batch, _, height, width] = images.dims();
        let [rows, columns] = positions([height, width]);
        let words = self.words.val();
        let count = words.dims()[1];
        let patches = patches(unit(images)); // [batch * positions, dim]
        let white = self.whitening.forward(patches);
        let norms = white.clone().square().sum_dim(1); // [batch * positions, 1]
        let lengths = words.clone().square().sum_dim(0); // [1, words]
        let squares = white.matmul(words) * -2.0 + norms + lengths;
        let distances = squares.clamp_min(LEAST_DISTANCE).sqrt();
        let nearer = (distances.clone().mean_dim(1) - distances).clamp_min(0.0);
        let nearer = nearer.reshape([batch, rows * columns, count]);
        let quarters = quarters([rows, columns], &nearer.device());
        let quarters = quarters
            .unsqueeze::<3>()
            .expand([batch, QUARTERS, rows * columns]);
        quarters.matmul(nearer).flatten(1, 2)
    }
}

/// Rows and columns of patches.
fn positions(sides: [usize; 2]) -> [usize; 2] {
    sides.map(|side| side.saturating_sub(SIDE) / STRIDE + 1)
}

/// Images per step, whose patches have so many `positions` and `numbers` each.
fn part(positions: usize, numbers: usize) -> usize {
    (STEP / (positions * numbers).max(1)).clamp(1, PART)
}

/// Patches of images with pixels in `[0, 1]`, every second one both ways, each with mean 0 and, where it has contrast,
/// variance 1.
///
/// # Shapes
/// `[batch, channels, height, width]` to `[batch * positions, channels * side * side]`.
fn patches(images: Tensor<4>) -> Tensor<2> {
    let options = UnfoldOptions::new([STRIDE; 2], [0, 0], [1, 1]);
    let patches = unfold4d(images, [SIDE; 2], options).swap_dims(1, 2); // [batch, positions, dim]
    let patches: Tensor<2> = patches.flatten(0, 1);
    let centred = patches.clone() - patches.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + LEAST_VARIANCE).sqrt()
}

/// `[4, rows * columns]`: the mean over each quarter of the positions.
fn quarters([rows, columns]: [usize; 2], device: &Device) -> Tensor<2> {
    let mut values = vec![0.0f32; QUARTERS * rows * columns];
    let halves = |length: usize| [0..length / 2, length / 2..length];
    let all = halves(rows)
        .into_iter()
        .flat_map(|rows| halves(columns).map(|columns| (rows.clone(), columns)));
    for ((down, across), values) in all.zip(values.chunks_exact_mut(rows * columns)) {
        let share = 1.0 / (down.len() * across.len()) as f32;
        for row in down {
            values[row * columns..][across.clone()].fill(share);
        }
    }
    Tensor::from_data(TensorData::new(values, [QUARTERS, rows * columns]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::digits;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const CONFIG: VisualWordsConfig = VisualWordsConfig {
        channels: 1,
        words: 12,
    };

    fn fitted() -> (VisualWords, Images) {
        let images = digits(60, 1).images;
        let words = CONFIG.fit(&images, &mut StdRng::seed_from_u64(2), &test_device());
        (words, images)
    }

    #[test]
    fn a_description_is_what_plain_arithmetic_makes_of_it() {
        let (words, images) = fitted();
        let found = words.describe(images.batch(&[3], &test_device()));
        assert_eq!(found.dims(), [1, CONFIG.features()]);
        let found: Vec<f64> = found.into_data().iter::<f64>().collect();
        let read = |tensor: Tensor<2>| -> Vec<f64> { tensor.into_data().iter::<f64>().collect() };
        // The whitening is affine: what it makes of zero, and of one number at a time.
        let dim = SIDE * SIDE;
        let of = |values: Vec<f32>| {
            let rows = values.len() / dim;
            let rows = Tensor::from_data(TensorData::new(values, [rows, dim]), &test_device());
            read(words.whitening.forward(rows))
        };
        let zero = of(vec![0.0; dim]);
        let unit = |row: usize, column: usize| f32::from(u8::from(row == column));
        let units = (0..dim * dim).map(|at| unit(at / dim, at % dim)).collect();
        let whitening: Vec<f64> = of(units)
            .chunks_exact(dim)
            .flat_map(|row| row.iter().zip(&zero).map(|(value, zero)| value - zero))
            .collect();
        let dictionary = read(words.words.val().transpose());
        let pixel = |row: usize, column: usize| f64::from(images.get(3)[row * 28 + column]) / 255.0;
        let positions = 12; // (28 - 6) / 2 + 1
        let mut expected = vec![0.0; CONFIG.features()];
        for row in 0..positions {
            for column in 0..positions {
                let patch: Vec<f64> = (0..dim)
                    .map(|at| pixel(2 * row + at / SIDE, 2 * column + at % SIDE))
                    .collect();
                let average = patch.iter().sum::<f64>() / dim as f64;
                let squares = patch.iter().map(|value| (value - average).powi(2));
                let deviation = (squares.sum::<f64>() / dim as f64 + LEAST_VARIANCE).sqrt();
                let normal = patch.iter().map(|value| (value - average) / deviation);
                let normal: Vec<f64> = normal.collect();
                let product = |to: usize| -> f64 {
                    let terms = (0..dim).map(|from| normal[from] * whitening[from * dim + to]);
                    zero[to] + terms.sum::<f64>()
                };
                let white: Vec<f64> = (0..dim).map(product).collect();
                let distances: Vec<f64> = dictionary
                    .chunks_exact(dim)
                    .map(|word| {
                        let squares = white.iter().zip(word).map(|(a, b)| (a - b).powi(2));
                        squares.sum::<f64>().sqrt()
                    })
                    .collect();
                let average = distances.iter().sum::<f64>() / distances.len() as f64;
                let quarter = 2 * (row / 6) + column / 6;
                for (word, distance) in distances.iter().enumerate() {
                    expected[quarter * CONFIG.words + word] += (average - distance).max(0.0) / 36.0;
                }
            }
        }
        assert!(expected.iter().any(|value| *value > 0.1));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
        }
    }

    #[test]
    fn more_light_and_contrast_change_little() {
        let (words, images) = fitted();
        let bright = images.batch(&[0, 1, 2], &test_device());
        let dim = bright.clone() * 0.7 + 0.1;
        let (bright, dim) = (words.describe(bright), words.describe(dim));
        let apart = (bright.clone() - dim)
            .square()
            .sum()
            .sqrt()
            .into_scalar::<f32>();
        let size = bright.square().sum().sqrt().into_scalar::<f32>();
        assert!(apart < 0.1 * size, "{apart} of {size}");
    }

    #[test]
    fn images_that_are_too_small_or_too_large_are_refused() {
        assert!(CONFIG.check([1, 28, 28]).is_ok());
        for shape in [[3, 28, 28], [1, 7, 28]] {
            assert!(CONFIG.check(shape).is_err(), "{shape:?}");
        }
        let many = VisualWordsConfig {
            words: 1 << 20,
            ..CONFIG
        };
        assert!(many.check([1, 28, 28]).is_err());
        let allowed = VisualWordsConfig {
            words: *VisualWordsConfig::WORDS.end(),
            ..CONFIG
        };
        assert!(allowed.check([1, 128, 128]).is_ok());
        assert!(allowed.check([1, 1024, 1024]).is_err());
    }

    #[test]
    fn quarters_share_all_positions() {
        let shares: Vec<f32> = quarters([3, 5], &test_device())
            .into_data()
            .iter()
            .collect();
        let counts = [2, 3, 4, 6];
        for (quarter, count) in shares.chunks_exact(15).zip(counts) {
            let full = quarter.iter().filter(|share| **share > 0.0).count();
            assert_eq!(full, count);
            assert!((quarter.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn colours_few_images_and_more_words_than_patches_are_no_trouble() {
        let config = VisualWordsConfig {
            channels: 3,
            words: 50,
        };
        let bytes = (0..2 * 3 * 64).map(|at| (at * 37 % 251) as u8).collect();
        let images = Images::new([3, 8, 8], bytes).unwrap();
        let words = config.fit(&images, &mut StdRng::seed_from_u64(1), &test_device());
        let found = words.describe(images.batch(&[0, 1], &test_device()));
        assert_eq!(found.dims(), [2, config.features()]);
        assert!(found.into_data().iter::<f32>().all(f32::is_finite));
    }

    #[test]
    fn a_blank_image_has_a_slope() {
        let (words, _) = fitted();
        let device = test_device().autodiff();
        let blank = Tensor::<4>::zeros([1, 1, 28, 28], &device).require_grad();
        let gradients = words.describe(blank.clone()).sum().backward();
        let slope = blank.grad(&gradients).expect("a gradient");
        assert!(slope.into_data().iter::<f32>().all(f32::is_finite));
    }
}
