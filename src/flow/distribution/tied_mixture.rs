//! A mixture of many Gaussians with one covariance.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::index::sample;

use super::whitened::{WhitenedSampler, numbers};
use super::whitening::whitening;
use super::{Distribution, WhiteMixture, white_mixture};
use crate::data::Vectors;
use crate::ops::{cell_means, covariance, moved_centres, nearest_centres};

/// Rounds of k-means: what it gains after these is less than another start gives or takes.
const ROUNDS: usize = 10;
/// Rows that the centres are moved by, for each of them: all rows then belong to the nearest.
const ROWS_PER_CENTRE: usize = 40;
/// Rows of a Gaussian, on average, at least: fewer are near their mean by chance.
const FEWEST_ROWS: usize = 30;
/// Rows for every entry that the covariance alone is left with: every centre takes a direction from it.
const ROWS_PER_ENTRY: usize = 10;
/// Added to the diagonal of the covariance, as in scikit-learn; rows are standardised.
const RIDGE: f64 = 1e-6;
/// Rows that a Gaussian without any is taken to have.
const LEAST_MASS: f64 = 0.5;

/// Gaussians around the centres of k-means, weighted by the rows that are nearest to each, whose one covariance is that
/// of what the centres leave: a kernel density whose kernel is as narrow in every direction as the rows that belong
/// together.
///
/// With a single centre it is the Gaussian of the rows. Many centres describe what repeats, and the covariance goes on
/// counting the directions in which rows that look alike hardly differ.
#[derive(Module, Debug)]
pub struct TiedMixture {
    /// `[dim, dim]`: of the covariance.
    whitening: Param<Tensor<2>>,
    /// `[dim, gaussians]`: the whitened centres.
    centres: Param<Tensor<2>>,
    /// `[1, gaussians]`: log-weight plus half the log-determinant of the precision plus the constant of the
    /// normal density.
    constants: Param<Tensor<2>>,
}

impl TiedMixture {
    /// How many of so many Gaussians can be fitted to `rows` rows of `dim` entries, at least one.
    pub(crate) fn most(gaussians: usize, rows: usize, dim: usize) -> usize {
        let rows = rows.saturating_sub(ROWS_PER_ENTRY.saturating_mul(dim));
        gaussians.min(rows / FEWEST_ROWS).max(1)
    }

    /// Fits so many Gaussians, not more than there are rows, to standardised `rows`, at least one, which are taken as
    /// there may be hundreds of megabytes of them.
    ///
    /// What a centre leaves of a row is taken from the mean of the other rows of that centre: a mean that the row
    /// itself is part of lies nearer to it than it would to a new one. An entry that varies less than one over all rows,
    /// as where a whitening has met its floor, has the difference added to its variance.
    pub fn fit(rows: Vectors, gaussians: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let (dim, count) = (rows.dim(), rows.len());
        let shift = rows.means();
        let mut centred = rows;
        centred.shift(&shift);
        let centres = centres(&centred, gaussians.clamp(1, count.max(1)), rng);
        let nearest = nearest_centres(centred.values(), &centres, dim);
        let (means, counts) = cell_means(centred.values(), dim, &nearest, &centres);
        let mut covariance = residual_covariance(&centred, &nearest, (&means, &counts), device);
        for (entry, variance) in variances(&centred).into_iter().enumerate() {
            covariance[(entry, entry)] += (1.0 - variance).max(0.0) + RIDGE;
        }
        let (inverse, half_log_det) = whitening(&covariance);
        let matrix = |rows: usize, columns: usize, value: &dyn Fn(usize, usize) -> f64| {
            let values = (0..rows * columns).map(|at| value(at / columns, at % columns) as f32);
            let values = TensorData::new(values.collect::<Vec<_>>(), [rows, columns]);
            Tensor::<2>::from_data(values, device)
        };
        let gaussians = counts.len();
        let white = &inverse
            * DMatrix::from_fn(dim, gaussians, |entry, index| {
                f64::from(means[index * dim + entry]) + f64::from(shift[entry])
            });
        let normal = half_log_det - 0.5 * dim as f64 * std::f64::consts::TAU.ln();
        let mass = |index: usize| f64::from(counts[index]).max(LEAST_MASS);
        let total: f64 = (0..gaussians).map(mass).sum();
        Self {
            whitening: Param::from_tensor(matrix(dim, dim, &|from, to| inverse[(to, from)])),
            centres: Param::from_tensor(matrix(dim, gaussians, &|entry, index| {
                white[(entry, index)]
            })),
            constants: Param::from_tensor(matrix(1, gaussians, &|_, index| {
                (mass(index) / total).ln() + normal
            })),
        }
    }

