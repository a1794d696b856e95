//! Grouped bars with error bars, as in the paper's Figure 2.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    Chart, Drawn, FAINT, FONT, GREY, INK, Key, MARGIN_LEFT, colour, draw, legend, text, text_width,
};
use crate::report::ReportError;

/// Size of the figure; twice that at which the page shows it.
const WIDTH: u32 = 2080;
const HEIGHT: u32 = 860;
/// Free at the right, for the label of the line of chance.
const MARGIN_RIGHT: i32 = 104;
/// Share of a group's slot that its bars fill.
const FILLED: f64 = 0.84;
/// Widest bar, in units of the figure, for few groups of few bars.
const WIDEST_BAR: f64 = 90.0;

/// One bar, from 0 to `height`, both in 0..=1; `deviation` is half the length of the error bar.
#[derive(Clone, Copy)]
pub(in crate::report) struct Bar {
    pub height: f64,
    pub deviation: Option<f64>,
}

/// The bars above one label of the x axis, one per series; None leaves a gap.
pub(in crate::report) struct Group<'a> {
    pub name: &'a str,
    pub bars: Vec<Option<Bar>>,
    /// Whether a line sets it apart from the groups before it.
    pub apart: bool,
}

/// Draws `groups` of one bar per name in `series` on a y axis from 0 to 1 with the line of chance
/// at 0.5. Error bars are cut at the frame.
///
/// # Errors
/// [`ReportError::Figure`] when plotters fails.
pub(in crate::report) fn bars(
    title: &str,
    (x_label, y_label): (&str, &str),
    series: &[&str],
    groups: &[Group],
) -> Result<String, ReportError> {
    let slots = groups.len().max(1) as f64;
    draw(title, (WIDTH, HEIGHT), |area| {
        let keys = series.iter().enumerate().map(|(index, name)| Key {
            name: (*name).to_owned(),
            colour: colour(index),
        });
        let plot = legend(area, &keys.collect::<Vec<_>>())?;
        let mut chart = ChartBuilder::on(&plot)
            .margin_right(MARGIN_RIGHT)
            .margin_top(14)
            .x_label_area_size(80)
            .y_label_area_size(MARGIN_LEFT)
            .build_cartesian_2d(0.0..slots, 0.0..1.0)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT.stroke_width(2))
            .axis_style(INK.stroke_width(2))
            .label_style(text(INK))
            .axis_desc_style(text(INK))
            // Names are written below, in the middle of their groups.
            .x_labels(0)
            .set_tick_mark_size(LabelAreaPosition::Bottom, 0)
            .y_labels(11)
            .x_desc(x_label)
            .y_desc(y_label)
            .y_label_formatter(&|value| format!("{value:.1}"))
            .draw()?;
        let slot_width = f64::from(WIDTH as i32 - MARGIN_LEFT - MARGIN_RIGHT) / slots;
        let pitch = (FILLED / series.len().max(1) as f64).min(WIDEST_BAR / slot_width);
        for (index, group) in groups.iter().enumerate() {
            let start = index as f64;
            if group.apart {
                let line = [(start, 0.0), (start, 1.0)];
                chart.draw_series(LineSeries::new(line, GREY.stroke_width(2)))?;
            }
            let first = start + 0.5 - pitch * group.bars.len() as f64 / 2.0;
            for (bar_index, bar) in group.bars.iter().enumerate() {
                if let Some(bar) = bar {
                    let left = first + pitch * bar_index as f64;
                    draw_bar(&mut chart, *bar, (left, pitch), colour(bar_index))?;
                }
            }
            let name = fitted(group.name, slot_width as i32 - 8);
            let style = text(INK).pos(Pos::new(HPos::Center, VPos::Top));
            let name = EmptyElement::at((start + 0.5, 0.0)) + Text::new(name, (0, 14), style);
            chart.draw_series(std::iter::once(name))?;
        }
        let chance = [(0.0, 0.5), (slots, 0.5)];
        // A light rim first, here and below, so that lines show on dark bars.
        for style in [WHITE.mix(0.7).stroke_width(7), INK.stroke_width(3)] {
            chart.draw_series(DashedLineSeries::new(chance, 9, 7, style))?;
        }
        let style = text(INK).pos(Pos::new(HPos::Left, VPos::Center));
        let label = EmptyElement::at((slots, 0.5)) + Text::new("chance", (10, 0), style);
        chart.draw_series(std::iter::once(label))?;
        Ok(())
    })
}

