//! A mixture of Gaussians that is trained together with the flow.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};

use super::Distribution;
use crate::ops::log_sum_exp;

/// Deviation of every Gaussian at the start, when their means are data points: a kernel density
/// estimate with overlapping kernels in standardised coordinates.
const INITIAL_DEVIATION: f64 = 0.7;

/// A trained mixture of Gaussians with diagonal covariances (Izmailov et al., arXiv:1912.13025,
/// section 3, without labels).
///
/// A flow is continuous: it cannot tear one normal blob into the separate clusters of several
/// classes, and leaves bridges of high likelihood between them. A base distribution with several
/// modes needs no bridges.
#[derive(Module, Debug)]
pub struct GaussianMixture {
    /// `[gaussians, dim]`.
    means: Param<Tensor<2>>,
    /// `[gaussians, dim]`: logarithms of the standard deviations.
    log_deviations: Param<Tensor<2>>,
    /// `[gaussians]`: logarithms of the weights, up to a constant.
    logits: Param<Tensor<1>>,
}

impl GaussianMixture {
    /// `gaussians` Gaussians with means drawn from a standard normal.
    pub fn new(gaussians: usize, dim: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let means: Vec<f32> = StandardNormal
            .sample_iter(rng)
            .take(gaussians * dim)
            .collect();
        let means = TensorData::new(means, [gaussians, dim]);
        Self::around(Tensor::from_data(means, device))
    }

    /// One Gaussian around each row.
    ///
    /// # Shapes
    /// `means`: `[gaussians, dim]`.
    fn around(means: Tensor<2>) -> Self {
        let [gaussians, dim] = means.dims();
        let device = means.device();
        let log_deviation = INITIAL_DEVIATION.ln();
        Self {
            means: Param::from_tensor(means.detach()),
            log_deviations: Param::from_tensor(Tensor::full(
                [gaussians, dim],
                log_deviation,
                &device,
            )),
            logits: Param::from_tensor(Tensor::zeros([gaussians], &device)),
        }
    }

    /// The same number of Gaussians around the first rows of `z`, or as many as it has.
    ///
    /// # Shapes
    /// `z`: `[batch, dim]`.
    pub(super) fn initialised(&self, z: Tensor<2>) -> Self {
        let [gaussians, _] = self.means.val().dims();
        let [batch, _] = z.dims();
        if batch < gaussians {
            // Fewer points than Gaussians: those without a point stay where they were drawn.
            let rest = self.means.val().narrow(0, batch, gaussians - batch);
            return Self::around(Tensor::cat(vec![z, rest], 0));
        }
        Self::around(z.narrow(0, 0, gaussians))
    }
}

impl Distribution for GaussianMixture {
    fn log_prob(&self, z: Tensor<2>) -> Tensor<1> {
        let [_, dim] = z.dims();
        let (means, log_deviations) = (self.means.val(), self.log_deviations.val());
        let precisions = (log_deviations.clone() * -2.0).exp(); // [gaussians, dim]
        // (z - mean)^2 precision, expanded so that it is two matrix products.
        let squares = z.clone().square().matmul(precisions.clone().transpose());
        let products = z.matmul((means.clone() * precisions.clone()).transpose());
        let own = (means.square() * precisions).sum_dim(1).transpose(); // [1, gaussians]
        let distances = squares - products * 2.0 + own; // [batch, gaussians]
        let volume =
            log_deviations.sum_dim(1).transpose() + 0.5 * dim as f64 * std::f64::consts::TAU.ln();
        let weights = activation::log_softmax(self.logits.val().unsqueeze::<2>(), 1);
        let joint = weights - volume - distances * 0.5;
        log_sum_exp(joint).squeeze_dim(1)
    }

    fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2> {
        let [_, dim] = self.means.val().dims();
        let read = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().iter::<f32>().collect() };
        let means = read(self.means.val());
        let deviations = read(self.log_deviations.val().exp());
        let weights = read(activation::softmax(self.logits.val().unsqueeze::<2>(), 1));
        let mut values = Vec::with_capacity(count * dim);
        for _ in 0..count {
            let mut left: f32 = rng.random();
            let last = weights.len() - 1;
            let component = weights
                .iter()
                .position(|&weight| {
                    left -= weight;
                    left < 0.0
                })
                // Weights that add up to a little less than one.
                .unwrap_or(last);
            for entry in component * dim..(component + 1) * dim {
                let noise: f32 = StandardNormal.sample(&mut *rng);
                values.push(means[entry] + deviations[entry] * noise);
            }
        }
        Tensor::from_data(TensorData::new(values, [count, dim]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;

    fn mixture() -> GaussianMixture {
        let device = test_device();
        let tensor = |rows: [[f32; 2]; 2]| Tensor::<2>::from_data(rows, &device);
        GaussianMixture {
            means: Param::from_tensor(tensor([[0.0, 1.0], [-2.0, 3.0]])),
            log_deviations: Param::from_tensor(tensor([[0.0, -0.5], [0.3, 0.1]])),
            logits: Param::from_tensor(Tensor::from_data([0.2, -0.4], &device)),
        }
    }

    #[test]
    fn the_density_is_that_of_the_mixture() {
        // By hand, in f64: ln sum_k w_k prod_d N(x_d; mean, exp(log_deviation)).
        let x = [[0.5f32, -0.3], [-1.0, 2.0]];
        let weights = {
            let (a, b) = (0.2f64.exp(), (-0.4f64).exp());
            [a / (a + b), b / (a + b)]
        };
        let means = [[0.0, 1.0], [-2.0, 3.0]];
        let logs: [[f64; 2]; 2] = [[0.0, -0.5], [0.3, 0.1]];
        let log_prob = mixture().log_prob(Tensor::from_data(x, &test_device()));
        for (point, found) in x.iter().zip(log_prob.into_data().iter::<f64>()) {
            let density: f64 = (0..2)
                .map(|k| {
                    let one = |d: usize| {
                        let deviation = logs[k][d].exp();
                        let standard = (f64::from(point[d]) - means[k][d]) / deviation;
                        (-0.5 * standard * standard).exp()
                            / (deviation * std::f64::consts::TAU.sqrt())
                    };
                    weights[k] * one(0) * one(1)
                })
                .sum();
            assert!((found - density.ln()).abs() < 1e-5, "{found}");
        }
    }

    #[test]
    fn samples_have_the_mixture_s_mean() {
        let rng = &mut StdRng::seed_from_u64(4);
        let samples = mixture().sample(20_000, rng, &test_device());
        let mean: Vec<f64> = samples.mean_dim(0).into_data().iter::<f64>().collect();
        let first = 0.2f64.exp() / (0.2f64.exp() + (-0.4f64).exp());
        let expected = [-2.0 * (1.0 - first), first + 3.0 * (1.0 - first)];
        for (found, expected) in mean.into_iter().zip(expected) {
            // Five standard errors: deviations are below 1.7 with the spread of the means.
            assert!((found - expected).abs() < 0.06, "{found} {expected}");
        }
    }
}
