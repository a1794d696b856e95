//! Which checkpoints a stage writes, keeps and continues from.

use std::path::{Path, PathBuf};

use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use burn::train::{EarlyStoppingStrategy, Interrupter};

use super::history::{History, SharedHistory};
use crate::files::{self, FileError};

/// What a checkpoint consists of.
pub(super) const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// Path of one part of an epoch's checkpoint.
pub(super) fn path(directory: &Path, part: &str, epoch: usize) -> PathBuf {
    directory.join(format!("{part}-{epoch}.bpk"))
}

/// The last epoch that a run can go on from: its checkpoint is complete, and so is the model of the
/// best epoch until then. 0 is the start.
pub(super) fn last_usable(directory: &Path, history: &History, monitor: &str) -> usize {
    let is_there = |part: &str, epoch: usize| path(directory, part, epoch).is_file();
    (1..=history.epochs.len())
        .rev()
        .find(|&epoch| {
            PARTS.iter().all(|part| is_there(part, epoch))
                && history
                    .best_of_first(epoch, monitor)
                    .is_some_and(|best| is_there(PARTS[0], best))
        })
        .unwrap_or(0)
}

/// Removes the checkpoints of a stage that starts over; true when there were some.
///
/// # Errors
/// [`FileError`] naming what cannot be read or removed.
pub(super) fn clear(directory: &Path) -> Result<bool, FileError> {
    let entries = std::fs::read_dir(directory).map_err(FileError::io("read", directory))?;
    let mut found = false;
    for entry in entries {
        let path = entry.map_err(FileError::io("read", directory))?.path();
        files::remove(&path)?;
        found = true;
    }
    Ok(found)
}

/// Writes a record beside its place and renames it: a file that is there is whole, also after a
/// power cut. Burn's own checkpointer writes in place.
pub(super) struct AtomicCheckpointer {
    directory: PathBuf,
    part: &'static str,
}

impl AtomicCheckpointer {
    pub(super) fn new(directory: &Path, part: &'static str) -> Self {
        Self {
            directory: directory.to_path_buf(),
            part,
        }
    }
}

impl<R: Checkpoint> Checkpointer<R> for AtomicCheckpointer {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        let target = path(&self.directory, self.part, epoch);
        // Burn appends `.bpk` to a name that lacks it.
        let partial = self.directory.join(format!(".partial-{}.bpk", self.part));
        let named = |error: std::io::Error| {
            let message = format!("{}: {error}", target.display());
            CheckpointerError::IOError(std::io::Error::new(error.kind(), message))
        };
        record.save(partial.clone())?;
        std::fs::File::open(&partial)
            .and_then(|file| file.sync_all())
            .map_err(named)?;
        std::fs::rename(&partial, &target).map_err(named)
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        match std::fs::remove_file(path(&self.directory, self.part, epoch)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CheckpointerError::IOError(error))
            }
            _ => Ok(()),
        }
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        R::load(path(&self.directory, self.part, epoch))
    }
}

/// Keeps the newest two checkpoints, the best one, and the best one before the newest.
///
/// The newest may fail to be written, or be half written when the process dies: what the run then
/// continues from has to be there still. The decision is taken from the history alone, so a resumed
/// run decides as an uninterrupted one.
pub(super) struct KeepBest {
    pub(super) history: SharedHistory,
    pub(super) monitor: &'static str,
}

impl CheckpointingStrategy for KeepBest {
    fn checkpointing(
        &mut self,
        epoch: usize,
        _store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        let history = self.history.lock();
        let kept = [epoch, epoch - 1].map(|last| history.best_of_first(last, self.monitor));
        let obsolete = (1..epoch.saturating_sub(1))
            .filter(|&old| !kept.contains(&Some(old)))
            .map(CheckpointingAction::Delete);
        std::iter::once(CheckpointingAction::Save)
            .chain(obsolete)
            .collect()
    }
}

/// Stops when the validation loss has not improved for `patience` epochs; and at an epoch's end
/// when asked to stop, which the learner does not notice once the checkpoint is being written.
#[derive(Clone)]
pub(super) struct Patience {
    pub(super) history: SharedHistory,
    pub(super) monitor: &'static str,
    pub(super) patience: usize,
    pub(super) interrupter: Interrupter,
}

impl EarlyStoppingStrategy for Patience {
    fn should_stop(&mut self, epoch: usize, _store: &EventStoreClient) -> bool {
        self.interrupter.should_stop()
            || exhausted(
                self.history.lock().best_epoch(self.monitor),
                epoch,
                self.patience,
            )
    }
}

/// True when `epoch` is `patience` or more epochs after the best one; a patience of 0 is endless.
pub(super) fn exhausted(best: Option<usize>, epoch: usize, patience: usize) -> bool {
    patience > 0 && epoch >= best.unwrap_or(0) + patience
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Epoch;
    use std::collections::BTreeMap;

    fn history(losses: &[f64]) -> History {
        let epochs = losses.iter().map(|&loss| Epoch {
            train: BTreeMap::new(),
            valid: BTreeMap::from([("L1".to_owned(), loss)]),
            seconds: 1.0,
        });
        History {
            epochs: epochs.collect(),
        }
    }

    fn touch(folder: &Path, epochs: &[usize]) {
        for (part, &epoch) in PARTS
            .iter()
            .flat_map(|part| epochs.iter().map(move |e| (part, e)))
        {
            std::fs::write(path(folder, part, epoch), "").unwrap();
        }
    }

    #[test]
    fn a_run_goes_on_from_where_everything_it_needs_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(&[3.0, 1.0, 2.0, 0.5]);
        let usable = || last_usable(folder.path(), &history, "L1");
        assert_eq!(usable(), 0);
        touch(folder.path(), &[2, 3, 4]);
        assert_eq!(usable(), 4);
        // The newest, which is the best, did not make it to the disk as a whole.
        std::fs::remove_file(path(folder.path(), "scheduler", 4)).unwrap();
        assert_eq!(usable(), 3);
        // The best of what is left is gone.
        std::fs::remove_file(path(folder.path(), "model", 2)).unwrap();
        assert_eq!(usable(), 0);
        // What the run before has left does not pass for an epoch of the next.
        assert!(clear(folder.path()).unwrap());
        assert!(!clear(folder.path()).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn patience_counts_from_the_best_epoch() {
        assert!(!exhausted(Some(3), 5, 3));
        assert!(exhausted(Some(3), 6, 3));
        assert!(exhausted(None, 3, 3));
        assert!(!exhausted(Some(1), 1000, 0));
    }
}
