//! How well heat maps rank defective pixels above the others.

use std::collections::BTreeMap;

use super::EvaluateError;
use super::ranked::{Ranked, Tie};

/// Last bits of a value that are not looked at: its sign, its exponent and 15 bits of its fraction
/// are left.
const DROPPED: u32 = 8;
/// Keys that are counted in one block: those of one sign and exponent.
const BLOCK: u32 = 1 << 15;

/// The pixels of all test images together, ranked by their heat. They are counted image by image: a
/// test set of any size takes a few megabytes.
///
/// The area under their ROC curve is the probability that a defective pixel has a higher value than
/// another one, equal values counting half. Values that differ by less than one part in 32,768
/// may count as equal; nothing else is approximate.
///
/// Source: Bergmann, Batzner, Fauser, Sattlegger & Steger, "The MVTec Anomaly Detection Dataset",
/// IJCV 2021; others call it "pixel-level" or "segmentation" AUROC.
#[derive(Clone, Debug, Default)]
pub struct PixelRanking {
    /// How many pixels have each [`key`], in blocks of [`BLOCK`] keys.
    blocks: BTreeMap<u32, Vec<Tie>>,
    /// Number of images so far.
    images: usize,
    /// What is wrong with the first map that cannot be ranked.
    fault: Option<EvaluateError>,
}

impl PixelRanking {
    /// Counts the pixels of an image. `mask` is true where the image is defective, and all false for
    /// a normal image, whose pixels count as well. What cannot be ranked is said by
    /// [`auroc`](Self::auroc).
    ///
    /// # Shape
    /// `map` and `mask` have one element per pixel, in the same order; images may differ in size.
    pub fn add(&mut self, map: &[f32], mask: &[bool]) {
        let index = self.images;
        self.images += 1;
        if let Some(fault) = fault(index, map, mask) {
            self.fault = self.fault.take().or(Some(fault));
            return;
        }
        for (&value, &defective) in map.iter().zip(mask) {
            let key = key(value);
            let block = self.blocks.entry(key / BLOCK);
            let block = block.or_insert_with(|| vec![Tie::default(); BLOCK as usize]);
            let tie = &mut block[(key % BLOCK) as usize];
            if defective {
                tie.anomalous += 1;
            } else {
                tie.normal += 1;
            }
        }
    }

    /// The area under the ROC curve of all pixels.
    ///
    /// # Errors
    /// [`EvaluateError::MaskSize`] when a map and its mask did not match;
    /// [`EvaluateError::NotFinite`] when a value is not finite; [`EvaluateError::OneClass`] or
    /// [`EvaluateError::Empty`] when every pixel or no pixel is defective.
    pub fn auroc(&self) -> Result<f64, EvaluateError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let ties = self.blocks.values().flatten().copied();
        Ok(Ranked::counted(ties)?.auroc())
    }
}

/// What keeps the map of image `index` from being ranked, if anything does.
fn fault(index: usize, map: &[f32], mask: &[bool]) -> Option<EvaluateError> {
    if map.len() != mask.len() {
        return Some(EvaluateError::MaskSize {
            index,
            map: map.len(),
            mask: mask.len(),
        });
    }
    let value = *map.iter().find(|value| !value.is_finite())?;
    Some(EvaluateError::NotFinite {
        set: "heat map",
        index,
        value,
    })
}

