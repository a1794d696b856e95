//! Scoring files, a batch at a time: verdicts, overlays, masks, and the comparison with labels in one
//! pass that keeps no image.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat};
use rayon::prelude::*;

use crate::data::folder::{Loaded, MvtecTest, Skipped, load};
use crate::data::{Picture, batches};
use crate::files::{self, FileError};
use crate::method::{Detector, HeatSource, Heatmap, Inspection, PictureMaps, Verdict};
use crate::run::{FolderMetrics, FolderTest, RunError};

/// Files that are decoded and scored at a time.
pub const SCORING_BATCH: usize = 64;

/// What is wanted of a [`Scoring`].
#[derive(Clone, Debug)]
pub struct ScoringOptions {
    /// Images with a p-value of at most this are anomalous.
    pub alpha: f64,
    /// Where an overlay of every image goes.
    pub overlays: Option<PathBuf>,
    /// What overlays show; `None` for what the detector is best at.
    pub heat: Option<HeatSource>,
    /// Where a mask of every image goes.
    pub masks: Option<PathBuf>,
    /// Stop at a file that cannot be read instead of leaving it out.
    pub strict: bool,
}

/// Bytes of the name of an overlay or a mask, at most, before what tells it from others: a file system takes 255.
const LONGEST_NAME: usize = 200;

/// One pass over files. Its memory does not grow with them, but for a line of each.
pub struct Scoring<'a> {
    detector: &'a Detector,
    options: ScoringOptions,
    /// What is compared with labels, where there are any.
    test: Option<FolderTest<'a>>,
    skipped: Vec<Skipped>,
    kept: Vec<Kept>,
    /// Kind of defect of each image that has a label.
    defects: HashMap<PathBuf, Option<String>>,
    time: Duration,
    /// Images of other proportions than those that the detector was fitted to.
    reshaped: usize,
    /// Names of the overlays and masks so far, without their ending.
    names: HashSet<String>,
}

/// What is kept of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its file.
    pub path: PathBuf,
    /// Its deciding score.
    pub score: f32,
    /// Its p-value.
    pub p_value: f64,
    /// Name of the score that drove its verdict.
    pub driver: String,
    /// Its kind of defect, where it is known to have one.
    pub defect: Option<String>,
}

/// An image that has a verdict.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its file.
    pub path: PathBuf,
    /// The verdict.
    pub verdict: Verdict,
    /// The overlay that was written of it, where one is wanted.
    pub overlay: Option<PathBuf>,
    /// The mask that was written of it, where one is wanted.
    pub mask: Option<PathBuf>,
}

/// What a pass has found.
#[derive(Debug)]
pub struct Scored {
    /// Images that have a verdict.
    pub images: usize,
    /// Those that are anomalous.
    pub anomalies: usize,
    /// A line of each, in the order of the files.
    pub kept: Vec<Kept>,
    /// Files that could not be read, masks among them.
    pub skipped: Vec<Skipped>,
    /// How the verdicts compare with the labels, where there are any.
    pub metrics: Option<FolderMetrics>,
    /// Images of other proportions than those that the detector was fitted to, where it keeps these.
    pub reshaped: usize,
    /// Time for reading and scoring, without overlays, masks and comparisons.
    pub time: Duration,
}

impl<'a> Scoring<'a> {
    /// Prepares a pass; `tests` are the labels of images that will be scored, where there are any.
    ///
    /// # Errors
    /// [`RunError`] before anything is done, when the level is no level or too small for the detector,
    /// it has no such heat maps or no masks, or a folder cannot be made.
    pub fn new(
        detector: &'a Detector,
        tests: Option<Vec<MvtecTest>>,
        options: ScoringOptions,
    ) -> Result<Self, RunError> {
        detector.conformal().check(options.alpha)?;
        if options.overlays.is_some() {
            detector.heat_source(options.heat)?;
        }
        if options.masks.is_some() {
            detector.mask_levels(options.alpha)?;
        }
        for folder in [&options.overlays, &options.masks].into_iter().flatten() {
            files::create_folder(folder)?;
            files::check_writable(folder)?;
        }
        let labels = tests.iter().flatten();
        let defects = labels.map(|test| (test.path.clone(), test.defect.clone()));
        let defects = defects.collect();
        let test =
            tests.map(|tests| FolderTest::new(detector, tests, options.alpha, options.strict));
        Ok(Self {
            detector,
            options,
            test,
            skipped: Vec::new(),
            kept: Vec::new(),
            defects,
            time: Duration::ZERO,
            reshaped: 0,
            names: HashSet::new(),
        })
    }

    /// Scores some of the files, about [`SCORING_BATCH`] of them: those that could be read.
    ///
    /// # Errors
    /// [`RunError`] when an overlay or a mask cannot be written or, with `strict`, a file not be read.
    pub fn add(&mut self, files: &[PathBuf]) -> Result<Vec<Judged>, RunError> {
        let started = Instant::now();
        let loaded = load(files, self.detector.conversion(), self.options.strict)?;
        self.skipped.extend_from_slice(&loaded.skipped);
        if loaded.paths.is_empty() {
            return Ok(Vec::new());
        }
        let detector = self.detector;
        let conversion = detector.conversion();
        let sides = loaded.sides.iter();
        self.reshaped += sides.filter(|&&sides| conversion.reshapes(sides)).count();
        let inspection = detector.inspect(&loaded.images);
        let verdicts = inspection.verdicts()?;
        self.time += started.elapsed();
        for (path, verdict) in loaded.paths.iter().zip(&verdicts) {
            if let Some(test) = &mut self.test {
                test.add_verdict(path, verdict)?;
            }
            self.kept.push(Kept {
                path: path.clone(),
                score: verdict.score,
                p_value: verdict.p_value,
                driver: verdict.driver.clone(),
                defect: self.defects.get(path).cloned().flatten(),
            });
        }
        let judged = loaded.paths.iter().zip(verdicts);
        let judged: Vec<Judged> = judged
            .map(|(path, verdict)| self.judged(path, verdict))
            .collect();
        self.add_maps(&loaded, &judged, &inspection)?;
        Ok(judged)
    }

