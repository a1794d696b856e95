//! The figure of a sweep: in its page, and as a file of its own.

use super::table::{Entry, Line, lines};
use crate::report::figures::bars::{Bar, Group, bars, stand_alone};
use crate::report::{ReportError, SweepReport};

/// Name of the file beside the Markdown, which shows it.
pub const CHART_FILE: &str = "chart.svg";

/// Title of the figure.
pub(in crate::report) const FIGURE: &str = "AUROC per anomalous class";

/// The figure of `report` as an SVG file that needs nothing beside it, for [`CHART_FILE`]; None
/// where there is nothing to draw.
///
/// # Errors
/// [`ReportError::Figure`] when plotters fails.
pub fn sweep_chart(report: &SweepReport) -> Result<Option<String>, ReportError> {
    let svg = chart(report, &lines(report))?;
    Ok(svg.map(|svg| stand_alone(&svg)))
}

/// Whether there is something to draw.
pub(in crate::report) fn has_chart(report: &SweepReport) -> bool {
    !report.methods.is_empty() && !report.classes.is_empty()
}

/// The figure for a page: a group per class and, where there are several, one for the mean. `lines`
/// are those of `report`.
pub(in crate::report) fn chart(
    report: &SweepReport,
    lines: &[Line],
) -> Result<Option<String>, ReportError> {
    if !has_chart(report) {
        return Ok(None);
    }
    let bar = |entry: &Option<Entry>| {
        entry.as_ref().map(|entry| Bar {
            height: entry.auroc,
            deviation: entry.deviation,
        })
    };
    let mut groups: Vec<Group> = Vec::new();
    for (class, name) in report.classes.iter().enumerate() {
        groups.push(Group {
            name,
            bars: lines.iter().map(|line| bar(&line.cells[class])).collect(),
            apart: false,
        });
    }
    if groups.len() > 1 && lines.iter().any(|line| line.mean.is_some()) {
        groups.push(Group {
            name: "mean",
            bars: lines.iter().map(|line| bar(&line.mean)).collect(),
            apart: true,
        });
    }
    let names: Vec<&str> = lines.iter().map(|line| line.name).collect();
    bars(FIGURE, ("anomalous class", "AUROC"), &names, &groups).map(Some)
}

/// What stands below the figure.
pub(in crate::report) fn caption(lines: &[Line], several_seeds: bool) -> String {
    let mut caption = String::from(
        "Each class in turn is the anomaly and all others are normal, as in the paper's Figure 2. \
         Bars stand in the order of the legend.",
    );
    if several_seeds {
        caption.push_str(
            " Bars are means over seeds, error bars one sample standard deviation to either side.",
        );
    }
    if lines
        .iter()
        .flat_map(|line| &line.cells)
        .any(Option::is_none)
    {
        caption.push_str(" A gap is a cell without a result.");
    }
    caption
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sweep::table::tests::method;

    #[test]
    fn the_file_needs_nothing_beside_it() {
        let report = SweepReport {
            classes: vec!["<script>&".into(), "1".into()],
            methods: vec![method("a \"quoted\" name", &[&[0.9], &[0.7]])],
            ..SweepReport::default()
        };
        let svg = sweep_chart(&report).unwrap().unwrap();
        assert!(
            svg.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg width=\"1040\""),
            "{svg}"
        );
        assert!(svg.contains("xmlns=\"http://www.w3.org/2000/svg\"") && !svg.contains("100%"));
        // The ground comes before all else.
        let ground = svg.find("fill=\"#FFFFFF\"").unwrap();
        assert!(ground < svg.find("<text").unwrap());
        assert!(svg.contains("font-family=\"sans-serif\"") && svg.contains("&lt;script&gt;&amp;"));
        for outside in ["<script", "<style", "<image", "href", "url("] {
            assert!(!svg.contains(outside), "{outside}");
        }
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }

    #[test]
    fn nothing_to_draw_is_no_file() {
        assert!(sweep_chart(&SweepReport::default()).unwrap().is_none());
        let mut report = SweepReport {
            classes: vec!["0".into()],
            ..SweepReport::default()
        };
        assert!(sweep_chart(&report).unwrap().is_none());
        report.methods = vec![method("knn", &[&[f64::NAN]])];
        assert!(sweep_chart(&report).unwrap().is_some());
    }
}
