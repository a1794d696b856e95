//! The outcome of one cell: a row of `results.csv`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::Cell;
use crate::run::{DECIDING, Summary, seed_folder};
use crate::study::Experiment;

/// One row of `results.csv`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SweepResult {
    /// Name of the experiment.
    pub experiment: String,
    /// Index of the class left out.
    pub class: u8,
    /// Name of the variant, or of the method.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// The scores that the deciding one is made of, by which the method is judged.
    pub score: String,
    /// Area under the ROC curve; empty when the cell failed.
    pub auroc: Option<f64>,
    /// Lower end of its 95 % bootstrap interval.
    pub auroc_low: Option<f64>,
    /// Upper end.
    pub auroc_high: Option<f64>,
    /// Average precision, anomalies positive.
    pub aupr_anomalous: Option<f64>,
    /// False-positive rate at 95 % true positives.
    pub fpr_at_95_tpr: Option<f64>,
    /// Seconds of all steps of the run, a shared encoder stage included.
    pub seconds: Option<f64>,
    /// Fingerprint of what the numbers depend on.
    pub config: String,
    /// The backend.
    pub backend: String,
    /// The run's page, relative to the artifacts folder.
    pub report: String,
    /// Why the cell failed, or empty.
    pub error: String,
    /// Git revision that the program was built from which made the run.
    pub revision: String,
    /// SHA-256 of the pretrained weights, where the method reads any.
    pub weights: String,
    /// Area under the ROC curve of other data sets against the normal images, `svhn=0.331;mnist=0.996`.
    #[serde(serialize_with = "on_one_line")]
    pub others: BTreeMap<String, f64>,
    /// Area under the ROC curve of the pixels of heat maps, of the method's own source, where the images are the user's folder
    /// and have masks.
    pub pixel_auroc: Option<f64>,
    /// Their AUPRO at 30 % false positives.
    pub aupro: Option<f64>,
    /// Largest resident memory of the process in MiB, where it made no other run before.
    pub peak_memory_mib: Option<f64>,
}

impl SweepResult {
    /// A row without numbers, for a cell that failed.
    pub(super) fn failed(cell: &Cell, experiment: &Experiment, error: String) -> Self {
        Self {
            error,
            ..Self::of(cell, experiment)
        }
    }

    /// A row that says no more than which run it is.
    fn of(cell: &Cell, experiment: &Experiment) -> Self {
        Self {
            experiment: experiment.name.clone(),
            class: experiment.class,
            method: cell.variant.clone(),
            seed: cell.seed,
            report: format!(
                "{}/{}/{}/report.html",
                experiment.name,
                cell.variant,
                seed_folder(cell.seed)
            ),
            ..Self::default()
        }
    }

    /// The row of a run that is complete.
    pub(super) fn complete(cell: &Cell, experiment: &Experiment, summary: &Summary) -> Self {
        let metrics = summary.metrics.get(summary.set);
        let Some(metrics) = metrics.and_then(|scores| scores.get(DECIDING)) else {
            let error = "its metrics.json has no deciding score: `evaluate` writes it anew";
            return Self::failed(cell, experiment, error.to_owned());
        };
        let others = summary
            .metrics
            .iter()
            .filter(|(set, _)| **set != summary.set);
        let others = others.filter_map(|(set, scores)| {
            let auroc = scores.get(DECIDING)?.auroc;
            Some((set.clone(), auroc))
        });
        Self {
            score: summary.deciding.join("+"),
            auroc: Some(metrics.auroc),
            auroc_low: Some(metrics.auroc_low),
            auroc_high: Some(metrics.auroc_high),
            aupr_anomalous: Some(metrics.aupr_anomalous),
            fpr_at_95_tpr: Some(metrics.fpr_at_95_tpr),
            others: others.collect(),
            seconds: Some(summary.done.seconds()),
            pixel_auroc: summary.pixels.first().map(|pixels| pixels.auroc),
            aupro: summary.pixels.first().map(|pixels| pixels.aupro),
            peak_memory_mib: summary.done.peak_memory_mib,
            config: summary.identity.fingerprint(),
            backend: summary.done.backend.clone(),
            revision: summary.revision.clone(),
            weights: summary.identity.weights.clone().unwrap_or_default(),
            ..Self::of(cell, experiment)
        }
    }

    /// The row for the terminal.
    pub(super) fn line(&self) -> String {
        let name = format!("{} {} seed {}", self.experiment, self.method, self.seed);
        match self.auroc {
            Some(auroc) => format!("{name}  AUROC {auroc:.3}"),
            None => format!("{name}  FAILED: {}", self.error),
        }
    }
}

/// A table has no room for a map.
fn on_one_line<S: Serializer>(
    others: &BTreeMap<String, f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let others = others.iter().map(|(set, auroc)| format!("{set}={auroc}"));
    serializer.serialize_str(&others.collect::<Vec<_>>().join(";"))
}
