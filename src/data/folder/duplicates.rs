//! Whether images that are held out have been seen already: pictures of one scene, told by a hash.

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Luma};

use crate::data::{Images, luma};

/// Columns and rows of the grid that is compared, less one column.
const SIDE: usize = 16;
/// Bits that may differ between pictures of one scene: on photographs of surfaces, half of the copies
/// with another exposure or with noise differ in 3 to 9 of 256, and unrelated pictures in 106 to 125.
const NEAR: u32 = 16;
/// Among images that all look alike, near means this much nearer than two of them usually are.
const NEARER: u32 = 4;

/// 256 bits that say whether each cell of a grid is brighter than the one to its right: the
/// "difference hash" of N. Krawetz, "Kind of Like That", 2013, with 16x16 bits in place of 8x8. It
/// stays much the same under another exposure, a little noise and compression, and not when the
/// scene is moved by more than a hundredth or so of its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DifferenceHash([u64; 4]);

/// Held-out images that nearly equal an image that is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearDuplicates {
    /// Held-out images with such a one.
    pub found: usize,
    /// All held-out images.
    pub held_out: usize,
}

impl NearDuplicates {
    /// Counts the images of `held_out` that nearly equal one of `train`, by their difference hashes.
    pub fn count<'a>(train: &Images, held_out: impl IntoIterator<Item = &'a Images>) -> Self {
        let hashes = |images: &Images| -> Vec<DifferenceHash> {
            let (shape, indices) = (images.shape(), 0..images.len());
            indices
                .map(|index| DifferenceHash::of(images.get(index), shape))
                .collect()
        };
        let train = hashes(train);
        let held_out: Vec<DifferenceHash> = held_out.into_iter().flat_map(hashes).collect();
        // How many pairs differ in how many bits, and which image's nearest one in how many.
        let mut pairs = [0_usize; 257];
        let nearest = held_out.iter().map(|one| {
            let distances = train.iter().map(|other| one.distance(*other));
            distances.inspect(|&bits| pairs[bits as usize] += 1).min()
        });
        let nearest: Vec<Option<u32>> = nearest.collect();
        let near = NEAR.min(median(&pairs) / NEARER);
        let found = nearest.iter().flatten().filter(|&&bits| bits <= near);
        Self {
            found: found.count(),
            held_out: held_out.len(),
        }
    }
}

/// The bits that half of the pairs differ in at most.
fn median(pairs: &[usize]) -> u32 {
    let half = pairs.iter().sum::<usize>().div_ceil(2);
    let mut below = 0;
    let found = pairs.iter().position(|count| {
        below += count;
        below >= half
    });
    found.unwrap_or_default() as u32
}

impl DifferenceHash {
    /// Of an image `[channels, height, width]`.
    fn of(image: &[u8], [channels, height, width]: [usize; 3]) -> Self {
        let area = height * width;
        let grey: Vec<u8> = match channels {
            3 => (0..area)
                .map(|at| luma([image[at], image[area + at], image[2 * area + at]]))
                .collect(),
            _ => image[..area].to_vec(),
        };
        let mut bits = [0; 4];
        // A side beyond `u32` has no pixels in memory.
        if let Some(image) = ImageBuffer::<Luma<u8>, _>::from_raw(width as u32, height as u32, grey)
        {
            let cells = resize(&image, SIDE as u32 + 1, SIDE as u32, FilterType::Triangle);
            for (row, cells) in cells.as_raw().chunks_exact(SIDE + 1).enumerate() {
                for (column, pair) in cells.windows(2).enumerate() {
                    let bit = row * SIDE + column;
                    bits[bit / 64] |= u64::from(pair[0] > pair[1]) << (bit % 64);
                }
            }
        }
        Self(bits)
    }

    /// Bits in which two differ.
    fn distance(self, other: Self) -> u32 {
        let words = self.0.iter().zip(other.0);
        words.map(|(left, right)| (left ^ right).count_ones()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const SIDES: usize = 64;

    /// Soft light and dark spots.
    fn scene(seed: u64) -> Vec<f32> {
        let rng = &mut StdRng::seed_from_u64(seed);
        let spots: Vec<[f32; 3]> = (0..40)
            .map(|_| {
                [
                    rng.random::<f32>() * 64.0,
                    rng.random::<f32>() * 64.0,
                    rng.random(),
                ]
            })
            .collect();
        let value = |at: usize| {
            let (row, column) = ((at / SIDES) as f32, (at % SIDES) as f32);
            let light = spots.iter().map(|[y, x, strength]| {
                let distance = (row - y).powi(2) + (column - x).powi(2);
                (strength - 0.5) * (-distance / 40.0).exp()
            });
            128.0 + 100.0 * light.sum::<f32>()
        };
        (0..SIDES * SIDES).map(value).collect()
    }

    fn images(scenes: &[Vec<f32>]) -> Images {
        let pixels = scenes.iter().flatten().map(|&value| value as u8);
        Images::new([1, SIDES, SIDES], pixels.collect()).unwrap()
    }

    /// The scene in other light, with noise.
    fn again(scene: &[f32], seed: u64) -> Vec<f32> {
        let rng = &mut StdRng::seed_from_u64(seed);
        let light = |value: &f32| 20.0 + 0.7 * value + rng.random_range(-3.0..3.0);
        scene.iter().map(light).collect()
    }

    #[test]
    fn scenes_photographed_again_are_counted_and_others_not() {
        let scenes: Vec<Vec<f32>> = (0..30).map(scene).collect();
        let train = images(&scenes[..20]);
        let others = images(&scenes[20..]);
        let none = NearDuplicates::count(&train, [&others]);
        assert_eq!(
            none,
            NearDuplicates {
                found: 0,
                held_out: 10
            }
        );
        let copies: Vec<Vec<f32>> = (0..4)
            .map(|seed| again(&scenes[seed as usize], seed))
            .collect();
        let some = NearDuplicates::count(&train, [&others, &images(&copies)]);
        assert_eq!(
            some,
            NearDuplicates {
                found: 4,
                held_out: 14
            }
        );
        assert_eq!(NearDuplicates::count(&train, []).held_out, 0);
        assert_eq!(NearDuplicates::count(&images(&[]), [&train]).found, 0);
    }

    #[test]
    fn images_that_all_look_alike_are_no_duplicates() {
        // One part, photographed thirty times with a little noise.
        let part = scene(1);
        let photographs: Vec<Vec<f32>> = (0..30).map(|seed| again(&part, seed)).collect();
        let (train, held_out) = (images(&photographs[..20]), images(&photographs[20..]));
        assert_eq!(NearDuplicates::count(&train, [&held_out]).found, 0);
    }

    #[test]
    fn bits_tell_which_neighbour_is_brighter() {
        let falling: Vec<u8> = (0..17 * 16).map(|at| 255 - (at % 17) as u8).collect();
        let hash = DifferenceHash::of(&falling, [1, 16, 17]);
        assert_eq!(hash.0, [u64::MAX; 4]);
        let mut changed = falling.repeat(3);
        // One cell as bright as the one before it.
        for plane in 0..3 {
            changed[plane * 272 + 17 + 5] = 255 - 4;
        }
        let other = DifferenceHash::of(&changed, [3, 16, 17]);
        assert_eq!(hash.distance(other), 1);
        assert_eq!(other.0[0], u64::MAX ^ (1 << (16 + 4)));
    }
}
