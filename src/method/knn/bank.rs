//! Distance to the nearest training latents.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::data::Vectors;
use crate::method::on_latents::Density;
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

    /// Mean distance of each latent to its neighbours in the bank, or to the whole bank where that
    /// has fewer.
    ///
    /// # Panics
    /// When `latents` and the bank are not of one dimension.
    pub fn distances(&self, latents: &Vectors) -> Vec<f32> {
        let bank = Bank::from_columns(self.columns.val());
        assert_eq!(latents.dim(), bank.dim(), "entries of a latent");
        bank.mean_distances(latents.values(), self.neighbours)
    }
}

/// Sizes of a stored bank.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnnSizes {
    /// Training latents.
    latents: usize,
    /// Neighbours of a latent.
    neighbours: usize,
}

impl Density for Knn {
    type Sizes = KnnSizes;
    const METHOD: &'static str = "knn";
    const SCORES: &'static [&'static str] = &["neighbour_distance"];
    const MOST_ENTRIES: Option<usize> = None;

    fn score(&self, latents: &Vectors) -> Vec<f32> {
        self.distances(latents)
    }

    fn sizes(&self) -> KnnSizes {
        KnnSizes {
            latents: self.columns.val().dims()[1],
            neighbours: self.neighbours,
        }
    }

    fn empty(sizes: KnnSizes, dim: usize, device: &Device) -> Self {
        Self {
            columns: Param::from_tensor(Tensor::zeros([dim, sizes.latents], device)),
            neighbours: sizes.neighbours,
        }
    }

    fn numbers(sizes: KnnSizes, dim: usize) -> Option<usize> {
        dim.checked_mul(sizes.latents)
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::method::detector::scorer::tests::{assert_score_of_image_alone, noise};
    use crate::method::on_latents::OnLatents;
    use crate::method::on_latents::tests::on_noise;
    use crate::method::{HeatSource, Scorer};

    pub fn detector() -> OnLatents<Knn> {
        on_noise(false, |latents, _, device| Knn::fit(latents, 3, device))
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(300, 4));
    }

    #[test]
    fn its_heat_map_is_what_the_encoder_does_not_bring_back() {
        let detector = detector();
        let images = noise(2, 5);
        let maps = detector.heat(&images, HeatSource::Reconstruction).unwrap();
        let back = detector.reconstruct(&images).unwrap();
        for (index, map) in maps.iter().enumerate() {
            let bytes = images.get(index).iter().zip(back.get(index));
            for (heat, (&pixel, &other)) in map.values().iter().zip(bytes) {
                // The reconstruction is rounded to bytes here.
                let expected = (f32::from(pixel) - f32::from(other)).abs() / 127.5;
                assert!((heat - expected).abs() < 0.005, "{heat} {expected}");
            }
        }
        assert!(detector.heat(&images, HeatSource::Gradient).is_none());
    }
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
        let scores = Knn::fit(&bank, 5, &test_device()).distances(&queries);
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
        assert_eq!(
            Knn::fit(&bank, 5, &test_device()).distances(&bank),
            [1.0, 1.0]
        );
    }
}
