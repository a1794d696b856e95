//! Every number reported for one score on one test set, in one struct.

use serde::{Deserialize, Serialize};

use super::ranked::Ranked;
use super::{EvaluateError, Threshold, Verdicts};
use super::{aupr_anomalous, aupr_normal, auroc_interval, fpr_at_tpr};

/// Confidence level of the AUROC interval in [`ScoreMetrics`].
pub const INTERVAL_LEVEL: f64 = 0.95;
/// Bootstrap resamples behind the AUROC interval in [`ScoreMetrics`].
pub const BOOTSTRAP_RESAMPLES: usize = 1000;
/// Share of anomalous images to be found by `fpr_at_95_tpr` in [`ScoreMetrics`].
pub const TPR_LEVEL: f64 = 0.95;

/// How one anomaly score does on one test set. Rates and areas in 0..=1, means in the unit of the
/// score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreMetrics {
    /// Area under the ROC curve, see [`auroc`](super::auroc).
    pub auroc: f64,
    /// Lower end of the 95 % bootstrap interval, see [`auroc_interval`].
    pub auroc_low: f64,
    /// Upper end of the 95 % bootstrap interval.
    pub auroc_high: f64,
    /// Average precision with the anomalous images as positives.
    pub aupr_anomalous: f64,
    /// Average precision with the normal images as positives.
    pub aupr_normal: f64,
    /// Share of normal images flagged when 95 % of the anomalous ones are, see [`fpr_at_tpr`].
    pub fpr_at_95_tpr: f64,
    /// Verdicts at the one-sided threshold.
    pub one_sided: Verdicts,
    /// Verdicts at the two-sided threshold.
    pub two_sided: Verdicts,
    /// Number of normal test images.
    pub normal_count: usize,
    /// Number of anomalous test images.
    pub anomalous_count: usize,
    /// Mean score of the normal images.
    pub normal_mean: f64,
    /// Mean score of the anomalous images.
    pub anomalous_mean: f64,
}

/// Evaluates one score: `normal` and `anomalous` are test scores (higher = more anomalous), `one`
/// and `two` the thresholds calibrated on training images, `seed` that of the bootstrap.
///
/// # Errors
/// When a class has no score or a score is not finite.
pub fn evaluate(
    normal: &[f32],
    anomalous: &[f32],
    one: &Threshold,
    two: &Threshold,
    seed: u64,
) -> Result<ScoreMetrics, EvaluateError> {
    let auroc = Ranked::new(normal, anomalous)?.auroc();
    let (auroc_low, auroc_high) =
        auroc_interval(normal, anomalous, INTERVAL_LEVEL, BOOTSTRAP_RESAMPLES, seed)?;
    Ok(ScoreMetrics {
        auroc,
        auroc_low,
        auroc_high,
        aupr_anomalous: aupr_anomalous(normal, anomalous)?,
        aupr_normal: aupr_normal(normal, anomalous)?,
        fpr_at_95_tpr: fpr_at_tpr(normal, anomalous, TPR_LEVEL)?,
        one_sided: Verdicts::new(one, normal, anomalous)?,
        two_sided: Verdicts::new(two, normal, anomalous)?,
        normal_count: normal.len(),
        anomalous_count: anomalous.len(),
        normal_mean: mean(normal),
        anomalous_mean: mean(anomalous),
    })
}

/// Mean in f64; the caller has checked that there is a score.
fn mean(scores: &[f32]) -> f64 {
    scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{Sides, ThresholdRule};

    #[test]
    fn parts_agree_and_survive_json() {
        let normal: Vec<f32> = (0..100).map(|index| index as f32).collect();
        let anomalous: Vec<f32> = (50..150).map(|index| index as f32).collect();
        let fit = |sides| {
            let rule = ThresholdRule {
                confidence: 0.9,
                sides,
            };
            rule.fit(&normal).unwrap()
        };
        let (one, two) = (fit(Sides::One), fit(Sides::Two));
        let metrics = evaluate(&normal, &anomalous, &one, &two, 1).unwrap();
        // Of 10,000 pairs 1,225 are in the wrong order and 50 tied.
        assert!((metrics.auroc - 0.875).abs() < 1e-12, "{metrics:?}");
        assert!(metrics.auroc_low < metrics.auroc && metrics.auroc < metrics.auroc_high);
        assert_eq!((metrics.normal_mean, metrics.anomalous_mean), (49.5, 99.5));
        assert_eq!((metrics.normal_count, metrics.anomalous_count), (100, 100));
        assert!((metrics.one_sided.false_alarm_rate - 0.1).abs() < 1e-12);
        assert!((metrics.two_sided.false_alarm_rate - 0.1).abs() < 1e-12);
        let json = serde_json::to_string(&metrics).unwrap();
        assert_eq!(
            serde_json::from_str::<ScoreMetrics>(&json).unwrap(),
            metrics
        );
    }

    #[test]
    fn one_class_is_refused() {
        let rule = ThresholdRule {
            confidence: 0.9,
            sides: Sides::One,
        };
        let one = rule.fit(&[1.0, 2.0]).unwrap();
        assert!(evaluate(&[1.0], &[], &one, &one, 0).is_err());
    }
}
