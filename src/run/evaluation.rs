//! From scores to p-values, thresholds and metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DECIDING, Explanation, PixelMetrics, RunError, ScoreTable};
use crate::evaluate::{Conformal, FalseAlarms, ScoreMetrics, Sides, Threshold, evaluate};
use crate::method::{Calibration, DetectorError, Scorer, Scores};
use crate::study::Settings;

/// Metrics by test set and score: `anomalous.nll.auroc`, `svhn.deciding.auroc`.
pub type Metrics = BTreeMap<String, BTreeMap<String, ScoreMetrics>>;

/// What `metrics.json` holds: the metrics, and beside them what the scores follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Numbers {
    /// By test set and score.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// How often normal test images have small p-values; empty in a file of a run that did not ask yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub false_alarms: Vec<FalseAlarms>,
    /// How well heat maps tell defective pixels, where the images are the user's folder and have masks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pixels: Vec<PixelMetrics>,
    /// None in a file of a run that did not ask yet; `evaluate` adds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// Name of the test set of the class left out, among [`Metrics`]'s keys.
pub const ANOMALOUS: &str = "anomalous";

/// Name of that test set where another class stands in: its numbers are not those of the class left
/// out, and must not be taken for them.
pub const STAND_IN: &str = "stand-in";

/// Name of the test set of the class that plays the anomaly.
pub fn anomalous_set(settings: &Settings) -> &'static str {
    match settings.data.stand_in {
        0 => ANOMALOUS,
        _ => STAND_IN,
    }
}

/// Thresholds of one score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Unlikely images are anomalous.
    pub one_sided: Threshold,
    /// Images that are too likely as well.
    pub two_sided: Threshold,
}

/// Thresholds from the training normals (from those for validation, where a method does not score these), metrics from the test
/// sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// By score.
    pub thresholds: BTreeMap<String, Thresholds>,
    /// By test set and score.
    pub metrics: Metrics,
    /// How often normal test images have small p-values.
    pub false_alarms: Vec<FalseAlarms>,
}

impl Evaluation {
    /// Evaluates every score of `table` on every test set. Thresholds come from the training
    /// normals alone (the paper, third paragraph), or from the validation images of a method that does not score
    /// these, p-values from `conformal`; `seed` is that of the bootstrap.
    ///
    /// # Errors
    /// [`RunError`] when a part is missing or a score is not finite.
    pub fn new(
        table: &ScoreTable,
        conformal: &Conformal,
        settings: &Settings,
        seed: u64,
    ) -> Result<Self, RunError> {
        let part = |name: &str| {
            table.part(name).ok_or_else(|| {
                RunError::Workspace(format!(
                    "the score table has no `{name}` part: delete it and run the experiment again"
                ))
            })
        };
        // A method that does not score its training images is calibrated on the held-out normals.
        let train = table.part("train").map_or_else(|| part("validation"), Ok)?;
        let normal = part("test-normal")?;
        let sets = std::iter::once((anomalous_set(settings), part("test-anomalous")?))
            .chain(table.ood().map(|part| (part.name.as_str(), part)));
        let mut thresholds = BTreeMap::new();
        for (score, values) in table.names.iter().zip(&train.columns) {
            let fitted = Thresholds {
                one_sided: settings.threshold(Sides::One).fit(values)?,
                two_sided: settings.threshold(Sides::Two).fit(values)?,
            };
            thresholds.insert(score.clone(), fitted);
        }
        let mut metrics = Metrics::new();
        for (set, anomalous) in sets {
            let scores = metrics.entry(set.to_owned()).or_default();
            for (index, score) in table.names.iter().enumerate() {
                let fitted = &thresholds[score];
                let numbers = evaluate(
                    &normal.columns[index],
                    &anomalous.columns[index],
                    &fitted.one_sided,
                    &fitted.two_sided,
                    seed,
                )?;
                scores.insert(score.clone(), numbers);
            }
        }
        let deciding = table.column(DECIDING);
        let deciding = deciding.map_or(&[][..], |column| &normal.columns[column]);
        Ok(Self {
            thresholds,
            metrics,
            false_alarms: FalseAlarms::of(conformal, deciding),
        })
    }
}

/// Every second validation image gives the scale of the scores, the others the p-values. Most methods have let them choose
/// before, an epoch or a scale, and the p-values of an experiment are approximate then; `fit` holds images out for them alone.
pub(super) fn calibrate(
    scorer: &dyn Scorer,
    scores: &[(String, Scores)],
) -> Result<Calibration, DetectorError> {
    let validation = scores.iter().find(|(name, _)| name == "validation");
    let every_second = |first: usize| {
        let columns = validation.iter().flat_map(|(_, scores)| scores.columns());
        let half = columns.map(|column| column.iter().skip(first).step_by(2).copied().collect());
        Scores::new(scorer.score_names(), half.collect())
    };
    Calibration::fit(scorer.deciding(), &every_second(0), &every_second(1))
}
