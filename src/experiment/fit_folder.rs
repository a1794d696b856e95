//! From a folder of normal images to a calibrated detector, without an experiment file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::clock::Clock;
use super::fit::Fitter;
use super::names::FOLDER_STUDY;
use super::prepare::{Part, Prepared};
use super::seed::derive;
use super::{Experiment, ExperimentError, Method, Workspace, overrides};
use crate::backend::Backend;
use crate::data::folder::{Layout, Skipped, layout, load};
use crate::data::{Images, SplitShares};
use crate::detector::{Calibration, Detector, Scores};
use crate::evaluate::{Conformal, EvaluateError};
use crate::files::FileError;
use crate::train::Display;

/// Fewest normal images that a detector is fitted to.
const FEWEST: usize = 20;
/// Share of the images held out for the p-values that is proposed, at most: more would leave too few
/// to learn from.
const LARGEST_SHARE: f64 = 0.5;

/// What `fit` is asked for.
#[derive(Clone, Debug)]
pub struct FolderFit {
    /// Folder of normal images, or of MVTec AD's layout.
    pub folder: PathBuf,
    /// The model file to write.
    pub out: PathBuf,
    /// The method.
    pub method: Method,
    /// Settings, `key.path=value`.
    pub overrides: Vec<String>,
    /// Share of the images that is held out for the p-values.
    pub calibration_share: f64,
    /// Seed of the split, the weights and the order of images.
    pub seed: u64,
    /// Refuse files that cannot be read instead of leaving them out.
    pub strict: bool,
    /// Replace the model file, and start over where an earlier fit was stopped.
    pub force: bool,
    /// Backend by name, or the preferred one.
    pub device: Option<String>,
    /// Weights of the pretrained network, if it is used.
    pub backbone: PathBuf,
    /// How to show progress.
    pub display: Display,
}

/// What `fit` has made.
pub struct FittedFolder {
    /// The detector, as it was written.
    pub detector: Detector,
    /// Images trained on, for choosing the epoch, and for the p-values.
    pub counts: [usize; 3],
    /// Files that could not be read.
    pub skipped: Vec<Skipped>,
    /// Files that are no images, by extension, in words.
    pub ignored: String,
    /// Seconds from the first image read to the model written.
    pub seconds: f64,
    shares: SplitShares,
}

impl FittedFolder {
    /// What keeps verdicts at the level `alpha` from being given, and what to do about it; none when
    /// nothing does.
    pub fn shortage(&self, alpha: f64) -> Option<String> {
        let count = self.counts.iter().sum();
        shortage(self.detector.conformal(), count, self.shares, alpha)
    }
}

