//! The common look of all figures: colours, sizes, legend, axes, and plotters' SVG made inline.

pub(in crate::report) mod bars;
pub(in crate::report) mod curves;
pub(in crate::report) mod histogram;
pub(in crate::report) mod image_grid;
pub(in crate::report) mod scatter;
pub(in crate::report) mod thumbnail;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::ReportError;

pub(in crate::report) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(in crate::report) type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
pub(in crate::report) type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// Okabe & Ito's palette, told apart under every common colour blindness. Normal images are blue,
/// anomalous ones vermilion; yellow is left out, it vanishes on white.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(84, 84, 84),
];
/// Colour of text and axes.
pub(in crate::report) const INK: RGBColor = RGBColor(45, 52, 60);
/// Colour of what is there for comparison.
pub(in crate::report) const GREY: RGBColor = RGBColor(140, 148, 156);
/// Colour of the lines of the grid.
pub(in crate::report) const FAINT: RGBColor = RGBColor(222, 226, 230);
/// Text height. Plotters rounds coordinates to whole units, so figures are drawn on a canvas of
/// nearly twice the size at which they are shown, and everything in them is as much larger.
pub(in crate::report) const FONT: u32 = 25;

/// Colour of series `index`: seven, then the same ones pale; repeats after fourteen.
pub(in crate::report) fn colour(index: usize) -> RGBColor {
    let RGBColor(red, green, blue) = PALETTE[index % PALETTE.len()];
    if (index / PALETTE.len()).is_multiple_of(2) {
        return RGBColor(red, green, blue);
    }
    let pale = |channel: u8| channel / 2 + 128;
    RGBColor(pale(red), pale(green), pale(blue))
}

/// Draws a figure of `size` units and returns it as inline SVG that fills its container's width.
///
/// # Errors
/// [`ReportError::Figure`] when plotters fails.
pub(in crate::report) fn draw(
    title: &str,
    size: (u32, u32),
    paint: impl FnOnce(&Area) -> Drawn<()>,
) -> Result<String, ReportError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)
            .and_then(|()| paint(&root))
            .and_then(|()| root.present())
            .map_err(|error| ReportError::Figure {
                title: title.to_owned(),
                reason: error.to_string(),
            })?;
    }
    let fixed = format!("width=\"{}\" height=\"{}\" ", size.0, size.1);
    Ok(svg.replacen(&fixed, "width=\"100%\" ", 1))
}

/// An entry of a legend.
pub(in crate::report) struct Key {
    pub name: String,
    pub colour: RGBColor,
}

/// Writes the legend in rows above the plot, where it cannot hide data, and returns the rest.
pub(in crate::report) fn legend<'a>(area: &Area<'a>, keys: &[Key]) -> Drawn<Area<'a>> {
    let row_height = FONT as i32 + 13;
    let (width, _) = area.dim_in_pixel();
    let (mut x, mut row) = (MARGIN_LEFT, 0);
    let mut places = Vec::new();
    for key in keys {
        let needed = 40 + text_width(&key.name) + 34;
        if x > MARGIN_LEFT && x + needed > width as i32 {
            (x, row) = (MARGIN_LEFT, row + 1);
        }
        places.push((x, row * row_height));
        x += needed;
    }
    let height = (row + 1) * row_height + 8;
    let (top, plot) = area.split_vertically(height);
    for (key, (x, y)) in keys.iter().zip(places) {
        let middle = y + row_height / 2;
        let chip = [(x, middle - 9), (x + 30, middle + 9)];
        top.draw(&Rectangle::new(chip, key.colour.filled()))?;
        top.draw(&Text::new(
            key.name.clone(),
            (x + 40, middle),
            text(INK).pos(Pos::new(HPos::Left, VPos::Center)),
        ))?;
    }
    Ok(plot)
}

/// Width kept free for the y axis.
pub(in crate::report) const MARGIN_LEFT: i32 = 104;

