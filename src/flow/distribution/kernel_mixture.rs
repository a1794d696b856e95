//! A kernel density: a normal distribution of one variance around each of many rows.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};

use super::whitened::numbers;
use super::{Distribution, white_mixture};
use crate::data::{Samples, Vectors};

/// Rows whose likelihood under the kernels of all others chooses the variance, at most.
const JUDGED: usize = 1000;
/// Rounds of choosing it, at most, and the relative change that ends them.
const ROUNDS: usize = 50;
const TOLERANCE: f64 = 1e-3;
/// Least variance, as a share of that of the rows: rows that lie nearer to each other than that are equal.
const LEAST_SHARE: f64 = 1e-5;
/// Least of all, where all rows are equal.
const LEAST: f64 = 1e-12;
/// Exponents of a step, at most.
const STEP: usize = 1 << 23;

/// `log p(z) = log sum_k exp(-|z - c_k|^2 / 2 v) - log K - D/2 log(2 pi v)`, the kernels' centres `c` being rows that it was
/// fitted to (Parzen 1962).
///
/// Its variance `v` is that by which a row is likeliest under the kernels of the others (Duin 1976, "On the choice of
/// smoothing parameters for Parzen estimators of probability density functions"), up to the variance of the rows.
/// It describes what does not fall into groups that are much larger than a kernel, and remembers every row.
#[derive(Module, Debug)]
pub struct KernelMixture {
    /// `[1, 1]`: the inverse of the kernels' deviation.
    scale: Param<Tensor<2>>,
    /// `[dim, kernels]`: the centres in units of that deviation.
    centres: Param<Tensor<2>>,
    /// `[1, 1]`: logarithm of a kernel's weight and the constant of its density.
    constant: Param<Tensor<2>>,
}

impl KernelMixture {
    /// Kernels around so many of the `rows`, at least one, drawn at random where they are more.
    pub fn fit(rows: &Vectors, kernels: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let kernels = kernels.clamp(1, rows.len());
        let chosen = match kernels == rows.len() {
            true => (0..kernels).collect(),
            false => sample(rng, rows.len(), kernels).into_vec(),
        };
        let judged = sample(rng, kernels, kernels.min(JUDGED)).into_vec();
        let judged: Vec<usize> = judged.into_iter().map(|kernel| chosen[kernel]).collect();
        let centres = rows.batch(&chosen, device).transpose();
        let variance = likeliest_variance(&rows.select(&judged), &centres);
        let normal = -0.5 * rows.dim() as f64 * (std::f64::consts::TAU * variance).ln();
        let one = |value: f64| Param::from_tensor(Tensor::full([1, 1], value, device));
        let scale = variance.sqrt().recip();
        Self {
            scale: one(scale),
            centres: Param::from_tensor(centres * scale),
            constant: one(normal - (kernels as f64).ln()),
        }
    }

    /// With so many kernels of rows of `dim` entries, to be filled from a store.
    pub(crate) fn empty(dim: usize, kernels: usize, device: &Device) -> Self {
        let zeros = |shape: [usize; 2]| Param::from_tensor(Tensor::zeros(shape, device));
        Self {
            scale: zeros([1, 1]),
            centres: zeros([dim, kernels]),
            constant: zeros([1, 1]),
        }
    }

    /// Number of kernels.
    pub(crate) fn kernels(&self) -> usize {
        self.centres.val().dims()[1]
    }
}

impl Distribution for KernelMixture {
    fn log_prob(&self, z: Tensor<2>) -> Tensor<1> {
        // As the base of a flow it is fixed: what it was fitted to is no gradient's.
        let [scale, centres, constant] =
            [&self.scale, &self.centres, &self.constant].map(|param| param.val().detach());
        let parts = z.split(in_a_step(self.kernels()), 0).into_iter();
        let parts = parts
            .map(|z| white_mixture::log_prob(z * scale.clone(), centres.clone(), constant.clone()));
        Tensor::cat(parts.collect(), 0)
    }

    fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2> {
        let (dim, kernels) = (self.centres.val().dims()[0], self.kernels());
        let chosen = (0..count).map(|_| rng.random_range(0..kernels) as i32);
        let chosen = Tensor::from_data(&chosen.collect::<Vec<_>>()[..], device);
        let centres = self.centres.val().to_device(device).transpose();
        let noise = StandardNormal.sample_iter(rng).take(count * dim);
        let noise: Vec<f32> = noise.collect();
        let noise = Tensor::<1>::from_data(&noise[..], device).reshape([count, dim]);
        (centres.select(0, chosen) + noise) / self.scale.val().to_device(device)
    }
}

/// Rows of a step, which has an exponent for each and every kernel.
fn in_a_step(kernels: usize) -> usize {
    (STEP / kernels.max(1)).max(1)
}

