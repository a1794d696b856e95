//! The page itself: everything turned to text and numbered here, laid out by `templates/report.html`.

use askama::Template;

use super::explained::ExplainedPart;
use super::table::{Row, latex, rows};
use crate::data::Images;
use crate::report::figures::curves;
use crate::report::figures::image_grid::{Picture, sheet, single};
use crate::report::format::short;
use crate::report::parts::{Figure, Numbering, Times};
use crate::report::{Extremes, Gallery, LearningCurve, ReportError, RunReport};

/// Images across a sheet of reconstructions or samples.
const SHEET_COLUMNS: usize = 12;

/// Renders `report` as one self-contained HTML page: no network, no script, fit for print.
///
/// # Errors
/// [`ReportError::Mismatch`] when lists that belong together differ in length, else when a figure,
/// a picture or the page cannot be written.
pub fn render(report: &RunReport) -> Result<String, ReportError> {
    Ok(Page::new(report)?.render()?)
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a RunReport,
    rows: Vec<Row<'a>>,
    latex: String,
    histograms: Vec<Figure>,
    roc: Option<Figure>,
    explained: Option<ExplainedPart<'a>>,
    extremes: Vec<Ends<'a>>,
    reconstructions: Vec<Sheet>,
    samples: Option<Sheet>,
    pictures: Vec<Captioned<'a>>,
    learning: Vec<Figure>,
    times: Times,
}

/// A contact sheet with its number.
struct Sheet {
    label: String,
    title: String,
    picture: Picture,
}

/// A contact sheet that says itself how it is read.
struct Captioned<'a> {
    sheet: Sheet,
    caption: &'a str,
}

/// The two ends of one ranking, with their number.
struct Ends<'a> {
    label: String,
    title: &'a str,
    rows: [(&'static str, Vec<Tile<'a>>); 2],
}

struct Tile<'a> {
    picture: Picture,
    score: String,
    label: &'a str,
    anomalous: bool,
}

impl<'a> Page<'a> {
    fn new(report: &'a RunReport) -> Result<Self, ReportError> {
        // In the order of the page.
        let numbering = &mut Numbering::after(0);
        let panels = numbering.panels(report.histograms.len()).into_iter();
        let histograms = panels
            .zip(&report.histograms)
            .map(|(label, content)| Figure::of_histogram(label, content))
            .collect::<Result<_, _>>()?;
        let roc = Figure::of_roc(numbering, &report.roc, "Anomalous")?;
        // The first table is that of the metrics.
        let tables = usize::from(!report.metrics.is_empty());
        let explained = match &report.explained {
            Some(content) => Some(ExplainedPart::new(content, numbering.next(), tables + 1)?),
            None => None,
        };
        let mut extremes = Vec::new();
        for content in &report.extremes {
            extremes.extend(ends(content, numbering)?);
        }
        let reconstructions = reconstructions(report, numbering)?;
        let samples = match &report.samples {
            Some(images) => Sheet::of("Samples", &[images], numbering)?,
            None => None,
        };
        Ok(Self {
            report,
            rows: rows(&report.metrics),
            latex: latex(&report.metrics),
            histograms,
            roc,
            explained,
            extremes,
            reconstructions,
            samples,
            pictures: pictures(report, numbering)?,
            learning: learning(report, numbering)?,
            times: Times::new(&report.timings, report.peak_memory_mib),
        })
    }
}

impl Sheet {
    /// Of rows of images; none where there are no images.
    fn of(
        title: &str,
        rows: &[&Images],
        numbering: &mut Numbering,
    ) -> Result<Option<Self>, ReportError> {
        let picture = sheet(title, rows, SHEET_COLUMNS)?;
        Ok(picture.map(|picture| Self {
            label: numbering.label(),
            title: title.to_owned(),
            picture,
        }))
    }
}

/// Images above what the method makes of them.
fn reconstructions(
    report: &RunReport,
    numbering: &mut Numbering,
) -> Result<Vec<Sheet>, ReportError> {
    let mut sheets = Vec::new();
    for content in &report.reconstructions {
        let sets = [&content.originals, &content.reconstructions];
        let title = format!("Reconstructions: {}", content.title);
        sheets.extend(Sheet::of(&title, &sets, numbering)?);
    }
    Ok(sheets)
}

/// The method's own pictures.
fn pictures<'a>(
    report: &'a RunReport,
    numbering: &mut Numbering,
) -> Result<Vec<Captioned<'a>>, ReportError> {
    let mut sheets = Vec::new();
    for content in &report.pictures {
        let rows: Vec<_> = content.rows.iter().collect();
        let caption = &content.caption;
        let sheet = Sheet::of(&content.title, &rows, numbering)?;
        sheets.extend(sheet.map(|sheet| Captioned { sheet, caption }));
    }
    Ok(sheets)
}

/// The learning curves of all stages.
fn learning(report: &RunReport, numbering: &mut Numbering) -> Result<Vec<Figure>, ReportError> {
    let panels = numbering.panels(report.curves.len()).into_iter();
    let figure = |(label, content): (String, &LearningCurve)| {
        let (svg, caption) = curves::learning(content)?;
        Ok(Figure {
            label,
            title: content.title.clone(),
            svg,
            caption,
        })
    };
    panels.zip(&report.curves).map(figure).collect()
}

