//! Fitting a mixture: k-means++, then expectation maximisation.
//!
//! On the processor, whatever the backend: most of a row's responsibilities are nothing, and what is
//! left is added up in f64.

use burn::tensor::Device;
use nalgebra::{DMatrix, DMatrixView};
use rand::Rng;
use rand::seq::index::sample;
use rayon::prelude::*;

use super::super::whitening::whitening;
use super::{FullMixture, MixtureConfig, Parameters};
use crate::data::Vectors;
use crate::ops::{k_means, log_densities};

/// Largest number of rounds of expectation maximisation.
const ROUNDS: usize = 100;
/// Gain in mean log-likelihood, in nats, below which the rounds end.
const TOLERANCE: f64 = 1e-3;
/// Added to the diagonal of every covariance, as in scikit-learn; latents are standardised.
const RIDGE: f64 = 1e-6;
/// Sum of responsibilities that a Gaussian is taken to have at least. One with less has lost its rows, and is as broad as
/// all of them: with a covariance of its own it would be a spike where nothing was seen.
const LEAST_MASS: f64 = 1e-6;
/// Responsibility that counts as none: those of a row add up to one in f32, whose last place is larger.
/// Most of them are smaller, and a round then takes a fraction of the time.
const NEGLIGIBLE: f32 = 1e-8;
/// Rows of one product of the maximisation step.
const BLOCK: usize = 256;
/// Rows per task of the expectation step.
const CHUNK: usize = 2048;

/// Rows that a Gaussian is responsible for, and how much.
type Shares = Vec<(u32, f32)>;
/// The shares of each Gaussian, in parts.
type Responsibilities = Vec<Vec<Shares>>;

impl FullMixture {
    /// Fits the mixture to standardised `latents`: of several starts, all that they end in, with equal
    /// weights.
    ///
    /// Where expectation maximisation starts decides which of many optima it ends in. A mixture of
    /// mixtures is one itself, and depends less on it.
    pub fn fit(
        latents: &Vectors,
        config: MixtureConfig,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let count = latents.len().min(config.samples);
        let chosen = sample(rng, latents.len(), count).into_vec();
        let mut rows = latents.select(&chosen);
        // Distances and whitened differences, in f32, are the more exact the nearer the origin is.
        let shift = rows.means();
        rows.shift(&shift);
        let starts = (0..config.starts.max(1)).map(|_| maximised(&rows, config.gaussians, rng));
        let mixture = of_equal_weights(&starts.collect::<Vec<_>>());
        Self::from_parameters(mixture.shifted(&shift), device)
    }
}

/// One run of expectation maximisation.
fn maximised(rows: &Vectors, gaussians: usize, rng: &mut impl Rng) -> Parameters {
    let gaussians = gaussians.min(rows.len()).max(1);
    let mut mixture = maximisation(rows, &clusters(rows, gaussians, rng), gaussians);
    let mut last = f64::NEG_INFINITY;
    for _ in 0..ROUNDS {
        let (likelihood, responsibilities) = expectation(rows, &mixture);
        mixture = maximisation(rows, &responsibilities, gaussians);
        // Written so that a likelihood that is not a number ends it too.
        if likelihood.is_nan() || likelihood - last < TOLERANCE {
            break;
        }
        last = likelihood;
    }
    mixture
}

/// All Gaussians of `mixtures`, each mixture with the same weight.
fn of_equal_weights(mixtures: &[Parameters]) -> Parameters {
    let share = (mixtures.len() as f32).ln();
    let dim = mixtures.first().map_or(0, Parameters::dim);
    let mut all = Parameters::default();
    for row in 0..dim {
        for mixture in mixtures {
            let width = mixture.centres.len();
            all.whitening
                .extend_from_slice(&mixture.whitening[row * width..][..width]);
        }
    }
    for mixture in mixtures {
        all.centres.extend_from_slice(&mixture.centres);
        all.constants
            .extend(mixture.constants.iter().map(|constant| constant - share));
    }
    all
}

