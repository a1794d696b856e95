//! Between which values the colours of a map run.

use super::Heatmap;

/// Share of the pixels of a map below which nothing is coloured for its own sake.
const QUIET: f64 = 0.99;

impl Heatmap {
    /// The values between which colours run, for [`overlay`](Self::overlay).
    ///
    /// `normal` are the values that nearly all pixels of normal images stay below, and the one that is
    /// drawn as quite odd; the middle between the two is beyond every pixel of a normal image.
    ///
    /// - An image that is not called anomalous stays calm: colours begin beyond what any normal image has
    ///   shown, on one scale for all images. Without `normal`, there are none.
    /// - An anomalous one shows its least likely place: should the values of its own hundredth of
    ///   largest ones be less than those of normal images, the colours begin with them, and its largest
    ///   one has the brightest. A place can be odd that is no odder than the oddest place of a normal
    ///   image.
    pub fn colour_range(&self, normal: Option<[f32; 2]>, anomalous: bool) -> (f32, f32) {
        let mut finite: Vec<f32> = self.values.to_vec();
        finite.retain(|value| value.is_finite());
        if finite.is_empty() {
            return normal.map_or((0.0, 0.0), |[low, high]| (low, high));
        }
        let at = (QUIET * (finite.len() - 1) as f64) as usize;
        let (below, &mut quiet, above) = finite.select_nth_unstable_by(at, f32::total_cmp);
        let least = below.iter().copied().fold(quiet, f32::min);
        let largest = above.iter().copied().fold(quiet, f32::max);
        if !anomalous {
            return normal.map_or((largest, largest), |[low, high]| (low.midpoint(high), high));
        }
        // Of a map whose largest value is that of many pixels, all others are quiet.
        let quiet = if quiet < largest { quiet } else { least };
        let [low, high] = normal.unwrap_or([quiet, largest]);
        (low.min(quiet), high.min(largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0, 1, ... 199, as 10 rows.
    fn ramp() -> Heatmap {
        Heatmap::new(10, 20, (0..200_u8).map(f32::from).collect()).unwrap()
    }

    #[test]
    fn an_anomalous_image_shows_its_least_likely_place() {
        // Far below the scale of normal images: its own largest hundredth.
        assert_eq!(
            ramp().colour_range(Some([500.0, 900.0]), true),
            (197.0, 199.0)
        );
        // Far above: all that normal images do not have, the rest being of one colour.
        assert_eq!(ramp().colour_range(Some([20.0, 90.0]), true), (20.0, 90.0));
        assert_eq!(
            ramp().colour_range(Some([150.0, 900.0]), true),
            (150.0, 199.0)
        );
        assert_eq!(ramp().colour_range(None, true), (197.0, 199.0));
        let mut values = vec![1.0; 100];
        values[40..60].fill(2.0);
        let plateau = Heatmap::new(10, 10, values).unwrap();
        assert_eq!(plateau.colour_range(Some([5.0, 9.0]), true), (1.0, 2.0));
    }

    #[test]
    fn an_image_that_is_not_anomalous_stays_calm() {
        // The largest value of a normal image is below the middle.
        assert_eq!(
            ramp().colour_range(Some([100.0, 300.0]), false),
            (200.0, 300.0)
        );
        assert_eq!(ramp().colour_range(Some([0.0, 10.0]), false), (5.0, 10.0));
        assert_eq!(ramp().colour_range(None, false), (199.0, 199.0));
    }

    #[test]
    fn values_that_are_not_finite_do_not_count() {
        let map = Heatmap::new(1, 4, vec![f32::NAN, 1.0, f32::INFINITY, 3.0]).unwrap();
        assert_eq!(map.colour_range(None, true), (1.0, 3.0));
        let map = Heatmap::new(1, 1, vec![f32::NAN]).unwrap();
        assert_eq!(map.colour_range(None, true), (0.0, 0.0));
        assert_eq!(map.colour_range(Some([1.0, 2.0]), false), (1.0, 2.0));
    }
}
