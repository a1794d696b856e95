//! From a folder of normal images to a calibrated detector, without an experiment file.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use super::FolderFit;
use super::attempt::{Attempt, detector};
use super::split::{Split, deal};
use crate::backend::Backend;
use crate::data::SplitShares;
use crate::data::folder::{NearDuplicates, Skipped};
use crate::evaluate::{Conformal, EvaluateError};
use crate::method::Detector;
use crate::run::RunError;
use crate::study::Studies;

/// Share of the images held out for the p-values that is proposed, at most: more would leave too few
/// to learn from.
const LARGEST_SHARE: f64 = 0.5;
/// Of the made-up defects that the first method misses, the share that its rival may miss to be taken.
const FAR_BETTER: f64 = 0.6;

/// What `fit` has made.
pub struct FittedFolder {
    /// The detector, as it was written.
    pub detector: Detector,
    /// What it was compared with, where there was a rival.
    pub comparison: Option<Comparison>,
    /// Images trained on, for choosing the epoch, and for the p-values.
    pub counts: [usize; 3],
    /// Groups that these show, none of them in two parts, where the images are grouped.
    pub groups: Option<[usize; 3]>,
    /// The files of the images for the p-values.
    pub held_out: Vec<PathBuf>,
    /// Images for choosing the epoch or for the p-values that nearly equal one that is trained on.
    pub duplicates: NearDuplicates,
    /// What else should be known of the fit.
    pub notes: Vec<String>,
    /// Files that could not be read.
    pub skipped: Vec<Skipped>,
    /// Files that are no images, by extension, in words.
    pub ignored: String,
    /// Seconds from the first image read to the model written.
    pub seconds: f64,
    shares: SplitShares,
}

/// Two methods by how well they tell validation images from the same with made-up defects (AUROC).
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The one that the detector is of.
    pub taken: (String, f64),
    /// The other.
    pub left: (String, f64),
    /// Which of them had to be far better to be taken.
    pub rival: String,
}

impl fmt::Display for Comparison {
    /// Both with their numbers, and the rule.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { taken, left, rival } = self;
        write!(
            formatter,
            "{} tells made-up defects with an AUROC of {:.3}, {} with {:.3} ({rival} is taken where it misses less than {:.0} % as many)",
            taken.0,
            taken.1,
            left.0,
            left.1,
            100.0 * FAR_BETTER
        )
    }
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
    let open = Backend::choose(fit.device.as_deref())?;
    // Said before it takes its time, and again in the end.
    let idle: Vec<String> = fit.idle(studies)?;
    idle.iter().for_each(|note| fit.display.say(note));
    let first = Attempt::fit(studies, (fit, &fit.method), &open, watch)?;
    let (attempt, comparison) = match &fit.rival {
        None => (first, None),
        Some(rival) => against(
            first,
            Attempt::fit(studies, (fit, rival), &open, watch),
            fit,
        )?,
    };
    let Attempt {
        name,
        files,
        split,
        groups,
        fitted,
        workspaces,
        shares,
        ignored,
        notes,
    } = attempt;
    let counts = split.parts().map(|part| part.images.len());
    let origin = format!(
        "{name} fit to {} of {} normal images, seed {}",
        counts[0],
        files.paths.len(),
        fit.seed
    );
    let notes = idle.into_iter().chain(notes).collect();
    fit.display
        .say(&format!("scoring {} held-out images", counts[2]));
    let detector = detector(fitted, &split, &files, &origin)?;
    detector.check_device(&open)?;
    detector.save(&fit.out)?;
    let held_out = split.held_out.indices.iter();
    let held_out_files = held_out.map(|&index| files.paths[index].clone()).collect();
    let duplicates = near_duplicates(&split);
    for workspace in workspaces {
        // The detector is written: that something is left beside it does not undo that.
        if let Err(error) = workspace.remove() {
            fit.display.say(&format!("left behind: {error}"));
        }
    }
    Ok(FittedFolder {
        detector,
        comparison,
        counts,
        held_out: held_out_files,
        groups: groups.map(|groups| groups_in(&split, &groups)),
        duplicates,
        notes,
        skipped: files.skipped,
        ignored,
        seconds: started.elapsed().as_secs_f64(),
        shares,
    })
}

/// The first attempt, or the rival where it is far better by made-up defects. That a rival
/// cannot be fitted is no reason to have none.
fn against(
    first: Attempt,
    rival: Result<Attempt, RunError>,
    fit: &FolderFit,
) -> Result<(Attempt, Option<Comparison>), RunError> {
    let rival = match rival {
        Err(error) if error.is_interruption() => return Err(error),
        Err(error) => {
            fit.display
                .say(&format!("nothing to compare with: {error}"));
            return Ok((first, None));
        }
        Ok(rival) => rival,
    };
    let name = rival.name.clone();
    let pair = first.fitted.made_up.zip(rival.fitted.made_up);
    let (mut taken, mut left) = match pair.is_some_and(|(own, other)| is_far_better(own, other)) {
        true => (rival, first),
        false => (first, rival),
    };
    // All unfinished work is removed when the detector is written, whoever's it was.
    taken.workspaces.append(&mut left.workspaces);
    let told = |attempt: &Attempt| Some((attempt.name.clone(), attempt.fitted.made_up?));
    let comparison = told(&taken).zip(told(&left));
    let comparison = comparison.map(|(taken, left)| Comparison {
        taken,
        left,
        rival: name,
    });
    Ok((taken, comparison))
}

/// True when an AUROC of `other` misses [far less](FAR_BETTER) than one of `own` misses: of two that tell nearly the
/// same, what is better on photographs is not decided by made-up defects.
fn is_far_better(own: f64, other: f64) -> bool {
    1.0 - other < FAR_BETTER * (1.0 - own)
}

/// How many groups each part shows.
fn groups_in(split: &Split, groups: &[usize]) -> [usize; 3] {
    split.parts().map(|part| {
        let shown: HashSet<usize> = part.indices.iter().map(|&index| groups[index]).collect();
        shown.len()
    })
}

/// Held-out images that nearly equal one that is trained on.
fn near_duplicates(split: &Split) -> NearDuplicates {
    let [train, held_out @ ..] = split.parts().map(|part| part.images.as_ref());
    NearDuplicates::count(train, held_out)
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
    fn a_rival_must_miss_far_less() {
        assert!(is_far_better(0.93, 0.98) && is_far_better(0.6, 0.9));
        assert!(!is_far_better(0.55, 0.61) && !is_far_better(0.9, 0.9));
        assert!(is_far_better(0.8, 0.89) && !is_far_better(0.8, 0.87));
        // Nobody is better than one that misses nothing.
        assert!(!is_far_better(1.0, 1.0));
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
