//! A run as one self-contained HTML page: tables, figures and pictures, no network, no script.

mod content;
mod curves;
mod error;
mod figures;
mod format;
mod histogram;
mod image_grid;
mod page;
mod table;

pub use content::{
    Extremes, Gallery, Histogram, LearningCurve, MetricRow, Reconstructions, RocCurve, RunReport,
    ScoredImage, Series, Timing,
};
pub use error::ReportError;
pub use page::render;
