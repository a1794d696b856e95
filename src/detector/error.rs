//! Why a detector cannot be stored or loaded.

use std::path::PathBuf;

use crate::data::DataError;
use crate::files::FileError;

/// An error of a stored detector or a stored representation.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    /// Weights that cannot be read or written.
    #[error("weights {}: {reason}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A model file that cannot be read or written.
    #[error("model {}: {reason}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Scores that cannot be turned into p-values.
    #[error("the detector cannot be calibrated: {0}")]
    Calibration(String),
    /// A heat map that the method cannot make.
    #[error("this detector has no heat map from {source_name}; it has: {known}")]
    NoHeat {
        /// The source asked for.
        source_name: String,
        /// Sources that there are.
        known: String,
    },
    /// A device that cannot be had.
    #[error(transparent)]
    Backend(#[from] crate::backend::BackendError),
    /// A detector written by a newer program.
    #[error("{} has format {found}, and this program reads formats up to {known}: update it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Format of the file.
        found: u32,
        /// Newest format known.
        known: u32,
    },
    /// Images that cannot be brought to the size and colours of the training images.
    #[error(transparent)]
    Images(#[from] DataError),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Files(#[from] FileError),
}

impl DetectorError {
    pub(super) fn model(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Model {
            path: path.into(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn weights(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Weights {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