    /// What the pass has found.
    ///
    /// # Errors
    /// [`RunError`] when a score or a value of a heat map is not finite.
    pub fn finish(self) -> Result<Scored, RunError> {
        let alpha = self.options.alpha;
        Ok(Scored {
            images: self.kept.len(),
            anomalies: self.kept.iter().filter(|one| one.p_value <= alpha).count(),
            kept: self.kept,
            skipped: self.skipped,
            metrics: self.test.map(FolderTest::finish).transpose()?,
            reshaped: self.reshaped,
            time: self.time,
        })
    }

    /// An image with the places of what is written of it.
    fn judged(&mut self, path: &Path, verdict: Verdict) -> Judged {
        let draws = self.options.overlays.is_some() || self.options.masks.is_some();
        let name = match draws {
            true => self.name(path),
            false => String::new(),
        };
        let place = |folder: &Option<PathBuf>| Some(folder.as_ref()?.join(&name));
        Judged {
            path: path.to_owned(),
            verdict,
            overlay: place(&self.options.overlays),
            mask: place(&self.options.masks),
        }
    }

    /// Writes the overlays and masks that are wanted of a batch, and compares its heat maps with masks where there are
    /// any.
    fn add_maps(
        &mut self,
        loaded: &Loaded,
        judged: &[Judged],
        inspection: &Inspection,
    ) -> Result<(), RunError> {
        let mut maps: Vec<(HeatSource, PictureMaps)> = Vec::new();
        for source in self.sources()? {
            maps.push((source, inspection.maps(Some(source))?));
        }
        if maps.is_empty() {
            return Ok(());
        }
        // Pictures and their maps may be large: there are never more of them than cores.
        for indices in batches(judged.len(), rayon::current_num_threads()) {
            let on_pictures = indices.par_iter().map(|&index| {
                let original = loaded.sides[index];
                let on_picture = |(source, maps): &(HeatSource, PictureMaps)| {
                    Some((*source, maps.on_picture(index, original)?))
                };
                let maps: Vec<_> = maps.iter().filter_map(on_picture).collect();
                self.draw(&judged[index], &maps)?;
                Ok(maps)
            });
            let on_pictures: Vec<Result<_, RunError>> = on_pictures.collect();
            for (&index, maps) in indices.iter().zip(on_pictures) {
                let maps = maps?;
                if let Some(test) = &mut self.test {
                    let path = &loaded.paths[index];
                    self.skipped.extend(test.add_maps(path, &maps)?);
                }
            }
        }
        Ok(())
    }

    /// Sources of the heat maps that something is done with, each once.
    fn sources(&self) -> Result<Vec<HeatSource>, RunError> {
        let (detector, options) = (self.detector, &self.options);
        let mut wanted: Vec<HeatSource> = Vec::new();
        wanted.extend(self.test.iter().flat_map(FolderTest::sources));
        if options.overlays.is_some() {
            wanted.push(detector.heat_source(options.heat)?);
        }
        if options.masks.is_some() {
            wanted.push(detector.heat_source(None)?);
        }
        let known = HeatSource::ALL.into_iter();
        Ok(known.filter(|source| wanted.contains(source)).collect())
    }

    /// Writes the overlay and the mask that are wanted of an image with these maps.
    fn draw(&self, image: &Judged, maps: &[(HeatSource, Heatmap)]) -> Result<(), RunError> {
        let ScoringOptions { alpha, heat, .. } = &self.options;
        let detector = self.detector;
        let of = |source: Option<HeatSource>| -> Result<_, RunError> {
            let source = detector.heat_source(source)?;
            Ok(maps.iter().find(|(known, _)| *known == source))
        };
        if let Some(place) = &image.overlay
            && let Some((_, map)) = of(*heat)?
        {
            let picture = Picture::decode(&image.path)?;
            let anomalous = image.verdict.is_anomalous(*alpha);
            let overlay = detector.draw(map, &picture, *heat, anomalous)?;
            save(&overlay.into(), place)?;
        }
        if let Some(place) = &image.mask
            && let Some((_, map)) = of(None)?
        {
            save(&detector.mask(map, *alpha)?.into(), place)?;
        }
        Ok(())
    }

    /// `<parent>_<stem>.png`, with a number where images of this pass share that name.
    fn name(&mut self, path: &Path) -> String {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
        let mut wanted = match parent.to_string_lossy() {
            parent if parent.is_empty() => stem.into_owned(),
            parent => format!("{parent}_{stem}"),
        };
        wanted.truncate(wanted.floor_char_boundary(LONGEST_NAME));
        let mut name = wanted.clone();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}-{number}");
            number += 1;
        }
        format!("{name}.png")
    }
}

/// Writes a PNG file, whole or not at all.
fn save(image: &DynamicImage, path: &Path) -> Result<(), FileError> {
    files::replace(path, |file| {
        let mut bytes = Cursor::new(Vec::new());
        let encoded = image.write_to(&mut bytes, ImageFormat::Png);
        encoded.map_err(std::io::Error::other)?;
        file.write_all(bytes.get_ref())
    })
}