/// Mean log-likelihood and responsibilities.
fn expectation(rows: &Vectors, mixture: &Parameters) -> (f64, Responsibilities) {
    let gaussians = mixture.constants.len();
    let chunks = rows.values().par_chunks(CHUNK * rows.dim()).enumerate();
    let parts: Vec<(f64, Vec<Shares>)> = chunks
        .map(|(chunk, values)| {
            let joint = log_densities(values, mixture.whitened());
            let mut total = 0.0;
            let mut responsible = vec![Vec::new(); gaussians];
            for (row, joint) in joint.chunks_exact(gaussians).enumerate() {
                let largest = joint.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = joint.iter().map(|value| (value - largest).exp()).sum();
                let evidence = largest + sum.ln();
                total += f64::from(evidence);
                let index = (chunk * CHUNK + row) as u32;
                for (responsible, value) in responsible.iter_mut().zip(joint) {
                    let share = (value - evidence).exp();
                    // One that is not a number counts, and shows in the scores.
                    if share >= NEGLIGIBLE || share.is_nan() {
                        responsible.push((index, share));
                    }
                }
            }
            (total, responsible)
        })
        .collect();
    let total: f64 = parts.iter().map(|(total, _)| total).sum();
    let responsible = parts.into_iter().map(|(_, responsible)| responsible);
    (total / rows.len().max(1) as f64, responsible.collect())
}

/// The maximisation step: weights, means and covariances, in f64.
fn maximisation(rows: &Vectors, responsible: &Responsibilities, gaussians: usize) -> Parameters {
    let dim = rows.dim();
    let fitted: Vec<(DMatrix<f64>, Vec<f32>, f32)> = (0..gaussians)
        .into_par_iter()
        .map(|index| {
            let shares = responsible
                .iter()
                .flat_map(|part| part[index].iter().copied());
            let shares: Vec<(u32, f32)> = shares.collect();
            let Gaussian {
                mass,
                mean,
                covariance,
            } = match Gaussian::mass(&shares) < LEAST_MASS {
                true => Gaussian {
                    mass: LEAST_MASS,
                    ..Gaussian::fit(rows, &all(rows))
                },
                // One that is not a number stays, and shows in the scores.
                false => Gaussian::fit(rows, &shares),
            };
            let (inverse, half_log_det) = whitening(&covariance);
            let centre = (0..dim).map(|out| {
                let products = mean
                    .iter()
                    .enumerate()
                    .map(|(from, mean)| inverse[(out, from)] * mean);
                products.sum::<f64>() as f32
            });
            let normal = -0.5 * dim as f64 * std::f64::consts::TAU.ln();
            let constant = (mass / rows.len() as f64).ln() + half_log_det + normal;
            (inverse.clone(), centre.collect(), constant as f32)
        })
        .collect();
    let mut mixture = Parameters {
        whitening: vec![0.0; dim * gaussians * dim],
        ..Parameters::default()
    };
    for (index, (inverse, centre, constant)) in fitted.into_iter().enumerate() {
        for from in 0..dim {
            let row = &mut mixture.whitening[(from * gaussians + index) * dim..][..dim];
            for (out, value) in row.iter_mut().enumerate() {
                *value = inverse[(out, from)] as f32;
            }
        }
        mixture.centres.extend(centre);
        mixture.constants.push(constant);
    }
    mixture
}

/// One Gaussian of the maximisation step.
struct Gaussian {
    mass: f64,
    mean: Vec<f64>,
    covariance: DMatrix<f64>,
}

impl Gaussian {
    /// The sum of these shares.
    fn mass(shares: &[(u32, f32)]) -> f64 {
        shares.iter().map(|&(_, share)| f64::from(share)).sum()
    }

