//! Many Gaussians and many centres against many rows: what a mixture is fitted and scored with.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::matrix::{Matrix, multiply, multiply_views, with_scratch};
use super::{Home, contiguous, flex, tensor, values};

/// Rows per task.
const ROWS: usize = 128;
/// Columns of the product that stay in the cache until they are squared and added up.
const COLUMNS: usize = 512;

/// Gaussians, each by a matrix that makes it a standard normal.
#[derive(Clone, Copy)]
pub(crate) struct WhitenedGaussians<'a> {
    /// `[dim, gaussians * dim]`, row-major: one whitening beside the other.
    pub whitening: &'a [f32],
    /// `[gaussians * dim]`: the whitened means.
    pub centres: &'a [f32],
    /// `[gaussians]`: logarithm of the density at the mean, times the weight.
    pub constants: &'a [f32],
}

/// `constant_k - |x W_k - c_k|^2 / 2` of every row and Gaussian.
///
/// # Shapes
/// `rows`: `[len, dim]` to `[len, gaussians]`, row-major both.
pub(crate) fn log_densities(rows: &[f32], gaussians: WhitenedGaussians<'_>) -> Vec<f32> {
    let count = gaussians.constants.len();
    if count == 0 || gaussians.centres.is_empty() {
        return Vec::new();
    }
    let dim = gaussians.centres.len() / count;
    let mut joint = vec![0.0; rows.len() / dim * count];
    let tasks = joint.par_chunks_mut(ROWS * count);
    tasks
        .zip(rows.par_chunks(ROWS * dim))
        .for_each(|(joint, rows)| log_densities_of_some(rows, gaussians, joint));
    joint
}

/// [`log_densities`] of tensors: of `x`, `[len, dim]`, under Gaussians whose whitening is `[dim, gaussians
/// * dim]`, whose centres are `[1, gaussians * dim]` and whose constants are `[1, gaussians]`.
pub(crate) fn mixture_log_densities(
    x: Tensor<2>,
    [whitening, centres, constants]: [Tensor<2>; 3],
) -> Tensor<2> {
    if Home::of(&x) != Home::Flex {
        return plain(x, [whitening, centres, constants]);
    }
    let shape = [x.dims()[0], constants.dims()[1]];
    let [x, whitening, centres, constants] =
        [x, whitening, centres, constants].map(|tensor| contiguous(flex(tensor)));
    let gaussians = WhitenedGaussians {
        whitening: values(&whitening),
        centres: values(&centres),
        constants: values(&constants),
    };
    let joint = log_densities(values(&x), gaussians);
    Tensor::from_primitive::<Flex>(tensor(joint, shape))
}

/// The same by Burn's operations.
fn plain(x: Tensor<2>, [whitening, centres, constants]: [Tensor<2>; 3]) -> Tensor<2> {
    let [len, dim] = x.dims();
    let [_, count] = constants.dims();
    let white = x.matmul(whitening) - centres;
    let squares = white.square().reshape([len, count, dim]);
    constants - squares.sum_dim(2).squeeze_dim::<2>(2) * 0.5
}

/// [`log_densities`] on the calling thread.
fn log_densities_of_some(rows: &[f32], gaussians: WhitenedGaussians<'_>, joint: &mut [f32]) {
    let WhitenedGaussians {
        whitening,
        centres,
        constants,
    } = gaussians;
    let count = constants.len();
    let dim = centres.len() / count;
    let len = rows.len() / dim;
    let together = (COLUMNS / dim).clamp(1, count);
    with_scratch([len * together * dim], |[products]| {
        for first in (0..count).step_by(together) {
            let some = together.min(count - first);
            let columns = some * dim;
            let left = Matrix {
                values: rows,
                rows: len,
                columns: dim,
                stride: dim,
            };
            let right = Matrix {
                values: &whitening[first * dim..],
                rows: dim,
                columns,
                stride: count * dim,
            };
            multiply(left, right, products, false);
            let products = products[..len * columns].chunks_exact(columns);
            let centres = &centres[first * dim..][..columns];
            for (products, joint) in products.zip(joint.chunks_exact_mut(count)) {
                let whitened = products.chunks_exact(dim).zip(centres.chunks_exact(dim));
                let joint = joint[first..].iter_mut().zip(&constants[first..]);
                for ((white, centre), (joint, constant)) in whitened.zip(joint) {
                    *joint = constant - 0.5 * squared_distance(white, centre);
                }
            }
        }
    });
}

/// Lanes that are added up apart, for vector instructions.
const LANES: usize = 16;

