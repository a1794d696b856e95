//! The page of a user's own images, laid out by `templates/folder.html`.

use askama::Template;

use super::content::FolderReport;
use crate::report::ReportError;
use crate::report::figures::thumbnail;
use crate::report::format::panel;
use crate::report::parts::{Figure, Numbering, Times};

/// Renders `report` as one self-contained HTML page: no network, no script, fit for print.
///
/// # Errors
/// [`ReportError`] when a figure, a picture or the page cannot be written.
pub fn render_folder(report: &FolderReport) -> Result<String, ReportError> {
    Ok(Page::new(report)?.render()?)
}

#[derive(Template)]
#[template(path = "folder.html")]
struct Page<'a> {
    report: &'a FolderReport,
    worst_label: String,
    worst: Vec<Tile<'a>>,
    figures: Vec<Figure>,
    times: Times,
}

/// An image with its overlay and mask: addresses that hold them.
struct Tile<'a> {
    pictures: Vec<(&'static str, String)>,
    name: &'a str,
    verdict: &'a str,
    driver: Option<&'a str>,
    anomalous: bool,
    label: Option<&'a str>,
}

impl<'a> Page<'a> {
    fn new(report: &'a FolderReport) -> Result<Self, ReportError> {
        let mut worst = Vec::new();
        for image in &report.worst {
            let mut pictures = vec![("picture", thumbnail::photograph(&image.picture)?)];
            if let Some(overlay) = &image.overlay {
                pictures.push(("heat map", thumbnail::photograph(overlay)?));
            }
            if let Some(mask) = &image.mask {
                pictures.push(("mask", thumbnail::mask(mask)?));
            }
            worst.push(Tile {
                pictures,
                name: &image.name,
                verdict: &image.verdict,
                driver: image.driver.as_deref(),
                anomalous: image.anomalous,
                label: image.label.as_deref(),
            });
        }
        let numbering = &mut Numbering::after(usize::from(!worst.is_empty()));
        let mut figures = Vec::new();
        for content in &report.histograms {
            figures.push(Figure::of_histogram(numbering.label(), content)?);
        }
        figures.extend(Figure::of_roc(numbering, &report.roc, "Defective")?);
        Ok(Self {
            report,
            worst_label: panel(1, 0, 1),
            worst,
            figures,
            times: Times::new(&report.timings, report.peak_memory_mib),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::roc_curve;
    use crate::report::{Histogram, OddImage, RocCurve, Series, Timing};
    use image::{GrayImage, RgbImage};

    /// Every part filled, every text being `text`.
    fn full(text: &str) -> FolderReport {
        let text = || text.to_owned();
        let image = OddImage {
            picture: RgbImage::new(40, 30),
            overlay: Some(RgbImage::new(40, 30)),
            mask: Some(GrayImage::new(40, 30)),
            name: text(),
            verdict: text(),
            driver: Some(text()),
            anomalous: true,
            label: Some(text()),
        };
        FolderReport {
            title: text(),
            method: text(),
            summary_sentence: text(),
            headline: vec![(text(), text())],
            worst: vec![image; 3],
            worst_caption: text(),
            histograms: vec![
                Histogram {
                    title: text(),
                    caption: text(),
                    score_label: text(),
                    series: vec![Series {
                        name: text(),
                        values: vec![0.1, 0.5, 0.9],
                    }],
                    thresholds: vec![(text(), 0.2)],
                };
                2
            ],
            roc: vec![RocCurve {
                name: text(),
                roc: roc_curve(&[1.0], &[2.0]).unwrap(),
                auroc: 1.0,
            }],
            defects: vec![[text(), text(), text()]],
            left_out: vec![(text(), text())],
            setup: vec![(text(), text())],
            timings: vec![Timing {
                stage: text(),
                seconds: 75.0,
                images_per_second: Some(12.34),
            }],
            peak_memory_mib: Some(2048.0),
            command: text(),
            notes: vec![text()],
        }
    }

    #[test]
    fn the_page_is_self_contained_and_escapes_hostile_text() {
        let hostile = "</script><script src=\"http://x\">&'<img src=http://x onerror=1>";
        let page = render_folder(&full(hostile)).unwrap();
        assert!(!page.contains("<script") && !page.contains("<img src=http"));
        assert!(!page.contains("<link") && !page.contains("@import"));
        for (at, _) in page.match_indices("src=\"") {
            assert!(page[at + 5..].starts_with("data:image/"));
        }
    }

    #[test]
    fn every_part_is_shown_and_numbered_in_order() {
        let page = render_folder(&full("words")).unwrap();
        for part in [
            "Figure 1",
            "Figure 2",
            "Figure 3",
            "Figure 4",
            "driven by words",
            "12.3",
            "1 min 15 s",
            "2,048 MiB",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("Figure 5"));
        assert_eq!(page.matches("<img ").count(), 9);
    }

    #[test]
    fn an_empty_report_is_a_page() {
        let page = render_folder(&FolderReport::default()).unwrap();
        assert!(
            page.contains("</html>") && !page.contains("Figure") && !page.contains("<h2>Left out")
        );
    }
}
