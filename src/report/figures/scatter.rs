//! Two quantities of the same images against each other.

use plotters::prelude::*;

use super::histogram::range;
use super::{Key, axes, colour, draw, legend};
use crate::report::format::count;
use crate::report::{ReportError, Scatter};

/// The figure, and what its caption must say of points that are not in it.
///
/// # Errors
/// [`ReportError::Figure`] when plotters fails.
pub(in crate::report) fn scatter(content: &Scatter) -> Result<(String, String), ReportError> {
    let along = |axis: usize| {
        let values = |points: &Vec<[f32; 2]>| {
            let values = points.iter().map(|point| point[axis]);
            values.filter(|value| value.is_finite()).collect()
        };
        let columns = content.series.iter().map(|(_, points)| values(points));
        let (low, high, _) = range(&columns.collect::<Vec<Vec<f32>>>(), &[]);
        [low, high]
    };
    let frame = [along(0), along(1)];
    let place = |&[x, y]: &[f32; 2]| {
        let at = [f64::from(x), f64::from(y)];
        let mut axes = at.iter().zip(&frame);
        // False for what is no number, too.
        let inside = axes.all(|(value, [low, high])| (low..=high).contains(&value));
        inside.then_some((at[0], at[1]))
    };
    let shown: Vec<Vec<(f64, f64)>> = content
        .series
        .iter()
        .map(|(_, points)| points.iter().filter_map(place).collect())
        .collect();
    let svg = draw(&content.title, (880, 700), |area| {
        let keys = content
            .series
            .iter()
            .enumerate()
            .map(|(index, (name, _))| Key {
                name: name.clone(),
                colour: colour(index),
            });
        let plot = legend(area, &keys.collect::<Vec<_>>())?;
        let labels = [&content.x_label, &content.y_label];
        let mut chart = axes(&plot, (labels[0], frame[0]), (labels[1], frame[1]))?;
        for (index, points) in shown.iter().enumerate() {
            let style = colour(index).mix(0.55).filled();
            let dots = points.iter().map(|&at| Circle::new(at, 5, style));
            chart.draw_series(dots)?;
        }
        Ok(())
    })?;
    let all = content.series.iter().zip(&shown);
    let missing: usize = all
        .map(|((_, points), shown)| points.len() - shown.len())
        .sum();
    let note = match missing {
        0 => String::new(),
        missing => format!("Outside the range shown: {}.", count(missing)),
    };
    Ok((svg, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(series: Vec<Vec<[f32; 2]>>) -> Scatter {
        Scatter {
            title: "t".to_owned(),
            caption: String::new(),
            x_label: "bits per pixel".to_owned(),
            y_label: "NLL".to_owned(),
            series: series
                .into_iter()
                .map(|points| ("set".to_owned(), points))
                .collect(),
        }
    }

    #[test]
    fn every_point_is_drawn_or_counted() {
        let mut points: Vec<[f32; 2]> = (0..400).map(|at| [at as f32, (at % 20) as f32]).collect();
        points[7][1] = f32::NAN;
        points[8][1] = 1e9;
        let (svg, note) = scatter(&of(vec![points, vec![[3.0, 3.0]]])).unwrap();
        assert_eq!(svg.matches("<circle").count(), 399);
        assert_eq!(note, "Outside the range shown: 2.");
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn odd_sets_are_a_figure() {
        let many = [
            vec![],
            vec![vec![]],
            vec![vec![[1.0, 1.0]; 3]],
            vec![vec![[f32::NAN, f32::INFINITY]]],
        ];
        for series in many {
            let (svg, _) = scatter(&of(series)).unwrap();
            assert!(svg.contains("<svg") && !svg.contains("NaN"));
        }
    }
}
