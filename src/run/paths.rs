//! What a run leaves on disk, and where. A stage and the detector name the files inside their own
//! folders, and a fit what it keeps beside; every other path of a run is built here.

use std::path::{Path, PathBuf};

use super::{Environment, Moment, RunError};
use crate::files;
use crate::method::{Identity, SharedNetwork};
use crate::study::Settings;
use crate::train::Stage;

/// What the name of a run's folder begins with.
const SEED: &str = "seed-";

/// Features of pretrained networks, which all runs in one folder of artifacts share.
pub(crate) fn features_folder(artifacts: &Path) -> PathBuf {
    artifacts.join("features")
}

/// Folder of a run below the artifacts folder.
pub fn run_folder(artifacts: &Path, experiment: &str, method: &str, seed: u64) -> PathBuf {
    artifacts
        .join(experiment)
        .join(method)
        .join(seed_folder(seed))
}

/// Name of the folder of a run with this seed.
pub(crate) fn seed_folder(seed: u64) -> String {
    format!("{SEED}{seed}")
}

/// The seed of the run in a folder of this name, if it is one of a run.
pub(crate) fn seed_of(folder: &str) -> Option<u64> {
    folder.strip_prefix(SEED)?.parse().ok()
}

/// The folder of one run, `<artifacts>/<experiment>/<variant>/seed-<n>`, or of a `fit` until it is done.
/// Reading from it takes no lock.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The run in `root`, which need not be there.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Settings of the run that is there.
    ///
    /// # Errors
    /// What keeps the file from being read.
    pub fn read_settings(&self) -> Result<Settings, RunError> {
        let path = self.config();
        let text = files::read_text(&path)?;
        let settings = text.parse().and_then(Settings::from_table);
        settings.map_err(|error| {
            RunError::Workspace(format!(
                "{} is damaged or of another version of this program ({})",
                path.display(),
                error.to_string().trim_end(),
            ))
        })
    }

    /// What the numbers of the run that is there depend on.
    ///
    /// # Errors
    /// What keeps the file from being read.
    pub fn read_identity(&self) -> Result<Identity, RunError> {
        let path = self.identity();
        if !path.exists() {
            return Err(RunError::Workspace(format!(
                "{} was left by an earlier version of this program, which did not record what its numbers depend on (identity.json)",
                self.root.display()
            )));
        }
        let text = files::read_text(&path)?;
        serde_json::from_str(&text).map_err(|error| {
            RunError::Workspace(format!("{} is damaged ({error})", path.display()))
        })
    }

    /// True when the folder holds what a run leaves.
    pub(super) fn is_run(&self) -> bool {
        [
            self.config(),
            self.identity(),
            self.split(),
            self.environment(),
        ]
        .iter()
        .any(|path| path.exists())
    }

    /// True when the run has everything that an evaluation needs.
    pub fn is_complete(&self) -> bool {
        let needed = [
            self.done(),
            self.scores(),
            self.split(),
            self.identity(),
            self.environment(),
            self.model(),
        ];
        needed.iter().all(|path| path.exists())
    }

    /// True when it is complete and of this identity.
    pub(super) fn is_done(&self, expected: &Identity) -> bool {
        let there = || self.read_identity();
        self.is_complete() && there().is_ok_and(|there| there.is_same(expected))
    }

    /// True when it was begun before the moment, or nobody knows when.
    pub(crate) fn is_older_than(&self, moment: Option<&Moment>) -> bool {
        let Some(moment) = moment else {
            return false;
        };
        let begun: Result<Environment, _> = files::read_json(&self.environment());
        !begun.is_ok_and(|begun| begun.started >= *moment)
    }

    /// True when it has trained the network for a run of this identity, on this `backend` and by this program, and since that
    /// moment, where there is one.
    pub(super) fn has_trained(
        &self,
        network: SharedNetwork,
        (identity, backend): (&Identity, &str),
        since: Option<&Moment>,
    ) -> bool {
        if !Stage::is_done(&self.stage(network.stage())) || self.is_older_than(since) {
            return false;
        }
        let there = self.read_identity();
        let environment: Result<Environment, _> = files::read_json(&self.environment());
        there.is_ok_and(|there| network.is_shared(&there, identity))
            && environment.is_ok_and(|there| there.backend == backend && there.is_by_this_program())
    }

    /// The runs of the same experiment and seed by all methods, itself too if it is there.
    pub(super) fn of_all_methods(&self) -> Vec<Self> {
        let methods = self.root.parent().and_then(Path::parent);
        let (Some(seed), Some(methods)) = (self.root.file_name(), methods) else {
            return Vec::new();
        };
        let methods = std::fs::read_dir(methods).into_iter().flatten().flatten();
        methods
            .map(|method| Self::new(method.path().join(seed)))
            .collect()
    }

    /// The run's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Resolved settings.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// What the run's numbers depend on.
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity.json")
    }

    /// Versions, device, seed, command.
    pub fn environment(&self) -> PathBuf {
        self.root.join("environment.json")
    }

    /// Which image is in which part.
    pub fn split(&self) -> PathBuf {
        self.root.join("split.json")
    }

    /// Folder of a training stage.
    pub fn stage(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Latents and reconstruction errors of every part.
    pub fn latents(&self) -> PathBuf {
        self.root.join("latents.safetensors")
    }

    /// The fitted detector.
    pub fn detector(&self) -> PathBuf {
        self.root.join("detector")
    }

    /// The detector's file.
    pub fn model(&self) -> PathBuf {
        self.detector().join("model.safetensors")
    }

    /// Thresholds of every score.
    pub fn thresholds(&self) -> PathBuf {
        self.detector().join("thresholds.json")
    }

    /// Scores of every image.
    pub fn scores(&self) -> PathBuf {
        self.root.join("scores.csv")
    }

    /// Metrics by test set, score and name.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.json")
    }

    /// The page.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// Messages of the program and of Burn.
    pub fn log(&self) -> PathBuf {
        self.root.join("run.log")
    }

    /// Written last: the run is complete.
    pub fn done(&self) -> PathBuf {
        self.root.join("done.json")
    }
}
