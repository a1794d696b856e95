//! A study's file, one run of it, and what that leaves on disk.

mod candidate;
mod clock;
mod config;
mod environment;
mod error;
mod evaluation;
mod fit;
mod fit_folder;
mod fit_positions;
mod labelled;
mod method;
mod names;
mod overrides;
mod prepare;
mod published;
mod run;
mod run_report;
mod score_table;
mod seed;
mod select;
mod summary;
mod sweep;
mod sweep_table;
mod workspace;

pub use config::{
    DataConfig, EncoderConfig, EncoderKind, EvaluationConfig, ExperimentConfig, FlowConfig,
    GanomalyConfig, KnnConfig, MahalanobisConfig, MixtureConfig, Source,
};
pub use environment::{Environment, peak_memory_mib};
pub use error::ExperimentError;
pub use evaluation::{Evaluation, Metrics};
pub use fit_folder::{FittedFolder, FolderFit, fit_folder};
pub use labelled::{Labelled, LabelledTest};
pub use method::Method;
pub use names::{Experiment, Studies, Study, class_tags, find_class};
pub use run::{RunOptions, reevaluate, run};
pub use score_table::{ScoreTable, ScoredPart};
pub use select::{SelectPlan, select};
pub use summary::{Done, Summary};
pub use sweep::{SweepPlan, sweep};
pub use sweep_table::{SweepResult, SweepTable};
pub use workspace::{
    SelectWorkspace, SweepWorkspace, Workspace, run_folder, selection_table, sweep_report,
};