    /// Mean and covariance of the `rows` with these `shares`.
    ///
    /// The rows are centred before they are multiplied: the difference of the second moment and the
    /// squared mean loses a covariance that is small beside the mean.
    fn fit(rows: &Vectors, shares: &[(u32, f32)]) -> Self {
        let dim = rows.dim();
        let mass = Self::mass(shares).max(LEAST_MASS);
        let mut mean = vec![0.0; dim];
        for &(row, share) in shares {
            for (mean, &value) in mean.iter_mut().zip(rows.row(row as usize)) {
                *mean += f64::from(share) * f64::from(value);
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= mass);
        let mut covariance = DMatrix::identity(dim, dim) * RIDGE;
        let mut centred = vec![0.0; BLOCK * dim];
        for shares in shares.chunks(BLOCK) {
            for (target, &(row, share)) in centred.chunks_exact_mut(dim).zip(shares) {
                let scale = (f64::from(share) / mass).sqrt();
                let values = target.iter_mut().zip(rows.row(row as usize));
                for ((target, &value), mean) in values.zip(&mean) {
                    *target = (f64::from(value) - mean) * scale;
                }
            }
            let count = shares.len();
            let columns = DMatrixView::from_slice(&centred, dim, count);
            let rows = DMatrixView::from_slice_with_strides(&centred, count, dim, dim, 1);
            covariance.gemm(1.0, &columns, &rows, 1.0);
        }
        Self {
            mass,
            mean,
            covariance,
        }
    }
}

/// All rows, with a share of 1.
fn all(rows: &Vectors) -> Shares {
    (0..rows.len() as u32).map(|row| (row, 1.0)).collect()
}

/// Responsibilities of 1 for the nearest of `count` centres of k-means.
///
/// Where the centres start decides how good a mixture is found from them: with centres drawn
/// uniformly, dense places get too many and rare kinds of samples none.
fn clusters(rows: &Vectors, count: usize, rng: &mut impl Rng) -> Responsibilities {
    let found = k_means(rows.values(), rows.dim(), count, rng);
    let mut responsible = vec![Vec::new(); count];
    for (row, &centre) in found.nearest.iter().enumerate() {
        responsible[centre as usize].push((row as u32, 1.0));
    }
    vec![responsible]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, StandardNormal};

    #[test]
    fn a_gaussian_without_rows_is_no_spike() {
        // Four places for six Gaussians, none of them in the middle.
        let mut rows = Vectors::new(2);
        for index in 0..40 {
            rows.extend([[3.0, 3.0], [3.0, -3.0], [-3.0, 3.0], [-3.0, -3.0]][index % 4]);
        }
        let config = MixtureConfig {
            gaussians: 6,
            starts: 1,
            samples: 40,
        };
        let rng = &mut StdRng::seed_from_u64(1);
        let mixture = FullMixture::fit(&rows, config, rng, &test_device());
        let mut queries = Vectors::new(2);
        queries.extend([0.0, 0.0, 3.0, 3.0]);
        let scores = mixture.nll(&queries);
        assert!(scores[0] > scores[1] + 25.0, "{scores:?}");
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
            starts: 1,
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
            starts: 1,
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

    #[test]
    fn several_starts_are_the_mean_of_their_densities() {
        let rng = &mut StdRng::seed_from_u64(5);
        let mut latents = Vectors::new(2);
        latents.extend((0..400).map(|_| -> f32 { StandardNormal.sample(&mut *rng) }));
        let config = |starts| MixtureConfig {
            gaussians: 3,
            starts,
            samples: 200,
        };
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(6);
        let parameters = [(); 2].map(|()| maximised(&latents, 3, rng));
        let both = FullMixture::from_parameters(of_equal_weights(&parameters), &device);
        let [one, two] = parameters.map(|one| FullMixture::from_parameters(one, &device));
        let densities = one.nll(&latents).into_iter().zip(two.nll(&latents));
        let mean =
            densities.map(|(a, b)| -((f64::from(-a).exp() + f64::from(-b).exp()) / 2.0).ln());
        let mean: Vec<f64> = mean.collect();
        assert_eq!(both.gaussians(), 6);
        for (found, expected) in both.nll(&latents).into_iter().zip(mean) {
            assert!((f64::from(found) - expected).abs() < 1e-4);
        }
        let rng = &mut StdRng::seed_from_u64(0);
        assert_eq!(
            FullMixture::fit(&latents, config(4), rng, &device).gaussians(),
            12
        );
    }
}
