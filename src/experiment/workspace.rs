//! What a run leaves on disk, and where. A stage and the detector name the files inside their own
//! folders; every other path of a run is built here.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{
    Environment, EvaluationConfig, ExperimentConfig, ExperimentError, Method, SweepTable, overrides,
};
use crate::encoder::ENCODER_STAGE;
use crate::files::{self, FileError};
use crate::report::{
    CHART_FILE, SelectionReport, render_sweep, selection_markdown, sweep_chart, sweep_markdown,
};

/// Name of the lock file, which stays when a run starts over.
const LOCK: &str = ".lock";

/// Features of pretrained networks, which all runs in one folder of artifacts share.
pub(super) fn features_folder(artifacts: &Path) -> PathBuf {
    artifacts.join("features")
}

/// What an interrupted `fit` continues from, beside the model file that it will write.
fn training_folder(model: &Path) -> PathBuf {
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push(".training");
    model.with_file_name(name)
}

/// Which command works in a folder: errors advise what it understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// `experiment`, and what reads its runs.
    Experiment,
    /// `fit`.
    Fit,
}

impl Owner {
    /// What the folder holds.
    fn contents(self) -> &'static str {
        match self {
            Self::Experiment => "a run",
            Self::Fit => "an unfinished fit",
        }
    }

    /// The option that starts over.
    fn start_over(self) -> &'static str {
        match self {
            Self::Experiment => "--fresh",
            Self::Fit => "--force",
        }
    }

    /// What leads to another folder.
    fn elsewhere(self) -> &'static str {
        match self {
            Self::Experiment => "--artifacts for another folder",
            Self::Fit => "--out for another model file",
        }
    }

    /// What can be changed for not having to wait.
    fn beside(self) -> &'static str {
        match self {
            Self::Experiment => "another --seed or --artifacts",
            Self::Fit => "another --out",
        }
    }
}

