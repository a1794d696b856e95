//! One run, from names to artifacts: images, features, fit, scores, evaluation, record, report.

mod again;
mod compression;
mod environment;
mod error;
mod evaluation;
mod explanation;
mod images;
mod moment;
mod options;
mod paths;
mod pipeline;
mod report;
mod score_table;
mod shared;
mod stored;
mod summary;
mod workspace;

pub use again::reevaluate;
pub use environment::{Environment, peak_memory_mib};
pub use error::RunError;
pub use evaluation::{Evaluation, Metrics, Numbers};
pub use explanation::{ExplainedSet, Explanation, Followed, MeanTerms};
pub use moment::Moment;
pub use options::RunOptions;
pub use paths::{RunFolder, run_folder};
pub(crate) use paths::{features_folder, seed_folder, seed_of};
pub(crate) use pipeline::check;
pub use pipeline::run;
pub use score_table::{DECIDING, ScoreTable, ScoredPart};
pub(crate) use shared::{Expected, Shared, make_shared};
pub use stored::{finished, fresh_since};
pub(crate) use stored::{set_aside, stored_summary};
pub use summary::{Done, Summary};
pub use workspace::Workspace;
