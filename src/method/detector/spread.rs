//! Where a score lies on normal images.

use serde::{Deserialize, Serialize};

/// Mean and standard deviation of a score, by which scores of several origins come to one scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, above 0.
    pub deviation: f64,
}

impl Spread {
    /// What nothing is changed by.
    pub const UNIT: Self = Self {
        mean: 0.0,
        deviation: 1.0,
    };

    /// Of scores of normal images.
    pub fn of(values: &[f32]) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let squares = values
            .iter()
            .map(|&value| (f64::from(value) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        // Scores that are all alike: any scale that is not zero keeps the order.
        let deviation = if deviation > 0.0 { deviation } else { 1.0 };
        Self { mean, deviation }
    }

    /// A score in deviations above the mean.
    pub fn standard(self, value: f32) -> f32 {
        ((f64::from(value) - self.mean) / self.deviation) as f32
    }

    /// False where a file has something else in its place.
    pub fn is_sound(self) -> bool {
        // Of scores, which are f32.
        self.mean.abs() <= f64::from(f32::MAX) && self.deviation > 0.0 && self.deviation.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardised_scores_have_mean_0_and_deviation_1() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        // Mean 5 and population deviation 2: the textbook example.
        let spread = Spread::of(&values);
        assert_eq!((spread.mean, spread.deviation), (5.0, 2.0));
        assert_eq!(spread.standard(9.0), 2.0);
        // What cannot be divided by is not.
        assert_eq!(Spread::of(&[3.0; 4]).standard(3.0), 0.0);
        assert!(Spread::of(&[]).is_sound() && !Spread::of(&[f32::NAN]).is_sound());
    }
}
