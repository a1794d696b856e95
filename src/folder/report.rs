//! The page of a user's own images: from verdicts to its contents.

use std::path::Path;

use image::{GrayImage, ImageBuffer, Pixel, RgbImage};

use super::scoring::{Kept, Scored};
use crate::data::Picture;
use crate::data::folder::Skipped;
use crate::evaluate::{auroc, roc_curve};
use crate::method::{Detector, Heatmap};
use crate::report::{
    FolderReport, Histogram, OddImage, RocCurve, Series, Timing, render_folder, thumbnail,
};
use crate::run::{RunError, peak_memory_mib};

/// Images that are shown.
const SHOWN: usize = 12;
/// Files left out that are named.
const NAMED: usize = 50;

/// What a page is made of.
pub struct FolderPage<'a> {
    /// The detector, fitted or loaded.
    pub detector: &'a Detector,
    /// What the pass over the images has found.
    pub scored: &'a Scored,
    /// The level of the verdicts.
    pub alpha: f64,
    /// What was scored or learned from.
    pub title: String,
    /// The model file.
    pub model: String,
    /// True when the images are the normal ones that `fit` has held out for the p-values.
    pub held_out: bool,
    /// What was done with what, beside what the detector says: (key, value).
    pub setup: Vec<(String, String)>,
    /// Where the time went, beside reading and scoring.
    pub timings: Vec<Timing>,
    /// Files that could not be read before, in the fit.
    pub skipped: &'a [Skipped],
    /// The command line.
    pub command: String,
    /// Warnings, one paragraph each.
    pub notes: Vec<String>,
}

