//! The paper's rule: where likelihood turns from normal to anomalous, read off the training images.

use serde::{Deserialize, Serialize};

use super::EvaluateError;
use super::error::{check_classes, check_open_unit, check_scores};

/// Which side of the training scores counts as anomalous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sides {
    /// Only scores above: likelihood below the lower confidence bound.
    One,
    /// Scores above or below the central interval. Catches images that are *too* likely, as SVHN
    /// under a CIFAR-10 flow (the paper's Figure 1, right).
    Two,
}

/// How a threshold is drawn: "by selecting a threshold according to a confidence interval from
/// likelihood estimations of all training set samples" (the paper's abstract, paragraph 3).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdRule {
    /// Share of training images that the rule calls normal, strictly between 0 and 1.
    pub confidence: f64,
    /// One-sided or two-sided.
    pub sides: Sides,
}

/// A [`ThresholdRule`] fitted on the scores of normal images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The rule it came from.
    pub rule: ThresholdRule,
    /// Scores below are anomalous; `None` for a one-sided rule. Unit of the score.
    pub lower: Option<f32>,
    /// Scores above are anomalous. Unit of the score (nats for a negative log-likelihood).
    pub upper: f32,
    /// Number of scores it was fitted on.
    pub calibrated_on: usize,
}

impl ThresholdRule {
    /// Fits the rule on `scores` of normal images (higher = more anomalous, any order).
    ///
    /// One-sided: `upper` is the `confidence` [`quantile`]. Two-sided: `lower` and `upper` are the
    /// (1 - confidence)/2 and (1 + confidence)/2 quantiles.
    ///
    /// # Errors
    /// When `confidence` is not in (0, 1), there is no score or one is not finite.
    pub fn fit(&self, scores: &[f32]) -> Result<Threshold, EvaluateError> {
        check_open_unit("confidence", self.confidence)?;
        let sorted = sorted("calibration", scores)?;
        let at = |level| quantile_sorted(&sorted, level) as f32;
        let (lower, upper) = match self.sides {
            Sides::One => (None, at(self.confidence)),
            Sides::Two => (
                Some(at((1.0 - self.confidence) / 2.0)),
                at((1.0 + self.confidence) / 2.0),
            ),
        };
        Ok(Threshold {
            rule: *self,
            lower,
            upper,
            calibrated_on: scores.len(),
        })
    }
}

impl Threshold {
    /// The verdict on one score: strictly outside the bounds, or NaN (an image that cannot be
    /// scored is not called normal).
    pub fn is_anomalous(&self, score: f32) -> bool {
        score.is_nan() || score > self.upper || self.lower.is_some_and(|lower| score < lower)
    }
}

/// What a threshold does on a test set; anomalous = positive. All in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// Share of normal images called anomalous (false-positive rate).
    pub false_alarm_rate: f64,
    /// Share of anomalous images called anomalous (true-positive rate, recall).
    pub detection_rate: f64,
    /// Share of images called anomalous that are; 0 when none is called anomalous. Depends on the
    /// share of anomalous images in the test set.
    pub precision: f64,
    /// Harmonic mean of precision and detection rate; 0 when nothing is detected.
    pub f1: f64,
}

impl Verdicts {
    /// Applies `threshold` to the scores of both classes.
    ///
    /// # Errors
    /// When a class has no score or a score is not finite.
    pub fn new(
        threshold: &Threshold,
        normal: &[f32],
        anomalous: &[f32],
    ) -> Result<Self, EvaluateError> {
        check_classes(normal, anomalous)?;
        let count = |scores: &[f32]| {
            let flagged = scores
                .iter()
                .filter(|&&score| threshold.is_anomalous(score));
            flagged.count() as f64
        };
        let (false_alarms, detected) = (count(normal), count(anomalous));
        let missed = anomalous.len() as f64 - detected;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Ok(Self {
            false_alarm_rate: false_alarms / normal.len() as f64,
            detection_rate: detected / anomalous.len() as f64,
            precision: share(detected, detected + false_alarms),
            f1: share(2.0 * detected, 2.0 * detected + false_alarms + missed),
        })
    }
}

/// The `level` quantile of `values`, linear between order statistics at position
/// `level * (len - 1)`: type 7 of Hyndman & Fan, "Sample Quantiles in Statistical Packages", 1996,
/// and the default of `numpy.quantile`.
///
/// # Errors
/// When `level` is not in [0, 1], there is no value or one is not finite.
pub fn quantile(values: &[f32], level: f64) -> Result<f64, EvaluateError> {
    if !(0.0..=1.0).contains(&level) {
        return Err(EvaluateError::Level {
            name: "quantile level",
            value: level,
            range: "between 0 and 1",
        });
    }
    Ok(quantile_sorted(&sorted("quantile", values)?, level))
}

