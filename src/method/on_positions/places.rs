//! A Gaussian for every place: PaDiM.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::data::Vectors;
use crate::flow::whitening;

/// Added to the diagonal of every covariance, as in the paper's equation 1.
const RIDGE: f64 = 0.01;

/// Mahalanobis distance of a position's features from those that training images show at the same
/// place (Defard et al., arXiv:2011.08785), of some of the features, drawn at random.
#[derive(Module, Debug)]
pub struct PlaceGaussians {
    /// `[features, dimensions]`, one 1 in each column: which features are looked at.
    chosen: Param<Tensor<2>>,
    /// `[places, dimensions, dimensions]`: transposed inverse Cholesky factors.
    whitening: Param<Tensor<3>>,
    /// `[places, 1, dimensions]`: the whitened means.
    means: Param<Tensor<3>>,
}

impl PlaceGaussians {
    /// Fits one Gaussian for each of `places` to `train`, `[images * places, dimensions]`: what the positions have of
    /// the features `chosen` among so many.
    pub fn fit(
        train: &Vectors,
        places: usize,
        (chosen, features): (&[usize], usize),
        device: &Device,
    ) -> Self {
        let dim = chosen.len();
        let images = (train.len() / places).max(1);
        let fitted: Vec<(Vec<f32>, Vec<f32>)> = (0..places)
            .into_par_iter()
            .map(|place| {
                let value = |image: usize, index: usize| {
                    f64::from(train.row(image * places + place)[index])
                };
                let mean: Vec<f64> = (0..dim)
                    .map(|index| (0..images).map(|image| value(image, index)).sum::<f64>())
                    .map(|sum| sum / images as f64)
                    .collect();
                let centred = DMatrix::from_fn(dim, images, |index, image| {
                    value(image, index) - mean[index]
                });
                let scale = 1.0 / (images.max(2) - 1) as f64;
                let covariance =
                    &centred * centred.transpose() * scale + DMatrix::identity(dim, dim) * RIDGE;
                let (inverse, _) = whitening(&covariance);
                let white = &inverse * nalgebra::DVector::from_vec(mean);
                // Columns of the inverse, one after the other, are rows of its transpose.
                let values = inverse.iter().map(|&value| value as f32).collect();
                (values, white.iter().map(|&value| value as f32).collect())
            })
            .collect();
        let (mut factors, mut means) = (Vec::new(), Vec::new());
        for (factor, mean) in fitted {
            factors.extend(factor);
            means.extend(mean);
        }
        let mut picked = vec![0.0f32; features * dim];
        for (column, &row) in chosen.iter().enumerate() {
            picked[row * dim + column] = 1.0;
        }
        let picked = TensorData::new(picked, [features, dim]);
        let factors = TensorData::new(factors, [places, dim, dim]);
        let means = TensorData::new(means, [places, 1, dim]);
        Self {
            chosen: Param::from_tensor(Tensor::from_data(picked, device)),
            whitening: Param::from_tensor(Tensor::from_data(factors, device)),
            means: Param::from_tensor(Tensor::from_data(means, device)),
        }
    }

    /// With so many places and dimensions, to be filled from a store.
    pub fn empty(features: usize, places: usize, dimensions: usize, device: &Device) -> Self {
        Self {
            chosen: Param::from_tensor(Tensor::zeros([features, dimensions], device)),
            whitening: Param::from_tensor(Tensor::zeros([places, dimensions, dimensions], device)),
            means: Param::from_tensor(Tensor::zeros([places, 1, dimensions], device)),
        }
    }

    /// Number of features that are looked at.
    pub fn dimensions(&self) -> usize {
        self.chosen.val().dims()[1]
    }

    /// Mahalanobis distance of each position.
    ///
    /// # Shapes
    /// `[images * places, features]` to `[images * places]`.
    pub fn distances(&self, features: Tensor<2>) -> Tensor<1> {
        let [places, _, dim] = self.means.val().dims();
        let [len, _] = features.dims();
        let images = len / places.max(1);
        let x = features.matmul(self.chosen.val());
        let x = x.reshape([images, places, dim]).swap_dims(0, 1); // [places, images, dim]
        let white = x.matmul(self.whitening.val()) - self.means.val();
        let distances = white.square().sum_dim(2).sqrt(); // [places, images, 1]
        distances.swap_dims(0, 1).reshape([len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Samples;

    #[test]
    fn every_place_has_its_own_distance() {
        // numpy: for p in (0, 1): x = rows[p::2][:, [2, 0]]; c = np.cov(x.T) + 0.01 * np.eye(2)
        //     d = q[p, [2, 0]] - x.mean(0); np.sqrt(d @ np.linalg.inv(c) @ d)
        let mut rows = Vectors::new(3);
        rows.extend([
            0., 9., 1., 5., 9., 0., 2., 9., 0., 7., 9., 1., 1., 9., 3., 6., 9., 5., 3., 9., 2., 4.,
            9., 2.,
        ]);
        let mut kept = Vectors::new(2);
        for index in 0..rows.len() {
            kept.extend([rows.row(index)[2], rows.row(index)[0]]);
        }
        let places = PlaceGaussians::fit(&kept, 2, (&[2, 0], 3), &test_device());
        assert_eq!(places.dimensions(), 2);
        let mut query = Vectors::new(3);
        query.extend([0., 0., 0., 5., 0., 5., 3., 0., 3., 5., 0., 0.]);
        let found = places.distances(query.batch(&[0, 1, 2, 3], &test_device()));
        let found: Vec<f32> = found.into_data().iter().collect();
        for (found, expected) in found.iter().zip(EXPECTED) {
            assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
        }
    }

    const EXPECTED: [f32; 4] = [1.63826, 1.49423, 1.63826, 0.96572];
}
