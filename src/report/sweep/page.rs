//! The page of a sweep: everything turned to text here, laid out by `templates/sweep.html`.

use std::collections::BTreeSet;

use askama::Template;

use super::chart::{FIGURE, caption, chart};
use super::table::{
    BESIDE, Beside, Line, Precisions, beside, latex, lines, precisions, probability, signed,
    verdict,
};
use crate::report::{PairComparison, ReportError, SweepReport};

/// Renders `report` as one self-contained HTML page: no network, no script, fit for print. Its only
/// links are relative ones to the reports of the runs.
///
/// # Errors
/// [`ReportError::Figure`] when a method has cells for more classes than there are names or plotters
/// fails, [`ReportError::Page`] when the page cannot be written.
pub fn render_sweep(report: &SweepReport) -> Result<String, ReportError> {
    Ok(Page::new(report)?.render()?)
}

#[derive(Template)]
#[template(path = "sweep.html")]
struct Page<'a> {
    report: &'a SweepReport,
    /// How much was swept, in words.
    size: String,
    chart: Option<String>,
    chart_caption: String,
    lines: Vec<Line<'a>>,
    beside: Option<Beside<'a>>,
    precisions: Vec<Precisions<'a>>,
    several_seeds: bool,
    latex: String,
    pairs: Vec<Pair<'a>>,
}

struct Pair<'a> {
    content: &'a PairComparison,
    difference: String,
    p_value: String,
    adjusted: String,
    verdict: String,
}

impl<'a> Page<'a> {
    fn new(report: &'a SweepReport) -> Result<Self, ReportError> {
        let classes = report.classes.len();
        for method in &report.methods {
            if method.cells.len() > classes {
                return Err(ReportError::Figure {
                    title: FIGURE.into(),
                    reason: format!(
                        "{} has cells for {} classes but {classes} have names: name them all",
                        method.name,
                        method.cells.len()
                    ),
                });
            }
        }
        let lines = lines(report);
        let several_seeds = lines
            .iter()
            .flat_map(|line| line.cells.iter().flatten())
            .any(|entry| entry.runs.len() > 1);
        Ok(Self {
            report,
            size: size(report),
            chart: chart(report, &lines)?,
            chart_caption: caption(&lines, several_seeds),
            several_seeds,
            latex: latex(&report.classes, &lines),
            beside: beside(report),
            precisions: precisions(report),
            pairs: report.pairs.iter().map(pair).collect(),
            lines,
        })
    }
}

fn pair(content: &PairComparison) -> Pair<'_> {
    Pair {
        content,
        difference: signed(content.difference),
        p_value: probability(content.p_value),
        adjusted: probability(content.adjusted),
        verdict: verdict(content),
    }
}

/// "Sweep of 6 methods, 10 classes, 3 seeds".
fn size(report: &SweepReport) -> String {
    let cells = report.methods.iter().flat_map(|method| &method.cells);
    let seeds: BTreeSet<u64> = cells.flatten().map(|cell| cell.seed).collect();
    let many = |count: usize, one: &str, many: &str| {
        let word = if count == 1 { one } else { many };
        format!("{count} {word}")
    };
    format!(
        "Sweep of {}, {}, {}",
        many(report.methods.len(), "method", "methods"),
        many(report.classes.len(), "class", "classes"),
        many(seeds.len(), "seed", "seeds")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sweep::table::tests::method;
    use crate::report::{SweepCell, SweepMethod};

    const HOSTILE: &str = "</script><script src=\"http://x\">&'<img src=http://x onerror=1>";

    /// Every part filled, every text being `text`.
    fn full(text: &str) -> SweepReport {
        let text = || text.to_owned();
        SweepReport {
            title: text(),
            summary_sentence: text(),
            setup: vec![(text(), text())],
            classes: vec![text(), text()],
            methods: vec![
                method(&text(), &[&[0.9, 0.8], &[0.7]]),
                SweepMethod {
                    cells: vec![vec![SweepCell {
                        seed: 0,
                        auroc: 0.123,
                        auprc: Some(0.456),
                        link: Some(text()),
                    }]],
                    deviation: Some(0.05),
                    ..method(&text(), &[])
                },
            ],
            pairs: vec![PairComparison {
                left: text(),
                right: text(),
                difference: 0.1,
                pairs: 2,
                p_value: 0.5,
                adjusted: 0.5,
                family: 1,
            }],
            test_name: text(),
            failures: vec![(text(), text())],
            command: text(),
            notes: vec![text()],
        }
    }

    #[test]
    fn the_page_is_self_contained_escapes_hostile_text_and_links_relatively() {
        let page = render_sweep(&full(HOSTILE)).unwrap();
        assert!(!page.contains("<script") && !page.contains("<img"));
        assert!(!page.contains("src=\"") && !page.contains("url(") && !page.contains("@import"));
        let targets: Vec<&str> = page
            .match_indices("href=\"")
            .filter_map(|(at, found)| page[at + found.len()..].split('"').next())
            .collect();
        assert!(targets.contains(&"0/seed-1/report.html"), "{targets:?}");
        for target in targets {
            assert!(
                !target.contains(':') && !target.starts_with('/') && !target.contains('<'),
                "{target}"
            );
        }
    }

    #[test]
    fn every_part_is_shown() {
        let page = render_sweep(&full("words")).unwrap();
        for part in [
            "Sweep of 2 methods, 2 classes, 2 seeds",
            "Figure 1",
            "Table 2",
            "0.850",
            "\u{b1} 0.071",
            ">0.123</a>",
            "<td class=\"n\">0.456</td>",
            "too few classes to tell",
            "1 of 2 classes",
            "A gap is a cell without a result",
            "\\begin{tabular}",
            "id=\"failures\"",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn little_is_a_page_too() {
        let page = render_sweep(&SweepReport::default()).unwrap();
        assert!(page.contains("</html>") && !page.contains("Figure") && !page.contains("Table"));
        let mut report = SweepReport {
            classes: vec!["0".into()],
            methods: vec![method("knn", &[&[0.9]])],
            ..SweepReport::default()
        };
        let page = render_sweep(&report).unwrap();
        assert!(page.contains("0/seed-0/report.html") && !page.contains("\u{b1}"));
        report.methods[0].cells.clear();
        report.methods[0].mean = None;
        assert!(
            render_sweep(&report)
                .unwrap()
                .contains("Sweep of 1 method, 1 class, 0 seeds")
        );
        report.methods = vec![method("knn", &[&[0.9], &[0.8]])];
        let error = render_sweep(&report).unwrap_err().to_string();
        assert!(error.contains("cells for 2 classes"), "{error}");
    }
}
