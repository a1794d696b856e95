//! A mixture of Gaussians with full covariances, fitted by expectation maximisation.

mod fit;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;
use rand::rngs::StdRng;
use serde::Serialize;

use super::Distribution;
use super::whitened::{WhitenedSampler, numbers};
use crate::data::{Samples, Vectors, batches};
use crate::ops::{WhitenedGaussians, log_sum_exp, mixture_log_densities};

/// Numbers per intermediate result, 64 MB: how many rows a step takes follows from it.
const NUMBERS: usize = 1 << 24;

/// Sizes of a [`FullMixture`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MixtureConfig {
    /// Number of Gaussians.
    pub gaussians: usize,
    /// Runs of expectation maximisation, whose mixtures are averaged.
    pub starts: usize,
    /// Training latents used, at most.
    pub samples: usize,
}

/// The mixture; its score is the negative log-likelihood in nats.
///
/// `linfa`'s mixture works on one core, component by component.
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

/// The numbers of a [`FullMixture`], row-major as there.
#[derive(Clone, Debug, Default)]
struct Parameters {
    whitening: Vec<f32>,
    centres: Vec<f32>,
    constants: Vec<f32>,
}

impl Parameters {
    fn dim(&self) -> usize {
        self.centres.len() / self.constants.len().max(1)
    }

    fn whitened(&self) -> WhitenedGaussians<'_> {
        WhitenedGaussians {
            whitening: &self.whitening,
            centres: &self.centres,
            constants: &self.constants,
        }
    }

    /// The mixture of latents that lie `shift` from those of this one.
    fn shifted(mut self, shift: &[f32]) -> Self {
        let width = self.centres.len();
        for (row, &shift) in self.whitening.chunks_exact(width.max(1)).zip(shift) {
            for (centre, value) in self.centres.iter_mut().zip(row) {
                *centre += shift * value;
            }
        }
        self
    }
}

impl FullMixture {
    fn from_parameters(parameters: Parameters, device: &Device) -> Self {
        let [dim, gaussians] = [parameters.dim(), parameters.constants.len()];
        let tensor = |values: Vec<f32>, shape: [usize; 2]| {
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
        };
        Self {
            whitening: tensor(parameters.whitening, [dim, gaussians * dim]),
            centres: tensor(parameters.centres, [1, gaussians * dim]),
            constants: tensor(parameters.constants, [1, gaussians]),
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

    /// Number of Gaussians.
    pub(crate) fn gaussians(&self) -> usize {
        self.constants.val().dims()[1]
    }

    /// Negative log-likelihood of each latent, in nats.
    pub fn nll(&self, latents: &Vectors) -> Vec<f32> {
        let device = self.constants.val().device();
        let mut scores = Vec::with_capacity(latents.len());
        for indices in batches(latents.len(), self.rows(latents.dim())) {
            let joint = self.joint(latents.batch(&indices, &device));
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
        // As the base of a flow it is fixed: what it was fitted to is no gradient's.
        let [whitening, centres, constants] =
            [&self.whitening, &self.centres, &self.constants].map(|param| param.val().detach());
        mixture_log_densities(x, [whitening, centres, constants])
    }
}

impl Distribution for FullMixture {
    fn log_prob(&self, z: Tensor<2>) -> Tensor<1> {
        log_sum_exp(self.joint(z)).squeeze_dim(1)
    }

    fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2> {
        let gaussians = self.gaussians();
        let [dim, _] = self.whitening.val().dims();
        let whitening = numbers(self.whitening.val());
        let constants = numbers(self.constants.val());
        let of = |gaussian: usize| {
            DMatrix::from_fn(dim, dim, |row, column| {
                whitening[row * gaussians * dim + gaussian * dim + column]
            })
        };
        // The constant of a Gaussian is its log-weight plus half the log-determinant of its precision,
        // and the whitening is triangular.
        let log_weight = |gaussian: usize| {
            let diagonal = of(gaussian).diagonal();
            let half_log_det: f64 = diagonal.iter().map(|value| value.abs().ln()).sum();
            constants[gaussian] - half_log_det
        };
        let log_weights: Vec<f64> = (0..gaussians).map(log_weight).collect();
        let inverses: Vec<_> = (0..gaussians).map(|one| of(one).try_inverse()).collect();
        let gaussians = WhitenedSampler {
            log_weights: &log_weights,
            centres: &numbers(self.centres.val()),
            inverses: &inverses,
        };
        gaussians.sample(count, dim, rng, device)
    }
}

/// Rows of so many numbers that fit into one step.
fn rows_per_step(numbers: usize) -> usize {
    (NUMBERS / numbers.max(1)).clamp(1, 4096)
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
            starts: 1,
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
    fn samples_have_the_moments_of_what_it_was_fitted_to() {
        let mut latents = Vectors::new(2);
        latents.extend([0., 0., 2., 1., 4., 0., 2., 3., 1., 1.]);
        let config = MixtureConfig {
            gaussians: 1,
            starts: 1,
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
}
