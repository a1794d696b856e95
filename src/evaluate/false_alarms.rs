//! How often normal images have small p-values, beside how often they are expected to.

use serde::{Deserialize, Serialize};

use super::Conformal;

/// Levels that are looked at.
const LEVELS: [f64; 3] = [0.1, 0.05, 0.01];

/// Normal test images called anomalous at one level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FalseAlarms {
    /// The level.
    pub alpha: f64,
    /// Normal images looked at.
    pub images: usize,
    /// Those of them whose p-value is at most `alpha`.
    pub called: usize,
    /// Their share where the p-values hold, the mean over the draw of these images and of those of the calibration: at
    /// most `alpha`.
    pub expected: f64,
    /// Its standard deviation over these draws.
    pub deviation: f64,
}

impl FalseAlarms {
    /// Of normal images with these `scores`, at every level that the calibration reaches.
    pub fn of(conformal: &Conformal, scores: &[f32]) -> Vec<Self> {
        Self::at_levels(conformal, scores, &LEVELS)
    }

    /// The same, and at the level `alpha`.
    pub fn with_level(conformal: &Conformal, scores: &[f32], alpha: f64) -> Vec<Self> {
        let mut levels = LEVELS.to_vec();
        if !levels.contains(&alpha) {
            levels.push(alpha);
            levels.sort_by(|left, right| right.total_cmp(left));
        }
        Self::at_levels(conformal, scores, &levels)
    }

    fn at_levels(conformal: &Conformal, scores: &[f32], levels: &[f64]) -> Vec<Self> {
        let reached = levels
            .iter()
            .copied()
            .filter(|&alpha| conformal.check(alpha).is_ok() && !scores.is_empty());
        let at = |alpha: f64| {
            let called = scores.iter();
            let called = called.filter(|&&score| conformal.is_anomalous(score, alpha));
            let (expected, deviation) = law(alpha, conformal.calibrated_on(), scores.len());
            Self {
                alpha,
                images: scores.len(),
                called: called.count(),
                expected,
                deviation,
            }
        };
        reached.map(at).collect()
    }

    /// Share of the images, in 0..=1.
    pub fn share(&self) -> f64 {
        self.called as f64 / self.images.max(1) as f64
    }
}

/// Mean and standard deviation of the share of `images` that are called anomalous by p-values from so many `calibrated`
/// ones: of a binomial whose rate is drawn from the Beta distribution of [`Conformal`]'s guarantee.
fn law(alpha: f64, calibrated: usize, images: usize) -> (f64, f64) {
    let places = (calibrated + 1) as f64;
    // A product such as 0.05 * 100 may round to less than a whole number.
    let mean = (alpha * places + 1e-9).floor() / places;
    let of_rate = mean * (1.0 - mean) / (places + 1.0);
    let of_images = (mean * (1.0 - mean) - of_rate) / images.max(1) as f64;
    (mean, (of_rate + of_images).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn images_are_counted_at_the_levels_that_can_be_had() {
        let conformal = Conformal::new((0..19).map(|score| score as f32).collect()).unwrap();
        // p-values: 1/20, 2/20, 3/20, and 1.
        let found = FalseAlarms::of(&conformal, &[20.0, 18.0, 17.0, -1.0]);
        let counts: Vec<(f64, usize)> = found.iter().map(|at| (at.alpha, at.called)).collect();
        assert_eq!(counts, [(0.1, 2), (0.05, 1)]);
        assert_eq!((found[0].images, found[0].share()), (4, 0.5));
        assert!(FalseAlarms::of(&conformal, &[]).is_empty());
        let with = FalseAlarms::with_level(&conformal, &[20.0, 18.0, 17.0, -1.0], 0.2);
        assert_eq!((with.len(), with[0].alpha, with[0].called), (3, 0.2, 3));
        assert_eq!(FalseAlarms::with_level(&conformal, &[1.0], 0.05).len(), 2);
    }

    #[test]
    fn mean_and_deviation_are_those_of_repeated_draws() {
        for (calibrated, images) in [(99, 50), (28, 56)] {
            assert_law(calibrated, images);
        }
    }

    fn assert_law(calibrated: usize, images: usize) {
        const ROUNDS: usize = 4000;
        let rng = &mut StdRng::seed_from_u64(1);
        let mut shares = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let mut draw = |count: usize| (0..count).map(|_| rng.random()).collect::<Vec<f32>>();
            let conformal = Conformal::new(draw(calibrated)).unwrap();
            shares.push(FalseAlarms::of(&conformal, &draw(images))[0].share());
        }
        let mean = shares.iter().sum::<f64>() / ROUNDS as f64;
        let variance = shares
            .iter()
            .map(|share| (share - mean).powi(2))
            .sum::<f64>()
            / ROUNDS as f64;
        let (expected, deviation) = law(0.1, calibrated, images);
        // Five standard errors of the mean, and of a deviation, whose draws are a little skewed, less than a tenth.
        let most = 5.0 * deviation / (ROUNDS as f64).sqrt();
        assert!((mean - expected).abs() < most, "{mean} {expected}");
        assert!(
            (variance.sqrt() / deviation - 1.0).abs() < 0.1,
            "{deviation}"
        );
    }
}
