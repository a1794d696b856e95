//! Whitened principal components of feature vectors.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;
use rand::Rng;

use super::directions::{directions, principal_directions, varied_directions};
use crate::data::{Samples, Vectors, batches};
use crate::ops::covariance;

/// Least variance that is added to the components of a softened projection.
const LEAST_ADDED: f64 = 1e-12;

/// Smallest variance of a component, relative to the largest: a component that hardly varies on
/// training data would otherwise decide every score.
const RELATIVE_FLOOR: f64 = 1e-6;
/// Those among which [`Projection::fit_whole`] chooses.
const RELATIVE_FLOORS: [f64; 4] = [1e-6, 1e-7, 1e-8, 1e-9];
/// Vectors per step of choosing.
const BATCH: usize = 4096;

/// In which order all components of vectors come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentOrder {
    /// None: this takes a tenth of the time.
    Any,
    /// By their variances.
    LargestFirst,
}

/// Maps feature vectors to fewer, uncorrelated entries of mean 0 and variance 1.
///
/// What a pretrained or a patch-wise encoder hands out has many strongly correlated entries; a flow
/// learns faster, and from fewer images, on these.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[from]`.
    mean: Param<Tensor<1>>,
    /// `[from, to]`.
    matrix: Param<Tensor<2>>,
}

impl Projection {
    /// Fits `to` components, at most as many as a vector has entries: those of the largest variances,
    /// in their order, or in no order where they are all there are and vectors are many. Those in which few vectors do not
    /// vary are zero of every vector.
    pub fn fit(vectors: &Vectors, to: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let from = vectors.dim();
        let to = to.min(from);
        let mean = vectors.means();
        let rows = |indices: &[usize]| vectors.batch(indices, device);
        // All components are as good as the principal ones where the vectors vary in all of them.
        let whitened = (to == from && vectors.len() > from)
            .then(|| {
                let covariance = covariance(&mean, vectors.len(), device, rows);
                whitening(&covariance, RELATIVE_FLOOR)
            })
            .flatten();
        let matrix = match whitened {
            Some((matrix, _)) => matrix,
            None => {
                let found = varied_directions(&mean, vectors.len(), to, device, rows, rng);
                whitened_along(&found, Floor::AtLeast(RELATIVE_FLOOR)).0
            }
        };
        Self::from_values(mean, matrix, device)
    }

    /// Fits all components. What is added to their variances, so that one which hardly varies does not decide every
    /// score, is chosen: that by which `valid` vectors are likeliest under the Gaussian of the others.
    ///
    /// What is odd often lies where normal images vary little, and what is added hides it; too little, and a validation
    /// image that varies there once is as unlikely as can be.
    pub fn fit_whole(
        vectors: &Vectors,
        valid: &Vectors,
        order: ComponentOrder,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let dim = vectors.dim();
        let mean = vectors.means();
        let rows = |indices: &[usize]| vectors.batch(indices, device);
        let covariance = covariance(&mean, vectors.len(), device, rows);
        let damaged = covariance.iter().any(|value| !value.is_finite());
        let principal = (order == ComponentOrder::LargestFirst && !damaged)
            .then(|| principal_directions(&covariance, dim, rng));
        let whitened = |floor: f64| match &principal {
            Some(principal) => Some(whitened_along(principal, Floor::Added(floor))),
            None => whitening(&covariance, floor),
        };
        let fits = RELATIVE_FLOORS.iter().filter_map(|&floor| {
            let (matrix, half_log_det) = whitened(floor)?;
            let projection = Self::from_values(mean.clone(), matrix, device);
            Some((
                projection.mean_square(valid) * 0.5 - half_log_det,
                projection,
            ))
        });
        let best = fits.filter(|(nll, _)| nll.is_finite());
        let best = best.min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((_, projection)) = best {
            return projection;
        }
        // Nobody to ask, or nothing finite: what is always safe.
        match whitened(RELATIVE_FLOOR) {
            Some((matrix, _)) => Self::from_values(mean, matrix, device),
            None => Self::fit(vectors, dim, rng, device),
        }
    }

    fn from_values(mean: Vec<f32>, matrix: Vec<f32>, device: &Device) -> Self {
        let from = mean.len();
        let to = matrix.len() / from.max(1);
        let matrix = TensorData::new(matrix, [from, to]);
        Self {
            mean: Param::from_tensor(Tensor::from_data(TensorData::new(mean, [from]), device)),
            matrix: Param::from_tensor(Tensor::from_data(matrix, device)),
        }
    }

    /// What it makes of all vectors, `batch` at a time.
    pub fn project(&self, vectors: &Vectors, batch: usize) -> Vectors {
        let device = self.mean.val().device();
        Vectors::in_batches(self.dim(), (vectors.len(), batch), |indices| {
            self.forward(vectors.batch(indices, &device))
        })
    }

    /// Mean squared length of what it makes of vectors.
    fn mean_square(&self, vectors: &Vectors) -> f64 {
        let device = self.mean.val().device();
        let sums = batches(vectors.len(), BATCH).map(|indices| {
            let latents = self.forward(vectors.batch(&indices, &device));
            let squares = latents.square().sum_dim(1).into_data();
            squares.iter::<f64>().sum::<f64>()
        });
        sums.sum::<f64>() / vectors.len() as f64
    }

