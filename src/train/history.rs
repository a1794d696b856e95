//! The learning curves of a stage: the one record that checkpoints, early stopping, resuming and
//! the report go by.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::MetricState;
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::files::{self, FileError};

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

    /// Makes sure that every epoch has the validation value of `monitor`, by which the best one is
    /// chosen: without it a choice among the others would look like one among all.
    ///
    /// # Errors
    /// [`TrainError::Files`] naming `path` and the first epoch that lacks it, unless all do.
    pub(super) fn check(&self, path: &Path, monitor: &str) -> Result<(), TrainError> {
        let lost = self.valid(monitor).position(|value| !value.is_finite());
        match lost {
            Some(index) if self.best_epoch(monitor).is_some() => {
                let reason = format!("epoch {} has no validation {monitor}", index + 1);
                Err(FileError::contents(path, reason).into())
            }
            _ => Ok(()),
        }
    }

    /// Number (from 1) of the epoch with the lowest validation value of `monitor`.
    pub fn best_epoch(&self, monitor: &str) -> Option<usize> {
        self.best_of_first(self.epochs.len(), monitor)
    }

    /// As [`best_epoch`](Self::best_epoch), of the first `count` epochs.
    pub fn best_of_first(&self, count: usize, monitor: &str) -> Option<usize> {
        self.valid(monitor)
            .take(count)
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

/// Fills a [`SharedHistory`] from what the learner shows its renderer, and saves it after every
/// epoch.
///
/// It hangs on the renderer and not on a metric logger because those run on a thread of their own:
/// a strategy that is asked about an epoch could come before its numbers.
pub(super) struct Recorder {
    history: SharedHistory,
    path: PathBuf,
    names: HashMap<MetricId, String>,
    current: Epoch,
    started: Instant,
}

impl Recorder {
    pub(super) fn new(history: SharedHistory, path: PathBuf) -> Self {
        Self {
            history,
            path,
            names: HashMap::new(),
            current: Epoch::default(),
            started: Instant::now(),
        }
    }

    /// Learns a metric's name.
    pub(super) fn register(&mut self, definition: &MetricDefinition) {
        let name = definition.name.to_string();
        self.names.insert(definition.metric_id.clone(), name);
    }

    /// Notes a metric's mean over an epoch; values of single steps pass by.
    pub(super) fn observe(&mut self, split: Split, state: &MetricState) {
        let (MetricState::Generic(entry) | MetricState::Numeric(entry, _)) = state;
        let serialized = &entry.serialized_entry.serialized;
        if let Ok(NumericEntry::Final(value)) = NumericEntry::deserialize(serialized)
            // JSON has no way to write another; a loss like that stops the stage.
            && value.is_finite()
            && let Some(name) = self.names.get(&entry.metric_id)
        {
            match split {
                Split::Train => self.current.train.insert(name.clone(), value),
                _ => self.current.valid.insert(name.clone(), value),
            };
        }
    }

    /// Closes epoch number `epoch`.
    pub(super) fn finish_epoch(&mut self, epoch: usize) {
        self.current.seconds = self.started.elapsed().as_secs_f64();
        self.started = Instant::now();
        let mut history = self.history.lock();
        // An epoch that was not recorded leaves a gap, which `History::check` finds, and does not
        // move those after it.
        history
            .epochs
            .resize_with(epoch.saturating_sub(1), Epoch::default);
        history.epochs.push(std::mem::take(&mut self.current));
        // The stage writes it again at its end, where a failure is an error.
        if let Err(error) = files::write_json(&self.path, &*history) {
            tracing::error!("{error}");
        }
    }
}

/// A logger that keeps nothing: without any, the learner writes a file per metric and epoch with a
/// line per step.
pub(super) struct NoLogger;

impl MetricLogger for NoLogger {
    fn log(&mut self, _update: MetricsUpdate, _epoch: usize, _split: &Split) {}

    fn read_numeric(
        &mut self,
        _name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, _definition: MetricDefinition) {}

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
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

    #[test]
    fn a_lost_epoch_is_named() {
        let check = |values: &[f64]| history(values).check(Path::new("history.json"), "L1");
        check(&[]).unwrap();
        check(&[3.0, 1.0]).unwrap();
        // That no epoch has a value is another error, of the stage.
        check(&[f64::NAN]).unwrap();
        let error = check(&[3.0, f64::NAN, 1.0]).unwrap_err().to_string();
        assert!(error.contains("history.json is damaged"), "{error}");
        assert!(error.contains("epoch 2 has no validation L1"), "{error}");
    }

    #[test]
    fn an_epoch_that_was_not_recorded_leaves_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json");
        let shared = SharedHistory::new(history(&[3.0]));
        let mut recorder = Recorder::new(shared.clone(), path.clone());
        recorder.current = history(&[2.0]).epochs.remove(0);
        recorder.finish_epoch(3);
        let found = History::read(&path).unwrap();
        assert_eq!(found, *shared.lock());
        assert_eq!(found.best_epoch("L1"), Some(3));
        assert!(found.check(&path, "L1").is_err());
    }
}
