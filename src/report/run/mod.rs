//! The page of one run.

mod content;
mod explained;
mod page;
pub(in crate::report) mod table;

pub use content::{
    ComparedSet, Explained, Extremes, Gallery, Histogram, ImageRows, LearningCurve, MetricRow,
    Reconstructions, RocCurve, RunReport, Scatter, ScoredImage, Series, TermsRow, Timing,
};
pub use page::render;
