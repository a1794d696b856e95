//! What was submitted: written once before, read by every job, changed by none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::SlurmError;
use crate::data::{DataStore, FetchOptions};
use crate::files;
use crate::method::schema;
use crate::run::{Moment, RunOptions};
use crate::study::{Studies, Study};
use crate::sweep::request::Part;
use crate::sweep::{Cell, Request};
use crate::train::Display;

/// Version of the files that are written.
pub(super) const FORMAT: u32 = 2;

/// How long what was written on another machine may take to be seen on this one: network file systems
/// keep for so long what they have looked up.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// Waits until something written on another machine is seen, as long as that may take; whether it is.
pub(super) fn until_seen(is_seen: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if is_seen() {
            return true;
        }
        if begun.elapsed() > SEEN_WITHIN {
            return false;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A sweep or a selection as it was submitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanFile {
    /// Version of the file.
    pub format: u32,
    /// Name of its folder, and in the names of its jobs.
    pub id: String,
    /// The command line, for the record.
    pub command: String,
    /// Name of the study, whose text is kept beside the plan.
    pub study: String,
    /// What was asked for.
    pub request: Request,
    /// The user's overrides, `key=value` each.
    pub overrides: Vec<String>,
    /// Runs that were begun before are made anew.
    pub since: Option<Moment>,
    /// The backend, if one was named.
    pub device: Option<String>,
    /// Folder that it was submitted from.
    pub directory: PathBuf,
    /// Folder of all results.
    pub artifacts: PathBuf,
    /// Where images and weights are.
    pub data: Vec<PathBuf>,
    /// Never use the network.
    pub offline: bool,
    /// The program, copied when it was submitted.
    pub program: PathBuf,
    /// SHA-256 of the program.
    pub program_sha256: String,
    /// What is run, by index.
    pub cells: Vec<PlannedCell>,
    /// How it is run.
    pub arrays: Vec<Array>,
}

/// A cell of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlannedCell {
    /// Index of its table.
    pub part: usize,
    /// Index of the class left out.
    pub class: usize,
    /// Name of the variant, or of the method.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// Index of the cell that makes what this one shares with others, before it is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<usize>,
}

/// What the tasks of an array do with their cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    /// They make what the cell shares with others.
    Shared,
    /// They run it.
    Cell,
}

/// One job array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Array {
    /// Its name within the plan.
    pub name: String,
    /// What its tasks do.
    pub work: Work,
    /// From the number of a task, as Slurm counts, to the cell.
    pub tasks: BTreeMap<usize, usize>,
    /// Index of the array whose task of the same number has to succeed before a task of this one.
    pub after: Option<usize>,
}

impl PlannedCell {
    /// The cell, with the overrides of its table.
    pub(super) fn cell(&self, study: &str, part: &Part) -> Cell {
        Cell {
            study: study.to_owned(),
            class: self.class,
            variant: self.variant.clone(),
            seed: self.seed,
            overrides: part.overrides.clone(),
        }
    }
}

impl PlanFile {
    /// What keeps its indices from naming anything, if anything does.
    fn check(&self) -> Result<(), String> {
        let cells = self.cells.len();
        let parts = self.parts().len();
        for (index, cell) in self.cells.iter().enumerate() {
            if cell.part >= parts {
                return Err(format!(
                    "its cell {index} is of table {} of {parts}",
                    cell.part
                ));
            }
            if let Some(shared) = cell.shares.filter(|&shared| shared >= cells) {
                return Err(format!(
                    "its cell {index} shares with cell {shared} of {cells}"
                ));
            }
        }
        for array in &self.arrays {
            if let Some(cell) = array.tasks.values().find(|&&cell| cell >= cells) {
                return Err(format!(
                    "a task of `{}` is cell {cell} of {cells}",
                    array.name
                ));
            }
            if let Some(after) = array.after.filter(|&after| after >= self.arrays.len()) {
                return Err(format!(
                    "`{}` waits for array {after}, which there is not",
                    array.name
                ));
            }
        }
        Ok(())
    }

    /// What keeps its cells from being of classes of the data set, if anything does.
    fn check_classes(&self, classes: usize) -> Result<(), SlurmError> {
        match self.cells.iter().find(|cell| cell.class >= classes) {
            None => Ok(()),
            Some(cell) => Err(SlurmError::Asked(format!(
                "the plan {} is damaged: it has a cell of class {}, and the data set has {classes}. Submit again",
                self.id, cell.class
            ))),
        }
    }

