//! What several pages are made of.

use crate::report::figures::curves;
use crate::report::figures::histogram;
use crate::report::format::{count, duration, panel};
use crate::report::{Histogram, ReportError, RocCurve, Timing};

/// Numbers figures in their order on the page: what is not shown gets none.
pub(super) struct Numbering(usize);

impl Numbering {
    /// After so many figures.
    pub fn after(figures: usize) -> Self {
        Self(figures)
    }

    /// The next number.
    pub fn next(&mut self) -> usize {
        self.0 += 1;
        self.0
    }

    /// The label of the next figure.
    pub fn label(&mut self) -> String {
        panel(self.next(), 0, 1)
    }

    /// Labels of so many panels of one figure.
    pub fn panels(&mut self, count: usize) -> Vec<String> {
        let figure = if count == 0 { 0 } else { self.next() };
        (0..count)
            .map(|index| panel(figure, index, count))
            .collect()
    }
}

/// A plot with its number.
pub(super) struct Figure {
    pub label: String,
    pub title: String,
    pub svg: String,
    pub caption: String,
}

impl Figure {
    /// A histogram of scores.
    ///
    /// # Errors
    /// [`ReportError`] when it cannot be drawn.
    pub fn of_histogram(label: String, content: &Histogram) -> Result<Self, ReportError> {
        let (svg, note) = histogram::histogram(content)?;
        Ok(Self {
            label,
            title: content.title.clone(),
            svg,
            caption: format!("{} {note}", content.caption).trim().to_owned(),
        })
    }

    /// ROC curves, where there are any; `positive` names the images of the positive class.
    ///
    /// # Errors
    /// [`ReportError`] when they cannot be drawn.
    pub fn of_roc(
        numbering: &mut Numbering,
        roc: &[RocCurve],
        positive: &str,
    ) -> Result<Option<Self>, ReportError> {
        if roc.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            label: numbering.label(),
            title: "ROC curves".to_owned(),
            svg: curves::roc(roc)?,
            caption: format!(
                "{positive} images are the positive class; the dashed diagonal is chance. AUROC is exact, from all scores."
            ),
        }))
    }
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
