//! Distributions of a score over sets of images, as in the paper's Figure 1.

use plotters::prelude::*;

use super::{Key, axes, colour, draw, legend, marker};
use crate::evaluate::quantile;
use crate::report::format::count;
use crate::report::{Histogram, ReportError, Series};

/// The frame never reaches farther than this many widths of the first set beyond it, or a few
/// extreme values would squeeze everything else into one bar.
const REACH: f64 = 10.0;

/// Draws `histogram`; returns the SVG and sentences for its caption.
///
/// # Errors
/// [`ReportError::Figure`] when plotters fails.
pub(in crate::report) fn histogram(histogram: &Histogram) -> Result<(String, String), ReportError> {
    let bins = Bins::new(histogram);
    let top = bins
        .densities
        .iter()
        .flatten()
        .fold(0.0, |top: f64, &density| top.max(density));
    let top = if top > 0.0 { top } else { 1.0 };
    let shown: Vec<_> = histogram
        .thresholds
        .iter()
        .filter(|(_, at)| (bins.low..=bins.high()).contains(&f64::from(*at)))
        .collect();
    // Room above the highest bar for the threshold labels, one row each.
    let top = top * (1.08 + 0.06 * shown.len() as f64);
    let svg = draw(&histogram.title, (880, 580), |area| {
        let keys: Vec<Key> = histogram
            .series
            .iter()
            .enumerate()
            .map(|(index, series)| Key {
                name: format!("{} (n = {})", series.name, count(series.values.len())),
                colour: colour(index),
            })
            .collect();
        let plot = legend(area, &keys)?;
        let x = (histogram.score_label.as_str(), [bins.low, bins.high()]);
        let mut chart = axes(&plot, x, ("density", [0.0, top]))?;
        for (index, densities) in bins.densities.iter().enumerate() {
            let steps = densities.iter().enumerate().flat_map(|(bin, &density)| {
                [(bins.edge(bin), density), (bins.edge(bin + 1), density)]
            });
            let colour = colour(index);
            chart.draw_series(AreaSeries::new(steps.clone(), 0.0, colour.mix(0.28)))?;
            chart.draw_series(LineSeries::new(steps, colour.stroke_width(3)))?;
        }
        for (row, (label, at)) in shown.iter().enumerate() {
            marker(&mut chart, f64::from(*at), label, row as i32)?;
        }
        Ok(())
    })?;
    Ok((svg, bins.note(histogram)))
}

/// Values counted in common bins.
struct Bins {
    low: f64,
    width: f64,
    count: usize,
    /// Per series and bin: share of the series' finite values in the bin, divided by its width.
    densities: Vec<Vec<f64>>,
    /// Per series: finite values beyond the bins.
    outside: Vec<usize>,
    /// Per series: values that are not finite.
    unusable: Vec<usize>,
}

impl Bins {
    fn new(histogram: &Histogram) -> Self {
        let finite: Vec<Vec<f32>> = histogram.series.iter().map(finite).collect();
        let (low, high, core) = range(&finite, &histogram.thresholds);
        let most = finite.iter().map(Vec::len).max().unwrap_or(0);
        // About 40 bars over the first set, fewer where there are few values.
        let by_width = (40.0 * (high - low) / core).clamp(40.0, 200.0);
        let by_count = (2.0 * (most as f64).sqrt()).max(12.0);
        let bins = by_width.min(by_count) as usize;
        let width = (high - low) / bins as f64;
        let mut outside = Vec::new();
        let mut densities = Vec::new();
        for values in &finite {
            let mut counts = vec![0usize; bins];
            let mut beyond = 0;
            for &value in values {
                let position = (f64::from(value) - low) / width;
                if (0.0..=bins as f64).contains(&position) {
                    // The last bin is closed on both sides.
                    counts[(position as usize).min(bins - 1)] += 1;
                } else {
                    beyond += 1;
                }
            }
            let unit = values.len().max(1) as f64 * width;
            densities.push(counts.iter().map(|&count| count as f64 / unit).collect());
            outside.push(beyond);
        }
        let unusable = histogram.series.iter().zip(&finite);
        let unusable = unusable
            .map(|(series, finite)| series.values.len() - finite.len())
            .collect();
        Self {
            low,
            width,
            count: bins,
            densities,
            outside,
            unusable,
        }
    }

    fn edge(&self, bin: usize) -> f64 {
        self.low + bin as f64 * self.width
    }

    fn high(&self) -> f64 {
        self.edge(self.count)
    }