    /// With so many Gaussians of rows of `dim` entries, to be filled from a store.
    pub(crate) fn empty(dim: usize, gaussians: usize, device: &Device) -> Self {
        let zeros = |shape: [usize; 2]| Param::from_tensor(Tensor::zeros(shape, device));
        Self {
            whitening: zeros([dim, dim]),
            centres: zeros([dim, gaussians]),
            constants: zeros([1, gaussians]),
        }
    }

    /// Number of Gaussians.
    pub(crate) fn gaussians(&self) -> usize {
        self.constants.val().dims()[1]
    }

    /// The whitening by its covariance, `[dim, dim]`, and what it is after that.
    pub(crate) fn apart(&self) -> (Tensor<2>, WhiteMixture) {
        let white = WhiteMixture::new(self.centres.val(), self.constants.val());
        (self.whitening.val(), white)
    }
}

impl Distribution for TiedMixture {
    fn log_prob(&self, z: Tensor<2>) -> Tensor<1> {
        // As the base of a flow it is fixed: what it was fitted to is no gradient's.
        let [whitening, centres, constants] =
            [&self.whitening, &self.centres, &self.constants].map(|param| param.val().detach());
        white_mixture::log_prob(z.matmul(whitening), centres, constants)
    }

    fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2> {
        let [dim, _] = self.centres.val().dims();
        let whitening = DMatrix::from_row_slice(dim, dim, &numbers(self.whitening.val()));
        let gaussians = WhitenedSampler {
            // They differ by the logarithms of the weights alone.
            log_weights: &numbers(self.constants.val()),
            centres: &numbers(self.centres.val().transpose()),
            inverses: &[whitening.try_inverse()],
        };
        gaussians.sample(count, dim, rng, device)
    }
}

/// Centres of k-means, `[gaussians, dim]` row-major, from rows drawn at random.
fn centres(rows: &Vectors, gaussians: usize, rng: &mut impl Rng) -> Vec<f32> {
    let most = rows.len().min(ROWS_PER_CENTRE * gaussians);
    // In the order in which they were drawn: the first are as good a start as any.
    let chosen = sample(rng, rows.len(), most).into_vec();
    let moving = rows.select(&chosen);
    let dim = rows.dim();
    let start = moving.values()[..gaussians.min(most) * dim].to_vec();
    moved_centres(moving.values(), dim, start, ROUNDS).centres
}

/// `[dim, dim]`: the covariance of what the centres leave of the rows. A row that is alone has nothing to be compared
/// with; where all are, nothing is left.
fn residual_covariance(
    rows: &Vectors,
    nearest: &[u32],
    (means, counts): (&[f32], &[u32]),
    device: &Device,
) -> DMatrix<f64> {
    let dim = rows.dim();
    let compared: Vec<usize> = (0..rows.len())
        .filter(|&row| counts[nearest[row] as usize] > 1)
        .collect();
    let of = |indices: &[usize]| {
        let mut values = Vec::with_capacity(indices.len() * dim);
        for &index in indices {
            let row = compared[index];
            let centre = nearest[row] as usize;
            let count = counts[centre] as f32;
            let scale = count / (count - 1.0);
            let mean = &means[centre * dim..][..dim];
            let differences = rows.row(row).iter().zip(mean);
            values.extend(differences.map(|(value, mean)| (value - mean) * scale));
        }
        Tensor::<2>::from_data(TensorData::new(values, [indices.len(), dim]), device)
    };
    covariance(&vec![0.0; dim], compared.len(), device, of)
}

