//! Why an ONNX network cannot be looked through.

use std::path::PathBuf;

use crate::files::FileError;

/// An ONNX network that cannot be looked through.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The engine is not compiled in.
    #[error(
        "{place} is an ONNX network, and this program was built without the engine for them: build it with `--features onnx`"
    )]
    NotBuilt {
        /// Which network.
        place: String,
    },
    /// No file is named.
    #[error("`encoder.file` is empty: it must name the ONNX file of the encoder")]
    NoName,
    /// There is no such file.
    #[error("the ONNX file {} of `encoder.file` is missing", path.display())]
    Missing {
        /// The file expected.
        path: PathBuf,
    },
    /// The file is damaged, or the network is not one that can be used as it is asked for.
    #[error("{place}: {reason}")]
    Unusable {
        /// Which network.
        place: String,
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Files(#[from] FileError),
}