/// The folder of one run, `<artifacts>/<experiment>/<method>/seed-<n>`, or of a `fit` until it is done,
/// locked for this process.
#[derive(Debug)]
pub struct Workspace {
    owner: Owner,
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
        method: Method,
        config: &ExperimentConfig,
        fresh: bool,
    ) -> Result<Self, ExperimentError> {
        Self::for_training(Owner::Experiment, root, method, config, fresh)
    }

    /// Opens the folder beside the file `model` in which `fit` keeps what it needs to continue. An
    /// unfinished fit of the same settings is continued; of other settings, refused; with `force`,
    /// removed first.
    ///
    /// # Errors
    /// [`ExperimentError`] as for [`for_run`](Self::for_run).
    pub fn for_fit(
        model: &Path,
        method: Method,
        config: &ExperimentConfig,
        force: bool,
    ) -> Result<Self, ExperimentError> {
        let root = training_folder(model);
        Self::for_training(Owner::Fit, root, method, config, force)
    }

    fn for_training(
        owner: Owner,
        root: PathBuf,
        method: Method,
        config: &ExperimentConfig,
        fresh: bool,
    ) -> Result<Self, ExperimentError> {
        files::create_folder(&root)?;
        let workspace = Self::lock(root, owner)?;
        if fresh {
            workspace.clear()?;
        } else if !workspace.config().exists() && workspace.is_run() {
            return Err(ExperimentError::Workspace(format!(
                "{} holds {} without its settings (config.toml): use {} to replace it",
                workspace.root.display(),
                owner.contents(),
                owner.start_over()
            )));
        } else if workspace.config().exists() {
            let differences = overrides::differences(method, &workspace.read_config()?, config);
            if !differences.is_empty() {
                return Err(ExperimentError::Workspace(format!(
                    "{} holds {} with other settings:\n  {}\nUse {} to replace it, or {}",
                    workspace.root.display(),
                    owner.contents(),
                    differences.join("\n  "),
                    owner.start_over(),
                    owner.elsewhere()
                )));
            }
        }
        // A complete run keeps the settings that it was evaluated with until it is evaluated again.
        if !workspace.is_complete() {
            files::write_text(&workspace.config(), &config.to_toml())?;
        }
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
        Self::lock(root, Owner::Experiment)
    }

    fn lock(root: PathBuf, owner: Owner) -> Result<Self, ExperimentError> {
        let lock = lock_unless_busy(&root, owner.beside())?;
        Ok(Self {
            owner,
            root,
            _lock: lock,
        })
    }

    /// True when the folder holds what a run leaves.
    fn is_run(&self) -> bool {
        [self.config(), self.split(), self.environment()]
            .iter()
            .any(|path| path.exists())
    }

    /// Removes everything but the lock. A folder that is not a run's is refused.
    fn clear(&self) -> Result<(), ExperimentError> {
        let entries = std::fs::read_dir(&self.root).map_err(FileError::io("read", &self.root))?;
        let entries: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !path.ends_with(LOCK))
            .collect();
        if !entries.is_empty() && !self.is_run() {
            return Err(ExperimentError::Workspace(format!(
                "{} is not empty and is not a run's folder (it has no config.toml, split.json or environment.json): {} leaves it alone, use {}",
                self.root.display(),
                self.owner.start_over(),
                self.owner.elsewhere()
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
        toml::from_str(&text).map_err(|error| {
            ExperimentError::Workspace(format!(
                "{} is damaged or of another version of this program ({}): {} replaces it",
                path.display(),
                error.to_string().trim_end(),
                self.owner.start_over()
            ))
        })
    }

    /// How the run was evaluated last.
    ///
    /// # Errors
    /// [`ExperimentError`] when the file cannot be read.
    pub fn evaluated_config(&self) -> Result<EvaluationConfig, ExperimentError> {
        Ok(self.read_config()?.evaluation)
    }

    /// Copies a finished autoencoder, and its latents, from another method's run of the same
    /// experiment, seed, backend, data and encoder settings, unless this run has begun its own.
    ///
    /// # Errors
    /// [`ExperimentError`] when a file cannot be copied.
    pub fn adopt_encoder(
        &self,
        config: &ExperimentConfig,
        backend: &str,
    ) -> Result<(), ExperimentError> {
        // What lies around a model file is the user's.
        if self.owner == Owner::Fit {
            return Ok(());
        }
        let stage = ENCODER_STAGE.name;
        let target = self.stage(stage);
        let (Some(seed), Some(methods)) = (
            self.root.file_name(),
            self.root.parent().and_then(Path::parent),
        ) else {
            return Ok(());
        };
        if target.exists() {
            return Ok(());
        }
        let entries = std::fs::read_dir(methods).map_err(FileError::io("read", methods))?;
        for entry in entries.flatten() {
            let root = entry.path().join(seed);
            if root == self.root || !root.join(stage).join("done.json").exists() {
                continue;
            }
            // A run that is being worked on is left alone.
            let Ok(sibling) = Self::existing(root) else {
                continue;
            };
            let same = sibling.read_config().is_ok_and(|other| {
                overrides::differences(Method::Autoencoder, &other, config).is_empty()
            });
            let environment: Result<Environment, _> = files::read_json(&sibling.environment());
            let same_backend = environment.is_ok_and(|there| there.backend == backend);
            if same && same_backend {
                files::copy_folder(&sibling.stage(stage), &target)?;
                if sibling.latents().exists() {
                    let copied = std::fs::copy(sibling.latents(), self.latents());
                    copied.map_err(FileError::io("copy to", self.latents()))?;
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// True when the run has everything that an evaluation needs.
    pub fn is_complete(&self) -> bool {
        [self.done(), self.scores(), self.split()]
            .iter()
            .all(|path| path.exists())
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

/// Locks a folder of artifacts for this process, until the file is dropped.
fn lock_folder(root: &Path) -> Result<File, ExperimentError> {
    lock_unless_busy(root, Owner::Experiment.beside())
}

/// Locks a folder for this process; when another one has it, the error advises `instead`.
fn lock_unless_busy(root: &Path, instead: &str) -> Result<File, ExperimentError> {
    let path = root.join(LOCK);
    let lock = File::create(&path).map_err(FileError::io("write", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ExperimentError::Workspace(format!(
            "another process is working in {}: wait for it, or choose {instead}",
            root.display()
        ))),
        // Some network file systems have no locks; there the user takes care.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(lock),
        Err(TryLockError::Error(error)) => Err(FileError::io("lock", path)(error).into()),
    }
}

/// The folder of a sweep, `<artifacts>/sweeps/<study>`, locked for this process.
#[derive(Debug)]
pub struct SweepWorkspace {
    root: PathBuf,
    _lock: File,
}

impl SweepWorkspace {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// [`ExperimentError`] when another sweep is using it or it cannot be written.
    pub fn open(artifacts: &Path, study: &str) -> Result<Self, ExperimentError> {
        let root = sweep_folder(artifacts, study);
        files::create_folder(&root)?;
        let lock = lock_folder(&root)?;
        Ok(Self { root, _lock: lock })
    }

    /// Messages of the sweep's runs.
    pub fn log(&self) -> PathBuf {
        self.root.join("sweep.log")
    }

    /// Writes table, figure, Markdown and page. They are made from the cells' own results, so a
    /// damaged or outdated one is simply replaced.
    ///
    /// # Errors
    /// [`ExperimentError`] when a file cannot be made or written.
    pub fn write(&self, table: &SweepTable) -> Result<(), ExperimentError> {
        let report = table.report()?;
        let html = render_sweep(&report)?;
        let chart = sweep_chart(&report)?;
        files::replace(&self.root.join("results.csv"), |file| {
            let mut csv = csv::Writer::from_writer(file);
            for row in table.results() {
                csv.serialize(row)?;
            }
            csv.flush()
        })?;
        let chart_file = self.root.join(CHART_FILE);
        match chart {
            Some(svg) => files::write_text(&chart_file, &svg)?,
            None => files::remove(&chart_file)?,
        }
        files::write_text(&self.root.join("results.md"), &sweep_markdown(&report))?;
        Ok(files::write_text(&self.root.join("report.html"), &html)?)
    }
}

/// The folder of a selection, `<artifacts>/<study>-select`, locked for this process.
#[derive(Debug)]
pub struct SelectWorkspace {
    root: PathBuf,
    _lock: File,
}

impl SelectWorkspace {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// [`ExperimentError`] when another selection is using it or it cannot be written.
    pub fn open(artifacts: &Path, study: &str) -> Result<Self, ExperimentError> {
        let root = selection_folder(artifacts, study);
        files::create_folder(&root)?;
        let lock = lock_folder(&root)?;
        Ok(Self { root, _lock: lock })
    }

    /// Messages of the selection's runs.
    pub fn log(&self) -> PathBuf {
        self.root.join("select.log")
    }

    /// Artifacts folder of a candidate's runs with one stand-in, the `number`-th class after the one
    /// left out.
    pub fn artifacts(&self, candidate: &str, number: usize) -> PathBuf {
        self.root.join(stand_in_folder(candidate, number))
    }

    /// Writes the choice as JSON, its table as CSV and both as Markdown.
    ///
    /// # Errors
    /// [`ExperimentError`] when a file cannot be written.
    pub fn write(&self, report: &SelectionReport) -> Result<(), ExperimentError> {
        files::write_json(&self.root.join("selection.json"), report)?;
        files::replace(&self.root.join("selection.csv"), |file| {
            let mut csv = csv::Writer::from_writer(file);
            let head = ["candidate", "folder"].map(str::to_owned).into_iter();
            let head = head.chain(report.classes.iter().cloned());
            csv.write_record(head.chain(["mean", "chosen_by", "chosen"].map(str::to_owned)))?;
            for candidate in &report.candidates {
                let names = [candidate.name.clone(), candidate.folder.clone()];
                let values = candidate.auroc.iter().chain([&candidate.mean]);
                let values = values.map(|value| value.map_or_else(String::new, |v| v.to_string()));
                let chosen = report.chosen.as_ref() == Some(&candidate.name);
                let choices = [
                    report.choosing(Some(&candidate.name)).join(" "),
                    chosen.to_string(),
                ];
                csv.write_record(names.into_iter().chain(values).chain(choices))?;
            }
            csv.flush()
        })?;
        let markdown = selection_markdown(report);
        Ok(files::write_text(&self.root.join(SELECTION), &markdown)?)
    }
}

/// A selection's Markdown.
const SELECTION: &str = "selection.md";

/// Folder of a candidate's runs with one stand-in, relative to that of the selection.
pub(super) fn stand_in_folder(candidate: &str, number: usize) -> String {
    format!("{candidate}/stand-in-{number}")
}

/// Folder of a study's selection below the artifacts folder.
fn selection_folder(artifacts: &Path, study: &str) -> PathBuf {
    artifacts.join(format!("{study}-select"))
}

/// The Markdown of a study's selection.
pub fn selection_table(artifacts: &Path, study: &str) -> PathBuf {
    selection_folder(artifacts, study).join(SELECTION)
}

/// Folder of a study's sweep below the artifacts folder.
fn sweep_folder(artifacts: &Path, study: &str) -> PathBuf {
    artifacts.join("sweeps").join(study)
}

/// The page of a study's sweep.
pub fn sweep_report(artifacts: &Path, study: &str) -> PathBuf {
    sweep_folder(artifacts, study).join("report.html")
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
            Workspace::for_run(root.clone(), Method::EncoderFlow, config, fresh)
                .map_err(|error| error.to_string())
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
    fn errors_of_a_fit_name_its_own_options() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.safetensors");
        let mut config = ExperimentConfig::default();
        let open = |config: &ExperimentConfig, force| {
            Workspace::for_fit(&model, Method::EncoderFlow, config, force)
                .map_err(|error| error.to_string())
        };
        let refused = |config: &ExperimentConfig| {
            let error = open(config, false).unwrap_err();
            assert!(
                !error.contains("--fresh") && !error.contains("--artifacts"),
                "{error}"
            );
            error
        };
        let first = open(&config, false).unwrap();
        assert!(first.root().ends_with("m.safetensors.training"));
        let busy = refused(&config);
        assert!(busy.contains("another --out"), "{busy}");
        let settings = first.config();
        drop(first);
        assert!(open(&config, false).is_ok());
        config.encoder.latent = 7;
        let other = refused(&config);
        for part in ["encoder.latent: 32 there, 7 now", "--force", "--out"] {
            assert!(other.contains(part), "{part}: {other}");
        }
        std::fs::write(&settings, "damaged").unwrap();
        assert!(refused(&config).contains("--force"));
        assert_eq!(open(&config, true).unwrap().read_config().unwrap(), config);
    }

    #[test]
    fn a_folder_is_for_one_process_and_never_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let config = ExperimentConfig::default();
        let first = Workspace::for_run(root.clone(), Method::EncoderFlow, &config, false).unwrap();
        let second = Workspace::for_run(root, Method::EncoderFlow, &config, false).unwrap_err();
        assert!(second.to_string().contains("another process"));
        drop(first);
        let foreign = folder.path().join("photos");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("holiday.png"), "x").unwrap();
        assert!(Workspace::for_run(foreign.clone(), Method::EncoderFlow, &config, true).is_err());
        assert!(foreign.join("holiday.png").exists());
        assert!(Workspace::existing(foreign).is_err());
    }
}
