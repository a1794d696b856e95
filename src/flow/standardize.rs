//! Bringing latents to mean 0 and variance 1 before the flow sees them.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::Transform;

/// Smallest standard deviation, relative to the largest: an entry of the latent that hardly varies
/// on training data would otherwise decide every score.
const RELATIVE_FLOOR: f64 = 1e-4;
/// The same of entries that are whitened: what deviates less hardly varied before, and is kept small on purpose.
const WHITE_FLOOR: f64 = 0.1;

/// Mean and standard deviation of each entry of the training latents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardizer {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Standardizer {
    /// Measures `latents`, `[len, dim]` row-major, of which the first `whitened` entries are of variance 1 unless they
    /// hardly vary.
    ///
    /// Sums are taken in f64 in row order: the result does not depend on a backend.
    pub fn fit(latents: &[f32], dim: usize, whitened: usize) -> Self {
        let rows = (latents.len() / dim).max(1) as f64;
        let mut mean = vec![0.0f64; dim];
        for row in latents.chunks_exact(dim) {
            for (sum, &value) in mean.iter_mut().zip(row) {
                *sum += f64::from(value) / rows;
            }
        }
        let mut variance = vec![0.0f64; dim];
        for row in latents.chunks_exact(dim) {
            for ((sum, &value), mean) in variance.iter_mut().zip(row).zip(&mean) {
                *sum += (f64::from(value) - mean).powi(2) / rows;
            }
        }
        let largest = variance.iter().copied().fold(0.0, f64::max).sqrt();
        let floor = (largest * RELATIVE_FLOOR).max(f64::from(f32::MIN_POSITIVE));
        let floor = |entry: usize| match entry < whitened {
            true => WHITE_FLOOR,
            false => floor,
        };
        Self {
            mean: mean.into_iter().map(|value| value as f32).collect(),
            deviation: variance
                .into_iter()
                .enumerate()
                .map(|(entry, value)| value.sqrt().max(floor(entry)) as f32)
                .collect(),
        }
    }

    /// What keeps it from being the scale of latents of `dim` entries, if anything does: a file may say
    /// anything.
    pub(crate) fn check(&self, dim: usize) -> Result<(), String> {
        if [&self.mean, &self.deviation].map(Vec::len) != [dim, dim] {
            return Err("its scale is not of the latent's dimension".to_owned());
        }
        let sound = self.mean.iter().all(|mean| mean.is_finite())
            && self
                .deviation
                .iter()
                .all(|&value| value.is_finite() && value > 0.0);
        match sound {
            true => Ok(()),
            false => Err("its scale has a mean or a deviation that is none".to_owned()),
        }
    }

    /// Number of entries of a latent.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Mean and deviation as `[1, dim]` tensors.
    fn tensors(&self, device: &Device) -> (Tensor<2>, Tensor<2>) {
        let row = |values: &Vec<f32>| {
            Tensor::from_data(TensorData::new(values.clone(), [1, values.len()]), device)
        };
        (row(&self.mean), row(&self.deviation))
    }

    /// `sum ln deviation`, the log-determinant of the inverse.
    fn log_volume(&self) -> f64 {
        self.deviation
            .iter()
            .map(|&value| f64::from(value).ln())
            .sum()
    }
}

impl Transform<2> for Standardizer {
    fn forward(&self, x: Tensor<2>, _context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        let (mean, deviation) = self.tensors(&x.device());
        let log_det = Tensor::full([x.dims()[0]], -self.log_volume(), &x.device());
        ((x - mean) / deviation, log_det)
    }

    fn inverse(&self, z: Tensor<2>, _context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        let (mean, deviation) = self.tensors(&z.device());
        let log_det = Tensor::full([z.dims()[0]], self.log_volume(), &z.device());
        (z * deviation + mean, log_det)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_small_on_purpose_stays_small() {
        // The second entry hardly varies.
        let latents = [1.0, 0.001, -1.0, -0.001];
        let deviations = |whitened| Standardizer::fit(&latents, 2, whitened).deviation;
        assert_eq!(deviations(0), [1.0, 0.001]);
        assert_eq!(deviations(2), [1.0, 0.1]);
    }
}
