//! What a flow maps data to: densities of vectors that can be evaluated and drawn from.

mod full_mixture;
mod kernel_mixture;
mod standard_normal;
mod tied_mixture;
mod trained_mixture;
mod white_mixture;
mod whitened;
mod whitening;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

pub use full_mixture::{FullMixture, MixtureConfig};
pub use kernel_mixture::KernelMixture;
pub use standard_normal::StandardNormal;
pub use tied_mixture::TiedMixture;
pub use trained_mixture::GaussianMixture;
pub use white_mixture::WhiteMixture;
pub(crate) use whitening::whitening;

use crate::data::Vectors;

/// A density of vectors.
pub trait Distribution {
    /// Log-density in nats.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch]`.
    fn log_prob(&self, z: Tensor<2>) -> Tensor<1>;

    /// Draws `count` vectors.
    ///
    /// # Shapes
    /// To `[count, dim]`.
    fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2>;
}

/// How the Gaussians of a base distribution come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseKind {
    /// Diagonal covariances, trained with the flow; without any Gaussian a standard normal.
    #[default]
    Trained,
    /// Full covariances, fitted to the training vectors before the flow is trained, and fixed then. The
    /// couplings start at the identity, so before its first step the flow *is* this mixture.
    Fitted,
    /// As [`Fitted`](Self::Fitted), around the centres of k-means and with one full covariance: there can be many.
    Tied,
    /// Kernels of one variance around training vectors: there can be tens of thousands.
    Kernel,
}

impl BaseKind {
    /// True when it is trained with the flow, not fitted before.
    pub fn is_trained(self) -> bool {
        self == Self::Trained
    }

    /// Gaussians that there can be, at most.
    pub(crate) fn most_gaussians(self) -> usize {
        match self {
            Self::Trained | Self::Fitted | Self::Tied => 10_000,
            Self::Kernel => 50_000,
        }
    }
}

/// The base distribution of a flow.
#[derive(Module, Debug)]
pub enum Base {
    /// A standard normal.
    Normal(StandardNormal),
    /// A mixture that is trained with the flow.
    Trained(GaussianMixture),
    /// A mixture that was fitted before.
    Fitted(FullMixture),
    /// One of one covariance.
    Tied(TiedMixture),
    /// Kernels around rows.
    Kernel(KernelMixture),
}

impl Base {
    /// With so many Gaussians of vectors of `dim` entries, to be set from data or from a store.
    pub(super) fn new(
        kind: BaseKind,
        gaussians: usize,
        dim: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        match (kind, gaussians) {
            (_, 0) => Self::Normal(StandardNormal::new(dim)),
            (BaseKind::Trained, _) => {
                Self::Trained(GaussianMixture::new(gaussians, dim, rng, device))
            }
            (BaseKind::Fitted, _) => Self::Fitted(FullMixture::empty(dim, gaussians, device)),
            (BaseKind::Tied, _) => Self::Tied(TiedMixture::empty(dim, gaussians, device)),
            (BaseKind::Kernel, _) => Self::Kernel(KernelMixture::empty(dim, gaussians, device)),
        }
    }

    /// Set from vectors: where a mixture is trained, its means; where it is fitted, all of it, as the
    /// average of so many `starts`.
    ///
    /// # Shapes
    /// `z`: `[batch, dim]`, at least one row.
    pub(super) fn initialised(self, z: Tensor<2>, starts: usize, rng: &mut impl Rng) -> Self {
        match self {
            Self::Normal(normal) => Self::Normal(normal),
            Self::Trained(mixture) => Self::Trained(mixture.initialised(z)),
            Self::Fitted(mixture) => {
                let device = z.device();
                let rows = vectors(z);
                let config = MixtureConfig {
                    gaussians: mixture.gaussians() / starts.max(1),
                    starts,
                    samples: rows.len(),
                };
                Self::Fitted(FullMixture::fit(&rows, config, rng, &device))
            }
            Self::Tied(mixture) => {
                let device = z.device();
                let fitted = TiedMixture::fit(vectors(z), mixture.gaussians(), rng, &device);
                Self::Tied(fitted)
            }
            Self::Kernel(mixture) => {
                let device = z.device();
                let kernels = mixture.kernels();
                Self::Kernel(KernelMixture::fit(&vectors(z), kernels, rng, &device))
            }
        }
    }

    /// As what it is.
    pub fn distribution(&self) -> &dyn Distribution {
        match self {
            Self::Normal(normal) => normal,
            Self::Trained(mixture) => mixture,
            Self::Fitted(mixture) => mixture,
            Self::Tied(mixture) => mixture,
            Self::Kernel(mixture) => mixture,
        }
    }
}