/// The variance of kernels around `centres`, `[dim, kernels]`, by which the `rows`, each of which is one of them, are
/// likeliest under the others: by expectation maximisation, beginning with the mean squared distance to the nearest.
/// Rows that are equal are one.
fn likeliest_variance(rows: &Vectors, centres: &Tensor<2>) -> f64 {
    let (dim, device) = (rows.dim() as f64, centres.device());
    let means = centres.clone().mean_dim(1);
    let spread = numbers((centres.clone() - means).square().mean_dim(1));
    let spread = spread.iter().sum::<f64>() / dim;
    let [most, least] = [spread.max(LEAST), (LEAST_SHARE * spread).max(LEAST)];
    let others = centres.clone().square().sum_dim(0); // [1, kernels]
    let all: Vec<usize> = (0..rows.len()).collect();
    let parts = all.chunks(in_a_step(others.dims()[1]));
    // Of every row, the mean of what `of` makes of its squared distances to the centres, those to its equals being infinite.
    let mean = |of: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        let sums = parts.clone().map(|indices| {
            let rows = rows.batch(indices, &device);
            let squares = rows.clone().square().sum_dim(1) + others.clone();
            let squares = squares - rows.matmul(centres.clone()) * 2.0;
            let equal = squares.clone().lower_elem(least * dim);
            numbers(of(squares.mask_fill(equal, f32::INFINITY)))
                .into_iter()
                .sum::<f64>()
        });
        sums.sum::<f64>() / rows.len() as f64 / dim
    };
    let mut variance = mean(&|squares| squares.min_dim(1)).clamp(least, most);
    for _ in 0..ROUNDS {
        let next = mean(&|squares| {
            let shares = softmax(squares.clone() * (-0.5 / variance), 1);
            let none = squares.clone().is_inf();
            (shares * squares.mask_fill(none, 0.0)).sum_dim(1)
        });
        // No numbers where every other row is equal to one of these.
        let next = if next.is_finite() { next } else { most };
        let next = next.clamp(least, most);
        let change = (next / variance - 1.0).abs();
        variance = next;
        if change < TOLERANCE {
            break;
        }
    }
    variance
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;

    fn rng(seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed)
    }

    /// Rows around 12 places of a circle of radius 20, of deviation 1 along either axis.
    fn rows(count: usize, seed: u64) -> Vectors {
        let rng = &mut rng(seed);
        let mut rows = Vectors::new(2);
        for index in 0..count {
            let angle = (index % 12) as f32 * std::f32::consts::TAU / 12.0;
            let [a, b]: [f32; 2] = std::array::from_fn(|_| StandardNormal.sample(&mut *rng));
            rows.extend([20.0 * angle.cos() + a, 20.0 * angle.sin() + b]);
        }
        rows
    }

    fn mean_nll(mixture: &KernelMixture, rows: &Vectors) -> f64 {
        let all: Vec<usize> = (0..rows.len()).collect();
        let log_prob = mixture.log_prob(rows.batch(&all, &test_device()));
        -log_prob.into_data().iter::<f64>().sum::<f64>() / rows.len() as f64
    }

    /// The variance that was chosen.
    fn variance(mixture: &KernelMixture) -> f64 {
        f64::from(mixture.scale.val().into_scalar::<f32>()).powi(-2)
    }

    #[test]
    fn new_rows_are_nearly_as_likely_as_they_can_be() {
        let mixture = KernelMixture::fit(&rows(4000, 1), 2000, &mut rng(2), &test_device());
        assert_eq!(mixture.kernels(), 2000);
        // Places that do not overlap: ln 12 + ln(2 pi e). So many kernels for each place cost something.
        let entropy = 12f64.ln() + (std::f64::consts::TAU * std::f64::consts::E).ln();
        let found = mean_nll(&mixture, &rows(1000, 3));
        assert!((entropy..entropy + 0.15).contains(&found), "{found}");
    }

    #[test]
    fn the_variance_is_that_by_which_each_is_likeliest_under_the_others() {
        let rows = rows(600, 1);
        let mixture = KernelMixture::fit(&rows, 600, &mut rng(2), &test_device());
        let left_out = |variance: f64| -> f64 {
            let row = |index: usize| rows.row(index);
            let of_row = |index: usize| {
                let kernels = (0..600).filter(|&other| other != index).map(|other| {
                    let pairs = row(index).iter().zip(row(other));
                    let square: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
                    (-0.5 * square / variance).exp() / (std::f64::consts::TAU * variance)
                });
                (kernels.sum::<f64>() / 599.0).ln()
            };
            (0..600).map(of_row).sum()
        };
        let best = variance(&mixture);
        let found = left_out(best);
        assert!(found > left_out(best * 1.1) && found > left_out(best / 1.1));
    }

    #[test]
    fn rows_that_are_alone_or_equal_have_a_variance() {
        let device = test_device();
        let alone = KernelMixture::fit(&rows(1, 1), 9, &mut rng(2), &device);
        assert_eq!(alone.kernels(), 1);
        assert!(mean_nll(&alone, &rows(5, 3)).is_finite());
        let mut twice = Vectors::new(2);
        for row in rows(300, 1).values().chunks_exact(2) {
            twice.extend([row, row].concat());
        }
        let [once, twice] =
            [rows(300, 1), twice].map(|rows| KernelMixture::fit(&rows, 900, &mut rng(2), &device));
        let [once, twice] = [once, twice].map(|mixture| variance(&mixture));
        assert!((once / twice - 1.0).abs() < 0.02, "{once} {twice}");
        let mut equal = Vectors::new(2);
        equal.extend([1.5f32; 80]);
        let equal = KernelMixture::fit(&equal, 40, &mut rng(2), &device);
        assert!(mean_nll(&equal, &rows(5, 3)).is_finite());
    }
}