/// Fits a detector to a folder of normal images and writes its model file.
///
/// # Errors
/// [`ExperimentError`] when there are too few images, a setting is impossible, the model file is
/// there already, or the training is stopped; the same call continues after an interruption.
pub fn fit_folder(fit: &FolderFit) -> Result<FittedFolder, ExperimentError> {
    let started = std::time::Instant::now();
    let config = overrides::resolve(Path::new("folder.toml"), FOLDER_STUDY, &fit.overrides)?;
    fit.check()?;
    let open = Backend::choose(fit.device.as_deref())?;
    let (normal, ignored) = match layout(&fit.folder)? {
        Layout::Plain { normal, ignored }
        | Layout::Mvtec {
            normal, ignored, ..
        } => (normal, ignored),
    };
    let loaded = load(&normal, config.conversion(), fit.strict)?;
    let shares = SplitShares {
        train: 1.0 - fit.calibration_share,
        validation: config.data.validation_share,
    };
    let prepared =
        split(&loaded.images, shares, fit.seed).map_err(|reason| ExperimentError::Setting {
            place: fit.folder.display().to_string(),
            reason,
        })?;
    let workspace = Workspace::for_fit(&fit.out, fit.method, &config, fit.force)?;
    let log = workspace.log();
    crate::logging::to_file(&log);
    let experiment = Experiment {
        name: "fit".to_owned(),
        class: 0,
        class_name: String::new(),
        config,
    };
    let mut fitter = Fitter {
        experiment: &experiment,
        method: fit.method,
        seed: fit.seed,
        device: &open.device,
        workspace: &workspace,
        log: &log,
        backend: open.backend.name(),
        backbone: &fit.backbone,
        display: fit.display,
        clock: Clock::start(),
    };
    let fitted = fitter.fit(&prepared)?;
    let model = fitted.model;
    let names = model.scorer().score_names();
    let scores = |name: &str| {
        let part = fitted.table.part(name);
        Scores::new(
            names,
            part.map(|part| part.columns.clone()).unwrap_or_default(),
        )
    };
    let deciding = model.scorer().deciding();
    let calibration = Calibration::fit(deciding, &scores("validation"), &scores("calibration"))?;
    let counts =
        ["train", "validation", "calibration"].map(|name| prepared.part(name).images.len());
    let origin = format!(
        "{} fit to {} of {} normal images, seed {}",
        fit.method,
        counts[0],
        loaded.images.len(),
        fit.seed
    );
    let validation = &prepared.part("validation").images;
    let detector = Detector::new(model, calibration, &origin).with_heat_range(validation)?;
    detector.save(&fit.out)?;
    let root = workspace.root().to_owned();
    drop(workspace);
    std::fs::remove_dir_all(&root).map_err(FileError::io("remove", &root))?;
    Ok(FittedFolder {
        detector,
        counts,
        skipped: loaded.skipped,
        ignored: ignored.to_string(),
        seconds: started.elapsed().as_secs_f64(),
        shares,
    })
}

impl FolderFit {
    /// Refuses before anything is done.
    fn check(&self) -> Result<(), ExperimentError> {
        let wrong = |place: &str, reason: String| {
            Err(ExperimentError::Setting {
                place: place.to_owned(),
                reason,
            })
        };
        if !(self.calibration_share > 0.0 && self.calibration_share < 1.0) {
            return wrong(
                "--calibration-share",
                format!(
                    "{} must be between 0 and 1, both excluded",
                    self.calibration_share
                ),
            );
        }
        if self.out.is_dir() {
            return wrong(
                &format!("--out {}", self.out.display()),
                "is a folder: name the model file, such as model.safetensors".to_owned(),
            );
        }
        if self.out.exists() && !self.force {
            return wrong(
                &format!("--out {}", self.out.display()),
                "exists already: --force replaces it".to_owned(),
            );
        }
        Ok(())
    }
}

/// Shuffles the images and deals them out.
fn split(images: &Images, shares: SplitShares, seed: u64) -> Result<Prepared, String> {
    let count = images.len();
    if count < FEWEST {
        return Err(format!(
            "{count} readable images are too few: at least {FEWEST} normal images are needed, and a hundred or more make a good detector"
        ));
    }
    let [_, validation, calibration] = deal(count, shares)?;
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut StdRng::seed_from_u64(derive(seed, "folder split")));
    let (held_out, rest) = order.split_at(calibration);
    let (valid, train) = rest.split_at(validation);
    let labels = Arc::new(vec![0; count]);
    let parts = [
        ("train", train),
        ("validation", valid),
        ("calibration", held_out),
    ];
    Ok(Prepared {
        parts: parts
            .into_iter()
            .map(|(name, indices)| Part {
                name: name.to_owned(),
                images: Arc::new(images.select(indices)),
                indices: indices.to_vec(),
                labels: labels.clone(),
                features: None,
            })
            .collect(),
        class_names: Vec::new(),
    })
}

