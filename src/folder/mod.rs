//! The user's own folder of images: fitting a detector to it, scoring, and comparing
//! verdicts with labels.

mod attempt;
mod fit;
mod order;
mod report;
mod scoring;
mod split;

pub use fit::{Comparison, FittedFolder, fit_folder};
pub use order::FolderFit;
pub use report::FolderPage;
pub use scoring::{Judged, Kept, SCORING_BATCH, Scored, Scoring, ScoringOptions};