impl FolderPage<'_> {
    /// Renders the page.
    ///
    /// # Errors
    /// [`RunError`] when a picture of it cannot be read again, or the page not be made.
    pub fn render(self) -> Result<String, RunError> {
        let report = FolderReport {
            title: self.title.clone(),
            method: self.model.clone(),
            summary_sentence: self.sentence(),
            headline: self.headline(),
            worst: self.worst()?,
            worst_caption: self.worst_caption(),
            histograms: self.histograms(),
            roc: self.roc()?,
            defects: self.defects(),
            left_out: self.left_out(),
            setup: self.all_setup(),
            timings: self.all_timings(),
            peak_memory_mib: peak_memory_mib(),
            command: self.command,
            notes: self.notes,
        };
        Ok(render_folder(&report)?)
    }

    /// `good` and `defective` scores or p-values; the first has all where there are no labels.
    fn by_label(&self, value: impl Fn(&Kept) -> f32) -> [Vec<f32>; 2] {
        let kept = &self.scored.kept;
        let defective = |one: &&Kept| one.defect.is_some();
        let (defective, good): (Vec<&Kept>, Vec<&Kept>) = kept.iter().partition(defective);
        [good, defective].map(|images| images.into_iter().map(&value).collect())
    }

    fn sentence(&self) -> String {
        let Scored {
            images, anomalies, ..
        } = *self.scored;
        if self.held_out {
            return format!(
                "The detector was fitted to the normal images of this folder; the {images} below were held out for the p-values. Look whether those at the top are normal indeed."
            );
        }
        format!(
            "{anomalies} of {images} images are anomalous at the level {0}: of new normal images, {1} a share of {0} would be called so.",
            self.alpha,
            self.at_most()
        )
    }

    /// How a level is kept on new normal images.
    fn at_most(&self) -> &'static str {
        match self.detector.description().approximate {
            true => "about",
            false => "at most",
        }
    }

    fn headline(&self) -> Vec<(String, String)> {
        let fact = |key: &str, value: String| (key.to_owned(), value);
        let mut facts = vec![fact("images", self.scored.images.to_string())];
        if !self.held_out {
            facts.push(fact("anomalous", self.scored.anomalies.to_string()));
        }
        if let Some(metrics) = &self.scored.metrics {
            if let Some(area) = metrics.image_auroc {
                facts.push(fact("image AUROC", format!("{area:.3}")));
            }
            if let Some(pixels) = metrics.pixels.first() {
                facts.push(fact("pixel AUROC", format!("{:.3}", pixels.auroc)));
                facts.push(fact("AUPRO, 30 % FPR", format!("{:.3}", pixels.aupro)));
            }
        }
        let each = 1e3 * self.scored.time.as_secs_f64() / self.scored.images.max(1) as f64;
        facts.push(fact("per image", format!("{each:.1} ms")));
        facts
    }

    /// The images with the highest scores, and what the detector shows of them.
    fn worst(&self) -> Result<Vec<OddImage>, RunError> {
        let mut order: Vec<&Kept> = self.scored.kept.iter().collect();
        // NaN first: what cannot be scored is odd.
        order.sort_by(|left, right| right.score.total_cmp(&left.score));
        order.truncate(SHOWN);
        order.into_iter().map(|kept| self.odd(kept)).collect()
    }

    fn odd(&self, kept: &Kept) -> Result<OddImage, RunError> {
        let picture = Picture::decode(&kept.path)?;
        // Images that were held out are drawn as normal ones: they are the measure of what is odd.
        let anomalous = kept.p_value <= self.alpha && !self.held_out;
        let (mut overlay, mut mask) = (None, None);
        if self.detector.heat_source(None).is_ok() {
            let map = self.detector.heatmap_of(&picture, None)?;
            let drawn = self.detector.draw(&map, &picture, None, anomalous)?;
            overlay = Some(for_page(drawn));
            mask = self.mask(&map)?.map(for_page);
        }
        Ok(OddImage {
            picture: for_page(in_colour(&picture)),
            overlay,
            mask,
            name: self.name(&kept.path),
            verdict: match self.held_out {
                true => format!("score {:.2}", kept.score),
                false => format!("p = {:.4}, score {:.2}", kept.p_value, kept.score),
            },
            driver: self.detector.driver_in_words(&kept.driver),
            anomalous,
            label: kept.defect.clone().or_else(|| {
                let labelled = self.scored.metrics.is_some();
                labelled.then(|| "good".to_owned())
            }),
        })
    }

    /// A file's path below what was scored, where that is one folder.
    fn name(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.title).unwrap_or(path);
        inside.display().to_string()
    }

    fn mask(&self, map: &Heatmap) -> Result<Option<GrayImage>, RunError> {
        Ok(match self.detector.mask_levels(self.alpha) {
            Ok(_) => Some(self.detector.mask(map, self.alpha)?),
            Err(_) => None,
        })
    }

    fn worst_caption(&self) -> String {
        let shown = SHOWN.min(self.scored.images);
        let images = match self.held_out {
            true => "held-out normal images",
            false => "images",
        };
        format!(
            "The {shown} {images} with the highest scores: picture, heat map and mask where the detector has them. The heat map of an image called anomalous shows its least likely place; that of another one begins beyond what any held-out normal image has shown. The mask is white where the image is defective at the level {0}: {1} that share of new normal images has more than a thousandth of its area marked.",
            self.alpha,
            self.at_most()
        )
    }

    fn histograms(&self) -> Vec<Histogram> {
        let conformal = self.detector.conformal();
        let held_out = Series {
            name: "held-out normal images".to_owned(),
            values: conformal.scores().to_vec(),
        };
        let border = conformal.border(self.alpha);
        let series = match self.held_out {
            true => Vec::new(),
            false => self.series(|kept| kept.score),
        };
        let scores = Histogram {
            title: "Scores".to_owned(),
            caption: "The score that decides, in spreads above the median of normal images."
                .to_owned(),
            score_label: "anomaly score".to_owned(),
            series: series.into_iter().chain([held_out]).collect(),
            thresholds: vec![(format!("alpha = {}", self.alpha), border)],
        };
        if self.held_out {
            return vec![scores];
        }
        let p_values = Histogram {
            title: "P-values".to_owned(),
            caption: "Of new normal images they are spread evenly between 0 and 1; those of anomalous ones are small.".to_owned(),
            score_label: "p-value".to_owned(),
            series: self.series(|kept| kept.p_value as f32),
            thresholds: vec![(format!("alpha = {}", self.alpha), self.alpha as f32)],
        };
        vec![scores, p_values]
    }

    /// One series of all images, or one for good and one for defective ones.
    fn series(&self, value: impl Fn(&Kept) -> f32) -> Vec<Series> {
        let [good, defective] = self.by_label(value);
        let names = match self.scored.metrics {
            Some(_) => ["good test images", "defective test images"],
            None => ["scored images", ""],
        };
        let series = names.into_iter().zip([good, defective]);
        series
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| Series {
                name: name.to_owned(),
                values,
            })
            .collect()
    }

    fn roc(&self) -> Result<Vec<RocCurve>, RunError> {
        let [good, defective] = self.by_label(|kept| kept.score);
        if good.is_empty() || defective.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![RocCurve {
            name: "image score".to_owned(),
            roc: roc_curve(&good, &defective)?,
            auroc: auroc(&good, &defective)?,
        }])
    }

    fn defects(&self) -> Vec<[String; 3]> {
        let metrics = self.scored.metrics.iter();
        metrics
            .flat_map(|metrics| &metrics.by_defect)
            .map(|(kind, area)| {
                let of_kind = |one: &&Kept| one.defect.as_ref() == Some(kind);
                let count = self.scored.kept.iter().filter(of_kind).count();
                [kind.clone(), count.to_string(), format!("{area:.3}")]
            })
            .collect()
    }

    fn left_out(&self) -> Vec<(String, String)> {
        let skipped = || self.skipped.iter().chain(&self.scored.skipped);
        let count = skipped().count();
        let named = skipped().take(NAMED);
        let mut rows: Vec<(String, String)> = named
            .map(|file| (file.path.display().to_string(), file.reason.clone()))
            .collect();
        if count > NAMED {
            rows.push((format!("and {} more", count - NAMED), String::new()));
        }
        rows
    }

    fn all_setup(&self) -> Vec<(String, String)> {
        let description = self.detector.description();
        let mut rows = self.setup.clone();
        rows.push(("Detector".to_owned(), description.origin.clone()));
        rows.push((
            "P-values from".to_owned(),
            format!(
                "{} {}, levels from {} on",
                self.detector.conformal().calibrated_on(),
                match description.approximate {
                    true => "validation images, which had a say in the fit",
                    false => "held-out normal images",
                },
                self.detector.conformal().reachable_alpha()
            ),
        ));
        rows.push(("Level".to_owned(), self.alpha.to_string()));
        if let Some(found) = self.scored.metrics.as_ref().map(|metrics| metrics.found)
            && found.images > 0
        {
            let text = format!("{} of {} defective images", found.called, found.images);
            rows.push(("Found".to_owned(), text));
        }
        let alarms = self.scored.metrics.iter();
        let alarms = alarms.flat_map(|metrics| &metrics.false_alarms).map(|at| {
            format!(
                "{} of {} good images at {} ({:.1} ± {:.1} where p-values hold exactly)",
                at.called,
                at.images,
                at.alpha,
                at.expected * at.images as f64,
                at.deviation * at.images as f64
            )
        });
        let alarms: Vec<String> = alarms.collect();
        if !alarms.is_empty() {
            rows.push(("False alarms".to_owned(), alarms.join(", ")));
        }
        if let Some(masks) = self
            .scored
            .metrics
            .as_ref()
            .and_then(|metrics| metrics.masks)
        {
            rows.push(("Masks".to_owned(), masks.in_words()));
        }
        rows
    }

    fn all_timings(&self) -> Vec<Timing> {
        let seconds = self.scored.time.as_secs_f64();
        let scoring = Timing {
            stage: "read and score".to_owned(),
            seconds,
            images_per_second: Some(self.scored.images as f64 / seconds.max(1e-9)),
        };
        self.timings.iter().cloned().chain([scoring]).collect()
    }
}

/// No larger than the page shows it: pages hold several photographs of any size.
fn for_page<P: Pixel<Subpixel = u8> + 'static>(
    image: ImageBuffer<P, Vec<u8>>,
) -> ImageBuffer<P, Vec<u8>> {
    thumbnail(&image).unwrap_or(image)
}

/// As RGB, for the page.
fn in_colour(picture: &Picture) -> RgbImage {
    let area = picture.height() * picture.width();
    let pixels = picture.pixels();
    let plane = |channel: usize| match picture.channels() {
        3 => &pixels[channel * area..(channel + 1) * area],
        _ => &pixels[..area],
    };
    let [red, green, blue] = [0, 1, 2].map(plane);
    let rgb = (0..area).flat_map(|at| [red[at], green[at], blue[at]]);
    let [width, height] = [picture.width(), picture.height()].map(|side| side as u32);
    RgbImage::from_raw(width, height, rgb.collect()).expect("three values for every pixel")
}
