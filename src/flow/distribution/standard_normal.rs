//! The standard normal distribution.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::rngs::StdRng;
use rand_distr::Distribution as _;

use super::Distribution;

/// Independent entries of mean 0 and variance 1.
#[derive(Module, Debug)]
pub struct StandardNormal {
    dim: usize,
}

impl StandardNormal {
    /// Of vectors of `dim` entries.
    pub fn new(dim: usize) -> Self {
        Self { dim }
    }
}

impl Distribution for StandardNormal {
    fn log_prob(&self, z: Tensor<2>) -> Tensor<1> {
        let constant = self.dim as f64 * std::f64::consts::TAU.ln();
        (z.square().sum_dim(1).squeeze_dim::<1>(1) + constant) * -0.5
    }

    fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2> {
        let noise = rand_distr::StandardNormal.sample_iter(rng);
        let noise: Vec<f32> = noise.take(count * self.dim).collect();
        Tensor::from_data(TensorData::new(noise, [count, self.dim]), device)
    }
}
