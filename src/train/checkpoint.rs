//! Which checkpoints a stage writes, keeps and continues from.

use std::path::{Path, PathBuf};

use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use burn::train::{EarlyStoppingStrategy, Interrupter};

use super::history::SharedHistory;

/// What a checkpoint consists of.
pub(super) const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// Path of one part of an epoch's checkpoint.
pub(super) fn path(directory: &Path, part: &str, epoch: usize) -> PathBuf {
    directory.join(format!("{part}-{epoch}.bpk"))
}

/// The last epoch, at most `finished`, whose checkpoint is complete; 0 when there is none.
pub(super) fn last_complete(directory: &Path, finished: usize) -> usize {
    (1..=finished)
        .rev()
        .find(|&epoch| {
            PARTS
                .iter()
                .all(|part| path(directory, part, epoch).is_file())
        })
        .unwrap_or(0)
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

/// Keeps the newest two checkpoints and the best one.
///
/// Two, because the newest may be half written when the process dies. The decision is taken from
/// the history alone, so a resumed run decides as an uninterrupted one.
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
        let best = self.history.lock().best_epoch(self.monitor);
        let obsolete = (1..epoch.saturating_sub(1))
            .filter(|&old| Some(old) != best)
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