/// How many of `count` images go to training, to validation and to the p-values.
fn deal(count: usize, shares: SplitShares) -> Result<[usize; 3], String> {
    let share = |share: f64| ((count as f64 * share).round() as usize).max(1);
    let calibration = share(1.0 - shares.train);
    let validation = share(shares.validation);
    match count.checked_sub(calibration + validation) {
        Some(train) if train >= FEWEST / 2 => Ok([train, validation, calibration]),
        _ => Err(format!(
            "of {count} images {calibration} would go to the p-values and {validation} to validation, which leaves too few to train on: lower --calibration-share"
        )),
    }
}

/// What keeps p-values from `conformal`, which were taken from a share of `count` images, from
/// reaching the level `alpha`, and what to do about it.
fn shortage(
    conformal: &Conformal,
    count: usize,
    shares: SplitShares,
    alpha: f64,
) -> Option<String> {
    let EvaluateError::TooFewCalibration {
        needed,
        available,
        possible,
        ..
    } = conformal.check(alpha).err()?
    else {
        return None;
    };
    let percent = (100.0 * needed as f64 / count as f64).ceil();
    let larger = SplitShares {
        train: 1.0 - percent / 100.0,
        ..shares
    };
    let enough = percent / 100.0 <= LARGEST_SHARE && deal(count, larger).is_ok();
    let share = match enough {
        true => format!("--calibration-share {}, or with ", percent / 100.0),
        false => String::new(),
    };
    // Less a rounding error, which would ask for one more.
    let images = (needed as f64 / (1.0 - shares.train) - 1e-6).ceil();
    Some(format!(
        "verdicts at alpha = {alpha} need {needed} calibration images, and there are {available}: fit again with {share}at least {images} normal images, or score with --alpha {possible} or more"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Images {
        Images::new([1, 4, 4], vec![0; 16 * count]).unwrap()
    }

    const SHARES: SplitShares = SplitShares {
        train: 0.7,
        validation: 0.1,
    };

    #[test]
    fn parts_are_disjoint_and_complete() {
        let prepared = split(&images(100), SHARES, 3).unwrap();
        let sizes: Vec<usize> = prepared
            .parts
            .iter()
            .map(|part| part.images.len())
            .collect();
        assert_eq!(sizes, [60, 10, 30]);
        let mut all: Vec<usize> = prepared
            .parts
            .iter()
            .flat_map(|part| part.indices.clone())
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn too_few_images_are_refused_with_the_number_needed() {
        let error = split(&images(19), SHARES, 3).err().unwrap();
        assert!(error.contains("19") && error.contains("20"), "{error}");
        assert!(split(&images(20), SHARES, 3).is_ok());
    }

    #[test]
    fn too_few_calibration_images_come_with_what_to_do() {
        let shares = SplitShares {
            train: 0.75,
            validation: 0.1,
        };
        let said = |calibration: usize, count: usize| {
            let conformal = Conformal::new(vec![0.0; calibration]).unwrap();
            shortage(&conformal, count, shares, 0.05)
        };
        let calibrated = |count: usize, train: f64| deal(count, SplitShares { train, ..shares });
        assert_eq!(calibrated(60, 0.75).unwrap()[2], 15);
        assert_eq!(
            said(15, 60).unwrap(),
            "verdicts at alpha = 0.05 need 19 calibration images, and there are 15: fit again with --calibration-share 0.32, or with at least 76 normal images, or score with --alpha 0.0625 or more"
        );
        // Whoever does as told has enough.
        assert_eq!(calibrated(60, 1.0 - 0.32).unwrap()[2], 19);
        assert_eq!(calibrated(76, 0.75).unwrap()[2], 19);
        // Of 30 images, 19 would leave too few to learn from.
        let few = said(8, 30).unwrap();
        assert!(
            few.contains("at least 76 normal images") && !few.contains("--calibration-share"),
            "{few}"
        );
        assert_eq!(said(19, 76), None);
    }

    #[test]
    fn the_default_settings_can_be_read() {
        let settings = overrides::resolve(Path::new("folder.toml"), FOLDER_STUDY, &[]);
        assert!(settings.unwrap().encoder.positions);
    }
}
