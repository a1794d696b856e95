//! The lines at the end of a run.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::score_table::DECIDING;
use super::{Metrics, PixelMetrics};
use crate::evaluate::FalseAlarms;
use crate::method::Identity;
use crate::report::Timing;
use crate::train::StageSummary;

/// What is written when a run is complete.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The backend that the run was made on.
    pub backend: String,
    /// Wall time of each step.
    pub timings: Vec<Timing>,
    /// Largest resident memory of the process that finished the run; none when that process had made
    /// other runs before, whose memory it would be.
    pub peak_memory_mib: Option<f64>,
    /// The training stages.
    pub stages: Vec<StageSummary>,
}

impl Done {
    /// Seconds of all steps.
    pub fn seconds(&self) -> f64 {
        self.timings.iter().map(|step| step.seconds).sum()
    }
}

/// A finished run in a few lines.
#[derive(Clone, Debug)]
pub struct Summary {
    /// `mnist-3`, with method and seed.
    pub title: String,
    /// Official name of the class that plays the anomaly.
    pub class_name: String,
    /// Official name of the class left out, where another stands in for it.
    pub left_out: Option<String>,
    /// Name of the anomaly's test set among the metrics.
    pub set: &'static str,
    /// The numbers.
    pub metrics: Metrics,
    /// How often normal test images have small p-values.
    pub false_alarms: Vec<FalseAlarms>,
    /// How well heat maps tell defective pixels, where there are masks.
    pub pixels: Vec<PixelMetrics>,
    /// The scores that the deciding one is made of.
    pub deciding: Vec<String>,
    /// What the run's numbers depend on, as it was recorded.
    pub identity: Identity,
    /// Git revisions of the programs that made the run.
    pub revision: String,
    /// Confidence level of the threshold.
    pub confidence: f64,
    /// Backend, times and memory.
    pub done: Done,
    /// The page.
    pub report: PathBuf,
    /// True when nothing was left to do.
    pub was_complete: bool,
}

impl Summary {
    /// The score that the method is judged by: where it is one of the method's own, that name.
    pub fn own(&self) -> &str {
        match &self.deciding[..] {
            [only] => only,
            _ => DECIDING,
        }
    }

    /// The scores that are shown, the one that decides first.
    fn shown(&self) -> impl Iterator<Item = &str> {
        let scores = self
            .metrics
            .get(self.set)
            .into_iter()
            .flat_map(|set| set.keys());
        let others = scores.map(String::as_str);
        let others = others.filter(|score| *score != self.own() && *score != DECIDING);
        std::iter::once(self.own()).chain(others)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let complete = if self.was_complete {
            "  (complete before; --fresh repeats it)"
        } else {
            ""
        };
        writeln!(f, "{}{complete}", self.title)?;
        if let Some(left_out) = &self.left_out {
            writeln!(
                f,
                "  class {:?} stands in as the anomaly; class {left_out:?}, which is left out, was not used",
                self.class_name
            )?;
        }
        let anomalous = &self.metrics[self.set];
        for score in self.shown() {
            let m = &anomalous[score];
            writeln!(
                f,
                "  AUROC {:<15} {:.3}  [{:.3}, {:.3}]  class {:?} against {} normal test images",
                score, m.auroc, m.auroc_low, m.auroc_high, self.class_name, m.normal_count
            )?;
        }
        let score = self.own();
        for (set, scores) in self.metrics.iter().filter(|(set, _)| *set != self.set) {
            let m = &scores[score];
            let note = if m.auroc_high < 0.5 {
                "  (more likely than the normal images)"
            } else {
                ""
            };
            writeln!(
                f,
                "  AUROC {:<15} {:.3}  [{:.3}, {:.3}]  {set}, {} images{note}",
                score, m.auroc, m.auroc_low, m.auroc_high, m.anomalous_count
            )?;
        }
        let m = &anomalous[score];
        writeln!(
            f,
            "  threshold at confidence {}: {:.1} % false alarms, {:.1} % detected, F1 {:.3}",
            self.confidence,
            100.0 * m.one_sided.false_alarm_rate,
            100.0 * m.one_sided.detection_rate,
            m.one_sided.f1
        )?;
        if !self.false_alarms.is_empty() {
            let shares = self.false_alarms.iter();
            let shares = shares.map(|at| format!("{:.1} % at {}", 100.0 * at.share(), at.alpha));
            let shares = shares.collect::<Vec<_>>().join(", ");
            writeln!(f, "  false alarms by p-value: {shares}")?;
        }
        for pixels in &self.pixels {
            writeln!(f, "  {pixels}")?;
        }
        for stage in &self.done.stages {
            let (name, epochs) = (&stage.name, stage.epochs);
            match stage.best_epoch {
                0 => write!(f, "  {name}: as it started, no better in {epochs} epochs")?,
                best => write!(f, "  {name}: best epoch {best} of {epochs}")?,
            }
            writeln!(f, ", validation loss {:.4}", stage.best_loss)?;
        }
        write!(f, "  time {}", minutes(self.done.seconds()))?;
        if let Some(peak) = self.done.peak_memory_mib {
            write!(f, ", peak memory {peak:.0} MiB")?;
        }
        write!(f, "\n  report {}", self.report.display())
    }
}

/// `12.3 s` or `4 min 05 s`.
fn minutes(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}
