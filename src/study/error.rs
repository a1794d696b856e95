//! Why something cannot be run.

/// A name or a setting with which nothing can be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StudyError {
    /// A name that is no experiment, study, variant or method.
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
    /// A study file that cannot be read.
    #[error("{0}")]
    File(String),
}

impl StudyError {
    pub(crate) fn setting(place: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Setting {
            place: place.into(),
            reason: reason.to_string().trim_end().to_owned(),
        }
    }
}

impl From<crate::files::FileError> for StudyError {
    fn from(error: crate::files::FileError) -> Self {
        Self::File(error.to_string())
    }
}
