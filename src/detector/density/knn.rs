//! Distance to the nearest training latents.

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use crate::data::{Samples, Vectors};

/// Queries per matrix product: 256 rows against 50,000 training latents are 50 MB of distances.
const QUERIES: usize = 256;

/// Mean Euclidean distance to the `neighbours` nearest training latents.
///
/// All distances come from one matrix product per batch of queries, on the chosen backend:
/// `|q - b|^2 = |q|^2 + |b|^2 - 2 q.b`.
#[derive(Clone, Debug)]
pub struct Knn {
    /// `[dim, len]`.
    bank: Tensor<2>,
    /// Squared norm of each column.
    norms: Vec<f32>,
    neighbours: usize,
    device: Device,
}

impl Knn {
    /// Keeps `latents` as the bank.
    pub fn fit(latents: &Vectors, neighbours: usize, device: &Device) -> Self {
        let all: Vec<usize> = (0..latents.len()).collect();
        Self {
            bank: latents.batch(&all, device).transpose(),
            norms: latents
                .values()
                .chunks_exact(latents.dim())
                .map(squared_norm)
                .collect(),
            neighbours: neighbours.min(latents.len()).max(1),
            device: device.clone(),
        }
    }

    /// Mean distance of each latent to its neighbours in the bank.
    pub fn score(&self, latents: &Vectors) -> Vec<f32> {
        let all: Vec<usize> = (0..latents.len()).collect();
        let mut scores = Vec::with_capacity(latents.len());
        for indices in all.chunks(QUERIES) {
            let batch = latents.batch(indices, &self.device);
            let products: Vec<f32> = batch.matmul(self.bank.clone()).into_data().iter().collect();
            let dim = latents.dim();
            let found: Vec<f32> = products
                .par_chunks_exact(self.norms.len())
                .zip(indices.par_iter())
                .map(|(row, &index)| {
                    let query = &latents.values()[index * dim..(index + 1) * dim];
                    self.mean_distance(squared_norm(query), row)
                })
                .collect();
            scores.extend(found);
        }
        scores
    }

    /// From a query's squared norm and its products with the bank.
    fn mean_distance(&self, norm: f32, products: &[f32]) -> f32 {
        // The nearest so far, the farthest of them last.
        let mut nearest = vec![f32::INFINITY; self.neighbours];
        for (product, bank_norm) in products.iter().zip(&self.norms) {
            let squared = norm + bank_norm - 2.0 * product;
            let last = self.neighbours - 1;
            if squared < nearest[last] {
                let place = nearest.partition_point(|&other| other <= squared);
                nearest.copy_within(place..last, place + 1);
                nearest[place] = squared;
            }
        }
        let sum: f32 = nearest.iter().map(|squared| squared.max(0.0).sqrt()).sum();
        sum / self.neighbours as f32
    }
}

fn squared_norm(row: &[f32]) -> f32 {
    row.iter().map(|value| value * value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, StandardNormal};

    #[test]
    fn distances_are_those_of_a_double_loop() {
        let rng = &mut StdRng::seed_from_u64(1);
        let mut draw = |count: usize| {
            let mut vectors = Vectors::new(7);
            vectors.extend(StandardNormal.sample_iter(&mut *rng).take(7 * count));
            vectors
        };
        let (bank, queries) = (draw(500), draw(300));
        let scores = Knn::fit(&bank, 5, &test_device()).score(&queries);
        assert_eq!(scores.len(), 300);
        for (query, score) in queries.values().chunks(7).zip(scores) {
            let mut distances: Vec<f32> = bank
                .values()
                .chunks(7)
                .map(|row| {
                    let squared: f32 = row.iter().zip(query).map(|(a, b)| (a - b).powi(2)).sum();
                    squared.sqrt()
                })
                .collect();
            distances.sort_by(f32::total_cmp);
            let expected = distances[..5].iter().sum::<f32>() / 5.0;
            assert!((score - expected).abs() < 1e-4, "{score} is not {expected}");
        }
    }

    #[test]
    fn a_small_bank_is_used_whole() {
        let mut bank = Vectors::new(1);
        bank.extend([0.0, 2.0]);
        assert_eq!(Knn::fit(&bank, 5, &test_device()).score(&bank), [1.0, 1.0]);
    }
}
