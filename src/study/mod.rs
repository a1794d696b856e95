//! What can be run: studies, their variants, their settings. Values only; nothing here trains or
//! writes.

mod checks;
mod definition;
mod error;
mod lineage;
mod names;
mod resolve;
mod settings;
mod variants;

pub use checks::{Check, Fault};
pub(crate) use checks::{first_fault, optimisation_fault};
pub use definition::{Experiment, Study};
pub use error::StudyError;
pub use names::{Studies, class_tag, class_tags, find_class};
pub use resolve::Schema;
pub(crate) use resolve::differences;
pub use settings::{DataSettings, EvaluationSettings, SETTINGS, Settings};
pub use variants::Choice;
