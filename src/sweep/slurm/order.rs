//! A sweep or a selection for a cluster, and what can be done with it.

use std::path::PathBuf;
use std::time::Duration;

use super::plan_file::PlanFolder;
use super::scripts::Wishes;
use super::status::{self, Counts};
use super::submission::{Job, Submission, all_active};
use super::submit::{Prepared, alone};
use super::survey::Asked;
use super::{Collected, SlurmError, client};
use crate::data::DataStore;
use crate::files::{self, FileError, hex};
use crate::run::RunOptions;
use crate::study::Study;
use crate::sweep::Request;
use crate::sweep::request::Part;

/// Seconds between two looks at the queue: the first come sooner, for what is soon over.
const LOOKS: [u64; 5] = [1, 2, 5, 10, 30];

/// A sweep or a selection for a cluster.
pub struct Order<'a> {
    /// Of which study.
    pub study: &'a Study,
    /// The user's overrides, `key=value` each.
    pub overrides: &'a [String],
    /// What is asked for.
    pub request: Request,
    /// Where images and weights are.
    pub store: &'a DataStore,
    /// How its runs are carried out; the seed is each cell's own.
    pub options: RunOptions,
    /// What is asked of the cluster.
    pub wishes: Wishes,
}

/// What has been submitted.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Slurm's numbers of the jobs, with what they do; the last one writes the table.
    pub jobs: Vec<(String, String)>,
    /// Cells that these jobs run.
    pub cells: usize,
    /// Cells that were complete before.
    pub done: usize,
    /// Cells that jobs of earlier submissions are at.
    pub under_way: usize,
    /// Where the plan and the logs are.
    pub folder: PathBuf,
}