/// A figure of [`bars`] as a file of its own: with a size, that at which the page shows it, instead
/// of its container's.
pub(in crate::report) fn stand_alone(inline: &str) -> String {
    let size = format!("<svg width=\"{}\" height=\"{}\" ", WIDTH / 2, HEIGHT / 2);
    let svg = inline.replacen("<svg width=\"100%\" ", &size, 1);
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{svg}")
}

/// One bar over the x range that starts at `left` and is `pitch` wide.
fn draw_bar(chart: &mut Chart, bar: Bar, (left, pitch): (f64, f64), colour: RGBColor) -> Drawn<()> {
    let height = bar.height.clamp(0.0, 1.0);
    let inset = 0.05 * pitch;
    let corners = [(left + inset, 0.0), (left + pitch - inset, height)];
    chart.draw_series(std::iter::once(Rectangle::new(corners, colour.filled())))?;
    let Some(deviation) = bar.deviation.filter(|deviation| deviation.is_finite()) else {
        return Ok(());
    };
    let (low, high) = (
        (bar.height - deviation).clamp(0.0, 1.0),
        (bar.height + deviation).clamp(0.0, 1.0),
    );
    let (middle, cap) = (left + 0.5 * pitch, 0.22 * pitch);
    let strokes = [
        [(middle, low), (middle, high)],
        [(middle - cap, low), (middle + cap, low)],
        [(middle - cap, high), (middle + cap, high)],
    ];
    for style in [WHITE.stroke_width(6), INK.stroke_width(3)] {
        chart.draw_series(strokes.map(|stroke| PathElement::new(stroke, style)))?;
    }
    Ok(())
}

/// `name`, shortened with an ellipsis where it is wider than `width`.
fn fitted(name: &str, width: i32) -> String {
    if text_width(name) <= width {
        return name.to_owned();
    }
    let letters = (f64::from(width) / (f64::from(FONT) * 0.55)) as usize;
    let kept: String = name.chars().take(letters.saturating_sub(1)).collect();
    format!("{kept}\u{2026}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(groups: &[Group]) -> String {
        bars("AUROC", ("class", "AUROC"), &["one", "two"], groups).unwrap()
    }

    #[test]
    fn missing_bars_leave_gaps_and_error_bars_stay_in_the_frame() {
        let bar = |height, deviation| Some(Bar { height, deviation });
        let groups = [
            Group {
                name: "zero",
                bars: vec![bar(0.9, Some(0.3)), None],
                apart: false,
            },
            Group {
                name: "mean",
                bars: vec![bar(0.9, None), bar(0.4, Some(f64::NAN))],
                apart: true,
            },
        ];
        let svg = figure(&groups);
        let filled = |index| {
            let RGBColor(red, green, blue) = colour(index);
            let fill = format!("fill=\"#{red:02X}{green:02X}{blue:02X}\"");
            svg.matches(&fill).count()
        };
        assert_eq!((filled(0), filled(1)), (3, 2), "bars and the legend's chip");
        assert!(svg.contains("zero") && svg.contains("chance"));
        assert!(!svg.contains("NaN"));
        assert!(figure(&[]).contains("<svg"));
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(fitted("automobile", 190), "automobile");
        let short = fitted("a very long name of a class", 190);
        assert!(
            short.ends_with('\u{2026}') && text_width(&short) <= 190,
            "{short}"
        );
        assert_eq!(fitted("name", 1), "\u{2026}");
    }
}