/// The rows of a tensor.
fn vectors(rows: Tensor<2>) -> Vectors {
    let [len, dim] = rows.dims();
    let mut vectors = Vectors::with_capacity(dim, len);
    vectors.extend(rows.into_data().iter::<f32>());
    vectors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Samples;
    use burn::tensor::TensorData;
    use rand::SeedableRng;

    /// Rows around three places, of deviations 1 and 0.4 along one diagonal and the other.
    fn rows() -> Vectors {
        let rng = &mut StdRng::seed_from_u64(1);
        let mut rows = Vectors::new(2);
        for index in 0..3000 {
            let [x, y] = [[0.0f32, 0.0], [3.0, 1.0], [-2.0, 3.0]][index % 3];
            let [a, b]: [f32; 2] = std::array::from_fn(|_| {
                rand_distr::Distribution::sample(&rand_distr::StandardNormal, &mut *rng)
            });
            let (along, across) = (a * 0.7, b * 0.28);
            rows.extend([x + along + across, y + along - across]);
        }
        rows
    }

    /// The mass of a density in two dimensions is one, and what is drawn from it is spread as it is: the mean of its negative
    /// logarithm there is the entropy, and the mean of either entry that of the density.
    fn assert_density(distribution: &dyn Distribution, what: &str) {
        const SIDE: usize = 400;
        const STEP: f64 = 0.06;
        let device = test_device();
        let places = (0..SIDE).map(|at| (at as f64 - SIDE as f64 / 2.0) * STEP);
        let places: Vec<f64> = places.collect();
        let points = places
            .iter()
            .flat_map(|&x| places.iter().map(move |&y| [x, y]));
        let points: Vec<[f64; 2]> = points.collect();
        let values: Vec<f32> = points.iter().flatten().map(|&value| value as f32).collect();
        let grid = Tensor::from_data(TensorData::new(values, [SIDE * SIDE, 2]), &device);
        let log_prob: Vec<f64> = distribution
            .log_prob(grid)
            .into_data()
            .iter::<f64>()
            .collect();
        let sum = |of: &dyn Fn(usize, f64) -> f64| {
            let all = log_prob.iter().enumerate();
            all.map(|(at, log)| of(at, *log) * log.exp() * STEP * STEP)
                .sum::<f64>()
        };
        let mass = sum(&|_, _| 1.0);
        assert!((mass - 1.0).abs() < 1e-3, "{what}: a mass of {mass}");

        let samples = distribution.sample(20_000, &mut StdRng::seed_from_u64(2), &device);
        let means: Vec<f64> = samples
            .clone()
            .mean_dim(0)
            .into_data()
            .iter::<f64>()
            .collect();
        let found = -distribution
            .log_prob(samples)
            .mean()
            .into_data()
            .iter::<f64>()
            .sum::<f64>();
        let entropy = sum(&|_, log| -log);
        // Five standard errors are below 0.04, and of the means below 0.1.
        assert!(
            (found - entropy).abs() < 0.04,
            "{what}: {found}, not {entropy}"
        );
        for (axis, found) in means.into_iter().enumerate() {
            let expected = sum(&|at, _| points[at][axis]);
            assert!(
                (found - expected).abs() < 0.1,
                "{what}: {found}, not {expected}"
            );
        }
    }

    /// The gradient, on which training and heat maps rest, is the slope of the log-density.
    fn assert_gradient(distribution: &dyn Distribution, what: &str) {
        const STEP: f32 = 0.01;
        let indices: Vec<usize> = (0..30).collect();
        let points = rows().batch(&indices, &test_device()).into_data();
        let points: Vec<f32> = points.iter::<f32>().collect();
        let tensor = |values: Vec<f32>, device: &Device| {
            Tensor::<2>::from_data(TensorData::new(values, [30, 2]), device)
        };
        let x = tensor(points.clone(), &test_device().autodiff()).require_grad();
        let gradients = distribution.log_prob(x.clone()).sum().backward();
        let gradient = x.grad(&gradients).unwrap().into_data();
        let gradient: Vec<f32> = gradient.iter::<f32>().collect();
        for axis in 0..2 {
            let log_prob = |step: f32| -> Vec<f32> {
                let mut moved = points.clone();
                moved
                    .iter_mut()
                    .skip(axis)
                    .step_by(2)
                    .for_each(|x| *x += step);
                let found = distribution.log_prob(tensor(moved, &test_device()));
                found.into_data().iter::<f32>().collect()
            };
            let (above, below) = (log_prob(STEP), log_prob(-STEP));
            let slopes = above
                .iter()
                .zip(&below)
                .map(|(a, b)| (a - b) / (2.0 * STEP));
            for (slope, found) in slopes.zip(gradient.iter().skip(axis).step_by(2)) {
                let close = (slope - found).abs() < 0.01 * (1.0 + slope.abs());
                assert!(close, "{what}: {found}, not {slope}");
            }
        }
    }

    #[test]
    fn every_density_has_a_mass_of_one_samples_and_a_gradient() {
        let (device, rng) = (test_device(), &mut StdRng::seed_from_u64(3));
        let mut all: Vec<(String, Base)> = Vec::new();
        for (kind, gaussians) in [
            (BaseKind::Trained, 3),
            (BaseKind::Fitted, 3),
            (BaseKind::Tied, 3),
            (BaseKind::Kernel, 300),
        ] {
            let indices: Vec<usize> = (0..3000).collect();
            let base = Base::new(kind, gaussians, 2, rng, &device);
            let base = base.initialised(rows().batch(&indices, &device), 1, rng);
            all.push((format!("{kind:?}"), base));
        }
        let normal = StandardNormal::new(2);
        let bases = all
            .iter()
            .map(|(what, base)| (what.as_str(), base.distribution()));
        for (what, distribution) in bases.chain([("a standard normal", &normal as _)]) {
            assert_density(distribution, what);
            assert_gradient(distribution, what);
        }
    }
}
