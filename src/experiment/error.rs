//! Why an experiment cannot run.

use crate::backend::BackendError;
use crate::data::DataError;
use crate::detector::DetectorError;
use crate::encoder::BackboneError;
use crate::evaluate::EvaluateError;
use crate::files::FileError;
use crate::report::ReportError;
use crate::train::TrainError;

/// An error of an experiment, from its name to its report.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// A name that is no experiment.
    #[error("{0}")]
    Name(String),
    /// A setting that is unknown or impossible.
    #[error("{place}: {reason}")]
    Setting {
        /// File or option, and key.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A run's folder that is in use, of other settings, or not there.
    #[error("{0}")]
    Workspace(String),
    /// From the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// From the device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// From a training stage.
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
    /// From the files.
    #[error(transparent)]
    Files(#[from] FileError),
}

impl ExperimentError {
    /// True when the user stopped the run, which can be continued.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Train(TrainError::Interrupted { .. }))
    }
}
