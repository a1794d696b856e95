//! The results of a sweep: one row per cell, by seed, class and method.

use std::collections::{BTreeMap, BTreeSet};

use super::SweepResult;
use crate::data::DatasetName;
use crate::evaluate::{deviation, mean, whole_mean};
use crate::report::{SweepCell, SweepMethod};
use crate::study::DataSettings;

/// All cells of a study that are known: of this sweep and of earlier ones with the same settings.
#[derive(Clone, Debug)]
pub struct SweepTable {
    pub(super) study: String,
    pub(super) dataset: DatasetName,
    pub(super) stand_in: usize,
    pub(super) command: String,
    /// Names of all that can be compared, in their order.
    order: Vec<String>,
    pub(super) results: Vec<SweepResult>,
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

    pub(super) fn methods(&self) -> Vec<&String> {
        let present = |name: &&String| self.results.iter().any(|row| row.method == **name);
        self.order.iter().filter(present).collect()
    }

    pub(super) fn classes(&self) -> Vec<usize> {
        let classes: BTreeSet<u8> = self.results.iter().map(|row| row.class).collect();
        classes.into_iter().map(usize::from).collect()
    }

    pub(super) fn seeds(&self) -> BTreeSet<u64> {
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

    /// The cells of one method, and what they are on average.
    pub(super) fn method(&self, method: &str) -> SweepMethod {
        let cells = self.cells(method);
        let class_means = cells
            .iter()
            .filter_map(|cells| mean(cells.iter().map(|cell| cell.auroc)));
        // The mean over other classes differs for other reasons.
        let with_all_classes = self.seeds().into_iter().filter_map(|seed| {
            let of_seed = cells.iter().map(|cells| {
                let mut cells = cells.iter();
                cells.find(|cell| cell.seed == seed).map(|cell| cell.auroc)
            });
            whole_mean(of_seed)
        });
        let seed_means: Vec<f64> = with_all_classes.collect();
        let rows = || self.results.iter().filter(|row| row.method == method);
        let sets: BTreeSet<&String> = rows().flat_map(|row| row.others.keys()).collect();
        let others = sets.into_iter().filter_map(|set| {
            let aurocs = rows().filter_map(|row| row.others.get(set).copied());
            Some((set.clone(), mean(aurocs)?))
        });
        SweepMethod {
            name: method.to_string(),
            mean: mean(class_means),
            deviation: deviation(&seed_means),
            others: others.collect(),
            pixel_auroc: mean(rows().filter_map(|row| row.pixel_auroc)),
            aupro: mean(rows().filter_map(|row| row.aupro)),
            seconds: rows().filter_map(|row| row.seconds).sum(),
            run_seconds: mean(rows().filter_map(|row| row.seconds)),
            peak_memory_mib: rows()
                .filter_map(|row| row.peak_memory_mib)
                .reduce(f64::max),
            cells,
        }
    }
}
