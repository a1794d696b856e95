//! Distances to the nearest of many vectors.
//!
//! All come from matrix products: `|q - b|^2 = |q|^2 + |b|^2 - 2 q.b`. The kernel multiplies by
//! blocks that stay in the cache and keeps the nearest of each block at once, so that the products of
//! all queries with the whole bank are never written out; everywhere else than on flex, Burn
//! multiplies some queries at a time with the whole bank.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::matrix::{Matrix, multiply, transposed, with_scratch};
use super::{Home, contiguous, flex, values};

/// Queries per task of the kernel: with [`COLUMNS`], 240 KB of products. Both are whole tiles of
/// gemm's kernels for AVX-512 (64 x 6) and AVX2 (16 x 6).
const QUERIES: usize = 120;
/// Vectors of the bank that are multiplied at a time.
const COLUMNS: usize = 512;
/// Distances that are looked at together: mostly none of them is among the nearest.
const SPAN: usize = 64;
/// Queries per product elsewhere: with 50,000 vectors in the bank, 50 MB.
const BATCH: usize = 256;

/// Vectors among which the nearest to others are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Bank {
    /// `[dim, len]`, contiguous on flex.
    vectors: Tensor<2>,
    /// Squared norms, `[len]`.
    norms: Vec<f32>,
}

impl Bank {
    /// Keeps `rows`, `[len, dim]` and row-major. `dim` is not zero.
    pub fn new(rows: &[f32], dim: usize, device: &Device) -> Self {
        let len = rows.len() / dim;
        let columns = match &rows[..len * dim] {
            [] => Vec::new(),
            rows => transposed(rows, dim),
        };
        let columns = TensorData::new(columns, [dim, len]);
        Self::from_columns(Tensor::from_data(columns, device))
    }

    /// Keeps the columns of `vectors`, `[dim, len]`.
    pub fn from_columns(vectors: Tensor<2>) -> Self {
        let [_, len] = vectors.dims();
        let mut norms = vec![0.0; len];
        let values: Vec<f32> = vectors.clone().into_data().iter::<f32>().collect();
        for row in values.chunks_exact(len.max(1)) {
            for (norm, value) in norms.iter_mut().zip(row) {
                *norm += value * value;
            }
        }
        Self { vectors, norms }
    }

    /// The vectors, `[dim, len]`.
    pub fn into_columns(self) -> Tensor<2> {
        self.vectors
    }

    /// Entries of a vector.
    pub fn dim(&self) -> usize {
        self.vectors.dims()[0]
    }

    /// Mean Euclidean distance of each query to its `neighbours` nearest vectors; of all of them
    /// where they are fewer, and of one where `neighbours` is zero.
    ///
    /// A vector of the bank with an entry that is not finite, or whose square is not, is nobody's
    /// neighbour. A query of that kind is infinitely far away, and so is one with too few
    /// neighbours left.
    ///
    /// # Shapes
    /// `[queries, dim]`, row-major, to `[queries]`.
    pub fn mean_distances(&self, queries: &[f32], neighbours: usize) -> Vec<f32> {
        let len = self.norms.len();
        if len == 0 {
            return vec![f32::INFINITY; queries.len() / self.dim()];
        }
        let neighbours = neighbours.clamp(1, len);
        match Home::of(&self.vectors) {
            Home::Flex => {
                let vectors = contiguous(flex(self.vectors.clone()));
                by_blocks(&vectors, &self.norms, queries, neighbours)
            }
            Home::Training | Home::Elsewhere => self.by_whole_products(queries, neighbours),
        }
    }

    /// With Burn's matrix product, for a bank that is not empty.
    fn by_whole_products(&self, queries: &[f32], neighbours: usize) -> Vec<f32> {
        let [dim, len] = self.vectors.dims();
        let device = self.vectors.device();
        let norms = &self.norms;
        let mut means = Vec::with_capacity(queries.len() / dim);
        for queries in queries.chunks(BATCH * dim) {
            let batch = TensorData::new(queries.to_vec(), [queries.len() / dim, dim]);
            let products = Tensor::<2>::from_data(batch, &device).matmul(self.vectors.clone());
            let products: Vec<f32> = products.into_data().iter::<f32>().collect();
            let rows = products.par_chunks_exact(len);
            means.par_extend(
                rows.zip(queries.par_chunks_exact(dim))
                    .map(|(products, query)| {
                        let mut nearest = vec![f32::INFINITY; neighbours];
                        for (&product, &norm) in products.iter().zip(norms) {
                            enter(&mut nearest, shifted(product, norm));
                        }
                        mean_distance(squared_norm(query), &nearest)
                    }),
            );
        }
        means
    }
}

