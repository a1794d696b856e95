//! One method fitted to a folder's images.

use std::path::{Path, PathBuf};

use super::FolderFit;
use super::order::Resolved;
use super::split::{Split, split};
use crate::backend::OpenDevice;
use crate::data::folder::{Layout, Loaded, Skipped, digest_of, layout, load_watched};
use crate::data::{Conversion, Images, SplitShares};
use crate::method::{
    Calibration, Clock, Context, Detector, Fitted, HeldOut, Identity, MethodError, Part, Scores,
    StageCount,
};
use crate::run::{RunError, Workspace};
use crate::study::Studies;

/// A method that has been fitted, with the images that it was fitted to.
pub(super) struct Attempt {
    /// The method or variant.
    pub name: String,
    pub files: Files,
    pub split: Split,
    /// The group of every image, where they are grouped.
    pub groups: Option<Vec<usize>>,
    pub fitted: Fitted,
    /// Folders of unfinished work, to be removed when the detector is written.
    pub workspaces: Vec<Workspace>,
    pub shares: SplitShares,
    /// Files that are no images, by extension, in words.
    pub ignored: String,
    /// What whoever asked for the fit should know of it.
    pub notes: Vec<String>,
}

/// The files of the images that were read, which the parts hold, and those that could not be.
pub(super) struct Files {
    /// The file of each image.
    pub paths: Vec<PathBuf>,
    /// `[height, width]` of each picture before it was converted.
    pub sides: Vec<[usize; 2]>,
    pub skipped: Vec<Skipped>,
}

impl Attempt {
    /// Reads the images as the method wants them and fits it; `watch` is told how many have been read, of how many.
    ///
    /// # Errors
    /// [`RunError`] as for [`fit_folder`](super::fit_folder).
    pub fn fit(
        studies: &Studies,
        (fit, name): (&FolderFit, &str),
        open: &OpenDevice,
        watch: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, RunError> {
        let resolved = fit.resolve(studies, name)?;
        fit.check()?;
        let read = Read::of(fit, &resolved, watch)?;
        let Resolved {
            choice,
            settings,
            method,
            plan,
        } = resolved;
        let shares = SplitShares {
            train: 1.0 - fit.calibration_share,
            validation: settings.data.validation_share,
        };
        let Read {
            images,
            conversion,
            files,
            groups,
            ignored,
        } = read;
        let split = split(&images, groups.as_deref(), shares, fit.seed).map_err(|reason| {
            let reason = format!("{reason}{}", and_skipped(&files.skipped));
            RunError::pictures(fit.folder.display().to_string(), reason)
        })?;
        let notes = dim_images(&images).into_iter();
        let notes = notes.chain(reshaped_images(&files.sides, conversion));
        let notes: Vec<String> = notes.collect();
        let identity = identity(
            fit,
            &files,
            Identity::of(method.name(), plan.as_ref(), &settings, &fit.backbone),
        );
        let workspace = Workspace::for_fit(&place(fit, name), &identity, &settings, fit.force)?;
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
            stages: StageCount::default(),
            // The p-values come from held-out images.
            training_scores: false,
            notes,
        };
        let outcome = plan.fit(&mut context, &split.fitted);
        let notes = context.notes;
        let fitted = match outcome {
            Ok(fitted) => fitted,
            Err(error) => {
                let error = named(error, &split, &files);
                // With nothing to continue from, the folder would only stand in the way of other settings, and
                // nobody continues a rival that has failed. That it cannot be removed says less than why the fit
                // failed.
                let left_alone = name != fit.method && !error.is_interruption();
                if left_alone || !workspace.has_begun() {
                    let _ = workspace.remove();
                }
                return Err(error);
            }
        };
        Ok(Self {
            name: choice.name,
            files,
            split,
            groups,
            fitted,
            workspaces: vec![workspace],
            shares,
            ignored,
            notes,
        })
    }
}

/// What the fit depends on: what the method's `own` says, which pictures, and how they are dealt out.
fn identity(fit: &FolderFit, files: &Files, mut own: Identity) -> Identity {
    let mut dealt = toml::Table::new();
    // Written as it is typed: TOML's whole numbers end at half of the seeds.
    dealt.insert("seed".to_owned(), fit.seed.to_string().into());
    dealt.insert("calibration-share".to_owned(), fit.calibration_share.into());
    own.settings.insert("fit".to_owned(), dealt.into());
    own.pictures = Some(digest_of(&fit.folder, files.paths.clone()));
    own
}

/// The images of a folder as a method wants them, and what is known about them.
struct Read {
    images: Images,
    conversion: Conversion,
    files: Files,
    groups: Option<Vec<usize>>,
    ignored: String,
}

