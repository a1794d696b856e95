//! One run, from names to artifacts: images, features, fit, scores, evaluation, record, report.

mod environment;
mod error;
mod evaluation;
mod images;
mod paths;
mod report;
#[allow(clippy::module_inception)]
mod run;
mod score_table;
mod shared;
mod summary;
mod workspace;

pub use environment::{Environment, peak_memory_mib};
pub use error::RunError;
pub use evaluation::{Evaluation, Metrics};
pub(crate) use paths::features_folder;
pub use paths::{RunFolder, run_folder};
pub use run::{RunOptions, reevaluate, run};
pub(crate) use run::{set_aside, stored_summary};
pub use score_table::{DECIDING, ScoreTable, ScoredPart};
pub(crate) use shared::{Expected, Shared, make_shared, start_over};
pub use summary::{Done, Summary};
pub use workspace::Workspace;
