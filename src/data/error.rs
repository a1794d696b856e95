//! What can be wrong with data, said so that the reader knows what to do.

use std::path::PathBuf;

/// An error of reading, finding or downloading data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Bytes that are not a whole number of images.
    #[error(
        "{bytes} bytes are not a whole number of images of {shape:?} (channels, height, width)"
    )]
    Shape {
        /// `[channels, height, width]`.
        shape: [usize; 3],
        /// Number of bytes found.
        bytes: usize,
    },
    /// Images of two sizes where one is needed.
    #[error(
        "images of {left:?} and {right:?} (channels, height, width) cannot be put together: set the conversion in the experiment file"
    )]
    Mixed {
        /// Shape of the first set.
        left: [usize; 3],
        /// Shape of the second set.
        right: [usize; 3],
    },
    /// A file that is not what its name says.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A file without a single byte.
    #[error("{}: {}", path.display(), EMPTY)]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// An image that would take more memory than one image is given.
    #[error("{}: {reason}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which limit it exceeds and what to do.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// Data that is nowhere to be found.
    #[error("{0}")]
    Missing(String),
    /// A download that failed from every address.
    #[error("{0}")]
    Download(String),
    /// A split that cannot be made or that overlaps.
    #[error("{0}")]
    Split(String),
}

const EMPTY: &str = "the file is empty (0 bytes), copy it again or remove it";

impl DataError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Format {
            path: path.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn too_large(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::TooLarge {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// What is wrong, without the file, for where that is named anyway.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Format { reason, .. } | Self::TooLarge { reason, .. } => reason.clone(),
            Self::Empty { .. } => EMPTY.to_owned(),
            Self::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }
}