impl Read {
    /// Reads them, once it is known that the method can look at such images.
    fn of(
        fit: &FolderFit,
        Resolved { settings, plan, .. }: &Resolved,
        watch: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, RunError> {
        let group_by = settings.data.group_by()?;
        let layout = layout(&fit.folder)?;
        let (normal, ignored) = match &layout {
            Layout::Plain { normal, ignored }
            | Layout::Mvtec {
                normal, ignored, ..
            } => (normal, ignored.to_string()),
        };
        let conversion = settings.sizing().of(normal);
        plan.check(conversion.shape())?;
        let read = |done| watch(done, normal.len());
        let Loaded {
            images,
            paths,
            sides,
            skipped,
        } = load_watched(normal, conversion, fit.strict, &read)?;
        refuse_equal(&images, &fit.folder)?;
        let groups = layout.groups(&fit.folder, &paths, group_by.as_ref())?;
        let files = Files {
            paths,
            sides,
            skipped,
        };
        Ok(Self {
            images,
            conversion,
            files,
            groups,
            ignored,
        })
    }
}

/// Refuses images that are all one: nothing is learnt from them.
///
/// # Errors
/// [`RunError`] naming the folder.
fn refuse_equal(images: &Images, folder: &Path) -> Result<(), RunError> {
    let mut others = images.iter().skip(1);
    match images.len() > 1 && others.all(|image| image == images.get(0)) {
        false => Ok(()),
        true => Err(RunError::pictures(
            folder.display().to_string(),
            format!(
                "its {} images are all the same to the last pixel: what varies among normal ones is to be learnt from many",
                images.len()
            ),
        )),
    }
}

/// In words, where images use so little of the range of brightness that they were not meant to: what they show is lost in
/// the rounding to 256 levels.
fn dim_images(images: &Images) -> Option<String> {
    /// Levels of 256 that an image reaches beyond.
    const DIM: u8 = 32;
    let dim = images
        .iter()
        .filter(|image| image.iter().all(|&value| value < DIM));
    let count = dim.count();
    (count > 0).then(|| {
        format!(
            "{count} of {} images stay below an eighth of the range of brightness, as files of 16 bits do that hold 10 or \
             12: scale them to the whole range, for little of what they show is left in 256 levels",
            images.len()
        )
    })
}

/// In words, where images of several proportions are mixed.
fn reshaped_images(sides: &[[usize; 2]], conversion: Conversion) -> Option<String> {
    let count = sides
        .iter()
        .filter(|&&sides| conversion.reshapes(sides))
        .count();
    (count > 0).then(|| {
        format!(
            "{count} of {} images have other proportions than most, which are kept ({}x{} pixels, width and height): their \
             edges are repeated around them. Pictures of one kind are told better by a model of their own",
            sides.len(),
            conversion.width,
            conversion.height
        )
    })
}

/// In words, where files could not be read: how many, and why the first could not.
fn and_skipped(skipped: &[Skipped]) -> String {
    let Some(first) = skipped.first() else {
        return String::new();
    };
    let (count, path) = (skipped.len(), first.path.display());
    let files = if count == 1 { "file" } else { "files" };
    format!(
        ". {count} {files} could not be read, such as {path}: {}",
        first.reason
    )
}

/// The error, of the file where it is of one image.
fn named(error: MethodError, split: &Split, files: &Files) -> RunError {
    let MethodError::NotFinite { ref part, image } = error else {
        return error.into();
    };
    let Some(part) = split.parts().into_iter().find(|one| one.name == *part) else {
        return error.into();
    };
    let reason = "the encoder describes it by numbers that are not finite: take another encoder, or leave this file out";
    of_file(image, part, files, reason)
}

/// What is wrong with an image of a part, with its file.
fn of_file(image: usize, part: &Part, files: &Files, reason: &str) -> RunError {
    let index = part.indices.get(image);
    let path = index.and_then(|&index| files.paths.get(index));
    let name = path.map_or_else(
        || format!("image {image} of {}", part.name),
        |path| path.display().to_string(),
    );
    RunError::pictures(name, reason)
}

/// The calibrated detector.
///
/// # Errors
/// [`RunError`] when there are too few images to calibrate it by, a score of one of them is no number, or it cannot be
/// asked for its heat maps.
pub(super) fn detector(
    Fitted { scorer, scores, .. }: Fitted,
    split: &Split,
    files: &Files,
    origin: &str,
) -> Result<Detector, RunError> {
    let validation = split.fitted.validation();
    let known = scores
        .into_iter()
        .find(|(name, _)| *name == validation.name);
    let known = known.map_or_else(|| Scores::none(scorer.score_names()), |(_, scores)| scores);
    let held_out = &split.held_out;
    let sides = held_out.indices.iter().map(|&index| files.sides[index]);
    let sides: Vec<[usize; 2]> = sides.collect();
    let found = HeldOut::of(scorer.as_ref(), &held_out.images, &sides)?;
    for (part, scores) in [(validation, &known), (held_out, &found.scores)] {
        if let Some(image) = scores.first_not_finite() {
            let reason = "its score is no finite number: take another encoder or method, or leave this file out";
            return Err(of_file(image, part, files, reason));
        }
    }
    let calibration = Calibration::fit(scorer.deciding(), &known, &found.scores)?;
    Ok(Detector::new(scorer, calibration, origin).with_normal_maps(found.maps))
}

/// The model file beside which unfinished work is kept: a rival's has a name of its own.
fn place(fit: &FolderFit, name: &str) -> PathBuf {
    if name == fit.method {
        return fit.out.clone();
    }
    let mut file = fit.out.file_name().unwrap_or_default().to_owned();
    file.push(format!(".{name}"));
    fit.out.with_file_name(file)
}
