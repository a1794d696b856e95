//! What can be run: studies, their variants, their settings. Values only; nothing here trains or
//! writes.

mod checks;
mod error;
mod lineage;
mod names;
mod resolve;
mod settings;
#[allow(clippy::module_inception)]
mod study;
mod variants;

pub use checks::{Check, Fault};
pub(crate) use checks::{first_fault, optimisation_fault};
pub use error::StudyError;
pub use names::{Studies, class_tags, find_class};
pub use resolve::Schema;
pub(crate) use resolve::differences;
pub use settings::{DataSettings, EvaluationSettings, SETTINGS, Settings};
pub use study::{Experiment, Study};
pub use variants::Choice;
