//! Why a stage did not finish.

use std::path::PathBuf;

use crate::files::FileError;

/// An error of a training stage.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Stopped by the user; nothing is lost but the unfinished epoch.
    #[error(
        "stage {stage} stopped on request after {finished} finished epoch(s): run the same command again to continue"
    )]
    Interrupted {
        /// Name of the stage.
        stage: String,
        /// Epochs with a checkpoint.
        finished: usize,
    },
    /// The loss became infinite or not a number.
    #[error(
        "stage {stage} diverged in epoch {epoch}: its loss is not finite. Lower `{section}.training.learning_rate` (it is {learning_rate}) and start over with --fresh"
    )]
    Diverged {
        /// Name of the stage.
        stage: String,
        /// Section of the settings that its `training` stands in.
        section: &'static str,
        /// The epoch in which it happened.
        epoch: usize,
        /// The learning rate used.
        learning_rate: f64,
    },
    /// The learner failed or panicked.
    #[error("stage {stage} failed in epoch {epoch}: {reason}. Details are in {}", log.display())]
    Failed {
        /// Name of the stage.
        stage: String,
        /// The epoch in which it happened.
        epoch: usize,
        /// The learner's error.
        reason: String,
        /// Path of the run's log.
        log: PathBuf,
    },
    /// A checkpoint that cannot be read.
    #[error("checkpoint {} cannot be read ({reason}): delete it to continue from the one before, or start over with --fresh", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No epoch has a usable validation loss.
    #[error(
        "stage {stage} has no epoch with a finite validation loss: start over with --fresh and a lower `{section}.training.learning_rate`"
    )]
    NoModel {
        /// Name of the stage.
        stage: String,
        /// Section of the settings that its `training` stands in.
        section: &'static str,
    },
    /// A setting the learner refuses.
    #[error("`{section}.training`: {reason}")]
    Setting {
        /// Section of the settings.
        section: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error(transparent)]
    Files(#[from] FileError),
}
