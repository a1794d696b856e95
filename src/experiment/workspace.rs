//! What a run leaves on disk, and where: the only place that builds artifact paths.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::{ExperimentConfig, ExperimentError, overrides};
use crate::files::{self, FileError};

/// Name of the lock file, which stays when a run starts over.
const LOCK: &str = ".lock";

/// The folder of one run, `<artifacts>/<experiment>/<method>/seed-<n>`, locked for this process.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    _lock: File,
}

impl Workspace {
    /// Opens a run's folder for training. A run of the same settings is continued; of other
    /// settings, refused; with `fresh`, removed first.
    ///
    /// # Errors
    /// [`ExperimentError`] when the folder is in use, holds another run or cannot be written.
    pub fn for_run(
        root: PathBuf,
        config: &ExperimentConfig,
        fresh: bool,
    ) -> Result<Self, ExperimentError> {
        files::create_folder(&root)?;
        let workspace = Self::lock(root)?;
        if fresh {
            workspace.clear()?;
        } else if workspace.config().exists() {
            let differences = overrides::differences(&workspace.read_config()?, config);
            if !differences.is_empty() {
                return Err(ExperimentError::Workspace(format!(
                    "{} holds a run with other settings:\n  {}\nUse --fresh to replace it, or --artifacts for another folder",
                    workspace.root.display(),
                    differences.join("\n  ")
                )));
            }
        }
        files::write_text(&workspace.config(), &config.to_toml())?;
        Ok(workspace)
    }

    /// Opens the folder of a run that has been trained.
    ///
    /// # Errors
    /// [`ExperimentError`] when there is none or it is in use.
    pub fn existing(root: PathBuf) -> Result<Self, ExperimentError> {
        if !root.join("config.toml").exists() {
            return Err(ExperimentError::Workspace(format!(
                "there is no run in {}: train it with `encoder-flow experiment` first",
                root.display()
            )));
        }
        Self::lock(root)
    }

    fn lock(root: PathBuf) -> Result<Self, ExperimentError> {
        let path = root.join(LOCK);
        let lock = File::create(&path).map_err(FileError::io("write", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(ExperimentError::Workspace(format!(
                "another process is working in {}: wait for it, or choose another --seed or --artifacts",
                root.display()
            ))),
            Err(TryLockError::Error(error)) => Err(FileError::io("lock", path)(error).into()),
        }
    }

    /// Removes everything but the lock. A folder that is not a run's is refused.
    fn clear(&self) -> Result<(), ExperimentError> {
        let entries = std::fs::read_dir(&self.root).map_err(FileError::io("read", &self.root))?;
        let entries: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !path.ends_with(LOCK))
            .collect();
        if !entries.is_empty() && !self.config().exists() {
            return Err(ExperimentError::Workspace(format!(
                "{} is not empty and is not a run's folder (it has no config.toml): --fresh leaves it alone",
                self.root.display()
            )));
        }
        // The file that marks a run goes last: what is interrupted here can be repeated.
        let (marker, others): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|path| *path == self.config());
        for path in others.into_iter().chain(marker) {
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(FileError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Settings of the run that is there.
    ///
    /// # Errors
    /// [`ExperimentError`] when the file cannot be read.
    pub fn read_config(&self) -> Result<ExperimentConfig, ExperimentError> {
        let path = self.config();
        let text = files::read_text(&path)?;
        toml::from_str(&text).map_err(|error| FileError::contents(path, error).into())
    }

    /// The run's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Resolved settings.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
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

/// Folder of a run below the artifacts folder.
pub fn run_folder(artifacts: &Path, experiment: &str, method: &str, seed: u64) -> PathBuf {
    artifacts
        .join(experiment)
        .join(method)
        .join(format!("seed-{seed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_configuration_is_refused_until_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let config = ExperimentConfig::default();
        let open = |config: &ExperimentConfig, fresh| {
            Workspace::for_run(root.clone(), config, fresh).map_err(|error| error.to_string())
        };
        std::fs::write(open(&config, false).unwrap().scores(), "x").unwrap();
        let mut other = config.clone();
        other.evaluation.confidence = 0.9;
        assert!(open(&other, false).unwrap().scores().exists());
        other.encoder.latent = 7;
        let refused = open(&other, false).unwrap_err();
        assert!(
            refused.contains("encoder.latent: 32 there, 7 now"),
            "{refused}"
        );
        let fresh = open(&other, true).unwrap();
        assert!(!fresh.scores().exists());
        assert_eq!(fresh.read_config().unwrap(), other);
    }

    #[test]
    fn a_folder_is_for_one_process_and_never_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let config = ExperimentConfig::default();
        let first = Workspace::for_run(root.clone(), &config, false).unwrap();
        let second = Workspace::for_run(root, &config, false).unwrap_err();
        assert!(second.to_string().contains("another process"));
        drop(first);
        let foreign = folder.path().join("photos");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("holiday.png"), "x").unwrap();
        assert!(Workspace::for_run(foreign.clone(), &config, true).is_err());
        assert!(foreign.join("holiday.png").exists());
        assert!(Workspace::existing(foreign).is_err());
    }
}