fn ends<'a>(
    content: &'a Extremes,
    numbering: &mut Numbering,
) -> Result<Option<Ends<'a>>, ReportError> {
    let most = tiles(&content.title, &content.most)?;
    let least = tiles(&content.title, &content.least)?;
    if most.is_empty() && least.is_empty() {
        return Ok(None);
    }
    Ok(Some(Ends {
        label: numbering.label(),
        title: &content.title,
        rows: [("most anomalous", most), ("least anomalous", least)],
    }))
}

fn tiles<'a>(title: &str, gallery: &'a Gallery) -> Result<Vec<Tile<'a>>, ReportError> {
    if gallery.images.len() != gallery.items.len() {
        return Err(ReportError::Mismatch {
            title: title.to_owned(),
            left: format!("{} images", gallery.images.len()),
            right: format!("{} scores", gallery.items.len()),
        });
    }
    let tile = |(index, item): (usize, &'a crate::report::ScoredImage)| {
        Ok(Tile {
            picture: single(&gallery.images, index)?,
            score: short(item.score),
            label: &item.label,
            anomalous: item.anomalous,
        })
    };
    gallery.items.iter().enumerate().map(tile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;
    use crate::evaluate::roc_curve;
    use crate::report::run::table::tests::metrics;
    use crate::report::{
        Histogram, ImageRows, LearningCurve, MetricRow, Reconstructions, RocCurve, ScoredImage,
        Series, Timing,
    };

    const HOSTILE: &str = "</script><script src=\"http://x\">&'<img src=http://x onerror=1>";

    /// Every part filled, every text being `text`.
    fn full(text: &str) -> RunReport {
        let images = Images::new([1, 2, 2], (0..16).collect()).unwrap();
        let text = || text.to_owned();
        let gallery = Gallery {
            images: images.clone(),
            items: vec![
                ScoredImage {
                    score: -3.5,
                    label: text(),
                    anomalous: true,
                };
                4
            ],
        };
        RunReport {
            title: text(),
            method: text(),
            summary_sentence: text(),
            headline: vec![(text(), text())],
            setup: vec![(text(), text())],
            metrics: [0.85, 0.75]
                .map(|auroc| MetricRow {
                    test_set: text(),
                    score: text(),
                    metrics: metrics(auroc),
                })
                .into(),
            thresholds_from: text(),
            histograms: vec![
                Histogram {
                    title: text(),
                    caption: text(),
                    score_label: text(),
                    series: vec![Series {
                        name: text(),
                        values: vec![1.0, 2.0, f32::NAN],
                    }],
                    thresholds: vec![(text(), 1.5), (text(), 1e9)],
                };
                2
            ],
            roc: vec![RocCurve {
                name: text(),
                roc: roc_curve(&[1.0], &[2.0]).unwrap(),
                auroc: 1.0,
            }],
            explained: Some(crate::report::run::explained::tests::content(text())),
            curves: vec![LearningCurve {
                title: text(),
                unit: text(),
                epochs: vec![1, 2, 3],
                train: vec![3.0, f64::NAN, 1.0],
                valid: vec![],
                best_epoch: Some(3),
            }],
            reconstructions: vec![Reconstructions {
                title: text(),
                originals: images.clone(),
                reconstructions: images.clone(),
            }],
            samples: Some(images.clone()),
            pictures: vec![ImageRows {
                title: text(),
                caption: text(),
                rows: vec![images.clone(), images],
            }],
            extremes: vec![Extremes {
                title: text(),
                most: gallery.clone(),
                least: gallery,
            }],
            timings: vec![Timing {
                stage: text(),
                seconds: 75.0,
                images_per_second: Some(1234.4),
            }],
            peak_memory_mib: Some(2048.0),
            config_toml: text(),
            command: text(),
            notes: vec![text()],
        }
    }

    #[test]
    fn the_page_is_self_contained_and_escapes_hostile_text() {
        let page = render(&full(HOSTILE)).unwrap();
        assert!(!page.contains("<script"), "no script");
        assert!(!page.contains("<img src=http"), "no foreign tag");
        for attribute in ["src=\"", "href=\"", "url("] {
            for (at, _) in page.match_indices(attribute) {
                let target = &page[at + attribute.len()..];
                assert!(
                    target.starts_with("data:") || target.starts_with('#'),
                    "{}",
                    target.chars().take(40).collect::<String>()
                );
            }
        }
        assert!(!page.contains("<link") && !page.contains("@import"));
    }

    #[test]
    fn every_part_is_shown_and_numbered_in_order() {
        let page = render(&full("words")).unwrap();
        for part in [
            "Figure 1a",
            "Figure 1b",
            "Figure 2",
            "Figure 7",
            "Table 3",
            "1,234",
            "1 min 15 s",
            "2,048 MiB",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("Figure 9"));
        assert!(page.contains("85.0") && page.contains("\\begin{tabular}"));
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn an_empty_report_is_a_page() {
        let page = render(&RunReport::default()).unwrap();
        assert!(page.contains("</html>") && !page.contains("Figure"));
        let mut report = full("words");
        report.samples = Some(Images::new([3, 4, 4], vec![]).unwrap());
        report.histograms.clear();
        report.curves[0].train.clear();
        report.extremes[0].least.items.clear();
        assert!(matches!(render(&report), Err(ReportError::Mismatch { .. })));
        report.extremes[0].least.images = report.extremes[0].least.images.select(&[]);
        let page = render(&report).unwrap();
        assert!(!page.contains("Drawn noise"));
    }
}
