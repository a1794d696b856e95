//! How well heat maps rank defective pixels above the others.

use std::collections::BTreeMap;

use super::EvaluateError;
use super::error::check_counts;
use super::ranked::{Ranked, Tie};
use super::regions::Regions;

/// Share of the normal pixels that may be flagged at most, to which the per-region overlap is
/// integrated: that of MVTec AD's authors.
pub const AUPRO_LIMIT: f64 = 0.3;

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
/// That area is dominated by large defects. The per-region overlap lets every defect count the same.
///
/// Source: Bergmann, Batzner, Fauser, Sattlegger & Steger, "The MVTec Anomaly Detection Dataset",
/// IJCV 2021; others call the first one "pixel-level" or "segmentation" AUROC.
#[derive(Clone, Debug, Default)]
pub struct PixelRanking {
    /// What the pixels with each [`key`] are, in blocks of [`BLOCK`] keys.
    blocks: BTreeMap<u32, Vec<Level>>,
    /// Number of images so far.
    images: usize,
    /// Number of connected defects so far.
    regions: usize,
    /// What is wrong with the first map that cannot be ranked.
    fault: Option<EvaluateError>,
}

/// The pixels of one value.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    tie: Tie,
    /// Shares of the defects that these pixels belong to, added up.
    overlap: f64,
}

impl PixelRanking {
    /// Counts the pixels of an image. `mask` is true where the image is defective, and all false for
    /// a normal image, whose pixels count as well. What cannot be ranked is said by
    /// [`auroc`](Self::auroc) and [`aupro`](Self::aupro).
    ///
    /// # Shape
    /// `map` and `mask` have one element per pixel, row by row of `width`; images may differ in size.
    pub fn add(&mut self, map: &[f32], mask: &[bool], width: usize) {
        let index = self.images;
        self.images += 1;
        if let Some(fault) = fault(index, map, mask) {
            self.fault = self.fault.take().or(Some(fault));
            return;
        }
        let regions = Regions::of(mask, width);
        self.regions += regions.len();
        for (at, &value) in map.iter().enumerate() {
            let key = key(value);
            let block = self.blocks.entry(key / BLOCK);
            let block = block.or_insert_with(|| vec![Level::default(); BLOCK as usize]);
            let level = &mut block[(key % BLOCK) as usize];
            match regions.size_at(at) {
                Some(size) => {
                    level.tie.anomalous += 1;
                    level.overlap += 1.0 / size as f64;
                }
                None => level.tie.normal += 1,
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
        let levels = self.blocks.values().flatten();
        Ok(Ranked::counted(levels.map(|level| level.tie))?.auroc())
    }

    /// The area under the curve of per-region overlap against false-positive rate, from no false
    /// positive to [`AUPRO_LIMIT`] of the normal pixels, divided by that limit: 1 is perfect, 0.15
    /// is chance.
    ///
    /// Of a threshold, the overlap is the share of a connected defect at or above it, averaged over
    /// all defects, however small; the false-positive rate is the share of the normal pixels of all
    /// images, those of defective images too. Between thresholds the curve is straight.
    ///
    /// Source: Bergmann, Fauser, Sattlegger & Steger, "Uninformed Students", CVPR 2020, and IJCV 2021
    /// as above: `AU-PRO`.
    ///
    /// # Errors
    /// As [`auroc`](Self::auroc).
    pub fn aupro(&self) -> Result<f64, EvaluateError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let levels = || self.blocks.values().flatten();
        let normal: usize = levels().map(|level| level.tie.normal).sum();
        let defective = levels().map(|level| level.tie.anomalous).sum();
        check_counts(normal, defective)?;
        let limit = AUPRO_LIMIT * normal as f64;
        // In pixels and in defects; rates come last.
        let (mut flagged, mut found, mut area) = (0.0, 0.0, 0.0);
        for level in levels().rev() {
            let next = flagged + level.tie.normal as f64;
            let more = found + level.overlap;
            if next >= limit {
                let rest = limit - flagged;
                let last = found + (more - found) * rest / (next - flagged);
                area += 0.5 * (found + last) * rest;
                break;
            }
            area += 0.5 * (found + more) * (next - flagged);
            (flagged, found) = (next, more);
        }
        Ok(area / (limit * self.regions as f64))
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
            ranking.add(map, mask, map.len());
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
                ranking.add(&map, &mask, 20);
            }
            let (counted, exact) = (
                ranking.auroc().unwrap(),
                auroc(&normal, &anomalous).unwrap(),
            );
            assert!((counted - exact).abs() < 2e-4, "{counted} {exact}");
        }
    }

    /// Integers of a congruential generator that Python reproduces.
    fn draw(state: &mut u64) -> usize {
        *state = (*state * 1_103_515_245 + 12_345) % (1 << 31);
        (*state >> 16) as usize
    }

    /// The area from scikit-image 0.26 and NumPy on the same three images: `label(connectivity=2)` of
    /// each mask, the mean share of the regions and the share of the normal pixels at or above every
    /// distinct value, and `numpy.trapezoid` of the one over the other up to 0.3.
    #[test]
    fn the_overlap_is_that_of_its_definition() {
        let state = &mut 1;
        let mut ranking = PixelRanking::default();
        for (height, width, defects) in [(20, 24, 4), (17, 9, 4), (12, 12, 0)] {
            let mut mask = vec![false; height * width];
            for _ in 0..defects {
                let (top, left) = (draw(state) % (height - 3), draw(state) % (width - 3));
                let at = |down: usize, right: usize| (top + down) * width + left + right;
                if draw(state) % 2 == 1 {
                    for (down, right) in [(0, 0), (1, 1), (2, 0)] {
                        mask[at(down, right)] = true;
                    }
                } else {
                    let wide = 1 + draw(state) % 3;
                    for pixel in 0..3 * wide {
                        mask[at(pixel / wide, pixel % wide)] = true;
                    }
                }
            }
            let map: Vec<f32> = mask
                .iter()
                .map(|&defective| (draw(state) % 64 + 24 * usize::from(defective)) as f32)
                .collect();
            ranking.add(&map, &mask, width);
        }
        assert_eq!(ranking.regions, 7);
        let (overlap, area) = (ranking.aupro().unwrap(), ranking.auroc().unwrap());
        assert!(
            (overlap - 0.506_488_033_261_794_9).abs() < 1e-12,
            "{overlap}"
        );
        assert!((area - 0.810_129_406_514_948_8).abs() < 1e-12, "{area}");
    }

    #[test]
    fn chance_and_perfection_have_their_overlaps() {
        let mask = [true, false, false, false, true, true, false, false];
        let overlap = |map: &[f32]| {
            let mut ranking = PixelRanking::default();
            ranking.add(map, &mask, 4);
            ranking.aupro().unwrap()
        };
        assert!((overlap(&[1.0; 8]) - 0.15).abs() < 1e-12);
        let perfect = mask.map(|defective| f32::from(u8::from(defective)));
        assert!((overlap(&perfect) - 1.0).abs() < 1e-12);
        assert_eq!(overlap(&perfect.map(|value| -value)), 0.0);
        let mut normal = PixelRanking::default();
        normal.add(&[1.0; 4], &[false; 4], 2);
        assert!(normal.aupro().is_err());
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
            ranking.add(&map, &[false, false, true], 3);
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
