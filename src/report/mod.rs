//! A run, a sweep over many, or the verdicts on a user's own images, as one self-contained HTML page:
//! tables, figures and pictures, no network, no script.

mod bars;
mod content;
mod curves;
mod error;
mod explained;
mod figures;
mod folder_content;
mod folder_page;
mod format;
mod histogram;
mod image_grid;
mod page;
mod parts;
mod scatter;
mod selection;
mod sweep_chart;
mod sweep_content;
mod sweep_markdown;
mod sweep_page;
mod sweep_table;
mod table;
mod thumbnail;

pub use content::{
    ComparedSet, Explained, Extremes, Gallery, Histogram, ImageRows, LearningCurve, MetricRow,
    Reconstructions, RocCurve, RunReport, Scatter, ScoredImage, Series, TermsRow, Timing,
};
pub use error::ReportError;
pub use folder_content::{FolderReport, OddImage};
pub use folder_page::render_folder;
pub use page::render;
pub use selection::{Candidate, CandidateRun, SelectionReport, selection_markdown};
pub use sweep_chart::{CHART_FILE, sweep_chart};
pub use sweep_content::{PairComparison, SweepCell, SweepMethod, SweepReport};
pub use sweep_markdown::sweep_markdown;
pub use sweep_page::render_sweep;
pub(crate) use thumbnail::thumbnail;
