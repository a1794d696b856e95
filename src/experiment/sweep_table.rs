//! The results of a sweep: one row per cell, and what they say together.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::evaluation::ANOMALOUS;
use super::{
    Experiment, ExperimentConfig, ExperimentError, Method, Summary, SweepPlan, class_tags,
    published,
};
use crate::evaluate::{EvaluateError, holm, wilcoxon_signed_rank};
use crate::report::{PairComparison, SweepCell, SweepMethod, SweepReport};

/// One row of `results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepResult {
    /// Name of the experiment.
    pub experiment: String,
    /// Index of the class left out.
    pub class: u8,
    /// Name of the method.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// The method's own score.
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
    /// Fingerprint of the settings that matter to the method.
    pub config: String,
    /// The backend.
    pub backend: String,
    /// The run's page, relative to the artifacts folder.
    pub report: String,
    /// Why the cell failed, or empty.
    pub error: String,
}

impl SweepResult {
    /// From the outcome of a run.
    pub(super) fn new(
        experiment: &Experiment,
        method: Method,
        seed: u64,
        outcome: Result<Summary, String>,
    ) -> Self {
        let mut result = Self {
            experiment: experiment.name.clone(),
            class: experiment.class,
            method: method.to_string(),
            seed,
            score: String::new(),
            auroc: None,
            auroc_low: None,
            auroc_high: None,
            aupr_anomalous: None,
            fpr_at_95_tpr: None,
            seconds: None,
            config: config_hash(method, &experiment.config),
            backend: String::new(),
            report: format!("{}/{method}/seed-{seed}/report.html", experiment.name),
            error: String::new(),
        };
        match outcome {
            Ok(summary) => {
                let metrics = &summary.metrics[ANOMALOUS][&summary.scores[0]];
                result.auroc = Some(metrics.auroc);
                result.auroc_low = Some(metrics.auroc_low);
                result.auroc_high = Some(metrics.auroc_high);
                result.aupr_anomalous = Some(metrics.aupr_anomalous);
                result.fpr_at_95_tpr = Some(metrics.fpr_at_95_tpr);
                result.seconds = Some(summary.done.seconds());
                result.score = summary.scores[0].clone();
                result.backend = summary.backend;
            }
            Err(error) => result.error = error,
        }
        result
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

/// First twelve digits of the SHA-256 of the settings that matter to a method.
fn config_hash(method: Method, config: &ExperimentConfig) -> String {
    let mut table = toml::Table::try_from(config).unwrap_or_default();
    table.retain(|name, _| method.sections().contains(&name));
    let hash = Sha256::digest(table.to_string());
    hash.iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// All cells of a sweep so far.
#[derive(Clone, Debug)]
pub struct SweepTable {
    study: String,
    config: ExperimentConfig,
    plan: SweepPlan,
    command: String,
    /// The rows, in the order in which they were finished.
    pub results: Vec<SweepResult>,
}

impl SweepTable {
    pub(super) fn new(
        study: &str,
        config: &ExperimentConfig,
        plan: &SweepPlan,
        command: &str,
    ) -> Self {
        Self {
            study: study.to_owned(),
            config: config.clone(),
            plan: plan.clone(),
            command: command.to_owned(),
            results: Vec::new(),
        }
    }

    /// Number of cells that failed.
    pub fn failures(&self) -> usize {
        self.results
            .iter()
            .filter(|row| row.auroc.is_none())
            .count()
    }

    /// AUROC by class and seed of one method.
    fn cells(&self, method: Method) -> Vec<Vec<SweepCell>> {
        let of_class = |class: usize| {
            let mut cells: Vec<SweepCell> = self
                .results
                .iter()
                .filter(|row| row.method == method.name() && usize::from(row.class) == class)
                .filter_map(|row| {
                    Some(SweepCell {
                        seed: row.seed,
                        auroc: row.auroc?,
                        link: Some(format!("../../{}", row.report)),
                    })
                })
                .collect();
            cells.sort_by_key(|cell| cell.seed);
            cells
        };
        self.plan
            .classes
            .iter()
            .map(|&class| of_class(class))
            .collect()
    }

    /// What the sweep says, for its page and its Markdown.
    ///
    /// # Errors
    /// [`ExperimentError`] when a number is not finite.
    pub fn report(&self) -> Result<SweepReport, ExperimentError> {
        let dataset = self.config.data.dataset;
        let methods: Vec<SweepMethod> = self
            .plan
            .methods
            .iter()
            .map(|&method| self.method(method))
            .collect();
        let row = self.results.iter().find(|row| row.auroc.is_some());
        let best = methods
            .iter()
            .filter_map(|method| Some((method.mean?, &method.name)))
            .max_by(|left, right| left.0.total_cmp(&right.0));
        let seeds: Vec<String> = self.plan.seeds.iter().map(u64::to_string).collect();
        Ok(SweepReport {
            title: self.study.clone(),
            summary_sentence: best.map_or_else(String::new, |(mean, name)| {
                format!(
                    "Leave-one-class-out on {dataset}, {} classes, seeds {}: the highest mean AUROC is that of {name}, {mean:.3}.",
                    self.plan.classes.len(),
                    seeds.join(", ")
                )
            }),
            setup: [
                ("Data set", dataset.to_string()),
                ("Seeds", seeds.join(", ")),
                ("Backend", row.map_or_else(String::new, |row| row.backend.clone())),
                (
                    "Version",
                    format!(
                        "encoder-flow {} ({})",
                        env!("CARGO_PKG_VERSION"),
                        env!("ENCODER_FLOW_REVISION")
                    ),
                ),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
            classes: self
                .plan
                .classes
                .iter()
                .map(|&class| class_tags(dataset, class)[0].clone())
                .collect(),
            pairs: pairs(&methods)?,
            methods,
            test_name: "Wilcoxon signed-rank over classes (seeds averaged), two-sided, Holm-adjusted over all pairs".to_owned(),
            published: published::of(dataset, &self.plan.classes),
            failures: self
                .results
                .iter()
                .filter(|row| row.auroc.is_none())
                .map(|row| {
                    (format!("{} {} seed {}", row.experiment, row.method, row.seed), row.error.clone())
                })
                .collect(),
            command: self.command.clone(),
            notes: vec![
                "Every number is that of the model chosen on held-out normal images; no anomalous image took part in training, selection or thresholds. Networks are in evaluation mode.".to_owned(),
                "Time is the sum over a method's cells; an autoencoder that several methods share is counted for each.".to_owned(),
            ],
        })
    }

    fn method(&self, method: Method) -> SweepMethod {
        let cells = self.cells(method);
        let class_means = cells
            .iter()
            .filter_map(|cells| mean(cells.iter().map(|cell| cell.auroc)));
        let seed_means: Vec<f64> = self
            .plan
            .seeds
            .iter()
            .filter_map(|&seed| {
                let of_seed = cells.iter().flatten().filter(|cell| cell.seed == seed);
                mean(of_seed.map(|cell| cell.auroc))
            })
            .collect();
        let rows = self
            .results
            .iter()
            .filter(|row| row.method == method.name());
        SweepMethod {
            name: method.to_string(),
            mean: mean(class_means),
            deviation: deviation(&seed_means),
            seconds: rows.filter_map(|row| row.seconds).sum(),
            cells,
        }
    }
}

/// Every pair of methods over the classes that both have: is the difference more than chance?
fn pairs(methods: &[SweepMethod]) -> Result<Vec<PairComparison>, EvaluateError> {
    let mut pairs = Vec::new();
    for (index, left) in methods.iter().enumerate() {
        for right in &methods[index + 1..] {
            let class_mean = |cells: &Vec<SweepCell>| mean(cells.iter().map(|cell| cell.auroc));
            let differences: Vec<f64> = left
                .cells
                .iter()
                .zip(&right.cells)
                .filter_map(|(left, right)| Some(class_mean(left)? - class_mean(right)?))
                .collect();
            let Some(difference) = mean(differences.iter().copied()) else {
                continue;
            };
            let test = wilcoxon_signed_rank(&differences)?;
            pairs.push(PairComparison {
                left: left.name.clone(),
                right: right.name.clone(),
                difference,
                pairs: differences.len(),
                p_value: test.p_value,
                adjusted: f64::NAN,
            });
        }
    }
    let raw: Vec<f64> = pairs.iter().map(|pair| pair.p_value).collect();
    for (pair, adjusted) in pairs.iter_mut().zip(holm(&raw)) {
        pair.adjusted = adjusted;
    }
    Ok(pairs)
}

/// Mean, of at least one value.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0usize, 0.0), |(count, sum), value| {
        (count + 1, sum + value)
    });
    (count > 0).then(|| sum / count as f64)
}

/// Sample standard deviation, of at least two values.
fn deviation(values: &[f64]) -> Option<f64> {
    let centre = mean(values.iter().copied())?;
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}
