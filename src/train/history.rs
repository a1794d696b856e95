//! The learning curves of a stage: the one record that checkpoints, early stopping, resuming and
//! the report go by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::files;

/// Mean of every monitor over one epoch, by split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// On the training share.
    pub train: BTreeMap<String, f64>,
    /// On the validation share: normal images only.
    pub valid: BTreeMap<String, f64>,
    /// Wall time.
    pub seconds: f64,
}

/// All finished epochs of a stage, the first is epoch 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Finished epochs in order.
    pub epochs: Vec<Epoch>,
}

impl History {
    /// Reads a stage's history; a stage that has not begun has an empty one.
    ///
    /// # Errors
    /// [`TrainError::Files`] when the file is there and is not a history.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        if path.exists() {
            Ok(files::read_json(path)?)
        } else {
            Ok(Self::default())
        }
    }

    /// Number (from 1) of the epoch with the lowest validation value of `monitor`.
    pub fn best_epoch(&self, monitor: &str) -> Option<usize> {
        self.valid(monitor)
            .enumerate()
            .filter(|(_, value)| value.is_finite())
            .min_by(|left, right| left.1.total_cmp(&right.1))
            .map(|(index, _)| index + 1)
    }

    /// Validation value of `monitor` in every epoch.
    pub fn valid<'a>(&'a self, monitor: &'a str) -> impl Iterator<Item = f64> + 'a {
        Self::values(self.epochs.iter().map(|epoch| &epoch.valid), monitor)
    }

    /// Training value of `monitor` in every epoch.
    pub fn train<'a>(&'a self, monitor: &'a str) -> impl Iterator<Item = f64> + 'a {
        Self::values(self.epochs.iter().map(|epoch| &epoch.train), monitor)
    }

    fn values<'a>(
        epochs: impl Iterator<Item = &'a BTreeMap<String, f64>> + 'a,
        monitor: &'a str,
    ) -> impl Iterator<Item = f64> + 'a {
        epochs.map(move |values| values.get(monitor).copied().unwrap_or(f64::NAN))
    }
}

/// A [`History`] that the learner writes while strategies read it.
#[derive(Clone)]
pub(super) struct SharedHistory(Arc<Mutex<History>>);

impl SharedHistory {
    pub(super) fn new(history: History) -> Self {
        Self(Arc::new(Mutex::new(history)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills a [`SharedHistory`] from the learner's events and saves it after every epoch.
pub(super) struct HistoryLogger {
    history: SharedHistory,
    path: PathBuf,
    names: BTreeMap<String, String>,
    current: Epoch,
    started: Instant,
}

impl HistoryLogger {
    pub(super) fn new(history: SharedHistory, path: PathBuf) -> Self {
        Self {
            history,
            path,
            names: BTreeMap::new(),
            current: Epoch::default(),
            started: Instant::now(),
        }
    }

    fn name(&self, id: &MetricId) -> Option<&String> {
        self.names.get(&format!("{id:?}"))
    }
}

impl MetricLogger for HistoryLogger {
    fn log(&mut self, update: MetricsUpdate, _epoch: usize, split: &Split) {
        for metric in &update.entries_numeric {
            let serialized = &metric.entry.serialized_entry.serialized;
            let Ok(NumericEntry::Final(value)) = NumericEntry::deserialize(serialized) else {
                continue;
            };
            let Some(name) = self.name(&metric.entry.metric_id).cloned() else {
                continue;
            };
            match split {
                Split::Train => self.current.train.insert(name, value),
                _ => self.current.valid.insert(name, value),
            };
        }
    }

    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        let history = self.history.lock();
        let value = history.epochs.get(epoch.wrapping_sub(1)).and_then(|epoch| {
            match split {
                Split::Train => &epoch.train,
                _ => &epoch.valid,
            }
            .get(name)
        });
        Ok(value
            .map(|&value| NumericEntry::Final(value))
            .into_iter()
            .collect())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        let id = format!("{:?}", definition.metric_id);
        self.names.insert(id, definition.name.to_string());
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        if summary.split == Split::Train {
            return;
        }
        self.current.seconds = self.started.elapsed().as_secs_f64();
        self.started = Instant::now();
        let mut history = self.history.lock();
        history
            .epochs
            .truncate(summary.epoch_number.saturating_sub(1));
        history.epochs.push(std::mem::take(&mut self.current));
        // A failure to write shows again, and stops the run, when the checkpoint is written.
        if let Err(error) = files::write_json(&self.path, &*history) {
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: &[f64]) -> History {
        let epochs = values.iter().map(|&value| Epoch {
            train: BTreeMap::new(),
            valid: BTreeMap::from([("L1".to_owned(), value)]),
            seconds: 1.0,
        });
        History {
            epochs: epochs.collect(),
        }
    }

    #[test]
    fn the_best_epoch_is_the_first_lowest_finite_one() {
        assert_eq!(
            history(&[3.0, 1.0, f64::NAN, 1.0]).best_epoch("L1"),
            Some(2)
        );
        assert_eq!(history(&[]).best_epoch("L1"), None);
        assert_eq!(history(&[f64::NAN]).best_epoch("L1"), None);
        assert_eq!(history(&[1.0]).best_epoch("NLL"), None);
    }
}