fn squared_distance(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in left.iter().zip(right) {
        for ((sum, a), b) in sums.iter_mut().zip(left).zip(right) {
            *sum += (a - b) * (a - b);
        }
    }
    let rest = left_rest.iter().zip(right_rest);
    let rest: f32 = rest.map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f32>() + rest
}

/// Which of the centres is nearest to each row, the first of several; the first of all where a
/// distance is not a number.
///
/// # Shapes
/// `rows`: `[len, dim]` and `centres`: `[centres, dim]` to `[len]`, row-major.
pub(crate) fn nearest_centres(rows: &[f32], centres: &[f32], dim: usize) -> Vec<u32> {
    let count = centres.len() / dim;
    let norms: Vec<f32> = centres
        .chunks_exact(dim)
        .map(|centre| centre.iter().map(|value| value * value).sum())
        .collect();
    let matrix = |values, rows| Matrix {
        values,
        rows,
        columns: dim,
        stride: dim,
    };
    let mut nearest = vec![0; rows.len() / dim];
    if count == 0 {
        return nearest;
    }
    nearest
        .par_chunks_mut(ROWS)
        .zip(rows.par_chunks(ROWS * dim))
        .for_each(|(nearest, rows)| {
            let len = nearest.len();
            with_scratch([len * count], |[products]| {
                let (left, right) = (matrix(rows, len), matrix(centres, count));
                multiply_views(left.view(), right.turned(), products, count, false);
                for (nearest, products) in nearest.iter_mut().zip(products.chunks_exact(count)) {
                    let mut least = f32::INFINITY;
                    for (index, (product, norm)) in products.iter().zip(&norms).enumerate() {
                        // Up to the row's own norm.
                        let distance = norm - 2.0 * product;
                        if distance < least {
                            least = distance;
                            *nearest = index as u32;
                        }
                    }
                }
            });
        });
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, in_pool, normal, read};
    use burn::tensor::Device;

    fn rows(len: usize, dim: usize, seed: u64) -> Vec<f32> {
        read(normal([len, dim], seed, &Device::flex()))
    }

    #[test]
    fn densities_are_those_of_plain_arithmetic_on_any_number_of_threads() {
        for (len, dim, count) in [(300, 5, 7), (129, 32, 40), (3, 700, 2), (1, 1, 1)] {
            let x = rows(len, dim, 1);
            let whitening = rows(dim, count * dim, 2);
            let centres = rows(count, dim, 3);
            let constants = rows(1, count, 4);
            let gaussians = WhitenedGaussians {
                whitening: &whitening,
                centres: &centres,
                constants: &constants,
            };
            let mut expected = Vec::new();
            for row in x.chunks_exact(dim) {
                for k in 0..count {
                    let white = |out: usize| -> f64 {
                        let products = row.iter().enumerate().map(|(from, value)| {
                            f64::from(*value) * f64::from(whitening[(from * count + k) * dim + out])
                        });
                        products.sum::<f64>() - f64::from(centres[k * dim + out])
                    };
                    let squares: f64 = (0..dim).map(|out| white(out).powi(2)).sum();
                    expected.push((f64::from(constants[k]) - squares / 2.0) as f32);
                }
            }
            let found = in_pool(1, || log_densities(&x, gaussians));
            assert_close(&found, &expected, "densities");
            assert_eq!(in_pool(3, || log_densities(&x, gaussians)), found);
        }
    }

    #[test]
    fn the_kernel_is_what_burn_computes() {
        for device in [Device::flex(), Device::flex().autodiff()] {
            let x = normal([200, 9], 1, &device);
            let parameters = || {
                [
                    normal([9, 45], 2, &device),
                    normal([1, 45], 3, &device),
                    normal([1, 5], 4, &device),
                ]
            };
            let found = mixture_log_densities(x.clone(), parameters());
            assert_close(&read(found), &read(plain(x, parameters())), "densities");
        }
    }

    #[test]
    fn the_nearest_centre_is_found() {
        let (x, centres) = (rows(500, 6, 5), rows(23, 6, 6));
        let expected: Vec<u32> = x
            .chunks_exact(6)
            .map(|row| {
                let distances = centres.chunks_exact(6).map(|centre| {
                    let squares = row.iter().zip(centre).map(|(a, b)| (a - b).powi(2));
                    squares.sum::<f32>()
                });
                let least = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
                least.unwrap().0 as u32
            })
            .collect();
        assert_eq!(nearest_centres(&x, &centres, 6), expected);
        assert_eq!(nearest_centres(&[f32::NAN; 6], &centres, 6), [0]);
    }
}
