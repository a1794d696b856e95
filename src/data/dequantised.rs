//! Images as values between their levels, for densities.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::mixing::{GOLDEN, mix};
use super::{Images, Samples};

/// Levels of a byte.
const LEVELS: f32 = 256.0;

/// Images as `(byte + u) / 256` with `u` from U(0, 1).
///
/// A density of the bytes themselves could be as high as it likes at the 256 levels; the mean
/// log-density of values between them is a lower bound of the log-probability of the bytes (Theis et
/// al., arXiv:1511.01844, section 3.1).
pub struct Dequantised {
    images: Arc<Images>,
    noise: Noise,
}

enum Noise {
    /// Another for every batch, by a seed and by the images that make it up: it differs from epoch to
    /// epoch, and a resumed run repeats it.
    Fresh(u64),
    /// The same for every image: so a value depends on its image alone.
    Fixed(Vec<f32>),
}

impl Dequantised {
    /// With other noise in every batch.
    pub fn fresh(images: Arc<Images>, seed: u64) -> Self {
        Self {
            images,
            noise: Noise::Fresh(seed),
        }
    }

    /// With the noise number `draw`, the same for every image, on every machine and in every version.
    pub fn fixed(images: Arc<Images>, draw: u64) -> Self {
        let pixels = images.shape().iter().product();
        // Streams of different draws are 2^40 numbers apart.
        let noise = uniform(draw << 40).take(pixels).collect();
        Self {
            images,
            noise: Noise::Fixed(noise),
        }
    }
}

/// Numbers from U(0, 1), by splitmix64 (Steele, Lea & Flood, 2014): 24 bits of each of its outputs.
fn uniform(first: u64) -> impl Iterator<Item = f32> {
    (first..).map(|index| {
        let bits = mix(index.wrapping_mul(GOLDEN));
        (bits >> 40) as f32 / (1u32 << 24) as f32
    })
}

impl Samples for Dequantised {
    /// `[batch, channels, height, width]` in `[0, 1]`.
    type Batch = Tensor<4>;

    fn count(&self) -> usize {
        self.images.len()
    }

    fn batch(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        let [channels, height, width] = self.images.shape();
        let between = |(&byte, noise): (&u8, f32)| (f32::from(byte) + noise) / LEVELS;
        let images = indices.iter().map(|&index| self.images.get(index));
        let values: Vec<f32> = match &self.noise {
            Noise::Fresh(seed) => {
                let start = indices.iter().fold(*seed, |hash, &index| {
                    (hash.rotate_left(5) ^ index as u64).wrapping_mul(GOLDEN)
                });
                let mut noise = uniform(start >> 1);
                let bytes = images.flatten();
                bytes
                    .map(|byte| between((byte, noise.next().unwrap_or(0.5))))
                    .collect()
            }
            Noise::Fixed(noise) => images
                .flat_map(|image| image.iter().zip(noise.iter().copied()).map(between))
                .collect(),
        };
        let shape = [indices.len(), channels, height, width];
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;

    fn images() -> Arc<Images> {
        let pixels = (0..4 * 3072).map(|index| (index % 256) as u8).collect();
        Arc::new(Images::new([3, 32, 32], pixels).unwrap())
    }

    fn read(samples: &Dequantised, indices: &[usize]) -> Vec<f32> {
        let batch = samples.batch(indices, &test_device());
        batch.into_data().iter::<f32>().collect()
    }

    #[test]
    fn values_stay_within_their_level() {
        for samples in [
            Dequantised::fresh(images(), 3),
            Dequantised::fixed(images(), 3),
        ] {
            let values = read(&samples, &[0, 2]);
            let bytes = images();
            let bytes = bytes.get(0).iter().chain(bytes.get(2));
            let noise: Vec<f32> = values
                .iter()
                .zip(bytes)
                .map(|(value, &byte)| 256.0 * value - f32::from(byte))
                .collect();
            assert!(noise.iter().all(|u| (0.0..=1.0).contains(u)));
            let mean = noise.iter().sum::<f32>() / noise.len() as f32;
            let square = noise.iter().map(|u| u * u).sum::<f32>() / noise.len() as f32;
            // 1/2 and 1/3, their deviations over 6144 numbers being 0.004.
            assert!((mean - 0.5).abs() < 0.016, "{mean}");
            assert!((square - 1.0 / 3.0).abs() < 0.016, "{square}");
        }
    }

    #[test]
    fn fixed_noise_is_of_the_image_alone() {
        let fixed = Dequantised::fixed(images(), 0);
        let both = read(&fixed, &[1, 3]);
        assert_eq!(both[3072..], read(&fixed, &[3]));
        assert_ne!(both, read(&Dequantised::fixed(images(), 1), &[1, 3]));
    }

    #[test]
    fn the_noise_of_a_draw_is_that_of_every_version() {
        // The first outputs of splitmix64 from state 0 (its authors' reference), upper 24 bits.
        let expected = [
            0xE220_A839_7B1D_CDAFu64,
            0x6E78_9E6A_A1B9_65F4,
            0x06C4_5D18_8009_454F,
        ];
        let expected = expected.map(|z| (z >> 40) as f32 / 16_777_216.0);
        assert_eq!(uniform(0).take(3).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fresh_noise_is_repeatable_and_differs_between_batches() {
        let fresh = Dequantised::fresh(images(), 7);
        assert_eq!(read(&fresh, &[1, 3]), read(&fresh, &[1, 3]));
        assert_ne!(read(&fresh, &[1, 3])[3072..], read(&fresh, &[0, 3])[3072..]);
    }
}
