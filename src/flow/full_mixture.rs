//! A mixture of Gaussians with full covariances, fitted by expectation maximisation.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use nalgebra::{DMatrix, DMatrixView};
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};
use rayon::prelude::*;
use serde::Serialize;

use super::Distribution;
use super::whitening::whitening;
use crate::data::{Samples, Vectors};

/// Numbers per intermediate result, 64 MB: how many rows a step takes follows from it.
const NUMBERS: usize = 1 << 24;
/// Largest number of rounds of k-means, which chooses the first responsibilities.
const KMEANS_ROUNDS: usize = 100;
/// Largest number of rounds of expectation maximisation.
const ROUNDS: usize = 100;
/// Gain in mean log-likelihood, in nats, below which the rounds end.
const TOLERANCE: f64 = 1e-3;
/// Added to the diagonal of every covariance, as in scikit-learn; latents are standardised.
const RIDGE: f64 = 1e-6;
/// Sum of responsibilities that a Gaussian is taken to have at least.
const LEAST_MASS: f64 = 1e-6;
/// Rows of one product of the maximisation step.
const BLOCK: usize = 256;

/// Sizes of a [`FullMixture`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MixtureConfig {
    /// Number of Gaussians.
    pub gaussians: usize,
    /// Training latents used, at most.
    pub samples: usize,
}

/// The mixture; its score is the negative log-likelihood in nats.
///
/// Every step is a few matrix products for all components at once, on the chosen backend. `linfa`'s
/// mixture works on one core in f64, component by component.
#[derive(Module, Debug)]
pub struct FullMixture {
    /// `[dim, components * dim]`: one whitening matrix beside the other.
    whitening: Param<Tensor<2>>,
    /// `[1, components * dim]`: the whitened means.
    centres: Param<Tensor<2>>,
    /// `[1, components]`: log-weight plus half the log-determinant of the precision plus the
    /// constant of the normal density.
    constants: Param<Tensor<2>>,
}

impl FullMixture {
    /// Fits the mixture to standardised `latents`.
    pub fn fit(
        latents: &Vectors,
        config: MixtureConfig,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let count = latents.len().min(config.samples);
        let chosen = sample(rng, latents.len(), count).into_vec();
        let x = latents.batch(&chosen, device); // [count, dim]
        // Distances and whitened differences, in f32, are the more exact the nearer the origin is.
        let shift = x.clone().mean_dim(0);
        let x = x - shift.clone();
        let components = config.gaussians.min(count).max(1);
        let mut responsibilities = nearest_centres(&x, components, rng);
        let mut model = Self::from_responsibilities(&x, &responsibilities);
        let mut last = f64::NEG_INFINITY;
        for _ in 0..ROUNDS {
            let (likelihood, next) = model.expectation(&x);
            responsibilities = next;
            model = Self::from_responsibilities(&x, &responsibilities);
            // Written so that a likelihood that is not a number ends it too.
            if likelihood.is_nan() || likelihood - last < TOLERANCE {
                break;
            }
            last = likelihood;
        }
        model.shifted(shift)
    }

    /// The mixture of latents that lie `shift`, `[1, dim]`, from those of this one.
    fn shifted(self, shift: Tensor<2>) -> Self {
        let moved = shift.matmul(self.whitening.val());
        Self {
            centres: self.centres.map(|centres| centres + moved),
            ..self
        }
    }

    /// With `components` Gaussians of latents of `dim` entries, to be filled from a store.
    pub(crate) fn empty(dim: usize, components: usize, device: &Device) -> Self {
        let zeros = |shape: [usize; 2]| Param::from_tensor(Tensor::zeros(shape, device));
        Self {
            whitening: zeros([dim, components * dim]),
            centres: zeros([1, components * dim]),
            constants: zeros([1, components]),
        }
    }

    /// True when none of its parameters has a gradient.
    #[cfg(test)]
    pub(super) fn is_fixed(&self, gradients: &burn::tensor::Gradients) -> bool {
        [&self.whitening, &self.centres, &self.constants]
            .into_iter()
            .all(|param| param.val().grad(gradients).is_none())
    }

    /// Number of Gaussians.
    pub(crate) fn gaussians(&self) -> usize {
        self.constants.val().dims()[1]
    }