    /// Fits all components, each multiplied by the fourth root of its precision, and the logarithm of the
    /// map's determinant: their variances come nearer to one another, but what hardly varies does not
    /// count as much as all else. `share` of the mean variance is added to each before.
    pub fn softened(
        vectors: &Vectors,
        share: f64,
        rng: &mut impl Rng,
        device: &Device,
    ) -> (Self, f64) {
        let (projection, scales) = Self::scaled(vectors, rng, device, |variances| {
            let mean = variances.iter().sum::<f64>() / variances.len() as f64;
            // Where nothing varies, the scales are still numbers of f32.
            let added = (share * mean).max(LEAST_ADDED);
            let scales = variances.iter().map(|variance| variance + added);
            scales.map(|variance| variance.powf(-0.25)).collect()
        });
        (projection, scales.iter().map(|scale| scale.ln()).sum())
    }

    /// Fits all components, each divided by the root of its variance and what is `added` to it: what varies
    /// less than that stays small.
    pub fn regularised(vectors: &Vectors, added: f64, rng: &mut impl Rng, device: &Device) -> Self {
        let scales = |variances: &[f64]| {
            let scales = variances.iter().map(|variance| variance + added);
            scales.map(|variance| variance.sqrt().recip()).collect()
        };
        Self::scaled(vectors, rng, device, scales).0
    }

    /// Fits all components, and multiplies each by what `scales` makes of all variances.
    fn scaled(
        vectors: &Vectors,
        rng: &mut impl Rng,
        device: &Device,
        scales: impl Fn(&[f64]) -> Vec<f64>,
    ) -> (Self, Vec<f64>) {
        let dim = vectors.dim();
        let mean = vectors.means();
        let rows = |indices: &[usize]| vectors.batch(indices, device);
        let (mut matrix, mut variances) = directions(&mean, vectors.len(), dim, device, rows, rng);
        for variance in &mut variances {
            *variance = variance.max(0.0);
        }
        let scales = scales(&variances);
        for row in matrix.chunks_exact_mut(dim) {
            for (value, scale) in row.iter_mut().zip(&scales) {
                *value = (f64::from(*value) * scale) as f32;
            }
        }
        (Self::from_values(mean, matrix, device), scales)
    }

    /// A projection of these sizes, to be filled with stored weights.
    pub fn empty(from: usize, to: usize, device: &Device) -> Self {
        Self {
            mean: Param::from_tensor(Tensor::zeros([from], device)),
            matrix: Param::from_tensor(Tensor::zeros([from, to.min(from)], device)),
        }
    }

    /// Followed by the product with a matrix `[to, other]`.
    pub(crate) fn then(&self, matrix: Tensor<2>) -> Self {
        Self {
            mean: self.mean.clone(),
            matrix: Param::from_tensor(self.matrix.val().matmul(matrix)),
        }
    }

    /// Entries of a projected vector.
    pub fn dim(&self) -> usize {
        self.matrix.val().dims()[1]
    }

    /// # Shapes
    /// `[batch, from]` to `[batch, to]`.
    pub fn forward(&self, vectors: Tensor<2>) -> Tensor<2> {
        (vectors - self.mean.val().unsqueeze::<2>()).matmul(self.matrix.val())
    }
}

/// How a variance that is hardly any is kept from deciding every score, by a share of the largest.
#[derive(Clone, Copy)]
enum Floor {
    /// It is taken to be that share.
    AtLeast(f64),
    /// That share is added to all.
    Added(f64),
}

/// The directions `[dim, components]` of the largest variances and these, largest first, as a whitening of the same
/// shape, and half its log-determinant.
fn whitened_along((directions, variances): &(Vec<f32>, Vec<f64>), floor: Floor) -> (Vec<f32>, f64) {
    let largest = variances.first().copied().unwrap_or(1.0);
    let share = |of: f64| (largest * of).max(f64::from(f32::MIN_POSITIVE));
    let deviations = variances.iter().map(|&variance| match floor {
        Floor::AtLeast(least) => variance.max(share(least)).sqrt(),
        // Rounding can leave a variance below zero.
        Floor::Added(added) => (variance.max(0.0) + share(added)).sqrt(),
    });
    let deviations: Vec<f64> = deviations.collect();
    let matrix = directions.iter().zip(deviations.iter().cycle());
    let matrix = matrix.map(|(&value, deviation)| (f64::from(value) / deviation) as f32);
    let half_log_det: f64 = -deviations.iter().map(|value| value.ln()).sum::<f64>();
    (matrix.collect(), half_log_det)
}