/// The kernel, for a bank `[dim, len]` that is not empty and at least as many vectors as neighbours.
fn by_blocks(bank: &FlexTensor, norms: &[f32], queries: &[f32], neighbours: usize) -> Vec<f32> {
    let (bank, len) = (values(bank), norms.len());
    let dim = bank.len() / len;
    let mut means = vec![0.0; queries.len() / dim];
    means
        .par_chunks_mut(QUERIES)
        .zip(queries.par_chunks(QUERIES * dim))
        .for_each(|(means, queries)| {
            let rows = means.len();
            let sizes = [rows * COLUMNS.min(len), rows * neighbours];
            with_scratch(sizes, |[products, nearest]| {
                nearest.fill(f32::INFINITY);
                for first in (0..len).step_by(COLUMNS) {
                    let columns = COLUMNS.min(len - first);
                    let queries = Matrix {
                        values: queries,
                        rows,
                        columns: dim,
                        stride: dim,
                    };
                    let block = Matrix {
                        values: &bank[first..],
                        rows: dim,
                        columns,
                        stride: len,
                    };
                    multiply(queries, block, products, false);
                    let norms = &norms[first..][..columns];
                    let products = products.chunks_exact(columns);
                    for (products, nearest) in products.zip(nearest.chunks_exact_mut(neighbours)) {
                        keep_nearest(products, norms, nearest);
                    }
                }
                let queries = queries.chunks_exact(dim);
                let nearest = nearest.chunks_exact(neighbours);
                for ((mean, query), nearest) in means.iter_mut().zip(queries).zip(nearest) {
                    *mean = mean_distance(squared_norm(query), nearest);
                }
            });
        });
    means
}

/// [`enter`]s the distances of one query to a block of the bank.
fn keep_nearest(products: &[f32], norms: &[f32], nearest: &mut [f32]) {
    let last = nearest.len() - 1;
    for (products, norms) in products.chunks(SPAN).zip(norms.chunks(SPAN)) {
        let farthest = nearest[last];
        // Counted instead of left at the first: without a branch the loop is made of vector
        // instructions.
        let below: u32 = products
            .iter()
            .zip(norms)
            .map(|(&product, &norm)| u32::from(shifted(product, norm) < farthest))
            .sum();
        if below > 0 {
            for (&product, &norm) in products.iter().zip(norms) {
                enter(nearest, shifted(product, norm));
            }
        }
    }
}

/// The squared distance to a vector of the bank less the squared norm of the query, which changes
/// no order.
#[inline(always)]
fn shifted(product: f32, norm: f32) -> f32 {
    norm - 2.0 * product
}

/// Puts `value` in its place among the `nearest`, which are in rising order, and drops the last,
/// unless it is that far itself or NaN.
fn enter(nearest: &mut [f32], value: f32) {
    let last = nearest.len() - 1;
    if value < nearest[last] {
        let place = nearest.partition_point(|&other| other <= value);
        nearest.copy_within(place..last, place + 1);
        nearest[place] = value;
    }
}

/// From the squared norm of a query and what [`enter`] left of its distances.
fn mean_distance(norm: f32, nearest: &[f32]) -> f32 {
    if !norm.is_finite() {
        return f32::INFINITY;
    }
    let distances = nearest.iter().map(|near| (norm + near).max(0.0).sqrt());
    distances.sum::<f32>() / nearest.len() as f32
}

