//! A kernel around each of many remembered positions: an exact density of what repeats.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::coreset::coreset;
use crate::data::{Samples, Vectors, batches};
use crate::encoder::Projection;
use crate::ops::log_sum_exp;
use rand::Rng;

/// Share of the mean variance that is added to each component's before its root is taken: components
/// that hardly vary are enlarged, but not to the size of all others.
const SOFTENING: f64 = 0.01;
/// Kernel variances that are tried, in units of the mean squared distance of a training position to
/// its nearest centre over the number of features.
const WIDTHS: [f64; 8] = [0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0];
/// Training positions for every centre, at least: the kernel's variance is what the others are away from these.
const ROWS_OF_CENTRE: usize = 4;
/// Least mean squared distance to the nearest centre, as a share of that to the mean of all.
const LEAST_SHARE: f64 = 1e-6;
/// Least of all where all are alike, in squared units of the softened components.
const LEAST: f64 = 1e-12;
/// Rows per step.
const BATCH: usize = 1024;

/// `log p(x) = log sum_k exp(-|x - c_k|^2 / 2 v) - log K - D/2 log(2 pi v) + log |det W|`, with the
/// components of `x` brought nearer to one another in their variances by the linear map `W`.
#[derive(Module, Debug)]
pub struct KernelDensity {
    projection: Projection,
    /// `[features, centres]`.
    centres: Param<Tensor<2>>,
    /// `[1]`: logarithm of the kernel's variance.
    log_variance: Param<Tensor<1>>,
    /// `[1]`: logarithm of the map's determinant.
    log_det: Param<Tensor<1>>,
}

impl KernelDensity {
    /// Fits centres to `train`, `[len, features]`, a quarter of the rows at most, and the kernel's variance to `valid`: the
    /// one with the largest likelihood there.
    pub fn fit(
        train: &Vectors,
        valid: &Vectors,
        centres: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let (projection, log_det) = Projection::softened(train, SOFTENING, rng, device);
        let latents = projection.project(train, BATCH);
        let most = (latents.len() / ROWS_OF_CENTRE).max(1);
        let chosen = coreset(&latents, centres.min(most), rng, device);
        let spread = spread(&latents);
        let mut columns = Vectors::new(latents.dim());
        for &row in &chosen {
            columns.extend(latents.row(row).iter().copied());
        }
        let all: Vec<usize> = (0..columns.len()).collect();
        let centres = columns.batch(&all, device).transpose();
        let mut density = Self {
            projection,
            centres: Param::from_tensor(centres),
            log_variance: Param::from_tensor(Tensor::zeros([1], device)),
            log_det: Param::from_tensor(Tensor::full([1], log_det, device)),
        };
        let nearest = density.mean(train, |rows| {
            density.squares(rows).min_dim(1).squeeze_dim(1)
        });
        let unit = (nearest / train.dim() as f64)
            .max(LEAST_SHARE * spread)
            .max(LEAST);
        let fits = WIDTHS.map(|width| {
            density.log_variance =
                Param::from_tensor(Tensor::full([1], (width * unit).ln(), device));
            let nll = density.mean(valid, |rows| density.nll(rows));
            (nll, (width * unit).ln())
        });
        let best = fits.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((_, log_variance)) = best {
            density.log_variance = Param::from_tensor(Tensor::full([1], log_variance, device));
        }
        density
    }

    /// With so many centres, to be filled from a store.
    pub fn empty(features: usize, centres: usize, device: &Device) -> Self {
        Self {
            projection: Projection::empty(features, features, device),
            centres: Param::from_tensor(Tensor::zeros([features, centres], device)),
            log_variance: Param::from_tensor(Tensor::zeros([1], device)),
            log_det: Param::from_tensor(Tensor::zeros([1], device)),
        }
    }

    /// Number of centres.
    pub fn centres(&self) -> usize {
        self.centres.val().dims()[1]
    }

