//! The figures of a report: histograms, ROC curves, learning curves.

use super::{Sources, capital, percent};
use crate::evaluate::roc_curve;
use crate::report::{Histogram, LearningCurve, RocCurve, Series};
use crate::run::{RunError, ScoredPart};
use crate::train::{Kind, Stage};

impl Sources<'_> {
    /// The paper's Figure 1: log-likelihoods of normal images against each set of anomalies.
    pub(super) fn histograms(&self) -> Vec<Histogram> {
        let threshold = &self.evaluation.thresholds[self.own_score()];
        let confidence = threshold.one_sided.rule.confidence;
        let calibration = self.thresholds_from();
        // A likelihood is shown as such, as in the paper; any other score as it is.
        let (sign, quantity, figure) = match self.own_score() {
            "nll" => (
                -1.0,
                "log-likelihood (nats)".to_owned(),
                ", as in the paper's Figure 1",
            ),
            score => (1.0, self.describe(score), ""),
        };
        let shown = |part: &ScoredPart| {
            part.columns[self.own_column()]
                .iter()
                .map(|score| sign * score)
                .collect()
        };
        let Some(normal) = self.table.part("test-normal") else {
            return Vec::new();
        };
        self.anomalous_parts()
            .map(|(name, part)| Histogram {
                title: format!("Normal test images and {name}"),
                caption: format!(
                    "{} of normal test images and of {name}{figure}.",
                    capital(&quantity)
                ),
                score_label: quantity.clone(),
                series: vec![
                    Series {
                        name: "normal".to_owned(),
                        values: shown(normal),
                    },
                    Series {
                        name: name.clone(),
                        values: shown(part),
                    },
                ],
                thresholds: vec![(
                    format!("{} of {calibration}", percent(confidence)),
                    sign * threshold.one_sided.upper,
                )],
            })
            .collect()
    }

    pub(super) fn roc(&self) -> Result<Vec<RocCurve>, RunError> {
        let Some(normal) = self.table.part("test-normal") else {
            return Ok(Vec::new());
        };
        let mut curves = Vec::new();
        for (position, (name, part)) in self.anomalous_parts().enumerate() {
            let set = match position {
                0 => self.anomalous_set(),
                _ => &part.name,
            };
            // Of the other data sets only the score that decides: the figure stays readable.
            let count = if position > 0 { 1 } else { usize::MAX };
            for score in self.shown().take(count) {
                let index = self.table.column(score).unwrap_or_default();
                curves.push(RocCurve {
                    name: format!("{name}, {}", self.describe(score)),
                    roc: roc_curve(&normal.columns[index], &part.columns[index])?,
                    auroc: self.evaluation.metrics[set][score].auroc,
                });
            }
        }
        Ok(curves)
    }

    pub(super) fn curves(&self) -> Result<Vec<LearningCurve>, RunError> {
        let mut curves = Vec::new();
        let kinds = self.method.entry().stages;
        for stage in &self.done.stages {
            // A stage lies in its own folder, or in one of several parts of the method.
            let name = &stage.name;
            let of = |kind: &&&Kind| name.rsplit('/').next() == Some(kind.name);
            let Some(kind) = kinds.iter().find(of) else {
                continue;
            };
            let monitors = kind.monitors;
            let history = Stage::history(&self.stages.join(name))?;
            // A game of two networks is judged by more than one curve.
            let shown = if kind.adversarial { monitors.len() } else { 1 };
            curves.extend(monitors[..shown].iter().map(|monitor| LearningCurve {
                title: format!("{name} stage: {}", monitor.name),
                unit: monitor.unit.to_owned(),
                epochs: (1..=history.epochs.len()).collect(),
                train: history.train(monitor.name).collect(),
                valid: history.valid(monitor.name).collect(),
                // None of them where the model stays as it started.
                best_epoch: (stage.best_epoch > 0).then_some(stage.best_epoch),
            }));
        }
        Ok(curves)
    }
}