/// [`quantile`] of values already checked and in rising order; 0 when there is none.
pub(super) fn quantile_sorted(sorted: &[f64], level: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let position = level * last as f64;
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

fn sorted(set: &'static str, scores: &[f32]) -> Result<Vec<f64>, EvaluateError> {
    check_scores(set, scores)?;
    let mut sorted: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NORMAL: [f32; 10] = [0.1, 0.4, 0.4, 0.35, 0.8, 0.2, 0.5, 0.7, 0.05, 0.4];
    const ANOMALOUS: [f32; 7] = [0.4, 0.9, 0.65, 0.8, 0.3, 1.2, 0.7];

    fn rule(confidence: f64, sides: Sides) -> ThresholdRule {
        ThresholdRule { confidence, sides }
    }

    #[test]
    fn thresholds_are_the_quantiles_of_numpy() {
        // numpy.quantile(NORMAL, [0.025, 0.95, 0.975]) -> [0.06125, 0.755, 0.7775]
        let one = rule(0.95, Sides::One).fit(&NORMAL).unwrap();
        assert!(
            one.lower.is_none() && (one.upper - 0.755).abs() < 1e-6,
            "{one:?}"
        );
        assert_eq!(one.calibrated_on, 10);
        let two = rule(0.95, Sides::Two).fit(&NORMAL).unwrap();
        assert!((two.lower.unwrap() - 0.06125).abs() < 1e-6, "{two:?}");
        assert!((two.upper - 0.7775).abs() < 1e-6, "{two:?}");
        assert_eq!(quantile(&[3.0], 0.2), Ok(3.0));
        assert_eq!(quantile(&[1.0, 2.0], 1.0), Ok(2.0));
    }

    #[test]
    fn verdicts_are_those_of_scikit_learn() {
        // p = (s > 0.6); precision_recall_fscore_support(y, p, average='binary')
        //   -> 5/7, 5/7, 5/7; p[normal].mean() = 0.2
        // p = (s > 0.75) | (s < 0.15) -> precision 0.5, recall 3/7, f1 0.4615384615384616, 0.3
        let close = |left: f64, right: f64| assert!((left - right).abs() < 1e-12, "{left} {right}");
        let mut threshold = Threshold {
            rule: rule(0.95, Sides::One),
            lower: None,
            upper: 0.6,
            calibrated_on: 10,
        };
        let one = Verdicts::new(&threshold, &NORMAL, &ANOMALOUS).unwrap();
        close(one.false_alarm_rate, 0.2);
        close(one.detection_rate, 5.0 / 7.0);
        close(one.precision, 5.0 / 7.0);
        close(one.f1, 5.0 / 7.0);
        threshold.lower = Some(0.15);
        threshold.upper = 0.75;
        let two = Verdicts::new(&threshold, &NORMAL, &ANOMALOUS).unwrap();
        close(two.false_alarm_rate, 0.3);
        close(two.detection_rate, 3.0 / 7.0);
        close(two.precision, 0.5);
        close(two.f1, 0.461_538_461_538_461_56);
    }

    #[test]
    fn nothing_detected_gives_zeros_and_nan_is_anomalous() {
        let threshold = rule(0.5, Sides::One).fit(&[10.0; 4]).unwrap();
        let verdicts = Verdicts::new(&threshold, &NORMAL, &ANOMALOUS).unwrap();
        assert_eq!((verdicts.precision, verdicts.f1), (0.0, 0.0));
        assert!(!threshold.is_anomalous(10.0), "the bound itself is normal");
        assert!(threshold.is_anomalous(f32::NAN));
        assert!(threshold.is_anomalous(f32::INFINITY));
    }

    #[test]
    fn bad_requests_are_refused() {
        for confidence in [0.0, 1.0, 95.0, f64::NAN] {
            assert!(rule(confidence, Sides::One).fit(&NORMAL).is_err());
        }
        let empty = rule(0.95, Sides::One).fit(&[]).unwrap_err();
        assert_eq!(empty, EvaluateError::Empty { set: "calibration" });
        assert!(rule(0.95, Sides::Two).fit(&[1.0, f32::INFINITY]).is_err());
        assert!(quantile(&NORMAL, 1.1).is_err());
    }

    #[test]
    fn a_threshold_survives_json() {
        let threshold = rule(0.95, Sides::Two).fit(&NORMAL).unwrap();
        let json = serde_json::to_string(&threshold).unwrap();
        assert!(json.contains(r#""sides":"two""#), "{json}");
        assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), threshold);
    }

    proptest! {
        #![proptest_config(crate::property_tests(256))]
        #[test]
        fn about_the_confidence_share_of_its_own_scores_is_normal(
            scores in prop::collection::vec(-1e3f32..1e3, 1..200),
            confidence in 0.01f64..0.99,
            two in any::<bool>(),
        ) {
            let sides = if two { Sides::Two } else { Sides::One };
            let threshold = rule(confidence, sides).fit(&scores).unwrap();
            let flagged = scores.iter().filter(|&&score| threshold.is_anomalous(score)).count();
            let allowed = (1.0 - confidence) * scores.len() as f64 + 2.0;
            prop_assert!(flagged as f64 <= allowed, "{flagged} of {}", scores.len());
            let mut different = scores.clone();
            different.sort_by(f32::total_cmp);
            different.dedup();
            if different.len() == scores.len() {
                prop_assert!(flagged as f64 >= allowed - 4.0, "{flagged} of {}", scores.len());
            }
        }
    }
}