/// Of every entry of centred rows.
fn variances(rows: &Vectors) -> Vec<f64> {
    let mut squares = vec![0.0f64; rows.dim()];
    for row in rows.values().chunks_exact(rows.dim()) {
        for (square, &value) in squares.iter_mut().zip(row) {
            *square += f64::from(value) * f64::from(value);
        }
    }
    let count = rows.len().max(1) as f64;
    squares.iter().map(|square| square / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Samples;
    use rand::SeedableRng;
    use rand_distr::{Distribution as _, StandardNormal};

    /// Rows around 50 places of a circle of radius 200, each with deviations 1 and 0.1 along one diagonal and the
    /// other.
    fn rows(count: usize, seed: u64) -> Vectors {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut rows = Vectors::new(2);
        for index in 0..count {
            let angle = (index % 50) as f32 * std::f32::consts::TAU / 50.0;
            let [a, b]: [f32; 2] = std::array::from_fn(|_| StandardNormal.sample(&mut *rng));
            let [along, across] = [a, 0.1 * b].map(|value| value * std::f32::consts::FRAC_1_SQRT_2);
            rows.extend([
                200.0 * angle.cos() + along + across,
                200.0 * angle.sin() + along - across,
            ]);
        }
        rows
    }

    fn batch(rows: &Vectors) -> Tensor<2> {
        let all: Vec<usize> = (0..rows.len()).collect();
        rows.batch(&all, &test_device())
    }

    fn mean_nll(mixture: &TiedMixture, rows: &Vectors) -> f64 {
        let log_prob = mixture.log_prob(batch(rows));
        let sum: f64 = log_prob.into_data().iter::<f64>().sum();
        -sum / rows.len() as f64
    }

    #[test]
    fn with_one_centre_it_is_the_gaussian() {
        let device = test_device();
        let rows = rows(4000, 1);
        let rng = &mut StdRng::seed_from_u64(2);
        let mixture = TiedMixture::fit(rows.clone(), 1, rng, &device);
        // Entries of variance 20,000 + 0.505 around 0, of covariance 0.495.
        let determinant = 20_000.505f64.powi(2) - 0.495f64.powi(2);
        let entropy = (std::f64::consts::TAU * std::f64::consts::E).ln() + 0.5 * determinant.ln();
        let found = mean_nll(&mixture, &rows);
        assert!((found - entropy).abs() < 0.02, "{found} is not {entropy}");
    }

    #[test]
    fn many_centres_share_what_they_leave() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(2);
        let mixture = TiedMixture::fit(rows(20_000, 1), 400, rng, &device);
        assert_eq!(mixture.gaussians(), 400);
        // Places that do not overlap: ln 50 + ln(2 pi e) + ln 0.1. More centres than places cost something.
        let entropy = 50f64.ln() + (std::f64::consts::TAU * std::f64::consts::E).ln() + 0.1f64.ln();
        let [seen, new] = [1, 3].map(|seed| mean_nll(&mixture, &rows(20_000, seed)));
        assert!((entropy..entropy + 0.5).contains(&new), "{new}, {entropy}");
        // It has not learnt the rows by heart.
        assert!((new - seen).abs() < 0.1, "{seen} {new}");
        // Two Gaussians say far less.
        let few = TiedMixture::fit(rows(20_000, 1), 2, rng, &device);
        assert!(mean_nll(&few, &rows(1000, 3)) > entropy + 1.0);
    }

    #[test]
    fn samples_are_as_likely_as_rows() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(2);
        let mixture = TiedMixture::fit(rows(20_000, 1), 400, rng, &device);
        let sampled = mixture.sample(5000, rng, &device);
        let log_prob = mixture.log_prob(sampled).mean().into_scalar::<f32>();
        let expected = mean_nll(&mixture, &rows(5000, 4));
        // One covariance for all is a little too wide where centres share a place.
        let found = f64::from(-log_prob);
        assert!((found - expected).abs() < 0.3, "{found} {expected}");
    }

    #[test]
    fn an_entry_that_never_varies_stays_of_unit_variance() {
        let device = test_device();
        let mut flat = Vectors::new(3);
        for row in rows(3000, 1).values().chunks_exact(2) {
            flat.extend([row[0], row[1], 7.0]);
        }
        let mixture = TiedMixture::fit(flat.clone(), 50, &mut StdRng::seed_from_u64(2), &device);
        let at = |last: f32| {
            let row = [[flat.row(0)[0], flat.row(0)[1], last]];
            let log_prob = mixture.log_prob(Tensor::from_data(row, &device));
            log_prob.into_scalar::<f32>()
        };
        // ln N(2; 0, 1) - ln N(0; 0, 1) = -2.
        assert!((at(9.0) - at(7.0) + 2.0).abs() < 1e-2);
    }

    #[test]
    fn there_are_no_more_gaussians_than_rows_allow() {
        assert_eq!(TiedMixture::most(1000, 80, 2), 2);
        assert_eq!(TiedMixture::most(1000, 3, 2), 1);
        assert_eq!(TiedMixture::most(10, 5000, 2), 10);
        // As many rows as entries: two centres would leave nothing in the direction between them.
        assert_eq!(TiedMixture::most(1000, 64, 64), 1);
        // Rows that are all alone leave nothing.
        let device = test_device();
        let two = rows(2, 1);
        let mixture = TiedMixture::fit(two.clone(), 9, &mut StdRng::seed_from_u64(2), &device);
        assert_eq!(mixture.gaussians(), 2);
        assert!(mean_nll(&mixture, &two).is_finite());
    }
}
