//! Random changes that keep what an image shows: the views that a network learns from without labels.

mod defects;
mod photos;
mod sampling;
mod strokes;

pub use defects::with_defects;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::mixing::GOLDEN;
use super::{Images, Samples};

/// Which changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// [`Strokes`](Self::Strokes) for grey images, [`Photos`](Self::Photos) for colour.
    Auto,
    /// Turned, scaled, slanted, moved, bent, thicker or thinner: for writing and other grey shapes
    /// on a ground, whose mirror images mean something else.
    Strokes,
    /// Cut out, mirrored, in other light and colour, or without colour (SimCLR, arXiv:2002.05709,
    /// appendix A, at the strength of its CIFAR-10 experiments).
    Photos,
}

impl Augmentation {
    /// The changes for images of so many channels.
    fn of(self, channels: usize) -> fn(&mut Canvas, &mut StdRng) {
        match (self, channels) {
            (Self::Strokes, _) | (Self::Auto, 1) => strokes::change,
            (Self::Photos, _) | (Self::Auto, _) => photos::change,
        }
    }
}

/// An image while it is changed.
#[derive(Clone, Debug, PartialEq)]
struct Canvas {
    /// `[channels, height, width]`.
    shape: [usize; 3],
    /// In `[0, 1]`.
    pixels: Vec<f32>,
}

/// Two random views of each image.
///
/// A view depends on the seed, on the epoch, and on which image it is of, and on nothing else: not on
/// the batch, nor on the number of threads. A resumed stage goes on with the views that it would have
/// had.
pub struct Pairs {
    images: Arc<Images>,
    augmentation: Augmentation,
    seed: u64,
}

impl Pairs {
    /// Views of `images`.
    pub fn new(images: Arc<Images>, augmentation: Augmentation, seed: u64) -> Self {
        Self {
            images,
            augmentation,
            seed,
        }
    }

    /// View number `which`, 0 or 1, of image `index` in an epoch; in `[-1, 1]`.
    fn view(&self, epoch: usize, index: usize, which: u64) -> Vec<f32> {
        let mixed = [epoch as u64, index as u64, which]
            .into_iter()
            .fold(self.seed, |hash, number| {
                (hash.rotate_left(23) ^ number.wrapping_add(1)).wrapping_mul(GOLDEN)
            });
        let bytes = self.images.get(index);
        let shape = self.images.shape();
        let mut canvas = Canvas {
            shape,
            pixels: bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
        };
        let change = self.augmentation.of(shape[0]);
        change(&mut canvas, &mut StdRng::seed_from_u64(mixed));
        let pixels = canvas.pixels.into_iter();
        pixels.map(|value| 2.0 * value - 1.0).collect()
    }
}

impl Samples for Pairs {
    /// `[2 batch, channels, height, width]` in `[-1, 1]`: the first views of all images, then their
    /// second views.
    type Batch = Tensor<4>;

    fn count(&self) -> usize {
        self.images.len()
    }

    fn batch(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        self.batch_in_epoch(0, indices, device)
    }

    fn batch_in_epoch(&self, epoch: usize, indices: &[usize], device: &Device) -> Tensor<4> {
        let [channels, height, width] = self.images.shape();
        let mut values = vec![0.0; 2 * indices.len() * channels * height * width];
        values
            .par_chunks_exact_mut(channels * height * width)
            .enumerate()
            .for_each(|(at, target)| {
                let (which, row) = (at / indices.len(), at % indices.len());
                target.copy_from_slice(&self.view(epoch, indices[row], which as u64));
            });
        let shape = [2 * indices.len(), channels, height, width];
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::digits;

    const ALL: [(Augmentation, usize); 2] = [(Augmentation::Strokes, 1), (Augmentation::Photos, 3)];

    /// Digits; in colour, three different ones are its channels.
    fn pairs(augmentation: Augmentation, channels: usize, seed: u64) -> Pairs {
        let bytes = digits(12 * channels, 1).images.to_bytes();
        let images = Images::new([channels, 28, 28], bytes).unwrap();
        Pairs::new(Arc::new(images), augmentation, seed)
    }

    fn read(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_view_depends_on_its_image_epoch_and_seed_alone() {
        let device = test_device();
        for (augmentation, channels) in ALL {
            let pairs = pairs(augmentation, channels, 3);
            let image = channels * 28 * 28;
            let whole = read(pairs.batch_in_epoch(2, &[5, 1, 7], &device));
            let alone = read(pairs.batch_in_epoch(2, &[1], &device));
            assert_eq!(whole[image..2 * image], alone[..image]);
            assert_eq!(whole[4 * image..5 * image], alone[image..]);
            assert_ne!(alone[..image], alone[image..], "two different views");
            assert_ne!(alone, read(pairs.batch_in_epoch(3, &[1], &device)));
            let other = self::pairs(augmentation, channels, 4);
            assert_ne!(alone, read(other.batch_in_epoch(2, &[1], &device)));
        }
    }

    #[test]
    fn views_are_images_and_still_like_their_own() {
        let device = test_device();
        for (augmentation, channels) in ALL {
            let pairs = pairs(augmentation, channels, 1);
            let all: Vec<usize> = (0..12).collect();
            let batch = pairs.batch(&all, &device);
            assert_eq!(batch.dims(), [24, channels, 28, 28]);
            let values = read(batch);
            assert!(values.iter().all(|value| (-1.0..=1.0).contains(value)));
            // They keep some contrast: nothing is washed out.
            for view in values.chunks_exact(channels * 28 * 28) {
                let (low, high) = view.iter().fold((1.0f32, -1.0f32), |(low, high), value| {
                    (low.min(*value), high.max(*value))
                });
                assert!(high - low > 0.1, "{augmentation:?}: {low} {high}");
            }
        }
    }

    #[test]
    fn the_kind_follows_from_the_channels() {
        let same = |left: Augmentation, right: Augmentation, channels: usize| {
            let device = test_device();
            let view = |kind| read(pairs(kind, channels, 1).batch(&[0, 1], &device));
            view(left) == view(right)
        };
        assert!(same(Augmentation::Auto, Augmentation::Strokes, 1));
        assert!(same(Augmentation::Auto, Augmentation::Photos, 3));
        assert!(!same(Augmentation::Photos, Augmentation::Strokes, 3));
    }
}
