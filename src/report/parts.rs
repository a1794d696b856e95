//! What several pages are made of.

use super::content::Timing;
use super::format::{count, duration};

/// A plot with its number.
pub(super) struct Figure {
    pub label: String,
    pub title: String,
    pub svg: String,
    pub caption: String,
}

/// Where the time went, in text.
pub(super) struct Times {
    /// Step, time, images per second.
    pub rows: Vec<[String; 3]>,
    pub total: String,
    pub memory: Option<String>,
}

impl Times {
    pub fn new(timings: &[Timing], peak_memory_mib: Option<f64>) -> Self {
        let rows = timings.iter().map(|timing| {
            let rate = timing.images_per_second.filter(|rate| rate.is_finite());
            let rate = rate.map_or(String::new(), |rate| match rate >= 100.0 {
                true => count(rate.round() as usize),
                false => format!("{rate:.1}"),
            });
            [timing.stage.clone(), duration(timing.seconds), rate]
        });
        Self {
            rows: rows.collect(),
            total: duration(timings.iter().map(|timing| timing.seconds).sum()),
            memory: peak_memory_mib
                .map(|mib| format!("{} MiB", count(mib.max(0.0).round() as usize))),
        }
    }
}
