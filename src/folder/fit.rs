//! From a folder of normal images to a calibrated detector, without an experiment file.

use std::path::PathBuf;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::backend::Backend;
use crate::data::folder::{Layout, Skipped, layout, load};
use crate::data::{Images, SplitShares};
use crate::evaluate::{Conformal, EvaluateError};
use crate::files::{self, FileError};
use crate::method::{
    Calibration, Clock, Context, Detector, Fitted, Identity, Method, Part, Parts, Scores, derive,
};
use crate::run::{RunError, Workspace};
use crate::study::{Studies, StudyError};
use crate::train::Display;

/// The study whose settings `fit` starts from.
const STUDY: &str = "folder";
/// Fewest normal images that a detector is fitted to.
const FEWEST: usize = 20;
/// Share of the images held out for the p-values that is proposed, at most: more would leave too few
/// to learn from.
const LARGEST_SHARE: f64 = 0.5;
/// The part that is held out for the p-values.
const CALIBRATION: &str = "calibration";

/// What `fit` is asked for.
#[derive(Clone, Debug)]
pub struct FolderFit {
    /// Folder of normal images, or of MVTec AD's layout.
    pub folder: PathBuf,
    /// The model file to write.
    pub out: PathBuf,
    /// The method, or a variant that the study `folder` names.
    pub method: String,
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
/// [`RunError`] when there are too few images, a setting is impossible, the model file is there
/// already, or the training is stopped; the same call continues after an interruption.
pub fn fit_folder(studies: &Studies, fit: &FolderFit) -> Result<FittedFolder, RunError> {
    let started = std::time::Instant::now();
    let study = studies.study(STUDY)?;
    let choice = study.choice(&fit.method)?;
    let settings = study.resolve(&choice, &fit.overrides)?;
    let method: Method = choice.method.parse()?;
    let plan = method.plan(&settings)?;
    fit.check()?;
    let open = Backend::choose(fit.device.as_deref())?;
    let (normal, ignored) = match layout(&fit.folder)? {
        Layout::Plain { normal, ignored }
        | Layout::Mvtec {
            normal, ignored, ..
        } => (normal, ignored),
    };
    let loaded = load(&normal, settings.conversion(), fit.strict)?;
    let shares = SplitShares {
        train: 1.0 - fit.calibration_share,
        validation: settings.data.validation_share,
    };
    let parts = split(&loaded.images, shares, fit.seed)
        .map_err(|reason| StudyError::setting(fit.folder.display().to_string(), reason))?;
    // A file that cannot be read is said where it is needed.
    let weights = files::sha256(&fit.backbone).ok();
    let identity = Identity::new(method.name(), plan.as_ref(), &settings, weights);
    let workspace = Workspace::for_fit(&fit.out, &identity, &settings, fit.force)?;
    let log = workspace.log();
    crate::logging::to_file(&log);
    let mut context = Context {
        seed: fit.seed,
        device: &open.device,
        folder: workspace.root(),
        log: &log,
        weights: &fit.backbone,
        conversion: settings.conversion(),
        display: fit.display,
        clock: Clock::start(),
        stages: [0, 1],
    };
    let Fitted { scorer, scores, .. } = plan.fit(&mut context, &parts)?;
    let scores_of = |name: &str| {
        let found = scores.iter().find(|(part, _)| part == name);
        let none = || Scores::none(scorer.score_names());
        found.map_or_else(none, |(_, scores)| scores.clone())
    };
    let [validation, held_out] = ["validation", CALIBRATION].map(scores_of);
    let calibration = Calibration::fit(scorer.deciding(), &validation, &held_out)?;
    let counts = ["train", "validation", CALIBRATION]
        .map(|name| parts.get(name).map_or(0, |part| part.images.len()));
    let origin = format!(
        "{} fit to {} of {} normal images, seed {}",
        choice.name,
        counts[0],
        loaded.images.len(),
        fit.seed
    );
    let mut detector = Detector::new(scorer, calibration, &origin);
    if let Some(held_out) = parts.get(CALIBRATION) {
        let indices = held_out.indices.iter();
        let sides: Vec<[usize; 2]> = indices.map(|&index| loaded.sides[index]).collect();
        detector = detector.with_normal_maps(&held_out.images, &sides)?;
    }
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
    fn check(&self) -> Result<(), StudyError> {
        let wrong = |place: &str, reason: String| Err(StudyError::setting(place, reason));
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
fn split(images: &Images, shares: SplitShares, seed: u64) -> Result<Parts, String> {
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
        (CALIBRATION, held_out),
    ];
    let parts = parts.into_iter().map(|(name, indices)| Part {
        name: name.to_owned(),
        images: Arc::new(images.select(indices)),
        indices: indices.to_vec(),
        labels: labels.clone(),
        features: None,
    });
    Ok(Parts::new(parts.collect()))
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
        let parts = split(&images(100), SHARES, 3).unwrap();
        let sizes: Vec<usize> = parts.iter().map(|part| part.images.len()).collect();
        assert_eq!(sizes, [60, 10, 30]);
        let mut all: Vec<usize> = parts.iter().flat_map(|part| part.indices.clone()).collect();
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
}
