//! From a heat map to a mask, at a level that normal images calibrate.

use serde::{Deserialize, Serialize};

use super::Heatmap;
use crate::evaluate::{Conformal, EvaluateError};

/// Share of a normal image that may be marked without counting as a false alarm: a speck.
const SPECK: f64 = 0.001;

/// Which values of a heat map are marked in a mask.
///
/// # Guarantee
/// Of every held-out normal image, the *edge* is kept: the value that no more than a speck of its pixels
/// (a thousandth) exceeds. A pixel is marked at the level alpha when so few edges reach its value that
/// an image with this edge would have a p-value of at most alpha. So, under the assumptions of
/// [`Conformal`] and with its limits, a new normal image has more than a speck marked with a
/// probability of at most alpha, whatever the distribution of the maps: the false-positive area is
/// calibrated as the p-value is, on the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskLevels {
    /// Share of the pixels that may be marked.
    speck: f64,
    /// The edges.
    edges: Conformal,
}

impl MaskLevels {
    /// Calibrates on the edges of held-out normal images, each from [`edge`](Self::edge).
    ///
    /// # Errors
    /// When there is none or one is not finite.
    pub(in crate::method) fn new(edges: Vec<f32>) -> Result<Self, EvaluateError> {
        Ok(Self {
            speck: SPECK,
            edges: Conformal::new(edges)?,
        })
    }

    /// What keeps levels of a file from being those that are given here, if anything does.
    pub(in crate::method) fn check_speck(&self) -> Result<(), String> {
        match self.speck == SPECK {
            true => Ok(()),
            false => Err(format!(
                "its masks count {} of a picture as a speck, and this program {SPECK}",
                self.speck
            )),
        }
    }

    /// The least value that no more than a speck of the map's pixels exceeds.
    pub(in crate::method) fn edge(map: &Heatmap) -> f32 {
        let mut values = map.values().to_vec();
        let exceeding = (SPECK * values.len() as f64) as usize;
        let at = values.len() - 1 - exceeding;
        // NaN is above all.
        *values.select_nth_unstable_by(at, f32::total_cmp).1
    }

    /// `Ok` when masks at the level `alpha` can be given.
    ///
    /// # Errors
    /// As of [`Conformal::check`].
    pub fn check(&self, alpha: f64) -> Result<(), EvaluateError> {
        self.edges.check(alpha)
    }

    /// Which pixels of the map are marked at the level `alpha`; NaN is: what cannot be scored is not
    /// called normal.
    ///
    /// # Shape
    /// `[height, width]` of the map, row-major.
    pub fn mask(&self, map: &Heatmap, alpha: f64) -> Vec<bool> {
        let border = self.edges.border(alpha);
        let marked = |value: &f32| *value > border || value.is_nan();
        map.values().iter().map(marked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Cauchy, Distribution};

    #[test]
    fn an_edge_has_no_more_than_a_speck_above_it() {
        let map = |count: u16| {
            let values = (0..count).rev().map(f32::from).collect();
            Heatmap::new(1, count.into(), values).unwrap()
        };
        // Of 999 pixels none, of 1,000 and 1,999 one, of 2,000 two.
        for (count, edge) in [
            (1, 0.0),
            (999, 998.0),
            (1000, 998.0),
            (1999, 1997.0),
            (2000, 1997.0),
        ] {
            assert_eq!(MaskLevels::edge(&map(count)), edge, "{count}");
        }
    }

    /// A map of 32x32 pixels whose noise and offset differ from image to image.
    fn normal(rng: &mut StdRng) -> Heatmap {
        let offset: f32 = Cauchy::new(0.0, 1.0).unwrap().sample(rng);
        let spread: f32 = rng.random_range(0.5..3.0);
        let values = (0..1024).map(|_| offset + spread * rng.random::<f32>());
        Heatmap::new(32, 32, values.collect()).unwrap()
    }

    #[test]
    fn normal_images_are_marked_as_rarely_as_promised() {
        const DRAWS: usize = 3_000;
        let rng = &mut StdRng::seed_from_u64(8);
        for (n, alpha) in [(19, 0.05), (39, 0.1)] {
            let mut alarms = 0;
            for _ in 0..DRAWS {
                let edges = (0..n).map(|_| MaskLevels::edge(&normal(rng))).collect();
                let levels = MaskLevels::new(edges).unwrap();
                let mask = levels.mask(&normal(rng), alpha);
                let marked = mask.iter().filter(|&&marked| marked).count();
                alarms += usize::from(marked as f64 > SPECK * 1024.0);
            }
            // Without equal edges, the share is alpha exactly: alpha (n + 1) is whole.
            let rate = alarms as f64 / DRAWS as f64;
            let error = (alpha * (1.0 - alpha) / DRAWS as f64).sqrt();
            assert!((rate - alpha).abs() < 4.0 * error, "{rate} at {alpha}");
        }
    }

    #[test]
    fn what_lies_above_the_border_is_marked() {
        let levels = MaskLevels::new((0..19_u8).map(f32::from).collect()).unwrap();
        let map = Heatmap::new(1, 4, vec![17.5, 18.0, 18.5, f32::NAN]).unwrap();
        assert_eq!(levels.mask(&map, 0.05), [false, false, true, true]);
        assert_eq!(levels.mask(&map, 0.1), [true; 4]);
        assert!(levels.check(0.05).is_ok() && levels.check(0.04).is_err());
        let json = serde_json::to_string(&levels).unwrap();
        assert_eq!(serde_json::from_str::<MaskLevels>(&json).unwrap(), levels);
    }
}
