//! The directions in which vectors vary most.

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;
use rand::Rng;
use rand::seq::index::sample;
use rand_distr::{Distribution, StandardNormal};

use crate::data::batches;
use crate::ops::covariance;

/// Directions kept beyond those asked for, so that the last of these converge as well.
const OVERSAMPLING: usize = 10;
/// Rounds of subspace iteration. The error of direction `k` shrinks by the ratio of the first
/// neglected eigenvalue to its own in every round, squared in the values that matter here.
const ROUNDS: usize = 40;
/// Where more than one direction in so many is asked for, all are found at once: that takes less time.
const FEW: usize = 4;
/// Entries from which on a covariance is too large, and the products of a sample's vectors with each other take
/// its place.
const LARGE: usize = 8192;
/// Share of the largest eigenvalue below which rounding alone is seen.
const LEAST_SHARE: f64 = 1e-6;
/// Vectors of such a sample, at most, and numbers in them where that many suffice: a quarter of a GiB.
const SAMPLE: usize = 2048;
const SAMPLE_NUMBERS: usize = 1 << 26;
/// Vectors per step of measuring variances.
const BATCH: usize = 64;

/// The principal directions of `count` vectors around `mean`, of which `rows` gives those of some indices as
/// `[batch, dim]`: eigenvectors of the covariance's largest eigenvalues, `[dim, to]` row-major, and these, largest
/// first.
///
/// Of long vectors by a sample of them, and the variances of all along its directions. A sample has no more directions
/// than vectors: what is asked for beyond them is zero.
pub(super) fn directions(
    mean: &[f32],
    count: usize,
    to: usize,
    device: &Device,
    rows: impl Fn(&[usize]) -> Tensor<2>,
    rng: &mut impl Rng,
) -> (Vec<f32>, Vec<f64>) {
    if mean.len() < LARGE {
        return principal_directions(&covariance(mean, count, device, rows), to, rng);
    }
    let dim = mean.len();
    let most = SAMPLE.min(SAMPLE_NUMBERS / dim).max(to + OVERSAMPLING);
    let mut chosen = sample(rng, count, count.min(most)).into_vec();
    chosen.sort_unstable();
    let centre = Tensor::<2>::from_data(TensorData::new(mean.to_vec(), [1, dim]), device);
    let found = directions_of_sample(rows(&chosen) - centre.clone(), to);
    // Along its own directions a small sample varies more than all vectors do.
    let along = Tensor::<2>::from_data(TensorData::new(found.clone(), [dim, to]), device);
    let mut squares = Tensor::<2>::zeros([1, to], device);
    for indices in batches(count, BATCH) {
        let latents = (rows(&indices) - centre.clone()).matmul(along.clone());
        squares = squares + latents.square().sum_dim(0);
    }
    let squares: Vec<f64> = squares.into_data().iter::<f64>().collect();
    let variances = squares.into_iter().map(|sum| sum / count as f64);
    (found, variances.collect())
}

/// As [`directions`], but zero from the direction on in which so few vectors do not vary: `count` vectors vary around their
/// mean in at most `count - 1` directions, in fewer where some are equal. Any other is one in which whatever comes later
/// does vary, which would decide every score.
pub(super) fn varied_directions(
    mean: &[f32],
    count: usize,
    to: usize,
    device: &Device,
    rows: impl Fn(&[usize]) -> Tensor<2>,
    rng: &mut impl Rng,
) -> (Vec<f32>, Vec<f64>) {
    let (mut directions, mut variances) = directions(mean, count, to, device, rows, rng);
    if count <= mean.len() {
        let least = variances.first().copied().unwrap_or_default() * LEAST_SHARE;
        let varied = variances.iter().take_while(|&&variance| variance > least);
        let rank = varied.count().min(count.saturating_sub(1));
        for row in directions.chunks_exact_mut(variances.len()) {
            row[rank..].fill(0.0);
        }
        variances[rank..].fill(0.0);
    }
    (directions, variances)
}

/// The directions of a few centred vectors `[count, dim]`, `[dim, to]` row-major, through their products with each other (Sirovich & Kirby,
/// "Low-dimensional procedure for the characterization of human faces", 1987): if `u` is an eigenvector of
/// `X X^T`, `X^T u` is one of `X^T X`, of the same eigenvalue.
fn directions_of_sample(vectors: Tensor<2>, to: usize) -> Vec<f32> {
    let [count, _] = vectors.dims();
    let device = vectors.device();
    let products = vectors.clone().matmul(vectors.clone().transpose()); // [count, count]
    let products: Vec<f64> = products.into_data().iter::<f64>().collect();
    let found = DMatrix::from_vec(count, count, products).symmetric_eigen();
    let order = descending(found.eigenvalues.as_slice());
    let largest = order.first().map_or(0.0, |&at| found.eigenvalues[at]);
    let mut weights = vec![0.0f32; count * to];
    for (column, &source) in order.iter().take(to).enumerate() {
        let squares = found.eigenvalues[source];
        if squares <= largest * LEAST_SHARE {
            break;
        }
        for row in 0..count {
            weights[row * to + column] =
                (found.eigenvectors[(row, source)] / squares.sqrt()) as f32;
        }
    }
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [count, to]), &device);
    let directions = vectors.transpose().matmul(weights); // [dim, to]
    directions.into_data().iter::<f32>().collect()
}

/// Indices of values, largest first.
fn descending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

