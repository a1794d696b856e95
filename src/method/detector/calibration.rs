//! From several scores to one, with p-values from held-out normal images.

use serde::{Deserialize, Serialize};

use super::scores::nan_last;
use crate::evaluate::Conformal;
use crate::method::{DetectorError, Scores};

/// Brings a detector's scores to one scale, takes the largest, and turns it into a p-value.
///
/// The scale of every score comes from the validation images; the conformal p-value from the
/// calibration images, which, in `fit`, neither training nor the choice of the epoch nor the scales have
/// seen (an experiment has no images for that alone).
/// So the combined score of a calibration image and of a new normal one are exchangeable, which is
/// all that the guarantee needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    scales: Vec<Scale>,
    conformal: Conformal,
}

/// Where a score lies on normal images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    name: String,
    median: f32,
    /// Median absolute deviation, made comparable to a standard deviation.
    spread: f32,
}

/// Ratio of a normal distribution's standard deviation to its median absolute deviation.
const NORMAL_CONSISTENCY: f32 = 1.4826;

impl Calibration {
    /// Fits the scales of the scores called `deciding` to the validation images, and the p-values to
    /// the calibration images.
    ///
    /// # Errors
    /// [`DetectorError::Calibration`] when there is no image of either kind or a score is not finite.
    pub fn fit(
        deciding: &[&str],
        validation: &Scores,
        calibration: &Scores,
    ) -> Result<Self, DetectorError> {
        if validation.is_empty() {
            return Err(DetectorError::Calibration(
                "there is no validation image to take the scores' scales from".to_owned(),
            ));
        }
        let columns = validation.names().iter().zip(validation.columns());
        let scales: Vec<Scale> = columns
            .filter(|(name, _)| deciding.contains(name))
            .map(|(name, column)| Scale::fit(name, column))
            .collect();
        let combined = (0..calibration.len()).map(|row| combine(&scales, calibration, row).0);
        let conformal = Conformal::new(combined.collect())
            .map_err(|error| DetectorError::Calibration(error.to_string()))?;
        Ok(Self { scales, conformal })
    }

    /// Names of the scores that it combines.
    pub fn names(&self) -> Vec<String> {
        self.scales.iter().map(|scale| scale.name.clone()).collect()
    }

    /// What keeps it from combining the scores called `deciding`, if anything does: a file may say
    /// anything.
    pub(in crate::method) fn check(&self, deciding: &[&str]) -> Result<(), String> {
        let names: Vec<&str> = self
            .scales
            .iter()
            .map(|scale| scale.name.as_str())
            .collect();
        if names != deciding {
            return Err(format!(
                "it is calibrated for the scores {}, and its verdicts rest on {}",
                names.join(", "),
                deciding.join(", ")
            ));
        }
        let usable = |scale: &Scale| {
            scale.median.is_finite() && scale.spread.is_finite() && scale.spread > 0.0
        };
        match self.scales.iter().find(|scale| !usable(scale)) {
            Some(scale) => Err(format!("the scale of its score {} is damaged", scale.name)),
            None => Ok(()),
        }
    }

    /// The combined score of every image.
    pub fn deciding(&self, scores: &Scores) -> Vec<f32> {
        let rows = 0..scores.len();
        rows.map(|row| self.combined(scores, row).0).collect()
    }

    /// The combined score of an image, in spreads above the median of normal images, and the name of
    /// the score that it comes from.
    pub fn combined(&self, scores: &Scores, row: usize) -> (f32, &str) {
        let (value, index) = combine(&self.scales, scores, row);
        let name = self.scales.get(index).map_or("", |scale| &scale.name);
        (value, name)
    }

    /// The p-values.
    pub fn conformal(&self) -> &Conformal {
        &self.conformal
    }
}

impl Scale {
    fn fit(name: &str, values: &[f32]) -> Self {
        let middle = median(values.to_vec());
        let deviations = values.iter().map(|value| (value - middle).abs()).collect();
        let spread = median(deviations) * NORMAL_CONSISTENCY;
        Self {
            name: name.to_owned(),
            median: middle,
            // Scores that are all alike: any scale that is not zero keeps the order.
            spread: if spread > 0.0 { spread } else { 1.0 },
        }
    }
}

/// The largest of an image's scaled scores, and which it is; a score that is not a number is the
/// largest of all.
fn combine(scales: &[Scale], scores: &Scores, row: usize) -> (f32, usize) {
    let value = |scale: &Scale| -> f32 {
        let column = scores.names().iter().position(|name| *name == scale.name);
        let raw = column.map_or(f32::NAN, |column| scores.columns()[column][row]);
        (raw - scale.median) / scale.spread
    };
    let scaled = scales.iter().map(value).enumerate();
    let largest = scaled.max_by(|(_, a), (_, b)| nan_last(*a, *b));
    largest.map_or((f32::NAN, 0), |(index, value)| (value, index))
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(columns: [Vec<f32>; 2]) -> Scores {
        Scores::new(&["global", "local"], columns.into())
    }

    fn calibration() -> Calibration {
        // Medians 10 and 0; median absolute deviations 1 and 0.1.
        let validation = scores([
            vec![8.0, 9.0, 10.0, 11.0, 12.0],
            vec![-0.2, -0.1, 0.0, 0.1, 0.2],
        ]);
        let held_out = scores([vec![10.0, 11.0, 9.0], vec![0.0, 0.0, 0.3]]);
        Calibration::fit(&["global", "local"], &validation, &held_out).unwrap()
    }

    #[test]
    fn the_score_that_stands_out_decides() {
        let calibration = calibration();
        let new = scores([vec![10.0, 14.0], vec![1.0, 0.1]]);
        let (value, name) = calibration.combined(&new, 0);
        assert_eq!(name, "local");
        assert!((value - 1.0 / 0.14826).abs() < 1e-3, "{value}");
        let (value, name) = calibration.combined(&new, 1);
        assert_eq!(name, "global");
        assert!((value - 4.0 / 1.4826).abs() < 1e-3, "{value}");
    }

    #[test]
    fn p_values_count_calibration_images() {
        // Combined scores of the calibration images: 0, 1 / 1.4826 and 0.3 / 0.14826.
        let calibration = calibration();
        let new = scores([vec![10.5], vec![0.0]]);
        let p = calibration
            .conformal()
            .p_value(calibration.combined(&new, 0).0);
        assert_eq!(p, 3.0 / 4.0);
    }

    #[test]
    fn a_score_that_is_not_a_number_stands_out() {
        let calibration = calibration();
        let new = scores([vec![f32::NAN], vec![0.0]]);
        let (value, name) = calibration.combined(&new, 0);
        assert!(value.is_nan() && name == "global");
        assert_eq!(calibration.conformal().p_value(value), 1.0 / 4.0);
    }

    #[test]
    fn nothing_to_calibrate_on_is_an_error() {
        let none = scores([Vec::new(), Vec::new()]);
        let some = scores([vec![1.0], vec![1.0]]);
        assert!(Calibration::fit(&["global"], &none, &some).is_err());
        assert!(Calibration::fit(&["global"], &some, &none).is_err());
    }
}
