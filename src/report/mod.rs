//! A run, a sweep over many, or the verdicts on a user's own images, as one self-contained HTML page:
//! tables, figures and pictures, no network, no script.

mod error;
mod figures;
mod folder;
mod format;
mod parts;
mod run;
mod sweep;

pub use error::ReportError;
pub(crate) use figures::thumbnail::thumbnail;
pub use folder::{FolderReport, OddImage, render_folder};
pub use run::{
    ComparedSet, Explained, Extremes, Gallery, Histogram, ImageRows, LearningCurve, MetricRow,
    Reconstructions, RocCurve, RunReport, Scatter, ScoredImage, Series, TermsRow, Timing, render,
};
pub use sweep::{
    CHART_FILE, Candidate, CandidateRun, PairComparison, SelectionReport, SweepCell, SweepMethod,
    SweepReport, render_sweep, selection_markdown, sweep_chart, sweep_markdown,
};