fn squared_norm(row: &[f32]) -> f32 {
    row.iter().map(|value| value * value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::ops::tests::{assert_close, in_pool, normal, read};

    /// `[count, dim]` normal numbers.
    fn draw(count: usize, dim: usize, seed: u64) -> Vec<f32> {
        read(normal([count, dim], seed, &Device::flex()))
    }

    fn by_kernel(bank: &[f32], dim: usize, queries: &[f32], neighbours: usize) -> Vec<f32> {
        let bank = Bank::new(bank, dim, &Device::flex());
        assert_eq!(Home::of(&bank.vectors), Home::Flex);
        bank.mean_distances(queries, neighbours)
    }

    fn by_double_loop(bank: &[f32], dim: usize, queries: &[f32], neighbours: usize) -> Vec<f32> {
        let distance = |row: &[f32], query: &[f32]| {
            let differences = row.iter().zip(query);
            let squares = differences.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let mean = |query: &[f32]| {
            let rows = bank.chunks_exact(dim);
            let mut distances: Vec<f64> = rows.map(|row| distance(row, query)).collect();
            distances.sort_by(f64::total_cmp);
            let nearest = &distances[..neighbours.min(distances.len())];
            (nearest.iter().sum::<f64>() / nearest.len() as f64) as f32
        };
        queries.chunks_exact(dim).map(mean).collect()
    }

    #[test]
    fn distances_are_those_of_a_double_loop() {
        for (len, dim, count, neighbours) in [
            (500, 7, 300, 5),
            // Whole blocks, and one more of everything.
            (COLUMNS, 5, QUERIES, 3),
            (2 * COLUMNS + 1, 5, QUERIES + 1, 3),
            (COLUMNS + SPAN + 1, 64, 2, 1),
            // More neighbours than a block has vectors, and than there are.
            (1_300, 6, 40, COLUMNS + 100),
            (10, 3, 5, 20),
            (1, 4, 1, 1),
        ] {
            let (bank, queries) = (draw(len, dim, 1), draw(count, dim, 2));
            let expected = by_double_loop(&bank, dim, &queries, neighbours);
            let what = format!("{len} {dim} {count} {neighbours}");
            let kernel = by_kernel(&bank, dim, &queries, neighbours);
            assert_close(&kernel, &expected, &what);
            let burn = Bank::new(&bank, dim, &test_device());
            let burn = burn.by_whole_products(&queries, neighbours.min(len));
            assert_close(&burn, &expected, &what);
        }
    }

    #[test]
    fn equal_distances_all_count() {
        let bank = [[0.0, 0.0].repeat(600), [3.0, 4.0].repeat(600)].concat();
        for (neighbours, expected) in [(1, 0.0), (600, 0.0), (601, 5.0 / 601.0), (1_200, 2.5)] {
            let found = by_kernel(&bank, 2, &[0.0, 0.0, 3.0, 4.0], neighbours);
            assert_eq!(found, [expected; 2], "{neighbours}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (bank, queries) = (draw(1_000, 9, 1), draw(500, 9, 2));
        let [one, three] =
            [1, 3].map(|threads| in_pool(threads, || by_kernel(&bank, 9, &queries, 4)));
        assert_eq!(one, three);
    }

    #[test]
    fn what_is_not_finite_is_nobodys_neighbour_and_has_none() {
        let far = f32::INFINITY;
        let mut bank = vec![0.0, 0.0, 3.0, 4.0];
        for value in [f32::NAN, far, -far, 1e30] {
            bank.extend([value, 1.0]);
        }
        let queries = [0.0, 0.0, f32::NAN, 1.0, 1.0, far, -far, 1.0, 1e30, 0.0];
        for (neighbours, expected) in [(2, 2.5), (3, far)] {
            let expected = [expected, far, far, far, far];
            assert_eq!(by_kernel(&bank, 2, &queries, neighbours), expected);
            let burn = Bank::new(&bank, 2, &Device::flex());
            assert_eq!(burn.by_whole_products(&queries, neighbours), expected);
        }
    }

    #[test]
    fn without_vectors_or_queries_there_is_nothing_to_find() {
        assert_eq!(by_kernel(&[], 2, &[1.0, 2.0], 3), [f32::INFINITY]);
        assert!(by_kernel(&[1.0, 2.0], 2, &[], 3).is_empty());
    }
}
