//! How well heat maps rank defective pixels above the others.

use super::EvaluateError;
use super::roc::auroc;

/// Area under the ROC curve of the pixels of all test images together: the probability that a
/// defective pixel has a higher value than another one, equal values counting half. Exact; takes
/// about 12 bytes per pixel beside the maps.
///
/// `masks` are true where the image is defective, and all false for a normal image, whose pixels
/// count as well.
///
/// Source: Bergmann, Batzner, Fauser, Sattlegger & Steger, "The MVTec Anomaly Detection Dataset",
/// IJCV 2021; others call it "pixel-level" or "segmentation" AUROC.
///
/// # Shape
/// `maps[i]` and `masks[i]` have one element per pixel of image i, in the same order; images may
/// differ in size.
///
/// # Errors
/// [`EvaluateError::MaskCount`] or [`EvaluateError::MaskSize`] when maps and masks do not match;
/// when no pixel or every pixel is defective, or a value is not finite.
pub fn pixel_auroc(maps: &[Vec<f32>], masks: &[Vec<bool>]) -> Result<f64, EvaluateError> {
    if maps.len() != masks.len() {
        return Err(EvaluateError::MaskCount {
            maps: maps.len(),
            masks: masks.len(),
        });
    }
    // Nearly all pixels are normal.
    let mut normal = Vec::with_capacity(maps.iter().map(Vec::len).sum());
    let mut anomalous = Vec::new();
    for (index, (map, mask)) in maps.iter().zip(masks).enumerate() {
        if map.len() != mask.len() {
            return Err(EvaluateError::MaskSize {
                index,
                map: map.len(),
                mask: mask.len(),
            });
        }
        for (&value, &defective) in map.iter().zip(mask) {
            if defective {
                anomalous.push(value);
            } else {
                normal.push(value);
            }
        }
    }
    auroc(&normal, &anomalous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn pixels_of_all_images_are_ranked_together() {
        // Within each image the order is perfect, over both it is not.
        let maps = [vec![0.0, 1.0, 2.0], vec![5.0, 6.0]];
        let masks = [vec![false, false, true], vec![false, true]];
        // Pairs in order: 2 of 3 for the value 2, 3 of 3 for the value 6.
        assert_eq!(pixel_auroc(&maps, &masks), Ok(5.0 / 6.0));
        let constant = [vec![1.0; 3], vec![1.0; 2]];
        assert_eq!(pixel_auroc(&constant, &masks), Ok(0.5));
    }

    #[test]
    fn it_is_the_share_of_pairs_in_order() {
        let rng = &mut StdRng::seed_from_u64(6);
        let mut maps = Vec::new();
        let mut masks: Vec<Vec<bool>> = Vec::new();
        for pixels in [12_usize, 40, 7] {
            // Few distinct values, so that ties are the rule.
            let map: Vec<f32> = (0..pixels)
                .map(|_| f32::from(rng.random_range(0..6_u8)))
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
        let area = pixel_auroc(&maps, &masks).unwrap();
        assert!((area - wins / pairs).abs() < 1e-12, "{area}");
    }

    #[test]
    fn maps_without_their_masks_are_refused() {
        let error = |maps: &[Vec<f32>], masks: &[Vec<bool>]| {
            pixel_auroc(maps, masks).unwrap_err().to_string()
        };
        let text = error(&[vec![1.0]], &[]);
        assert!(text.contains("1 heat maps but 0 masks"), "{text}");
        let maps = [vec![1.0], vec![1.0, 2.0]];
        let text = error(&maps, &[vec![true], vec![false]]);
        assert!(
            text.contains("heat map 1 has 2 values and its mask 1"),
            "{text}"
        );
        assert!(pixel_auroc(&maps, &[vec![false], vec![false; 2]]).is_err());
        assert!(pixel_auroc(&[vec![f32::NAN, 0.0]], &[vec![true, false]]).is_err());
        assert!(pixel_auroc(&[], &[]).is_err());
    }
}
