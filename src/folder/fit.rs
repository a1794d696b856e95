//! From a folder of normal images to a calibrated detector, without an experiment file.

use std::collections::HashSet;
use std::path::PathBuf;

use super::split::{CALIBRATION, deal, split};
use crate::backend::Backend;
use crate::data::SplitShares;
use crate::data::folder::{Layout, NearDuplicates, Skipped, in_proportion, layout, load_watched};
use crate::evaluate::{Conformal, EvaluateError};
use crate::files;
use crate::method::{
    Calibration, Clock, Context, Detector, Fitted, Identity, Method, Parts, Scores,
};
use crate::run::{RunError, Workspace};
use crate::study::{Studies, StudyError};
use crate::train::Display;

/// The study whose settings `fit` starts from.
const STUDY: &str = "folder";
/// Share of the images held out for the p-values that is proposed, at most: more would leave too few
/// to learn from.
const LARGEST_SHARE: f64 = 0.5;
/// The parts in the order in which they are counted.
const PARTS: [&str; 3] = ["train", "validation", CALIBRATION];

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
    /// Groups that these show, none of them in two parts, where the images are grouped.
    pub groups: Option<[usize; 3]>,
    /// The files of the images for the p-values.
    pub held_out: Vec<PathBuf>,
    /// Where they are not grouped: images for choosing the epoch or for the p-values that nearly equal one that is
    /// trained on.
    pub duplicates: Option<NearDuplicates>,
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

/// Fits a detector to a folder of normal images and writes its model file. While the images are read,
/// `watch` is told how many have been, of how many; training shows its progress itself.
///
/// # Errors
/// [`RunError`] when there are too few images, a setting is impossible, the model file is there
/// already, or the training is stopped; the same call continues after an interruption.
pub fn fit_folder(
    studies: &Studies,
    fit: &FolderFit,
    watch: &(dyn Fn(usize, usize) + Sync),
) -> Result<FittedFolder, RunError> {
    let started = std::time::Instant::now();
    let study = studies.study(STUDY)?;
    let choice = study.choice(&fit.method)?;
    let settings = study.resolve(&choice, &fit.overrides)?;
    let method: Method = choice.method.parse()?;
    let plan = method.plan(&settings)?;
    fit.check()?;
    let group_by = settings.data.group_by()?;
    let open = Backend::choose(fit.device.as_deref())?;
    let layout = layout(&fit.folder)?;
    let (normal, ignored) = match &layout {
        Layout::Plain { normal, ignored }
        | Layout::Mvtec {
            normal, ignored, ..
        } => (normal, ignored.to_string()),
    };
    let conversion = in_proportion(settings.conversion(), normal);
    let read = |done| watch(done, normal.len());
    let loaded = load_watched(normal, conversion, fit.strict, &read)?;
    let groups = layout.groups(&fit.folder, &loaded.paths, group_by.as_ref())?;
    let shares = SplitShares {
        train: 1.0 - fit.calibration_share,
        validation: settings.data.validation_share,
    };
    let parts = split(&loaded.images, groups.as_deref(), shares, fit.seed)
        .map_err(|reason| StudyError::setting(fit.folder.display().to_string(), reason))?;
    // A file that cannot be read is said where it is needed.
    let weights = plan.weights_file(&fit.backbone);
    let weights = weights.and_then(|file| files::sha256(&file).ok());
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
        conversion,
        display: fit.display,
        clock: Clock::start(),
        stages: [0, 1],
        // The p-values come from held-out images.
        training_scores: false,
    };
    let Fitted { scorer, scores, .. } = match plan.fit(&mut context, &parts) {
        Ok(fitted) => fitted,
        Err(error) => {
            // With nothing to continue from, the folder would only stand in the way of other settings. That it
            // cannot be removed says less than why the fit failed.
            if !workspace.has_begun() {
                let _ = workspace.remove();
            }
            return Err(error.into());
        }
    };
    let scores_of = |name: &str| {
        let found = scores.iter().find(|(part, _)| part == name);
        let none = || Scores::none(scorer.score_names());
        found.map_or_else(none, |(_, scores)| scores.clone())
    };
    let [validation, held_out] = ["validation", CALIBRATION].map(scores_of);
    let calibration = Calibration::fit(scorer.deciding(), &validation, &held_out)?;
    let counts = PARTS.map(|name| parts.get(name).map_or(0, |part| part.images.len()));
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
    detector.check_device(&open)?;
    detector.save(&fit.out)?;
    let held_out = parts.get(CALIBRATION).into_iter();
    let held_out = held_out.flat_map(|part| &part.indices);
    let held_out_files = held_out.map(|&index| loaded.paths[index].clone()).collect();
    let duplicates = match groups {
        Some(_) => None,
        None => Some(near_duplicates(&parts)),
    };
    workspace.remove()?;
    Ok(FittedFolder {
        detector,
        counts,
        held_out: held_out_files,
        groups: groups.map(|groups| groups_in(&parts, &groups)),
        duplicates,
        skipped: loaded.skipped,
        ignored,
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

/// How many groups each part shows.
fn groups_in(parts: &Parts, groups: &[usize]) -> [usize; 3] {
    PARTS.map(|name| {
        let indices = parts.get(name).map_or(&[][..], |part| &part.indices);
        let shown: HashSet<usize> = indices.iter().map(|&index| groups[index]).collect();
        shown.len()
    })
}

/// Held-out images that nearly equal one that is trained on.
fn near_duplicates(parts: &Parts) -> NearDuplicates {
    let held_out = PARTS[1..].iter().filter_map(|name| parts.get(name));
    let held_out = held_out.map(|part| part.images.as_ref());
    NearDuplicates::count(&parts.train().images, held_out)
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
