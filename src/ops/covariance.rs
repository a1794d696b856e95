//! Covariance matrices, added up in matrix products on the chosen backend.

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;

/// Vectors per step.
const BATCH: usize = 1024;
/// Entries of a vector whose products with all that follow are one matrix product.
const BLOCK: usize = 224;

/// `[dim, dim]` covariance around `mean` of `count` vectors, of which `rows` gives those of some indices as
/// `[batch, dim]`. Of a symmetric matrix only the blocks on and above the diagonal are multiplied out.
pub(crate) fn covariance(
    mean: &[f32],
    count: usize,
    device: &Device,
    rows: impl Fn(&[usize]) -> Tensor<2>,
) -> DMatrix<f64> {
    let dim = mean.len();
    let centre = Tensor::<2>::from_data(TensorData::new(mean.to_vec(), [1, dim]), device);
    let starts: Vec<usize> = (0..dim).step_by(BLOCK).collect();
    let mut sums: Vec<Tensor<2>> = starts
        .iter()
        .map(|&start| Tensor::zeros([BLOCK.min(dim - start), dim - start], device))
        .collect();
    let all: Vec<usize> = (0..count).collect();
    for indices in all.chunks(BATCH) {
        let rows = rows(indices) - centre.clone();
        for (&start, sum) in starts.iter().zip(&mut sums) {
            let block = rows.clone().narrow(1, start, BLOCK.min(dim - start));
            let others = rows.clone().narrow(1, start, dim - start);
            *sum = sum.clone() + block.transpose().matmul(others);
        }
    }
    let scale = 1.0 / count.max(1) as f64;
    let mut covariance = DMatrix::zeros(dim, dim);
    for (&start, sum) in starts.iter().zip(sums) {
        let width = dim - start;
        for (index, value) in sum.into_data().iter::<f64>().enumerate() {
            let (row, column) = (start + index / width, start + index % width);
            covariance[(row, column)] = value * scale;
            covariance[(column, row)] = value * scale;
        }
    }
    covariance
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::{Samples, Vectors};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, StandardNormal};

    #[test]
    fn a_covariance_is_the_mean_of_products() {
        // More entries than one block has, and not a multiple.
        let dim = BLOCK + 9;
        let rng = &mut StdRng::seed_from_u64(2);
        let mut vectors = Vectors::new(dim);
        vectors.extend(StandardNormal.sample_iter(&mut *rng).take(40 * dim));
        let mean = vectors.means();
        let device = test_device();
        let rows = |indices: &[usize]| vectors.batch(indices, &device);
        let found = covariance(&mean, vectors.len(), &device, rows);
        for (row, column) in [
            (0, 0),
            (3, 230),
            (230, 3),
            (232, 232),
            (224, 223),
            (100, 101),
        ] {
            let products = (0..40).map(|index| {
                let values = vectors.row(index);
                let [left, right] = [row, column].map(|at| f64::from(values[at] - mean[at]));
                left * right
            });
            let expected = products.sum::<f64>() / 40.0;
            let found = found[(row, column)];
            assert!(
                (found - expected).abs() < 1e-5,
                "{row} {column}: {found} {expected}"
            );
        }
    }
}
