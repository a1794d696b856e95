//! Why a run cannot go on.

use crate::backend::BackendError;
use crate::data::DataError;
use crate::encoder::BackboneError;
use crate::evaluate::EvaluateError;
use crate::files::FileError;
use crate::method::{DetectorError, MethodError};
use crate::report::ReportError;
use crate::study::StudyError;
use crate::train::TrainError;

/// An error of a run, from its name to its report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// From the study.
    #[error(transparent)]
    Study(#[from] StudyError),
    /// A run's folder that is in use, of other settings, or not there.
    #[error("{0}")]
    Workspace(String),
    /// A picture, or a folder of them, of which nothing can be learnt or said.
    #[error("{place}: {reason}")]
    Pictures {
        /// The file or folder.
        place: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// From the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// From the device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// From the method's fit.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// From the record of a training stage.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// From the detector.
    #[error(transparent)]
    Detector(#[from] DetectorError),
    /// From the pretrained weights.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// From the metrics.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// From the report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A folder that another process is working in.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// From the files.
    #[error(transparent)]
    Files(#[from] FileError),
}

impl RunError {
    /// Of the file or folder `place`.
    pub(crate) fn pictures(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Pictures {
            place: place.into(),
            reason: reason.into(),
        }
    }

    /// True when the user stopped the run, which can be continued.
    pub fn is_interruption(&self) -> bool {
        self.interrupted_at().is_some()
    }

    /// Where the user stopped the run: the stage, and its finished epochs.
    pub fn interrupted_at(&self) -> Option<(&str, usize)> {
        match self {
            Self::Method(error) => error.interrupted_at(),
            _ => None,
        }
    }
}