/// Axes with light horizontal lines, labelled; `x` and `y` are the ranges shown.
pub(in crate::report) fn axes<'a, 'b>(
    area: &'a Area<'b>,
    (x_label, x): (&str, [f64; 2]),
    (y_label, y): (&str, [f64; 2]),
) -> Drawn<Chart<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(28)
        .margin_top(14)
        .x_label_area_size(76)
        .y_label_area_size(MARGIN_LEFT)
        .build_cartesian_2d(x[0]..x[1], y[0]..y[1])?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT.stroke_width(2))
        .axis_style(INK.stroke_width(2))
        .label_style(text(INK))
        .axis_desc_style(text(INK))
        .x_labels(7)
        .y_labels(6)
        .x_desc(x_label)
        .y_desc(y_label)
        .x_label_formatter(&|value| tick(*value, x[1] - x[0]))
        .y_label_formatter(&|value| tick(*value, y[1] - y[0]))
        .draw()?;
    Ok(chart)
}

/// A dashed vertical line at `x` over the whole height, with its label near the top; lines of one
/// figure get rising `row`s so that labels do not overlap.
pub(in crate::report) fn marker(chart: &mut Chart, x: f64, label: &str, row: i32) -> Drawn<()> {
    let (xs, ys) = (chart.x_range(), chart.y_range());
    let style = INK.stroke_width(2);
    let line = [(x, ys.start), (x, ys.end)];
    chart.draw_series(DashedLineSeries::new(line, 9, 7, style))?;
    let left_half = x < (xs.start + xs.end) / 2.0;
    let (side, shift) = if left_half {
        (HPos::Left, 10)
    } else {
        (HPos::Right, -10)
    };
    let label = Text::new(
        label.to_owned(),
        (shift, 2 + row * (FONT as i32 + 6)),
        text(INK).pos(Pos::new(side, VPos::Top)),
    );
    chart.draw_series(std::iter::once(EmptyElement::at((x, ys.end)) + label))?;
    Ok(())
}

/// Style of text in a figure.
pub(in crate::report) fn text(colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(&colour)
}

/// Estimated width of `text`: no font is loaded, 0.55 em a letter is a little generous.
pub(in crate::report) fn text_width(text: &str) -> i32 {
    (text.chars().count() as f64 * f64::from(FONT) * 0.55) as i32
}

/// A tick label with as many decimals as a range of `span` needs.
fn tick(value: f64, span: f64) -> String {
    if span >= 1e6 || span <= 1e-5 {
        return format!("{value:.1e}");
    }
    // Plotters puts 5 to 8 ticks on an axis, so the step is at least an eighth of it.
    let decimals = (-(span / 8.0).log10()).ceil().clamp(0.0, 6.0) as usize;
    // Plotters' ticks carry rounding errors; adding zero turns "-0" into "0".
    let scale = 10f64.powi(decimals as i32);
    format!("{:.decimals$}", (value * scale).round() / scale + 0.0).replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_scale_with_the_page_and_escape_text() {
        let svg = draw("t", (300, 200), |area| {
            let keys = [Key {
                name: "<script>\"&".into(),
                colour: colour(0),
            }];
            legend(area, &keys).map(|_| ())
        })
        .unwrap();
        assert!(
            svg.starts_with("<svg width=\"100%\" viewBox=\"0 0 300 200\""),
            "{svg}"
        );
        assert!(!svg.contains("<script"), "{svg}");
    }

    #[test]
    fn ticks_have_the_decimals_the_range_needs() {
        assert_eq!(tick(200.00000001, 500.0), "200");
        assert_eq!(tick(0.4, 1.0), "0.4");
        assert_eq!(tick(-0.02, 0.1), "\u{2212}0.02");
        assert_eq!(tick(-1e-12, 1.0), "0.0");
        assert_eq!(tick(0.015, 0.032), "0.015");
        assert_eq!(tick(2e8, 4e8), "2.0e8");
    }
}
