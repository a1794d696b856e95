//! A study's file, one run of it, and what that leaves on disk.

mod config;
mod environment;
mod error;
mod evaluation;
mod names;
mod overrides;
mod prepare;
mod run;
mod run_report;
mod score_table;
mod suggest;
mod summary;
mod workspace;

pub use config::{DataConfig, EncoderConfig, EvaluationConfig, ExperimentConfig, FlowConfig};
pub use environment::{Environment, peak_memory_mib};
pub use error::ExperimentError;
pub use evaluation::{Evaluation, Metrics};
pub use names::{Experiment, Studies, Study, class_tags};
pub use run::{METHOD, RunOptions, reevaluate, run};
pub use score_table::{ScoreTable, ScoredPart};
pub use summary::{Done, Summary};
pub use workspace::{Workspace, run_folder};
