//! A submission that was made: its plan, its jobs, and which task is whose.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SlurmError;
use super::client::{self, JobState, Queue};
use super::plan_file::Work;
use super::plan_file::{PlanFile, PlanFolder};
use crate::files::{self, FileError};
use crate::run::run_folder;
use crate::study::Study;
use crate::sweep::request::Part;

/// Name of the job that writes the table.
pub(super) const COLLECT: &str = "collect";

/// A job that has been submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// Name of its array in the plan, or [`COLLECT`].
    pub name: String,
    /// Slurm's number.
    pub id: String,
}

/// A submission, as it was made.
pub(super) struct Submission {
    /// Where it lies.
    pub folder: PlanFolder,
    /// What it is.
    pub plan: PlanFile,
    /// Its jobs so far.
    pub jobs: Vec<Job>,
    /// Its cells by the folders of their runs.
    by_folder: HashMap<PathBuf, usize>,
    /// Slurm's name of each cell's task, and of the task that makes what it shares.
    tasks: HashMap<(Work, usize), String>,
}

/// Folder of a run of a table.
pub(super) fn folder_of(
    study: &Study,
    dataset: crate::data::DatasetName,
    part: &Part,
    (class, variant, seed): (usize, &str, u64),
) -> PathBuf {
    let name = study.experiment_name(dataset, class);
    run_folder(&part.options.artifacts, &name, variant, seed)
}

/// The jobs of a submission so far, whether this version can read its plan or not: one that was interrupted on its way to the
/// cluster has none, or not all.
fn jobs_of(folder: &PlanFolder) -> Result<Vec<Job>, FileError> {
    match folder.jobs().exists() {
        true => files::read_json(&folder.jobs()),
        false => Ok(Vec::new()),
    }
}

/// Ids of those of the `jobs` that are not over.
fn active(jobs: &[Job], queue: &Queue) -> Vec<String> {
    let running = queue
        .iter()
        .filter(|(_, state)| !matches!(state, JobState::Ended(_)));
    let alive: HashSet<&str> = running
        .map(|(id, _)| id.split('_').next().unwrap_or(id))
        .collect();
    let ids = jobs.iter().map(|job| job.id.clone());
    ids.filter(|id| alive.contains(id.as_str())).collect()
}

/// Ids of the jobs that are not over of all submissions in a folder, also of those that other versions of this program have made.
///
/// # Errors
/// [`SlurmError`] when the jobs of one cannot be read.
pub(super) fn all_active(submissions: &Path, queue: &Queue) -> Result<Vec<String>, SlurmError> {
    let mut ids = Vec::new();
    for folder in PlanFolder::all(submissions) {
        ids.extend(active(&jobs_of(&folder)?, queue));
    }
    Ok(ids)
}

impl Submission {
    /// Reads it.
    ///
    /// # Errors
    /// [`SlurmError`] when it cannot be read or is of another version of this program.
    pub(super) fn open(folder: PlanFolder) -> Result<Self, SlurmError> {
        let plan = folder.read()?;
        let study = folder.study(&plan)?;
        let dataset = study.shared(&plan.overrides)?.data.dataset;
        let parts = plan.parts();
        let path = |cell: &super::plan_file::PlannedCell| {
            let place = (cell.class, cell.variant.as_str(), cell.seed);
            folder_of(&study, dataset, &parts[cell.part], place)
        };
        let cells = plan.cells.iter().enumerate();
        let by_folder = cells.map(|(index, cell)| (path(cell), index)).collect();
        let jobs = jobs_of(&folder)?;
        let mut tasks = HashMap::new();
        for array in &plan.arrays {
            let Some(job) = jobs.iter().find(|job| job.name == array.name) else {
                continue;
            };
            for (task, &cell) in &array.tasks {
                tasks.insert((array.work, cell), format!("{}_{task}", job.id));
            }
        }
        Ok(Self {
            folder,
            plan,
            jobs,
            by_folder,
            tasks,
        })
    }

    /// All in a folder that this version can read, the newest first. (Jobs of others: [`all_active`].)
    pub(super) fn all(submissions: &Path) -> Vec<Self> {
        let folders = PlanFolder::all(submissions).into_iter().rev();
        folders
            .filter_map(|folder| Self::open(folder).ok())
            .collect()
    }

    /// The cell whose run lies in a folder.
    pub(super) fn cell(&self, folder: &Path) -> Option<usize> {
        self.by_folder.get(folder).copied()
    }

    /// Slurm's name of the task that runs a cell, or that makes what it shares.
    pub(super) fn task(&self, work: Work, cell: usize) -> Option<&str> {
        self.tasks.get(&(work, cell)).map(String::as_str)
    }

    /// What Slurm says of that task; nothing when it has forgotten it.
    pub(super) fn state<'a>(
        &self,
        queue: &'a Queue,
        work: Work,
        cell: usize,
    ) -> Option<&'a JobState> {
        queue.get(self.task(work, cell)?)
    }

    /// Ids of its jobs that are not over.
    pub(super) fn active(&self, queue: &Queue) -> Vec<String> {
        active(&self.jobs, queue)
    }

    /// Slurm's names of its tasks and jobs that begin only when somebody releases them, in order.
    pub(super) fn held(&self, queue: &Queue) -> Vec<String> {
        let all = self
            .tasks
            .values()
            .chain(self.jobs.iter().map(|job| &job.id));
        let mut held: Vec<String> = all
            .filter(|id| match queue.get(*id) {
                Some(JobState::Waiting(reason)) => client::is_hold(reason),
                _ => false,
            })
            .cloned()
            .collect();
        held.sort();
        held
    }
}