    /// Negative log-likelihood of each latent, in nats.
    pub fn nll(&self, latents: &Vectors) -> Vec<f32> {
        let device = self.constants.val().device();
        let all: Vec<usize> = (0..latents.len()).collect();
        let mut scores = Vec::with_capacity(latents.len());
        for indices in all.chunks(self.rows(latents.dim())) {
            let joint = self.joint(latents.batch(indices, &device));
            scores.extend(log_sum_exp(joint).neg().into_data().iter::<f32>());
        }
        scores
    }

    /// Rows for which the whitened differences to all components fit into one step.
    fn rows(&self, dim: usize) -> usize {
        rows_per_step(self.gaussians() * dim)
    }

    /// `ln (weight_k N(x; mean_k, covariance_k))`, `[batch, components]`.
    fn joint(&self, x: Tensor<2>) -> Tensor<2> {
        let [batch, dim] = x.dims();
        // As the base of a flow it is fixed: what it was fitted to is no gradient's.
        let [whitening, centres, constants] =
            [&self.whitening, &self.centres, &self.constants].map(|param| param.val().detach());
        let white = x.matmul(whitening) - centres;
        let squares = white.square().reshape([batch, self.gaussians(), dim]);
        constants - squares.sum_dim(2).squeeze_dim::<2>(2) * 0.5
    }

    /// Mean log-likelihood and responsibilities `[count, components]`.
    fn expectation(&self, x: &Tensor<2>) -> (f64, Tensor<2>) {
        let [count, dim] = x.dims();
        let step = self.rows(dim);
        let mut total = 0.0;
        let mut parts = Vec::new();
        for start in (0..count).step_by(step) {
            let rows = x.clone().narrow(0, start, step.min(count - start));
            let joint = self.joint(rows);
            let evidence = log_sum_exp(joint.clone());
            total += evidence.clone().into_data().iter::<f64>().sum::<f64>();
            parts.push((joint - evidence).exp());
        }
        (total / count as f64, Tensor::cat(parts, 0))
    }

    /// The maximisation step: weights, means and covariances, in f64.
    fn from_responsibilities(x: &Tensor<2>, responsibilities: &Tensor<2>) -> Self {
        let [count, dim] = x.dims();
        let [_, components] = responsibilities.dims();
        let device = x.device();
        let read = |tensor: Tensor<2>| -> Vec<f64> { tensor.into_data().iter::<f64>().collect() };
        let columns = DMatrix::from_vec(dim, count, read(x.clone()));
        let weights = read(responsibilities.clone().transpose());
        let weights = DMatrix::from_vec(count, components, weights);
        let sums = &columns * &weights; // [dim, components]
        let gaussians: Vec<Gaussian> = (0..components)
            .into_par_iter()
            .map(|component| {
                let weights = &weights.as_slice()[component * count..][..count];
                let sums = &sums.as_slice()[component * dim..][..dim];
                Gaussian::fit(columns.as_slice(), weights, sums)
            })
            .collect();

        let mut whitenings = vec![0.0f32; dim * components * dim];
        let mut centres = vec![0.0f32; components * dim];
        let mut constants = vec![0.0f32; components];
        for (component, gaussian) in gaussians.iter().enumerate() {
            let Gaussian {
                mass,
                mean,
                covariance,
            } = gaussian;
            let (inverse, half_log_det) = whitening(covariance);
            for out in 0..dim {
                let mut centre = 0.0;
                for from in 0..dim {
                    let value = inverse[(out, from)];
                    whitenings[from * components * dim + component * dim + out] = value as f32;
                    centre += value * mean[from];
                }
                centres[component * dim + out] = centre as f32;
            }
            let normal = -0.5 * dim as f64 * std::f64::consts::TAU.ln();
            constants[component] = ((mass / count as f64).ln() + half_log_det + normal) as f32;
        }
        let tensor = |values: Vec<f32>, shape: [usize; 2]| {
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        Self {
            whitening: tensor(whitenings, [dim, components * dim]),
            centres: tensor(centres, [1, components * dim]),
            constants: tensor(constants, [1, components]),
        }
    }
}

impl Distribution for FullMixture {
    fn log_prob(&self, z: Tensor<2>) -> Tensor<1> {
        log_sum_exp(self.joint(z)).squeeze_dim(1)
    }

    fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2> {
        let gaussians = self.gaussians();
        let [dim, _] = self.whitening.val().dims();
        let read = |tensor: Tensor<2>| -> Vec<f64> { tensor.into_data().iter::<f64>().collect() };
        let whitening = read(self.whitening.val());
        let centres = read(self.centres.val());
        let constants = read(self.constants.val());
        // The constant of a Gaussian is its log-weight plus half the log-determinant of its precision,
        // and the whitening is triangular.
        let of = |gaussian: usize| {
            DMatrix::from_fn(dim, dim, |row, column| {
                whitening[row * gaussians * dim + gaussian * dim + column]
            })
        };
        let inverses: Vec<Option<DMatrix<f64>>> = (0..gaussians)
            .map(|gaussian| of(gaussian).try_inverse())
            .collect();
        let log_weights = (0..gaussians).map(|gaussian| {
            let diagonal = of(gaussian).diagonal();
            let half_log_det: f64 = diagonal.iter().map(|value| value.abs().ln()).sum();
            constants[gaussian] - half_log_det
        });
        let log_weights: Vec<f64> = log_weights.collect();
        let largest = log_weights
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        let weights = log_weights.iter().map(|weight| (weight - largest).exp());
        let choice = WeightedIndex::new(weights);
        let mut values = Vec::with_capacity(count * dim);
        for _ in 0..count {
            // Weights that are no numbers: the samples are none either.
            let gaussian = choice.as_ref().map_or(0, |choice| choice.sample(rng));
            let white = DMatrix::from_fn(1, dim, |_, column| {
                let noise: f64 = StandardNormal.sample(&mut *rng);
                noise + centres[gaussian * dim + column]
            });
            match &inverses[gaussian] {
                Some(inverse) => values.extend((white * inverse).iter().map(|&v| v as f32)),
                None => values.extend(std::iter::repeat_n(f32::NAN, dim)),
            }
        }
        Tensor::from_data(TensorData::new(values, [count, dim]), device)
    }
}

/// One Gaussian of the maximisation step.
struct Gaussian {
    mass: f64,
    mean: Vec<f64>,
    covariance: DMatrix<f64>,
}

impl Gaussian {
    /// Mean and covariance of `rows` with these weights; `sums` are the weighted sums.
    ///
    /// The rows are centred before they are multiplied: the difference of the second moment and the
    /// squared mean loses a covariance that is small beside the mean.
    fn fit(rows: &[f64], weights: &[f64], sums: &[f64]) -> Self {
        let dim = sums.len();
        let mass = weights.iter().sum::<f64>().max(LEAST_MASS);
        let mean: Vec<f64> = sums.iter().map(|sum| sum / mass).collect();
        let mut covariance = DMatrix::identity(dim, dim) * RIDGE;
        let mut centred = vec![0.0; BLOCK * dim];
        for (rows, weights) in rows.chunks(BLOCK * dim).zip(weights.chunks(BLOCK)) {
            let mut count = 0;
            for (row, &weight) in rows.chunks_exact(dim).zip(weights) {
                // Most are zero at first; one that is not a number counts, and shows in the scores.
                if weight == 0.0 {
                    continue;
                }
                let scale = (weight / mass).sqrt();
                let target = &mut centred[count * dim..(count + 1) * dim];
                for ((target, value), mean) in target.iter_mut().zip(row).zip(&mean) {
                    *target = (value - mean) * scale;
                }
                count += 1;
            }
            if count > 0 {
                let columns = DMatrixView::from_slice(&centred, dim, count);
                let rows = DMatrixView::from_slice_with_strides(&centred, count, dim, dim, 1);
                covariance.gemm(1.0, &columns, &rows, 1.0);
            }
        }
        Self {
            mass,
            mean,
            covariance,
        }
    }
}

/// Rows of so many numbers that fit into one step.
fn rows_per_step(numbers: usize) -> usize {
    (NUMBERS / numbers.max(1)).clamp(1, 4096)
}

/// `ln sum exp` over each row, `[batch, 1]`.
fn log_sum_exp(rows: Tensor<2>) -> Tensor<2> {
    let largest = rows.clone().max_dim(1);
    (rows - largest.clone()).exp().sum_dim(1).log() + largest
}

/// Responsibilities of 1 for the nearest of `count` centres of k-means.
///
/// Where the centres start decides how good a mixture is found from them: with centres drawn
/// uniformly, dense places get too many and rare kinds of samples none.
fn nearest_centres(x: &Tensor<2>, count: usize, rng: &mut impl Rng) -> Tensor<2> {
    let [rows, dim] = x.dims();
    let device = x.device();
    let values: Vec<f32> = x.clone().into_data().iter().collect();
    let first = spread_samples(&values, dim, count, rng);
    let first: Vec<i32> = first.into_iter().map(|row| row as i32).collect();
    let first = Tensor::<1, Int>::from_data(TensorData::new(first, [count]), &device);
    let mut centres = x.clone().select(0, first);
    let mut nearest = Tensor::zeros([rows, count], &device);
    for _ in 0..KMEANS_ROUNDS {
        // Up to a term of each row alone, the negative squared distance.
        let norms = centres.clone().square().sum_dim(1).transpose();
        let closeness = x.clone().matmul(centres.clone().transpose()) * 2.0 - norms;
        let best = closeness.clone().max_dim(1);
        let last = std::mem::replace(&mut nearest, closeness.greater_equal(best).float());
        let moved = (last - nearest.clone()).abs().sum().into_scalar::<f32>();
        if moved == 0.0 {
            break;
        }
        let masses = nearest.clone().sum_dim(0).transpose(); // [count, 1]
        let sums = nearest.clone().transpose().matmul(x.clone());
        let empty = masses.clone().lower_scalar(0.5);
        let means = sums / masses.clamp_min(1.0);
        // A centre that has lost all samples stays where it is.
        centres = means.mask_where(empty.expand(centres.dims()), centres.clone());
    }
    nearest
}

/// Rows of `values` for k-means to start from, far from one another: each is drawn with a
/// probability in proportion to the squared distance to the nearest one before (k-means++, Arthur &
/// Vassilvitskii 2007), the best of a few draws, as in scikit-learn.
fn spread_samples(values: &[f32], dim: usize, count: usize, rng: &mut impl Rng) -> Vec<usize> {
    let rows = values.len() / dim;
    let draws = 2 + (count as f64).ln() as usize;
    let mut chosen = vec![rng.random_range(0..rows)];
    let mut distances = vec![f32::INFINITY; rows];
    closer(&mut distances, values, dim, chosen[0]);
    while chosen.len() < count {
        // Where all samples are chosen already, any one is as good.
        let tries: Vec<usize> = match WeightedIndex::new(&distances) {
            Ok(weights) => weights.sample_iter(&mut *rng).take(draws).collect(),
            Err(_) => vec![rng.random_range(0..rows)],
        };
        let candidates = tries.into_iter().map(|row| {
            let mut distances = distances.clone();
            closer(&mut distances, values, dim, row);
            let sum: f64 = distances.iter().map(|&distance| f64::from(distance)).sum();
            (sum, row, distances)
        });
        let best = candidates.min_by(|(a, ..), (b, ..)| a.total_cmp(b));
        if let Some((_, row, nearer)) = best {
            chosen.push(row);
            distances = nearer;
        }
    }
    chosen
}

/// Lowers the squared distances of all rows to that to `centre`, where it is nearer.
fn closer(distances: &mut [f32], values: &[f32], dim: usize, centre: usize) {
    let centre = &values[centre * dim..(centre + 1) * dim];
    distances
        .par_iter_mut()
        .zip(values.par_chunks_exact(dim))
        .for_each(|(nearest, row)| {
            let squares = row.iter().zip(centre).map(|(a, b)| (a - b).powi(2));
            *nearest = nearest.min(squares.sum());
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;

    #[test]
    fn one_component_is_the_normal_density() {
        // x = np.array([[0,0],[2,1],[4,0],[2,3],[1,1]], float)
        // scipy.stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True) + 1e-3*np.eye(2))
        //     .logpdf([[0, 0], [3, 3]]), negated
        let mut latents = Vectors::new(2);
        latents.extend([0., 0., 2., 1., 4., 0., 2., 3., 1., 1.]);
        let config = MixtureConfig {
            gaussians: 1,
            samples: 100,
        };
        let gmm = FullMixture::fit(
            &latents,
            config,
            &mut StdRng::seed_from_u64(0),
            &test_device(),
        );
        let mut queries = Vectors::new(2);
        queries.extend([0., 0., 3., 3.]);
        for (score, expected) in gmm.nll(&queries).into_iter().zip([3.548_65, 4.286_53]) {
            assert!((score - expected).abs() < 2e-3, "{score} is not {expected}");
        }
    }

    #[test]
    fn first_samples_are_spread_over_the_clusters() {
        // Nine of ten samples lie in one of three clusters; uniform draws would miss the others in
        // half of all cases.
        let mut values = Vec::new();
        for index in 0..300 {
            let centre = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 50.0][index % 10];
            let centre = if index % 20 == 9 { -centre } else { centre };
            values.extend([centre + index as f32 * 1e-3, -centre]);
        }
        for seed in 0..10 {
            let rng = &mut StdRng::seed_from_u64(seed);
            let mut clusters: Vec<i32> = spread_samples(&values, 2, 3, rng)
                .into_iter()
                .map(|row| (values[2 * row] / 40.0) as i32)
                .collect();
            clusters.sort_unstable();
            assert_eq!(clusters, [-1, 0, 1], "seed {seed}");
        }
    }

    #[test]
    fn more_components_than_different_samples_are_no_trouble() {
        let rng = &mut StdRng::seed_from_u64(0);
        assert_eq!(spread_samples(&[1.0; 8], 2, 4, rng).len(), 4);
    }

    #[test]
    fn samples_have_the_moments_of_what_it_was_fitted_to() {
        let mut latents = Vectors::new(2);
        latents.extend([0., 0., 2., 1., 4., 0., 2., 3., 1., 1.]);
        let config = MixtureConfig {
            gaussians: 1,
            samples: 100,
        };
        let rng = &mut StdRng::seed_from_u64(0);
        let mixture = FullMixture::fit(&latents, config, rng, &test_device());
        let samples = mixture.sample(20_000, rng, &test_device());
        let mean: Vec<f64> = samples.clone().mean_dim(0).into_data().iter().collect();
        let centred = samples.clone() - samples.mean_dim(0);
        let covariance = centred.clone().transpose().matmul(centred) / 20_000.0;
        let covariance: Vec<f64> = covariance.into_data().iter().collect();
        // np.mean and np.cov(bias=True) of the five points, five standard errors apart.
        for (found, expected) in mean.iter().zip([1.8, 1.0]) {
            assert!((found - expected).abs() < 0.05, "{mean:?}");
        }
        for (found, expected) in covariance.iter().zip([1.76, 0.0, 0.0, 1.2]) {
            assert!((found - expected).abs() < 0.1, "{covariance:?}");
        }
    }

    #[test]
    fn a_mixture_finds_its_clusters() {
        // Three unit clusters far apart: entropy = ln 3 + 2/2 ln(2 pi e) nats.
        let rng = &mut StdRng::seed_from_u64(3);
        let mut draw = |count: usize| {
            let mut vectors = Vectors::new(2);
            for index in 0..count {
                let angle = (index % 3) as f32 * 2.1;
                let noise: [f32; 2] = std::array::from_fn(|_| StandardNormal.sample(&mut *rng));
                vectors.extend([20.0 * angle.cos() + noise[0], 20.0 * angle.sin() + noise[1]]);
            }
            vectors
        };
        let (train, test) = (draw(3000), draw(3000));
        let config = MixtureConfig {
            gaussians: 6,
            samples: 3000,
        };
        let gmm = FullMixture::fit(
            &train,
            config,
            &mut StdRng::seed_from_u64(1),
            &test_device(),
        );
        let scores = gmm.nll(&test);
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / 3000.0;
        let entropy = 3f64.ln() + (std::f64::consts::TAU * std::f64::consts::E).ln();
        assert!((mean - entropy).abs() < 0.05, "{mean} is not {entropy}");
    }

    #[test]
    fn data_far_from_the_origin_are_fitted_as_well() {
        // Two clusters of deviation 0.1 around 1000 and 1004: entropy = ln 2 + 3/2 ln(2 pi e 0.01).
        let rng = &mut StdRng::seed_from_u64(3);
        let mut draw = |count: usize| {
            let mut vectors = Vectors::new(3);
            for index in 0..count {
                let centre = 1000.0 + 4.0 * (index % 2) as f32;
                let noise: [f32; 3] = std::array::from_fn(|_| StandardNormal.sample(&mut *rng));
                vectors.extend(noise.map(|noise| centre + 0.1 * noise));
            }
            vectors
        };
        let (train, test) = (draw(3000), draw(3000));
        let config = MixtureConfig {
            gaussians: 2,
            samples: 3000,
        };
        let rng = &mut StdRng::seed_from_u64(1);
        let gmm = FullMixture::fit(&train, config, rng, &test_device());
        let scores = gmm.nll(&test);
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / 3000.0;
        let spread = std::f64::consts::TAU * std::f64::consts::E * 0.01;
        let entropy = 2f64.ln() + 1.5 * spread.ln();
        assert!((mean - entropy).abs() < 0.05, "{mean} is not {entropy}");
    }
}
