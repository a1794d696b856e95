//! What can be run: studies, their variants, their settings. Values only; nothing here trains or
//! writes.

mod checks;
mod error;
mod names;
mod resolve;
mod settings;

pub use checks::{Check, Fault};
pub(crate) use checks::{first_fault, optimisation_fault};
pub use error::StudyError;
pub use names::{Choice, Experiment, Studies, Study, class_tags, find_class};
pub use resolve::Schema;
pub(crate) use resolve::differences;
pub use settings::{DataSettings, EvaluationSettings, SETTINGS, Settings};
