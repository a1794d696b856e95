//! The page, the Markdown and the chart of a sweep, and the Markdown of a selection.

mod chart;
mod content;
mod markdown;
mod page;
mod selection;
mod table;

pub use chart::{CHART_FILE, sweep_chart};
pub use content::{PairComparison, SweepCell, SweepMethod, SweepReport};
pub use markdown::sweep_markdown;
pub use page::render_sweep;
pub use selection::{Candidate, CandidateRun, SelectionReport, selection_markdown};
