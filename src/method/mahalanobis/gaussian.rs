//! Distance from the mean in units of the covariance.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::data::{Samples, Vectors, batches};
use crate::flow::whitening;
use crate::method::fitting::representation::BATCH;
use crate::method::on_latents::{Density, LARGEST_COVARIANCE};

/// Squared Mahalanobis distance from the training latents' mean.
#[derive(Module, Debug)]
pub struct Mahalanobis {
    /// `[1, dim]`.
    mean: Param<Tensor<2>>,
    /// `[dim, dim]`, applied from the right.
    whitening: Param<Tensor<2>>,
}

impl Mahalanobis {
    /// Fits mean and covariance of `latents`, in f64.
    pub fn fit(latents: &Vectors, device: &Device) -> Self {
        let dim = latents.dim();
        let count = latents.len().max(1) as f64;
        let mut mean = vec![0.0f64; dim];
        for row in latents.values().chunks_exact(dim) {
            for (sum, &value) in mean.iter_mut().zip(row) {
                *sum += f64::from(value) / count;
            }
        }
        // Rows are added in blocks, as one matrix product each.
        let mut covariance = DMatrix::<f64>::zeros(dim, dim);
        for block in latents.values().chunks(dim * 1024) {
            let rows = block.len() / dim;
            let centred = DMatrix::from_fn(dim, rows, |entry, row| {
                f64::from(block[row * dim + entry]) - mean[entry]
            });
            covariance += &centred * centred.transpose() / count;
        }
        let (inverse, _) = whitening(&covariance);
        // Column-major transposed is row-major: the matrix for a product from the right.
        let values: Vec<f32> = inverse.iter().map(|&value| value as f32).collect();
        let mean: Vec<f32> = mean.into_iter().map(|value| value as f32).collect();
        Self {
            mean: Param::from_tensor(Tensor::from_data(TensorData::new(mean, [1, dim]), device)),
            whitening: Param::from_tensor(Tensor::from_data(
                TensorData::new(values, [dim, dim]),
                device,
            )),
        }
    }

    /// Squared distance of each latent.
    pub fn distances(&self, latents: &Vectors) -> Vec<f32> {
        let mut scores = Vec::with_capacity(latents.len());
        let (mean, whitening) = (self.mean.val(), self.whitening.val());
        for indices in batches(latents.len(), BATCH) {
            let centred = latents.batch(&indices, &mean.device()) - mean.clone();
            let white = centred.matmul(whitening.clone());
            scores.extend(white.square().sum_dim(1).into_data().iter::<f32>());
        }
        scores
    }
}

/// A stored Gaussian has no sizes but the latent's.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianSizes {}

impl Density for Mahalanobis {
    type Sizes = GaussianSizes;
    const METHOD: &'static str = "mahalanobis";
    const SCORES: &'static [&'static str] = &["mahalanobis"];
    const MOST_ENTRIES: Option<usize> = Some(LARGEST_COVARIANCE);

    fn score(&self, latents: &Vectors) -> Vec<f32> {
        self.distances(latents)
    }

    fn sizes(&self) -> GaussianSizes {
        GaussianSizes {}
    }

    fn empty(_: GaussianSizes, dim: usize, device: &Device) -> Self {
        Self {
            mean: Param::from_tensor(Tensor::zeros([1, dim], device)),
            whitening: Param::from_tensor(Tensor::zeros([dim, dim], device)),
        }
    }

    fn numbers(_: GaussianSizes, dim: usize) -> Option<usize> {
        dim.checked_mul(dim)
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::method::detector::scorer::tests::{assert_score_of_image_alone, noise};
    use crate::method::on_latents::OnLatents;
    use crate::method::on_latents::tests::on_noise;

    pub fn detector() -> OnLatents<Mahalanobis> {
        on_noise(false, |latents, _, device| {
            Mahalanobis::fit(latents, device)
        })
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(300, 4));
    }
    use crate::backend::test_device;

    #[test]
    fn distances_are_those_of_numpy() {
        // x = np.array([[0,0],[2,1],[4,0],[2,3],[1,1]]); m = x.mean(0); c = np.cov(x.T, bias=True)
        // [float((r-m) @ np.linalg.inv(c) @ (r-m)) for r in np.array([[0,0],[3,3],[1.8,1]])]
        let mut latents = Vectors::new(2);
        latents.extend([0., 0., 2., 1., 4., 0., 2., 3., 1., 1.]);
        let model = Mahalanobis::fit(&latents, &test_device());
        let mut queries = Vectors::new(2);
        queries.extend([0., 0., 3., 3., 1.8, 1.]);
        for (score, expected) in
            model
                .distances(&queries)
                .into_iter()
                .zip([2.674_242_4, 4.151_515, 0.0])
        {
            assert!((score - expected).abs() < 1e-4, "{score} is not {expected}");
        }
    }

    #[test]
    fn an_entry_that_never_varies_does_not_stop_it() {
        let mut latents = Vectors::new(2);
        latents.extend([0., 5., 2., 5., 4., 5.]);
        let scores = Mahalanobis::fit(&latents, &test_device()).distances(&latents);
        assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
    }
}
