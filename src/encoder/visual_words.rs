//! How near an image's patches come to those of a dictionary (Coates, Lee & Ng, "An Analysis of
//! Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011).

use burn::module::{Module, Param};
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand::seq::index::sample;
use serde::{Deserialize, Serialize};

use super::pca::principal_directions;
use super::projection::covariance;
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
/// Images per step.
const PART: usize = 8;
/// Quarters of the image, of each of which the nearness of every word is averaged.
const QUARTERS: usize = 4;
/// Variance that is added to that of a patch, whose pixels are in `[0, 1]`.
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

    /// Entries of a patch.
    fn dim(&self) -> usize {
        self.channels * SIDE * SIDE
    }

    /// Entries of a description.
    pub fn features(&self) -> usize {
        QUARTERS * self.words
    }

    /// What keeps such a dictionary from describing images of `shape`, if anything does.
    pub(crate) fn check(&self, [channels, height, width]: [usize; 3]) -> Result<(), String> {
        let possible = Self::WORDS.contains(&self.words)
            && channels == self.channels
            && height.min(width) >= Self::SMALLEST;
        match possible {
            true => Ok(()),
            false => Err(format!(
                "a dictionary of patches of these sizes is not supported: {self:?}"
            )),
        }
    }

    /// A dictionary of these sizes, to be filled with stored weights.
    pub fn empty(&self, device: &Device) -> VisualWords {
        let dim = self.dim();
        let zeros = |shape| Param::from_tensor(Tensor::<2>::zeros(shape, device));
        VisualWords {
            mean: zeros([1, dim]),
            whitening: zeros([dim, dim]),
            words: zeros([dim, self.words]),
        }
    }

    /// Fits the dictionary to patches of `images`: words are the centres of their clusters, once every
    /// patch has mean 0 and variance 1 and all of them are whitened.
    pub fn fit(&self, images: &Images, rng: &mut impl Rng, device: &Device) -> VisualWords {
        let dim = self.dim();
        let chosen = sample(rng, images.len(), images.len().min(IMAGES)).into_vec();
        let mut rows = Vectors::new(dim);
        for indices in chosen.chunks(PART) {
            let found = patches(unit(images.batch(indices, device))); // [n * positions, dim]
            let positions = found.dims()[0] / indices.len();
            let values: Vec<f32> = found.into_data().iter::<f32>().collect();
            for image in values.chunks_exact(positions * dim) {
                for position in sample(rng, positions, positions.min(PATCHES)) {
                    rows.extend(image[position * dim..][..dim].iter().copied());
                }
            }
        }
        let mean = rows.means();
        let (mut matrix, variances) =
            principal_directions(&covariance(&rows, &mean, device), dim, rng);
        for row in matrix.chunks_exact_mut(dim) {
            for (value, variance) in row.iter_mut().zip(&variances) {
                *value = (f64::from(*value) / (variance.max(0.0) + REGULARISATION).sqrt()) as f32;
            }
        }
        let parameter = |values: Vec<f32>, shape: [usize; 2]| {
            Param::from_tensor(Tensor::<2>::from_data(
                TensorData::new(values, shape),
                device,
            ))
        };
        let mut fitted = VisualWords {
            mean: parameter(mean, [1, dim]),
            whitening: parameter(matrix, [dim, dim]),
            ..self.empty(device)
        };
        let all: Vec<usize> = (0..rows.len()).collect();
        let white = fitted.whitened(rows.batch(&all, device));
        let white: Vec<f32> = white.into_data().iter::<f32>().collect();
        let centres = ops::k_means(&white, dim, self.words, rng).centres;
        let words = parameter(centres, [self.words, dim]).val().transpose();
        fitted.words = Param::from_tensor(words);
        fitted
    }
}

/// A dictionary of patches.
#[derive(Module, Debug)]
pub struct VisualWords {
    /// `[1, dim]`.
    mean: Param<Tensor<2>>,
    /// `[dim, dim]`.
    whitening: Param<Tensor<2>>,
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
        let parts = ops::by_parts(images, PART, |images| self.describe_part(images));
        Tensor::cat(parts, 0)
    }

    fn describe_part(&self, images: Tensor<4>) -> Tensor<2> {
        let [batch, _, height, width] = images.dims();
        let [rows, columns] = [height, width].map(|side| (side - SIDE) / STRIDE + 1);
        let words = self.words.val();
        let count = words.dims()[1];
        let white = self.whitened(patches(unit(images))); // [batch * positions, dim]
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

    /// # Shapes
    /// `[len, dim]` to the same.
    fn whitened(&self, patches: Tensor<2>) -> Tensor<2> {
        (patches - self.mean.val()).matmul(self.whitening.val())
    }
}

/// Every second patch of images with pixels in `[0, 1]`, each with mean 0 and, where it has contrast,
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
        let (mean, whitening) = (read(words.mean.val()), read(words.whitening.val()));
        let dictionary = read(words.words.val().transpose());
        let pixel = |row: usize, column: usize| f64::from(images.get(3)[row * 28 + column]) / 255.0;
        let dim = SIDE * SIDE;
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
                let normal: Vec<f64> = patch
                    .iter()
                    .zip(&mean)
                    .map(|(value, mean)| (value - average) / deviation - mean)
                    .collect();
                let white: Vec<f64> = (0..dim)
                    .map(|to| {
                        (0..dim)
                            .map(|from| normal[from] * whitening[from * dim + to])
                            .sum()
                    })
                    .collect();
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
    fn images_that_are_too_small_are_refused() {
        assert!(CONFIG.check([1, 28, 28]).is_ok());
        for shape in [[3, 28, 28], [1, 7, 28]] {
            assert!(CONFIG.check(shape).is_err(), "{shape:?}");
        }
        let many = VisualWordsConfig {
            words: 1 << 20,
            ..CONFIG
        };
        assert!(many.check([1, 28, 28]).is_err());
    }
}
