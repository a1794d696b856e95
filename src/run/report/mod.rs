//! What the report of a run says: from a run's results to the page's contents.

mod explained;
mod figures;
mod pictures;
mod words;

use std::path::Path;

use super::evaluation::{Evaluation, anomalous_set};
use super::explanation::Explained;
use super::images::Prepared;
use super::score_table::DECIDING;
use super::{Done, Environment, PixelMetrics, RunError, ScoreTable, ScoredPart};
use crate::method::{Method, Scorer, derive};
use crate::report::{MetricRow, RunReport, render as render_page};
use crate::study::Experiment;
use pictures::SHOWN;

/// Where the contents come from.
pub(super) struct Sources<'a> {
    pub experiment: &'a Experiment,
    pub method: Method,
    pub prepared: &'a Prepared,
    pub scorer: &'a dyn Scorer,
    pub table: &'a ScoreTable,
    pub evaluation: &'a Evaluation,
    pub pixels: &'a [PixelMetrics],
    pub explained: &'a Explained,
    pub environment: &'a Environment,
    pub done: &'a Done,
    /// Folder with a folder for each training stage.
    pub stages: &'a Path,
}

/// Renders the report.
pub(super) fn render(sources: &Sources) -> Result<String, RunError> {
    let report = RunReport {
        title: sources.title(),
        method: sources.experiment.variant.clone(),
        summary_sentence: sources.sentence(),
        headline: sources.headline(),
        setup: sources.setup(),
        metrics: sources.metrics(),
        thresholds_from: sources.thresholds_from().to_owned(),
        histograms: sources.histograms(),
        roc: sources.roc()?,
        explained: Some(sources.explained()),
        curves: sources.curves()?,
        reconstructions: sources.reconstructions(),
        samples: sources
            .scorer
            .sample(SHOWN, derive(sources.environment.seed, "samples")),
        pictures: sources.pictures(),
        extremes: sources.extremes(),
        timings: sources.done.timings.clone(),
        peak_memory_mib: sources.done.peak_memory_mib,
        config_toml: sources.experiment.settings.to_toml(),
        command: sources.environment.command.clone(),
        notes: sources.notes(),
    };
    Ok(render_page(&report)?)
}

impl Sources<'_> {
    /// Name of the anomaly's test set among the metrics.
    fn anomalous_set(&self) -> &'static str {
        anomalous_set(&self.experiment.settings)
    }

    /// Whose scores the thresholds come from, for readers.
    fn thresholds_from(&self) -> &'static str {
        match self.table.part("train") {
            Some(_) => "training images",
            None => "held-out normal images",
        }
    }

    /// Name of a score for readers.
    fn describe(&self, score: &str) -> String {
        let entry = self.method.entry();
        match score {
            DECIDING => "deciding score".to_owned(),
            score => {
                let own = self.scorer.words(score);
                own.unwrap_or_else(|| entry.describe(score).to_owned())
            }
        }
    }

    /// The score that the method is judged by: where it is one of the method's own, that name.
    fn own_score(&self) -> &str {
        match self.scorer.deciding() {
            [only] => only,
            _ => DECIDING,
        }
    }

    /// Column of that score.
    fn own_column(&self) -> usize {
        self.table.column(self.own_score()).unwrap_or_default()
    }

    /// The scores that are shown, the one that decides first; where it is one of the method's own, its
    /// scaled form is the same but for its unit.
    fn shown(&self) -> impl Iterator<Item = &String> {
        let own = self.own_score();
        let names = &self.table.names;
        let first = names.iter().filter(move |name| *name == own);
        let others = names
            .iter()
            .filter(move |name| *name != own && *name != DECIDING);
        first.chain(others)
    }

    /// Every set of anomalies with its name in the report.
    fn anomalous_parts(&self) -> impl Iterator<Item = (String, &ScoredPart)> {
        let left_out = self
            .table
            .part("test-anomalous")
            .map(|part| (self.anomaly(), part));
        left_out
            .into_iter()
            .chain(self.table.ood().map(|part| (part.name.clone(), part)))
    }

    fn metrics(&self) -> Vec<MetricRow> {
        let own = self.anomalous_set();
        let sets =
            std::iter::once(own.to_owned()).chain(self.table.ood().map(|part| part.name.clone()));
        sets.flat_map(|set| {
            let test_set = if set == own {
                self.anomaly()
            } else {
                set.clone()
            };
            self.shown().map(move |score| MetricRow {
                test_set: test_set.clone(),
                score: self.describe(score),
                metrics: self.evaluation.metrics[&set][score].clone(),
            })
        })
        .collect()
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// With a capital first letter.
fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}
