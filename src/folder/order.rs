//! What `fit` is asked for.

use std::path::PathBuf;

use crate::method::{Method, Plan, idle_overrides};
use crate::run::RunError;
use crate::study::{Choice, Settings, Studies, StudyError};
use crate::train::Display;

/// The study whose settings `fit` starts from.
const STUDY: &str = "folder";

/// What `fit` is asked for.
#[derive(Clone, Debug)]
pub struct FolderFit {
    /// Folder of normal images, or of MVTec AD's layout.
    pub folder: PathBuf,
    /// The model file to write.
    pub out: PathBuf,
    /// The method, or a variant that the study `folder` names.
    pub method: String,
    /// Another that is fitted as well, and taken where it misses less than 60 % as many of the defects that are made
    /// up in validation images.
    pub rival: Option<String>,
    /// Settings, `key.path=value`.
    pub overrides: Vec<String>,
    /// Share of the images that is held out for the p-values.
    pub calibration_share: f64,
    /// Seed of the split, the weights and the order of images.
    pub seed: u64,
    /// Refuse files that cannot be read instead of leaving them out.
    pub strict: bool,
    /// Replace the model file, and what an earlier fit with other settings has left where it was stopped.
    pub force: bool,
    /// Backend by name, or the preferred one.
    pub device: Option<String>,
    /// Weights of the pretrained network, if it is used.
    pub backbone: PathBuf,
    /// How to show progress.
    pub display: Display,
}

/// A method as the study has it, and what its fit reads.
pub(super) struct Resolved {
    pub choice: Choice,
    pub settings: Settings,
    pub method: Method,
    pub plan: Box<dyn Plan>,
}

impl FolderFit {
    /// True when the fit reads the weights of [`backbone`](Self::backbone).
    ///
    /// # Errors
    /// [`RunError`] when a setting is impossible, or the model file is there already.
    pub fn wants_backbone(&self, studies: &Studies) -> Result<bool, RunError> {
        self.check()?;
        let resolved = self.resolve(studies, &self.method)?;
        let weights = resolved.plan.weights_file(&self.backbone);
        Ok(weights.is_some_and(|file| file == self.backbone))
    }

    /// In words, those of the overrides that change a setting and nothing of what is fitted: of another method, or for
    /// another way of describing images.
    ///
    /// # Errors
    /// [`RunError`] when a setting is impossible.
    pub fn idle(&self, studies: &Studies) -> Result<Vec<String>, RunError> {
        let study = studies.study(STUDY)?;
        let resolved = self.resolve(studies, &self.method)?;
        let settings = |overrides: &[String]| study.resolve(&resolved.choice, overrides);
        let reads = |settings: &Settings| {
            let data = settings.data.clone();
            let shared = (settings.sizing(), data.validation_share, data.group_by);
            Some((resolved.method.reads(settings)?, shared))
        };
        let idle = idle_overrides(&self.overrides, settings, reads);
        let words = idle.into_iter().map(|asked| {
            format!(
                "--set {asked} changes nothing here: {} with these settings does not read it",
                self.method
            )
        });
        Ok(words.collect())
    }

    /// The method or variant called `name`, with the settings of the study and these over them.
    pub(super) fn resolve(&self, studies: &Studies, name: &str) -> Result<Resolved, RunError> {
        let study = studies.study(STUDY)?;
        let choice = study.choice(name)?;
        let settings = study.resolve(&choice, &self.overrides)?;
        let method: Method = choice.method.parse()?;
        let plan = method.plan(&settings)?;
        Ok(Resolved {
            choice,
            settings,
            method,
            plan,
        })
    }

    /// Refuses before anything is done.
    pub(super) fn check(&self) -> Result<(), StudyError> {
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