impl Order<'_> {
    /// The same, as a continuation of the newest submission of it that was made anew by this program and is not finished:
    /// what has been done there since counts.
    ///
    /// # Errors
    /// [`SlurmError`] when that submission cannot be read.
    pub fn continuing(mut self) -> Result<Self, SlurmError> {
        if self.options.since.is_none() {
            return Ok(self);
        }
        let program = std::env::current_exe().map_err(FileError::io("find", "this program"))?;
        let program = files::sha256(&program)?;
        let submissions = Submission::all(&self.submissions()?);
        let earlier = submissions.iter().find(|known| {
            let plan = &known.plan;
            plan.since.is_some()
                && plan.request == self.request
                && plan.overrides == self.overrides
                && plan.device == self.options.device
                && plan.program_sha256 == program
        });
        if let Some(Submission { folder, plan, .. }) = earlier {
            let (study, store) = (folder.study(plan)?, plan.store()?);
            let asked = Asked::new(&study, plan.parts(), &store)?;
            if !asked.cells()?.iter().all(|cell| cell.done) {
                self.options.since.clone_from(&plan.since);
            }
        }
        Ok(self)
    }

    /// The command that asks for it: `sweep` or `select`.
    pub fn verb(&self) -> &'static str {
        self.request.verb()
    }

    /// The scripts and the commands that would be run. Nothing is submitted or written.
    ///
    /// # Errors
    /// [`SlurmError`] when something is impossible.
    pub fn dry_run(&self) -> Result<String, SlurmError> {
        let prepared = Prepared::new(self, true)?;
        let (cells, done) = (prepared.plan.cells.len(), prepared.done);
        let mut text = format!("# {cells} cells to run, {done} done");
        if prepared.under_way > 0 {
            text += &format!(", {} under way", prepared.under_way);
        }
        text.push_str("\n\n");
        if cells > 0 {
            text += &prepared.dry_run(&self.wishes);
        }
        Ok(text)
    }

    /// Submits what is neither done nor under way.
    ///
    /// # Errors
    /// [`SlurmError`] when something is impossible or Slurm refuses; nothing stays submitted then.
    pub fn submit(&self) -> Result<Submitted, SlurmError> {
        // Without Slurm nothing is written either.
        client::queue()?;
        let _alone = alone(self)?;
        let prepared = Prepared::new(self, false)?;
        let jobs = match prepared.plan.cells.is_empty() {
            true => Vec::new(),
            false => prepared.submit(self)?,
        };
        Ok(Submitted {
            jobs: jobs
                .into_iter()
                .map(|Job { name, id }| (id, name))
                .collect(),
            cells: prepared.plan.cells.len(),
            done: prepared.done,
            under_way: prepared.under_way,
            folder: prepared.folder.root().to_owned(),
        })
    }

    /// Waits until no task is at any cell, and says how far they are when that changes.
    ///
    /// # Errors
    /// [`SlurmError`] when Slurm is not here.
    pub fn wait(&self, say: impl Fn(&Counts)) -> Result<(), SlurmError> {
        let mut last = None;
        for look in 0.. {
            // A controller that is busy now will answer later.
            match client::queue() {
                Ok(queue) => {
                    let counts = status::counts(self, &queue)?;
                    if last != Some(counts) {
                        say(&counts);
                        last = Some(counts);
                    }
                    let submissions = Submission::all(&self.submissions()?);
                    let active = |known: &Submission| !known.active(&queue).is_empty();
                    if counts.is_over() && !submissions.iter().any(active) {
                        break;
                    }
                }
                Err(error @ SlurmError::Missing { .. }) => return Err(error),
                Err(_) => {}
            }
            let seconds = LOOKS[LOOKS.len().min(look / 4 + 1) - 1];
            std::thread::sleep(Duration::from_secs(seconds));
        }
        Ok(())
    }

    /// What the results say together, as far as they are there.
    ///
    /// # Errors
    /// [`SlurmError`] when the study cannot be read.
    pub fn collected(&self) -> Result<Collected, SlurmError> {
        Collected::new(self)
    }

    /// Writes table, chart and page, as the collecting job does.
    ///
    /// # Errors
    /// [`SlurmError`] when a file cannot be written.
    pub fn write(&self, collected: &Collected) -> Result<(), SlurmError> {
        collected.write(self)
    }

    /// What is done, running, waiting and failed, and why.
    ///
    /// # Errors
    /// [`SlurmError`] when nothing has been submitted, or Slurm is not here.
    pub fn status(&self) -> Result<String, SlurmError> {
        status::status(self)
    }

    /// Takes back what is queued and ends what runs; the jobs.
    ///
    /// # Errors
    /// [`SlurmError`] when nothing has been submitted, or Slurm refuses.
    pub fn cancel(&self) -> Result<Vec<String>, SlurmError> {
        if PlanFolder::all(&self.submissions()?).is_empty() {
            return Err(self.nothing_submitted()?);
        }
        let queue = client::queue()?;
        let active = all_active(&self.submissions()?, &queue)?;
        if !active.is_empty() {
            client::cancel(&active)?;
        }
        Ok(active)
    }

    /// That there is no submission to ask about.
    pub(super) fn nothing_submitted(&self) -> Result<SlurmError, SlurmError> {
        Ok(SlurmError::Asked(format!(
            "nothing has been submitted from {}: `encoder-flow {} {} --slurm` does",
            self.submissions()?.display(),
            self.request.verb(),
            self.study.name
        )))
    }

    /// Folder of all results, as every node can find it.
    pub(super) fn artifacts(&self) -> Result<PathBuf, SlurmError> {
        let artifacts = &self.options.artifacts;
        let absolute = std::path::absolute(artifacts);
        Ok(absolute.map_err(FileError::io("find", artifacts))?)
    }

    /// The tables that are asked for.
    pub(super) fn parts(&self) -> Result<Vec<Part>, SlurmError> {
        let options = RunOptions {
            artifacts: self.artifacts()?,
            ..self.options.clone()
        };
        Ok(self
            .request
            .parts(&self.study.name, self.overrides, &options))
    }

    /// Folder of the submissions.
    pub(super) fn submissions(&self) -> Result<PathBuf, SlurmError> {
        let folder = self.request.folder(&self.artifacts()?, &self.study.name);
        Ok(folder.join("slurm"))
    }

    /// A folder for a submission, whose name no other has; names are in the order of time.
    pub(super) fn new_folder(&self) -> Result<PlanFolder, SlurmError> {
        let now = std::time::SystemTime::now();
        let time = humantime::format_rfc3339_millis(now).to_string();
        let digits: String = time.chars().filter(char::is_ascii_digit).collect();
        let submissions = self.submissions()?;
        // Other folders of artifacts on the same cluster have their submissions, too.
        let place =
            <sha2::Sha256 as sha2::Digest>::digest(submissions.to_string_lossy().as_bytes());
        let name = format!("{digits}-{}", hex(&place[..3]));
        Ok(PlanFolder::new(submissions.join(name)))
    }
}