/// Eigenvectors of the largest eigenvalues, `[dim, count]` row-major, and these eigenvalues, largest
/// first: a few by subspace iteration with a Rayleigh-Ritz step at the end (Halko, Martinsson & Tropp,
/// arXiv:0909.4061, algorithm 4.4), many by the whole eigendecomposition.
pub(super) fn principal_directions(
    covariance: &DMatrix<f64>,
    count: usize,
    rng: &mut impl Rng,
) -> (Vec<f32>, Vec<f64>) {
    let dim = covariance.nrows();
    let width = (count + OVERSAMPLING).min(dim);
    let (vectors, found) = if width * FEW < dim {
        let noise: Vec<f64> = StandardNormal.sample_iter(rng).take(dim * width).collect();
        let mut basis = DMatrix::from_vec(dim, width, noise);
        for _ in 0..ROUNDS {
            basis = (covariance * basis).qr().q();
        }
        let small = (basis.transpose() * covariance * &basis).symmetric_eigen();
        (basis * small.eigenvectors, small.eigenvalues)
    } else {
        let whole = covariance.clone().symmetric_eigen();
        (whole.eigenvectors, whole.eigenvalues)
    };
    let order = descending(found.as_slice());
    let mut directions = vec![0.0; dim * count];
    for (column, &source) in order.iter().take(count).enumerate() {
        for row in 0..dim {
            directions[row * count + column] = vectors[(row, source)] as f32;
        }
    }
    let eigenvalues = order.iter().take(count);
    let eigenvalues = eigenvalues.map(|&index| found[index]).collect();
    (directions, eigenvalues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::{Samples, Vectors};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// 30 vectors of so many entries, which vary in all directions, in the first ones most.
    fn vectors(dim: usize) -> Vectors {
        let rng = &mut StdRng::seed_from_u64(3);
        let mut vectors = Vectors::new(dim);
        for _ in 0..30 {
            let values: Vec<f32> = StandardNormal.sample_iter(&mut *rng).take(dim).collect();
            let scaled = values.iter().enumerate();
            vectors.extend(scaled.map(|(at, value)| value * 20.0 / (1.0 + at as f32) + 3.0));
        }
        vectors
    }

    #[test]
    fn a_sample_has_the_directions_of_its_covariance() {
        let (vectors, device) = (vectors(40), test_device());
        let mean = vectors.means();
        let rows = |indices: &[usize]| vectors.batch(indices, &device);
        let rng = &mut StdRng::seed_from_u64(4);
        let (expected, _) = directions(&mean, 30, 3, &device, rows, rng);
        let all: Vec<usize> = (0..30).collect();
        let centre = TensorData::new(mean.clone(), [1, 40]);
        let centred = rows(&all) - Tensor::<2>::from_data(centre, &device);
        let found = directions_of_sample(centred.clone(), 3);
        for column in 0..3 {
            let products = (0..40).map(|row| found[row * 3 + column] * expected[row * 3 + column]);
            let cosine: f32 = products.sum();
            assert!(cosine.abs() > 0.999, "{column}: {cosine}");
        }
        // 30 vectors around their mean have 29 directions.
        let found = directions_of_sample(centred, 32);
        let zero = |column: usize| {
            found
                .iter()
                .skip(column)
                .step_by(32)
                .all(|&value| value == 0.0)
        };
        assert!(!zero(28) && zero(29) && zero(31));
    }

    #[test]
    fn there_are_no_more_directions_than_vectors_vary_in() {
        let (vectors, device) = (vectors(40), test_device());
        let rows = |indices: &[usize]| vectors.batch(indices, &device);
        let rng = &mut StdRng::seed_from_u64(4);
        let (found, variances) = varied_directions(&vectors.means(), 30, 35, &device, rows, rng);
        let is_zero = |column: usize| found.iter().skip(column).step_by(35).all(|&x| x == 0.0);
        for (column, &variance) in variances.iter().enumerate() {
            let is_beyond = column >= 29;
            assert_eq!(
                (is_zero(column), variance == 0.0),
                (is_beyond, is_beyond),
                "{column}"
            );
        }
        // Ten of them, three times.
        let few = |indices: &[usize]| rows(&indices.iter().map(|&at| at % 10).collect::<Vec<_>>());
        let ten = vectors.select(&(0..10).collect::<Vec<_>>());
        let (_, variances) = varied_directions(&ten.means(), 30, 35, &device, few, rng);
        assert!(variances[8] > 0.0 && variances[9..].iter().all(|&variance| variance == 0.0));
    }

    #[test]
    fn long_vectors_need_no_covariance() {
        // Of 40,000 entries it would take 12 GB.
        let (vectors, device) = (vectors(40_000), test_device());
        let rows = |indices: &[usize]| vectors.batch(indices, &device);
        let rng = &mut StdRng::seed_from_u64(4);
        let (found, variances) = directions(&vectors.means(), 30, 2, &device, rows, rng);
        assert_eq!(found.len(), 80_000);
        assert!(variances[0] > variances[1] && variances[1] > 0.0);
        // They are those of the latents.
        let along = Tensor::<2>::from_data(TensorData::new(found.clone(), [40_000, 2]), &device);
        let centre = TensorData::new(vectors.means(), [1, 40_000]);
        let all: Vec<usize> = (0..30).collect();
        let centred = rows(&all) - Tensor::<2>::from_data(centre, &device);
        let squares = centred.matmul(along).square().mean_dim(0);
        for (measured, variance) in squares.into_data().iter::<f64>().zip(&variances) {
            assert!(
                (measured / variance - 1.0).abs() < 1e-3,
                "{measured} {variance}"
            );
        }
        let length: f32 = found.iter().step_by(2).map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-3, "{length}");
    }
}
