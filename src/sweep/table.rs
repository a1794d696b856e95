//! The results of a sweep: one row per cell, and what they say together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Cell;
use crate::data::DatasetName;
use crate::evaluate::{EvaluateError, holm, wilcoxon_signed_rank};
use crate::method::Method;
use crate::report::{PairComparison, SweepCell, SweepMethod, SweepReport};
use crate::run::{DECIDING, RunError, Summary};
use crate::study::{DataSettings, Experiment, class_tags};

/// One row of `results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
}

impl SweepResult {
    /// A row without numbers, for a cell that failed.
    pub(super) fn failed(cell: &Cell, experiment: &Experiment, error: String) -> Self {
        Self {
            experiment: experiment.name.clone(),
            class: experiment.class,
            method: cell.variant.clone(),
            seed: cell.seed,
            score: String::new(),
            auroc: None,
            auroc_low: None,
            auroc_high: None,
            aupr_anomalous: None,
            fpr_at_95_tpr: None,
            seconds: None,
            config: String::new(),
            backend: String::new(),
            report: format!(
                "{}/{}/seed-{}/report.html",
                experiment.name, cell.variant, cell.seed
            ),
            error,
            revision: String::new(),
            weights: String::new(),
        }
    }

    /// The row of a run that is complete.
    pub(super) fn complete(cell: &Cell, experiment: &Experiment, summary: &Summary) -> Self {
        let metrics = summary.metrics.get(summary.set);
        let Some(metrics) = metrics.and_then(|scores| scores.get(DECIDING)) else {
            let error = "its metrics.json has no deciding score: `evaluate` writes it anew";
            return Self::failed(cell, experiment, error.to_owned());
        };
        Self {
            score: summary.deciding.join("+"),
            auroc: Some(metrics.auroc),
            auroc_low: Some(metrics.auroc_low),
            auroc_high: Some(metrics.auroc_high),
            aupr_anomalous: Some(metrics.aupr_anomalous),
            fpr_at_95_tpr: Some(metrics.fpr_at_95_tpr),
            seconds: Some(summary.done.seconds()),
            config: summary.identity.fingerprint(),
            backend: summary.done.backend.clone(),
            revision: summary.revision.clone(),
            weights: summary.identity.weights.clone().unwrap_or_default(),
            ..Self::failed(cell, experiment, String::new())
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

/// All cells of a study that are known: of this sweep and of earlier ones with the same settings.
#[derive(Clone, Debug)]
pub struct SweepTable {
    study: String,
    dataset: DatasetName,
    stand_in: usize,
    command: String,
    /// Names of all that can be compared, in their order.
    order: Vec<String>,
    results: Vec<SweepResult>,
}

impl SweepTable {
    pub(super) fn new(study: &str, order: Vec<String>, data: &DataSettings, command: &str) -> Self {
        Self {
            study: study.to_owned(),
            dataset: data.dataset,
            stand_in: data.stand_in,
            command: command.to_owned(),
            order,
            results: Vec::new(),
        }
    }

    /// Order of the table: seed, class, method.
    fn key(&self, row: &SweepResult) -> (u64, u8, usize) {
        let position = self.order.iter().position(|name| *name == row.method);
        (row.seed, row.class, position.unwrap_or(usize::MAX))
    }

    /// The rows by seed, class and method.
    pub fn results(&self) -> &[SweepResult] {
        &self.results
    }

    /// Enters a cell, in place of an earlier result of the same one.
    pub(super) fn enter(&mut self, result: SweepResult) {
        self.extend(vec![result]);
    }

    /// Enters cells, each in place of an earlier result of the same one.
    pub(super) fn extend(&mut self, results: Vec<SweepResult>) {
        let mut rows: BTreeMap<_, SweepResult> = BTreeMap::new();
        for row in std::mem::take(&mut self.results).into_iter().chain(results) {
            rows.insert(self.key(&row), row);
        }
        self.results = rows.into_values().collect();
    }

    fn methods(&self) -> Vec<&String> {
        let present = |name: &&String| self.results.iter().any(|row| row.method == **name);
        self.order.iter().filter(present).collect()
    }

    fn classes(&self) -> Vec<usize> {
        let classes: BTreeSet<u8> = self.results.iter().map(|row| row.class).collect();
        classes.into_iter().map(usize::from).collect()
    }

    fn seeds(&self) -> BTreeSet<u64> {
        self.results.iter().map(|row| row.seed).collect()
    }

    /// Number of cells that failed.
    pub fn failures(&self) -> usize {
        self.results
            .iter()
            .filter(|row| row.auroc.is_none())
            .count()
    }

    /// AUROC by class and seed of one method.
    fn cells(&self, method: &str) -> Vec<Vec<SweepCell>> {
        let of_class = |class: usize| {
            let mut cells: Vec<SweepCell> = self
                .results
                .iter()
                .filter(|row| row.method == method && usize::from(row.class) == class)
                .filter_map(|row| {
                    Some(SweepCell {
                        seed: row.seed,
                        auroc: row.auroc?,
                        auprc: row.aupr_anomalous,
                        link: Some(format!("../../{}", row.report)),
                    })
                })
                .collect();
            cells.sort_by_key(|cell| cell.seed);
            cells
        };
        self.classes().into_iter().map(of_class).collect()
    }

    /// What the sweep says, for its page and its Markdown.
    ///
    /// # Errors
    /// [`RunError`] when a number is not finite.
    pub fn report(&self) -> Result<SweepReport, RunError> {
        let methods: Vec<SweepMethod> = self
            .methods()
            .into_iter()
            .map(|method| self.method(method))
            .collect();
        let tag = |class: usize| class_tags(self.dataset, class)[0].clone();
        Ok(SweepReport {
            title: match self.stand_in {
                0 => self.study.clone(),
                number => format!("{} with stand-in {number}", self.study),
            },
            summary_sentence: self.summary(&methods),
            setup: self.setup(),
            classes: self.classes().into_iter().map(tag).collect(),
            pairs: pairs(&methods)?,
            methods,
            test_name: "Wilcoxon signed-rank over classes (seeds averaged), two-sided, Holm-adjusted over all pairs".to_owned(),
            failures: self.failed(),
            command: self.command.clone(),
            notes: self.notes(),
        })
    }

    /// The method with the highest mean, in a sentence.
    fn summary(&self, methods: &[SweepMethod]) -> String {
        // A mean over fewer classes is not to be compared with one over all.
        let whole = |method: &&SweepMethod| method.cells.iter().all(|cells| !cells.is_empty());
        let best = methods
            .iter()
            .filter(whole)
            .filter_map(|method| Some((method.mean?, &method.name)))
            .max_by(|left, right| left.0.total_cmp(&right.0));
        let Some((mean, name)) = best else {
            return String::new();
        };
        let stand_ins = match self.stand_in {
            0 => String::new(),
            number => format!(
                " with stand-ins (the anomaly is the class {number} after the one left out)"
            ),
        };
        let compared = match self.dataset {
            DatasetName::Folder => "A folder of normal and defective images".to_owned(),
            dataset => format!(
                "Leave-one-class-out on {dataset}{stand_ins}, {} classes",
                self.classes().len()
            ),
        };
        format!(
            "{compared}, seeds {}: the highest mean AUROC is that of {name}, {mean:.3}.",
            self.seeds_in_words()
        )
    }

    fn seeds_in_words(&self) -> String {
        let seeds: Vec<String> = self.seeds().iter().map(u64::to_string).collect();
        seeds.join(", ")
    }

    /// What made the rows, which may be older than this program.
    fn setup(&self) -> Vec<(String, String)> {
        let made_by = |of: fn(&SweepResult) -> &String| -> String {
            let rows = self.results.iter().filter(|row| row.auroc.is_some());
            let values: BTreeSet<&str> = rows.map(|row| of(row).as_str()).collect();
            let values = values.into_iter().filter(|value| !value.is_empty());
            values.collect::<Vec<_>>().join(", ")
        };
        let all = [
            ("Data set", self.dataset.to_string()),
            ("Seeds", self.seeds_in_words()),
            ("Backend", made_by(|row| &row.backend)),
            ("Revision of the runs", made_by(|row| &row.revision)),
            ("Pretrained weights, SHA-256", made_by(|row| &row.weights)),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// What a reader of the numbers should know, each once.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.stand_in > 0 {
            notes.push("These numbers are for choosing settings: another class stands in as the anomaly for each class left out, of which no image was used.");
        }
        notes.extend([
            "Where a method trains, its numbers are those of the model chosen on held-out normal images; no anomalous image took part in training, selection or thresholds. Networks are in evaluation mode.",
            "Time is the sum over a method's cells; an autoencoder that several methods share is counted for each.",
        ]);
        let of_method = |name: &str| name.parse::<Method>().map(|method| method.entry().notes);
        for own in self.methods().into_iter().flat_map(|name| of_method(name)) {
            notes.extend(own);
        }
        let mut seen = BTreeSet::new();
        notes.retain(|&note| seen.insert(note));
        notes.into_iter().map(str::to_owned).collect()
    }

    /// The cells without a number, and why.
    fn failed(&self) -> Vec<(String, String)> {
        let rows = self.results.iter().filter(|row| row.auroc.is_none());
        rows.map(|row| {
            let cell = format!("{} {} seed {}", row.experiment, row.method, row.seed);
            (cell, row.error.clone())
        })
        .collect()
    }

    fn method(&self, method: &str) -> SweepMethod {
        let cells = self.cells(method);
        let class_means = cells
            .iter()
            .filter_map(|cells| mean(cells.iter().map(|cell| cell.auroc)));
        let seed_means: Vec<f64> = self
            .seeds()
            .into_iter()
            .filter_map(|seed| {
                let of_seed = cells.iter().flatten().filter(|cell| cell.seed == seed);
                mean(of_seed.map(|cell| cell.auroc))
            })
            .collect();
        let rows = self.results.iter().filter(|row| row.method == method);
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
            let differences: Vec<f64> = left
                .cells
                .iter()
                .zip(&right.cells)
                .filter_map(|(left, right)| mean(common_seeds(left, right)))
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

/// Differences of two methods' AUROC on one class, over the seeds that both have.
fn common_seeds<'a>(
    left: &'a [SweepCell],
    right: &'a [SweepCell],
) -> impl Iterator<Item = f64> + 'a {
    left.iter().filter_map(|cell| {
        let other = right.iter().find(|other| other.seed == cell.seed)?;
        Some(cell.auroc - other.auroc)
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::schema;
    use crate::study::Settings;

    #[test]
    fn a_mean_over_fewer_classes_is_not_the_highest() {
        let data = Settings::from_table(schema().defaults).unwrap().data;
        let order = schema().methods.into_iter().map(str::to_owned).collect();
        let mut table = SweepTable::new("digits", order, &data, "a test");
        for (method, class, auroc) in [("gmm", 0, 0.6), ("gmm", 1, 0.8), ("knn", 1, 0.9)] {
            table.enter(SweepResult {
                experiment: format!("digits-{class}"),
                class,
                method: method.to_owned(),
                seed: 0,
                score: "nll".to_owned(),
                auroc: Some(auroc),
                auroc_low: None,
                auroc_high: None,
                aupr_anomalous: None,
                fpr_at_95_tpr: None,
                seconds: None,
                config: String::new(),
                backend: "flex".to_owned(),
                report: String::new(),
                error: String::new(),
                revision: String::new(),
                weights: String::new(),
            });
        }
        let sentence = table.report().unwrap().summary_sentence;
        assert!(sentence.ends_with("that of gmm, 0.700."), "{sentence}");
    }
}