    /// # Shapes
    /// `[len, features]` to `[len]`, in nats.
    pub fn nll(&self, features: Tensor<2>) -> Tensor<1> {
        let [_, dim] = features.dims();
        let squares = self.squares(features); // [len, centres]
        let half_precision = self.log_variance.val().neg().exp() * 0.5;
        let exponents = squares.neg() * half_precision.unsqueeze::<2>();
        let normal = (self.log_variance.val() + std::f64::consts::TAU.ln()) * (0.5 * dim as f64);
        let constant = normal - self.log_det.val() + (self.centres() as f64).ln();
        constant - log_sum_exp(exponents).squeeze_dim::<1>(1)
    }

    /// Squared distances to all centres, `[len, centres]`.
    fn squares(&self, features: Tensor<2>) -> Tensor<2> {
        let latents = self.projection.forward(features);
        let centres = self.centres.val();
        let norms = latents.clone().square().sum_dim(1);
        let others = centres.clone().square().sum_dim(0);
        (norms + others - latents.matmul(centres) * 2.0).clamp_min(0.0)
    }

    /// Mean of what `of` makes of each row.
    fn mean(&self, rows: &Vectors, of: impl Fn(Tensor<2>) -> Tensor<1>) -> f64 {
        let device = self.centres.val().device();
        let sums = batches(rows.len(), BATCH).map(|indices| {
            let values = of(rows.batch(&indices, &device));
            values.into_data().iter::<f64>().sum::<f64>()
        });
        sums.sum::<f64>() / rows.len().max(1) as f64
    }
}

/// Mean squared distance of an entry from its mean.
fn spread(rows: &Vectors) -> f64 {
    let means = rows.means();
    let squares = rows.values().chunks_exact(rows.dim()).flat_map(|row| {
        let pairs = row.iter().zip(&means);
        pairs.map(|(value, mean)| f64::from(value - mean).powi(2))
    });
    squares.sum::<f64>() / rows.values().len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, StandardNormal};

    fn rows(count: usize, seed: u64) -> Vectors {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut rows = Vectors::new(2);
        for _ in 0..count {
            let [a, b]: [f32; 2] = std::array::from_fn(|_| StandardNormal.sample(&mut *rng));
            rows.extend([3.0 * a, 0.5 * b + 1.0]);
        }
        rows
    }

    fn mean_nll(density: &KernelDensity, rows: &Vectors) -> f64 {
        density.mean(rows, |rows| density.nll(rows))
    }

    #[test]
    fn it_is_a_density_near_the_true_one() {
        // Entropy of the two normals: 1/2 ln(2 pi e)^2 + ln 3 + ln 0.5 = 2.8379 + 0.4055.
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(1);
        let density = KernelDensity::fit(&rows(4000, 1), &rows(1000, 2), 400, rng, &device);
        assert_eq!(density.centres(), 400);
        let mean = mean_nll(&density, &rows(1000, 3));
        assert!((3.2..3.9).contains(&mean), "{mean}");
        // Its integral over the plane, by cells of 0.2 x 0.1.
        let mut grid = Vectors::new(2);
        for column in -100..100 {
            for row in -60..80 {
                grid.extend([column as f32 * 0.2, row as f32 * 0.1]);
            }
        }
        let all: Vec<usize> = (0..grid.len()).collect();
        let nll = density.nll(grid.batch(&all, &device)).into_data();
        let mass: f64 = nll.iter::<f64>().map(|nll| (-nll).exp() * 0.02).sum();
        assert!((mass - 1.0).abs() < 0.02, "{mass}");
    }

    #[test]
    fn few_rows_and_equal_ones_have_a_variance() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(1);
        let few = KernelDensity::fit(&rows(40, 1), &rows(20, 2), 2000, rng, &device);
        assert_eq!(few.centres(), 10);
        let mean = mean_nll(&few, &rows(200, 3));
        assert!((3.0..6.0).contains(&mean), "{mean}");
        let mut equal = Vectors::new(2);
        equal.extend([1.5f32; 80]);
        let same = KernelDensity::fit(&equal, &equal, 2000, rng, &device);
        assert!(mean_nll(&same, &equal).is_finite() && mean_nll(&same, &rows(5, 3)).is_finite());
    }
}
