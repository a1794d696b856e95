//! Why a cluster cannot be used, or a job of ours cannot go on.

use crate::data::DataError;
use crate::files::FileError;
use crate::run::RunError;
use crate::study::StudyError;

/// An error on the way to, on, or back from a cluster.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// A program of Slurm's that is not here.
    #[error(
        "`{program}` was not found: --slurm, --status and --cancel are for a machine that can submit to a Slurm cluster. --slurm --dry-run shows anywhere what would be submitted, and without --slurm everything runs here"
    )]
    Missing {
        /// Its name.
        program: &'static str,
    },
    /// A program of Slurm's that refuses.
    #[error("{command} failed: {reason}")]
    Failed {
        /// What was called.
        command: String,
        /// What it said.
        reason: String,
    },
    /// Something that cannot be submitted or found.
    #[error("{0}")]
    Asked(String),
    /// From a run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// From the study.
    #[error(transparent)]
    Study(#[from] StudyError),
    /// From the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// From the files.
    #[error(transparent)]
    Files(#[from] FileError),
}
