//! Vectors with fresh noise in every batch.

use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

use super::mixing::GOLDEN;
use super::{Samples, Vectors};

/// Vectors to whose first entries normal noise is added whenever they are batched.
///
/// A density fitted to noisy data is that of the data blurred by the noise: a flow can no longer
/// spend its likelihood on single training points. The noise depends on the seed and on which
/// vectors make up the batch, so that it differs from epoch to epoch and a resumed run repeats it.
pub struct Noisy {
    vectors: Vectors,
    entries: usize,
    deviation: f32,
    seed: u64,
}

impl Noisy {
    /// Noise of this standard deviation on the first `entries` entries; 0 for none.
    pub fn new(vectors: Vectors, entries: usize, deviation: f32, seed: u64) -> Self {
        Self {
            vectors,
            entries,
            deviation,
            seed,
        }
    }
}

impl Samples for Noisy {
    /// `[batch, dim]`.
    type Batch = Tensor<2>;

    fn count(&self) -> usize {
        self.vectors.len()
    }

    fn batch(&self, indices: &[usize], device: &Device) -> Tensor<2> {
        if self.deviation == 0.0 {
            return self.vectors.batch(indices, device);
        }
        let dim = self.vectors.dim();
        let mixed = indices.iter().fold(self.seed, |hash, &index| {
            (hash.rotate_left(5) ^ index as u64).wrapping_mul(GOLDEN)
        });
        let rng = &mut StdRng::seed_from_u64(mixed);
        let mut rows = Vec::with_capacity(indices.len() * dim);
        for &index in indices {
            let vector = &self.vectors.values()[index * dim..(index + 1) * dim];
            let (noisy, rest) = vector.split_at(self.entries.min(dim));
            rows.extend(noisy.iter().map(|value| {
                let noise: f32 = StandardNormal.sample(&mut *rng);
                value + self.deviation * noise
            }));
            rows.extend_from_slice(rest);
        }
        Tensor::from_data(TensorData::new(rows, [indices.len(), dim]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;

    #[test]
    fn noise_is_repeatable_and_leaves_the_context_alone() {
        let mut vectors = Vectors::new(3);
        vectors.extend((0..3000).map(|index| (index % 3) as f32));
        let all: Vec<usize> = (0..1000).collect();
        let read = |samples: &Noisy, indices: &[usize]| -> Vec<f32> {
            let batch = samples.batch(indices, &test_device());
            batch.into_data().iter::<f32>().collect()
        };
        let noisy = Noisy::new(vectors.clone(), 2, 0.5, 1);
        let (first, again) = (read(&noisy, &all), read(&noisy, &all));
        assert_eq!(first, again);
        let reversed: Vec<usize> = all.iter().rev().copied().collect();
        assert_ne!(first[..3], read(&noisy, &reversed)[2997..]);
        let variance = first.chunks(3).map(|row| row[0] * row[0]).sum::<f32>() / 1000.0;
        assert!((variance - 0.25).abs() < 0.04, "{variance}");
        assert!(first.chunks(3).all(|row| row[2] == 2.0));
        let plain = Noisy::new(vectors.clone(), 2, 0.0, 1);
        assert_eq!(read(&plain, &all), vectors.values());
    }
}
