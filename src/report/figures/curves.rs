//! Line figures: ROC curves and learning curves.

use plotters::prelude::*;

use super::{GREY, Key, axes, colour, draw, legend, marker};
use crate::report::{LearningCurve, ReportError, RocCurve};

/// All `curves` in one square figure with the diagonal of chance.
///
/// # Errors
/// [`ReportError::Figure`] when plotters fails.
pub(in crate::report) fn roc(curves: &[RocCurve]) -> Result<String, ReportError> {
    let keys: Vec<Key> = curves
        .iter()
        .enumerate()
        .map(|(index, curve)| Key {
            name: format!("{} (AUROC {:.3})", curve.name, curve.auroc),
            colour: colour(index),
        })
        .collect();
    draw("ROC", (880, 820), |area| {
        let plot = legend(area, &keys)?;
        let mut chart = axes(
            &plot,
            ("false-positive rate (normal images flagged)", [0.0, 1.0]),
            ("true-positive rate (anomalous images flagged)", [0.0, 1.0]),
        )?;
        let chance = [(0.0, 0.0), (1.0, 1.0)];
        chart.draw_series(DashedLineSeries::new(chance, 9, 7, GREY.stroke_width(3)))?;
        for (index, curve) in curves.iter().enumerate() {
            let points = curve.roc.points.iter().copied();
            chart.draw_series(LineSeries::new(points, colour(index).stroke_width(4)))?;
        }
        Ok(())
    })
}

/// One learning curve; returns the SVG and a sentence for its caption (may be empty).
///
/// # Errors
/// [`ReportError::Figure`] when plotters fails.
pub(in crate::report) fn learning(curve: &LearningCurve) -> Result<(String, String), ReportError> {
    let lines: Vec<(&str, Vec<(f64, f64)>)> =
        [("training", &curve.train), ("validation", &curve.valid)]
            .into_iter()
            .map(|(name, values)| (name, finite(&curve.epochs, values)))
            .filter(|(_, points)| !points.is_empty())
            .collect();
    let (low, high, cut) = frame(&lines);
    let first = curve.epochs.iter().min().map_or(0.0, |&epoch| epoch as f64);
    let last = curve.epochs.iter().max().map_or(1.0, |&epoch| epoch as f64);
    let last = if last > first { last } else { first + 1.0 };
    let svg = draw(&curve.title, (880, 540), |area| {
        let keys = lines.iter().enumerate().map(|(index, (name, _))| Key {
            name: (*name).to_owned(),
            colour: colour(index),
        });
        let plot = legend(area, &keys.collect::<Vec<_>>())?;
        let mut chart = axes(&plot, ("epoch", [first, last]), (&curve.unit, [low, high]))?;
        for (index, (_, points)) in lines.iter().enumerate() {
            let points = below(points, high);
            let style = colour(index);
            chart.draw_series(LineSeries::new(
                points.iter().copied(),
                style.stroke_width(4),
            ))?;
            // A few points, or a single one, would be hard to see as a line alone.
            if points.len() <= 30 {
                let dots = points.iter().map(|&at| Circle::new(at, 6, style.filled()));
                chart.draw_series(dots)?;
            }
        }
        match curve.best_epoch {
            Some(epoch) if (first..=last).contains(&(epoch as f64)) => {
                marker(&mut chart, epoch as f64, &format!("kept: epoch {epoch}"), 0)
            }
            _ => Ok(()),
        }
    })?;
    let note = if cut {
        "The first epochs lie above the frame."
    } else {
        ""
    };
    Ok((svg, note.to_owned()))
}

fn finite(epochs: &[usize], values: &[f64]) -> Vec<(f64, f64)> {
    let points = epochs
        .iter()
        .map(|&epoch| epoch as f64)
        .zip(values.iter().copied());
    points.filter(|point| point.1.is_finite()).collect()
}

/// (low, high, whether the start was cut off): the range of all values, or of those after the first
/// tenth of the epochs where the start is so high that the rest would look flat.
fn frame(lines: &[(&str, Vec<(f64, f64)>)]) -> (f64, f64, bool) {
    let bounds = |skip_tenth: bool| {
        lines
            .iter()
            .flat_map(|(_, points)| {
                let skip = if skip_tenth {
                    points.len().div_ceil(10)
                } else {
                    0
                };
                points.iter().skip(skip).map(|point| point.1)
            })
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
    };
    let (low, high) = bounds(false);
    if low > high {
        return (0.0, 1.0, false);
    }
    let (late_low, late_high) = bounds(true);
    let late = late_high - late_low;
    if late > 0.0 && high - late_high > 4.0 * late {
        return (low - 0.05 * late, late_high + 0.5 * late, true);
    }
    let pad = (0.06 * (high - low)).max(1e-6 * high.abs().max(low.abs()).max(1e-3));
    // Room above for the label of the epoch that was kept.
    (low - pad, high + 2.0 * pad, false)
}

/// The part of a line below `high`, entering the frame where the line crosses it.
fn below(points: &[(f64, f64)], high: f64) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut before: Option<(f64, f64)> = None;
    for &(x, y) in points {
        if let Some((x0, y0)) = before
            && (y0 > high) != (y > high)
        {
            kept.push((x0 + (high - y0) / (y - y0) * (x - x0), high));
        }
        if y <= high {
            kept.push((x, y));
        }
        before = Some((x, y));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::roc_curve;

    fn curve(train: Vec<f64>, valid: Vec<f64>) -> LearningCurve {
        LearningCurve {
            title: "Flow".into(),
            unit: "nats".into(),
            epochs: (1..=train.len()).collect(),
            train,
            valid,
            best_epoch: Some(2),
        }
    }

    #[test]
    fn values_that_are_not_finite_are_skipped() {
        let odd = curve(vec![3.0, f64::NAN, 1.0], vec![f64::INFINITY, 2.0]);
        let (svg, _) = learning(&odd).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        for empty in [
            curve(vec![], vec![]),
            curve(vec![f64::NAN], vec![]),
            curve(vec![5.0], vec![5.0]),
        ] {
            assert!(learning(&empty).unwrap().0.contains("<svg"));
        }
    }

    #[test]
    fn a_steep_start_is_cut_and_said() {
        let train: Vec<f64> = (0..50)
            .map(|epoch| 1e4 / f64::from(1 + epoch).powi(3) + 5.0)
            .collect();
        let (_, note) = learning(&curve(train, vec![])).unwrap();
        assert!(note.contains("above the frame"));
        let gentle = (0..50).map(|epoch| 5.0 - f64::from(epoch) * 0.01).collect();
        assert!(learning(&curve(gentle, vec![])).unwrap().1.is_empty());
        assert_eq!(
            below(&[(0.0, 10.0), (1.0, 0.0)], 5.0),
            [(0.5, 5.0), (1.0, 0.0)]
        );
    }

    #[test]
    fn roc_figures_hold_many_curves() {
        let one = RocCurve {
            name: "a rather long name of a method".into(),
            roc: roc_curve(&[0.0, 1.0], &[1.0, 2.0]).unwrap(),
            auroc: 0.875,
        };
        let svg = roc(&vec![one; 9]).unwrap();
        assert_eq!(svg.matches("AUROC 0.875").count(), 9);
        assert!(roc(&[]).unwrap().contains("<svg"));
    }
}