    /// What the reader must know to trust the picture.
    fn note(&self, histogram: &Histogram) -> String {
        let mut note = String::from("Density per set over common bins.");
        let mut say = |counts: &[usize], what: &str| {
            let parts: Vec<String> = counts
                .iter()
                .zip(&histogram.series)
                .filter(|(hidden, _)| **hidden > 0)
                .map(|(&hidden, series)| {
                    let share = 100.0 * hidden as f64 / series.values.len() as f64;
                    format!("{} of {} ({share:.2} %)", count(hidden), series.name)
                })
                .collect();
            if !parts.is_empty() {
                note.push_str(&format!(" {what}: {}.", parts.join(", ")));
            }
        };
        say(&self.outside, "Outside the range shown");
        say(&self.unusable, "Not finite, not drawn");
        for (label, at) in &histogram.thresholds {
            if !(self.low..=self.high()).contains(&f64::from(*at)) {
                note.push_str(&format!(" {label} ({at:.4}) lies outside the range shown."));
            }
        }
        note
    }
}

fn finite(series: &Series) -> Vec<f32> {
    let values = series.values.iter().copied();
    values.filter(|value| value.is_finite()).collect()
}

/// (low, high, core): the 0.5 % to 99.5 % range of every set joined, so that a small set is never
/// cut away by a large one; a little wider, so that steep ends fall to the axis, and stretched to
/// thresholds close by. `core` is the width of the first set.
pub(in crate::report) fn range(
    series: &[Vec<f32>],
    thresholds: &[(String, f32)],
) -> (f64, f64, f64) {
    let ranges: Vec<(f64, f64)> = series
        .iter()
        .filter_map(|values| Some((quantile(values, 0.005).ok()?, quantile(values, 0.995).ok()?)))
        .collect();
    let mut low = ranges
        .iter()
        .map(|range| range.0)
        .fold(f64::INFINITY, f64::min);
    let mut high = ranges
        .iter()
        .map(|range| range.1)
        .fold(f64::NEG_INFINITY, f64::max);
    if ranges.is_empty() {
        (low, high) = (0.0, 1.0);
    }
    let core = ranges.iter().find(|(from, to)| to > from);
    if let Some(&(from, to)) = core {
        low = low.max(from - REACH * (to - from));
        high = high.min(to + REACH * (to - from));
    }
    let span = high - low;
    (low, high) = (low - 0.05 * span, high + 0.05 * span);
    for &(_, at) in thresholds {
        let at = f64::from(at);
        if at >= low - 0.3 * span && at <= high + 0.3 * span {
            low = low.min(at - 0.03 * span);
            high = high.max(at + 0.03 * span);
        }
    }
    // Constant scores: one bar in the middle. The floor keeps bins wider than f32 can resolve.
    let floor = 1e-4 * low.abs().max(high.abs()).max(1e-3);
    if high - low < floor {
        (low, high) = (low - floor, high + floor);
    }
    let core = core.map_or(high - low, |(from, to)| to - from);
    (low, high, core.max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&[f32]], thresholds: &[f32]) -> Histogram {
        let series = values.iter().map(|values| Series {
            name: "set".into(),
            values: values.to_vec(),
        });
        Histogram {
            title: "t".into(),
            caption: String::new(),
            score_label: "log-likelihood (nats)".into(),
            series: series.collect(),
            thresholds: thresholds
                .iter()
                .map(|at| ("bound".to_owned(), *at))
                .collect(),
        }
    }

    #[test]
    fn densities_integrate_to_the_share_inside() {
        let values: Vec<f32> = (0..1000).map(|index| (index as f32).sqrt()).collect();
        let bins = Bins::new(&of(&[&values, &values[..40]], &[]));
        for (densities, (outside, n)) in bins
            .densities
            .iter()
            .zip(bins.outside.iter().zip([1000.0, 40.0]))
        {
            let inside: f64 = densities.iter().sum::<f64>() * bins.width;
            assert!(
                (inside + *outside as f64 / n - 1.0).abs() < 1e-9,
                "{inside}"
            );
        }
        assert!(bins.outside[0] <= 10);
    }

    #[test]
    fn odd_values_are_drawn_or_said_in_the_caption() {
        let (svg, note) =
            histogram(&of(&[&[f32::NAN, 1.0, f32::INFINITY], &[]], &[1.0, 9e9])).unwrap();
        assert!(svg.contains("<svg"));
        assert!(
            note.contains("Not finite, not drawn: 2 of set (66.67 %)"),
            "{note}"
        );
        assert!(note.contains("lies outside the range shown"), "{note}");
        let many: [&[&[f32]]; 5] = [
            &[],
            &[&[]],
            &[&[5.0; 9]],
            &[&[-1e30, 1e30]],
            &[&[0.0; 3], &[1e-30]],
        ];
        for values in many {
            let (svg, _) = histogram(&of(values, &[0.5])).unwrap();
            assert!(!svg.contains("NaN"), "{values:?}");
        }
    }

    #[test]
    fn a_far_away_set_does_not_squeeze_the_first() {
        let near: Vec<f32> = (0..500).map(|index| index as f32 / 500.0).collect();
        let far: Vec<f32> = (0..500).map(|index| 1e6 + index as f32).collect();
        let bins = Bins::new(&of(&[&near, &far], &[]));
        assert!(bins.high() < 20.0);
        assert_eq!(bins.outside[1], 500);
    }
}