/// A number that is the larger, the larger a finite value is.
fn key(value: f32) -> u32 {
    // -0.0 and 0.0 are one value.
    let bits = (value + 0.0).to_bits();
    let negative = bits >> 31 == 1;
    let ordered = if negative { !bits } else { bits | (1 << 31) };
    ordered >> DROPPED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::auroc;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn ranked(maps: &[Vec<f32>], masks: &[Vec<bool>]) -> Result<f64, EvaluateError> {
        let mut ranking = PixelRanking::default();
        for (map, mask) in maps.iter().zip(masks) {
            ranking.add(map, mask);
        }
        ranking.auroc()
    }

    #[test]
    fn pixels_of_all_images_are_ranked_together() {
        // Within each image the order is perfect, over both it is not.
        let maps = [vec![0.0, 1.0, 2.0], vec![5.0, 6.0]];
        let masks = [vec![false, false, true], vec![false, true]];
        // Pairs in order: 2 of 3 for the value 2, 3 of 3 for the value 6.
        assert_eq!(ranked(&maps, &masks), Ok(5.0 / 6.0));
        let constant = [vec![1.0; 3], vec![1.0; 2]];
        assert_eq!(ranked(&constant, &masks), Ok(0.5));
    }

    #[test]
    fn it_is_the_share_of_pairs_in_order() {
        let rng = &mut StdRng::seed_from_u64(6);
        let mut maps = Vec::new();
        let mut masks: Vec<Vec<bool>> = Vec::new();
        for pixels in [12_usize, 40, 7] {
            // Few distinct values, so that ties are the rule; of both signs.
            let map: Vec<f32> = (0..pixels)
                .map(|_| f32::from(rng.random_range(0..6_u8)) - 3.0)
                .collect();
            masks.push((0..pixels).map(|_| rng.random_bool(0.3)).collect());
            maps.push(map);
        }
        let pixels = || maps.iter().flatten().zip(masks.iter().flatten());
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (high, _) in pixels().filter(|(_, defective)| **defective) {
            for (low, _) in pixels().filter(|(_, defective)| !**defective) {
                pairs += 1.0;
                wins += match high.total_cmp(low) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
        assert!(pairs > 0.0);
        let area = ranked(&maps, &masks).unwrap();
        assert!((area - wins / pairs).abs() < 1e-12, "{area}");
    }

    #[test]
    fn counting_costs_no_digit_that_is_shown() {
        let rng = &mut StdRng::seed_from_u64(7);
        for (offset, spread) in [(0.0_f32, 1.0_f32), (150.0, 20.0), (-40.0, 0.5), (0.0, 1e-6)] {
            let (mut normal, mut anomalous) = (Vec::new(), Vec::new());
            let mut ranking = PixelRanking::default();
            for _ in 0..50 {
                let mask: Vec<bool> = (0..400).map(|_| rng.random_bool(0.05)).collect();
                let value = |&defective: &bool| {
                    let shift = f32::from(u8::from(defective)) * 0.4;
                    let uniform: f32 = rng.random();
                    offset + spread * (uniform + shift)
                };
                let map: Vec<f32> = mask.iter().map(value).collect();
                for (&value, &defective) in map.iter().zip(&mask) {
                    let class = if defective {
                        &mut anomalous
                    } else {
                        &mut normal
                    };
                    class.push(value);
                }
                ranking.add(&map, &mask);
            }
            let (counted, exact) = (
                ranking.auroc().unwrap(),
                auroc(&normal, &anomalous).unwrap(),
            );
            assert!((counted - exact).abs() < 2e-4, "{counted} {exact}");
        }
    }

    #[test]
    fn keys_rise_with_their_values() {
        let rising = [
            f32::MIN,
            -1e10,
            -2.0,
            -1.0,
            -1e-30,
            0.0,
            f32::MIN_POSITIVE,
            0.5,
            1.0,
            1.001,
            1e20,
            f32::MAX,
        ];
        assert!(rising.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn memory_does_not_grow_with_the_images() {
        let mut ranking = PixelRanking::default();
        for number in 0..1000 {
            let map = [1.0 + number as f32 / 1001.0, 1.5, 3.0];
            ranking.add(&map, &[false, false, true]);
        }
        assert_eq!(ranking.blocks.len(), 2);
        assert_eq!(ranking.auroc(), Ok(1.0));
    }

    #[test]
    fn maps_that_cannot_be_ranked_are_named() {
        let error =
            |maps: &[Vec<f32>], masks: &[Vec<bool>]| ranked(maps, masks).unwrap_err().to_string();
        let maps = [vec![1.0], vec![1.0, 2.0]];
        let text = error(&maps, &[vec![true], vec![false]]);
        assert!(
            text.contains("heat map 1 has 2 values and its mask 1"),
            "{text}"
        );
        let maps = [vec![1.0], vec![f32::NAN]];
        let text = error(&maps, &[vec![true], vec![false]]);
        assert!(text.starts_with("heat map score 1 is NaN"), "{text}");
        let text = error(&[vec![1.0, 2.0]], &[vec![false; 2]]);
        assert!(text.contains("no anomalous ones"), "{text}");
        assert!(ranked(&[], &[]).is_err());
    }
}
