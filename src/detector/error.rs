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
    pub(super) fn weights(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Weights {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