    /// How its runs are carried out, but for seed and folders.
    pub(super) fn options(&self) -> RunOptions {
        RunOptions {
            seed: 0,
            since: self.since.clone(),
            device: self.device.clone(),
            display: Display::Plain,
            artifacts: self.artifacts.clone(),
            command: self.command.clone(),
            log: None,
            features: None,
            among_others: false,
        }
    }

    /// Its tables.
    pub(super) fn parts(&self) -> Vec<Part> {
        let options = self.options();
        self.request.parts(&self.study, &self.overrides, &options)
    }

    /// Where images and weights are.
    ///
    /// # Errors
    /// [`SlurmError::Data`] when there is no such folder.
    pub(super) fn store(&self) -> Result<DataStore, SlurmError> {
        let options = FetchOptions {
            offline: self.offline,
            ..FetchOptions::default()
        };
        Ok(DataStore::with_roots(self.data.clone(), options)?)
    }
}

/// The folder of a submission: `<sweep's or selection's folder>/slurm/<id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlanFolder {
    root: PathBuf,
}

impl PlanFolder {
    /// The submission in `root`, an absolute path.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// All submissions in a folder, the newest last.
    pub(super) fn all(submissions: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(submissions).into_iter().flatten();
        let folders = entries.flatten().map(|entry| Self::new(entry.path()));
        let mut folders: Vec<Self> = folders.filter(|folder| folder.plan().is_file()).collect();
        folders.sort_by(|left, right| left.root.cmp(&right.root));
        folders
    }

    /// The folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The plan.
    pub(super) fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// The script of the tasks.
    pub(super) fn task_script(&self) -> PathBuf {
        self.root.join("task.sh")
    }

    /// The script of the collecting job.
    pub(super) fn collect_script(&self) -> PathBuf {
        self.root.join("collect.sh")
    }

    /// Folder of the study's text.
    pub(super) fn studies(&self) -> PathBuf {
        self.root.join("study")
    }

    /// What the jobs print.
    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// What a task has printed.
    pub(super) fn log(&self, job: &str) -> PathBuf {
        self.logs().join(format!("{job}.log"))
    }

    /// The jobs that have been submitted.
    pub(super) fn jobs(&self) -> PathBuf {
        self.root.join("jobs.json")
    }

    /// What tasks leave beside their results.
    pub(super) fn notes(&self) -> PathBuf {
        self.root.join("notes")
    }

    /// Reads the plan.
    ///
    /// # Errors
    /// [`SlurmError`] when it cannot be read or is of another version of this program.
    pub(super) fn read(&self) -> Result<PlanFile, SlurmError> {
        let path = self.plan();
        let mut value: serde_json::Value = files::read_json(&path)?;
        if let (Some(1), Some(plan)) = (value["format"].as_u64(), value.as_object_mut()) {
            // What was to be made anew then is not known to be older than anything.
            plan.remove("fresh");
            plan.insert("since".to_owned(), serde_json::Value::Null);
            plan.insert("format".to_owned(), FORMAT.into());
        }
        let found = value["format"].as_u64();
        if found != Some(u64::from(FORMAT)) {
            return Err(SlurmError::Asked(format!(
                "{} is of another version of this program: submit again",
                path.display()
            )));
        }
        let damaged = |reason: String| {
            SlurmError::Asked(format!(
                "{} is damaged: {reason}. Submit again",
                path.display()
            ))
        };
        let plan: PlanFile =
            serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        plan.check().map_err(damaged)?;
        Ok(plan)
    }

    /// Reads the plan, as soon as a shared file system shows what was written on another machine.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub(super) fn awaited(&self) -> Result<PlanFile, SlurmError> {
        until_seen(|| self.plan().exists());
        self.read()
    }

    /// The study as it was when the plan was made.
    ///
    /// # Errors
    /// [`SlurmError`] when it cannot be read, or has not the classes of the plan.
    pub(super) fn study(&self, plan: &PlanFile) -> Result<Study, SlurmError> {
        let studies = Studies::open(Some(&self.studies()), &schema())?;
        let study = studies.study(&plan.study)?.clone();
        let dataset = study.shared(&plan.overrides)?.data.dataset;
        plan.check_classes(dataset.class_names().len())?;
        Ok(study)
    }
}
