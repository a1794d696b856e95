//! Distance to the nearest training latents.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::data::Vectors;
use crate::ops::Bank;

/// Mean Euclidean distance to the `neighbours` nearest training latents.
///
/// A training latent that is not finite is nobody's neighbour; a latent that is not finite is
/// infinitely far away.
#[derive(Module, Debug)]
pub struct Knn {
    /// `[dim, len]`: the training latents.
    columns: Param<Tensor<2>>,
    neighbours: usize,
}

impl Knn {
    /// Keeps `latents` as the bank.
    pub fn fit(latents: &Vectors, neighbours: usize, device: &Device) -> Self {
        let bank = Bank::new(latents.values(), latents.dim(), device);
        Self {
            columns: Param::from_tensor(bank.into_columns()),
            neighbours,
        }
    }

    /// With room for `len` latents of `dim` entries, to be filled from a store.
    pub(super) fn empty([dim, len]: [usize; 2], neighbours: usize, device: &Device) -> Self {
        Self {
            columns: Param::from_tensor(Tensor::zeros([dim, len], device)),
            neighbours,
        }
    }

    /// Number of training latents, and of neighbours.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.columns.val().dims()[1], self.neighbours)
    }

    /// Mean distance of each latent to its neighbours in the bank, or to the whole bank where that
    /// has fewer.
    ///
    /// # Panics
    /// When `latents` and the bank are not of one dimension.
    pub fn score(&self, latents: &Vectors) -> Vec<f32> {
        let bank = Bank::from_columns(self.columns.val());
        assert_eq!(latents.dim(), bank.dim(), "entries of a latent");
        bank.mean_distances(latents.values(), self.neighbours)
    }
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