/// A triangular whitening, `[dim, dim]`, and half its log-determinant: where all components are kept, any of them is as
/// good as the principal ones, and this one takes a tenth of the time. So much of the largest variance is added to all.
/// None when the covariance is damaged.
fn whitening(covariance: &DMatrix<f64>, floor: f64) -> Option<(Vec<f32>, f64)> {
    let dim = covariance.nrows();
    let largest = covariance.diagonal().max();
    let floor = (largest * floor).max(f64::from(f32::MIN_POSITIVE));
    let ridged = covariance + DMatrix::identity(dim, dim) * floor;
    let factor = ridged.cholesky()?.l();
    let half_log_det: f64 = -factor
        .diagonal()
        .iter()
        .map(|value| value.ln())
        .sum::<f64>();
    let inverse = factor.solve_lower_triangular(&DMatrix::identity(dim, dim))?;
    // Rows of the inverse are columns of the projection; nalgebra keeps columns together.
    let values = inverse.transpose();
    let mut matrix = vec![0.0; dim * dim];
    for from in 0..dim {
        for to in 0..dim {
            matrix[from * dim + to] = values[(from, to)] as f32;
        }
    }
    Some((matrix, half_log_det))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, StandardNormal};

    #[test]
    fn what_validation_vectors_say_decides_how_small_a_variance_counts() {
        // The second entry varies by a millionth of the first one's variance; in the second set of validation vectors
        // once by far more.
        let device = test_device();
        let rows = |count: usize, seed: u64, last: f32| {
            let rng = &mut StdRng::seed_from_u64(seed);
            let mut rows = Vectors::new(2);
            for _ in 1..count {
                let [a, b]: [f32; 2] = std::array::from_fn(|_| StandardNormal.sample(&mut *rng));
                rows.extend([1000.0 * a, b]);
            }
            rows.extend([0.0, last]);
            rows
        };
        let deviation = |valid: &Vectors| {
            let rng = &mut StdRng::seed_from_u64(1);
            let train = rows(2000, 2, 0.0);
            let [any, largest_first] =
                [ComponentOrder::Any, ComponentOrder::LargestFirst].map(|order| {
                    let projection = Projection::fit_whole(&train, valid, order, rng, &device);
                    let pair = Tensor::from_data([[0.0f32, 0.0], [0.0, 1.0]], &device);
                    let found: Vec<f32> = projection.forward(pair).into_data().iter().collect();
                    (found[3] - found[1]).abs().recip()
                });
            assert!(
                (any / largest_first - 1.0).abs() < 1e-2,
                "{any} {largest_first}"
            );
            any
        };
        let usual = deviation(&rows(500, 3, 0.0));
        assert!((0.95..1.1).contains(&usual), "{usual}");
        let once = deviation(&rows(500, 3, 100.0));
        assert!((1.3..1.5).contains(&once), "{once}");
        // Nobody to ask: as much as is always safe.
        let none = deviation(&Vectors::new(2));
        assert!((1.3..1.5).contains(&none), "{none}");
    }

    #[test]
    fn the_first_of_all_components_are_those_of_the_largest_variances() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(5);
        let mut rows = Vectors::new(3);
        for _ in 0..2000 {
            let [a, b, c]: [f32; 3] = std::array::from_fn(|_| StandardNormal.sample(&mut *rng));
            // The third entry varies most, along with the second.
            rows.extend([a, b + 5.0 * c, 10.0 * c]);
        }
        let none = Vectors::new(3);
        let order = ComponentOrder::LargestFirst;
        for valid in [&rows, &none] {
            let projection = Projection::fit_whole(&rows, valid, order, rng, &device);
            let unit = Tensor::from_data([[0.0f32, 5.0, 10.0], [0.0; 3]], &device);
            let found: Vec<f32> = projection.forward(unit).into_data().iter().collect();
            // A step along the direction of the largest variance is one standard deviation of it, and none of others.
            let step: Vec<f32> = (0..3).map(|at| (found[at] - found[3 + at]).abs()).collect();
            assert!((step[0] - 1.0).abs() < 0.05, "{step:?}");
            assert!(step[1..].iter().all(|value| *value < 0.1), "{step:?}");
        }
    }

    #[test]
    fn projected_training_vectors_are_white() {
        let rng = &mut StdRng::seed_from_u64(1);
        // The last entry follows from the first two: three components are all that there are.
        let (mut four, mut three) = (Vectors::new(4), Vectors::new(3));
        for _ in 0..5000 {
            let n: [f32; 3] = std::array::from_fn(|_| StandardNormal.sample(&mut *rng));
            let row = [5.0 + 3.0 * n[0], n[0] + n[1], 0.1 * n[2]];
            three.extend(row);
            four.extend(row.into_iter().chain([n[1] - 2.0]));
        }
        let device = test_device();
        for vectors in [four, three] {
            let projection = Projection::fit(&vectors, 3, rng, &device);
            let all: Vec<usize> = (0..vectors.len()).collect();
            let white = projection.forward(vectors.batch(&all, &device));
            assert_eq!(white.dims(), [5000, 3]);
            let covariance = white.clone().transpose().matmul(white) / 5000.0;
            for (index, value) in covariance.into_data().iter::<f32>().enumerate() {
                let expected = if index % 4 == 0 { 1.0 } else { 0.0 };
                assert!((value - expected).abs() < 2e-3, "{index}: {value}");
            }
        }
    }
}
