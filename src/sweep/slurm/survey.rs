//! Where every cell is: the results tell, then the notes of the tasks, then Slurm.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::SlurmError;
use super::client::{JobState, Queue};
use super::notes::Note;
use super::plan_file::PlannedCell;
use super::plan_file::Work;
use super::submission::{Submission, folder_of};
use crate::data::DataStore;
use crate::run::{Expected, RunFolder, RunOptions};
use crate::study::{Experiment, Study};
use crate::sweep::plan::Resolved;
use crate::sweep::request::Part;

/// Bytes of a log that are looked at for its end.
const TAIL: u64 = 4096;

/// A cell that is asked for.
pub(super) struct AskedCell {
    /// Which it is.
    pub planned: PlannedCell,
    /// Folder of its run.
    pub folder: PathBuf,
    /// True when its run is complete, and as new as it has to be.
    pub done: bool,
}

/// Where a cell is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CellState {
    /// Its run is complete, and as new as it has to be.
    Done,
    /// A task is at it.
    Running,
    /// A task will be at it, when what Slurm names is over.
    Waiting(String),
    /// It failed for its own reasons, or what it shares did.
    Failed(String),
    /// It is not complete, and no task is at it.
    Stopped(String),
}

/// The tables that are asked for, with their methods' settings.
pub(super) struct Asked<'a> {
    study: &'a Study,
    parts: Vec<Part>,
    resolved: Vec<HashMap<String, Resolved>>,
}

impl<'a> Asked<'a> {
    /// The tables `parts` of a study.
    ///
    /// # Errors
    /// [`SlurmError`] when there is no such method or a setting is impossible.
    pub(super) fn new(
        study: &'a Study,
        parts: Vec<Part>,
        store: &DataStore,
    ) -> Result<Self, SlurmError> {
        let resolve = |part: &Part| Resolved::all(study, &part.plan, &part.overrides, store);
        let resolved = parts.iter().map(resolve).collect::<Result<_, _>>()?;
        Ok(Self {
            study,
            parts,
            resolved,
        })
    }

    /// The table of a cell.
    pub(super) fn part(&self, cell: &PlannedCell) -> &Part {
        &self.parts[cell.part]
    }

    /// What the run of a cell has to be.
    pub(super) fn expected(&self, cell: &PlannedCell) -> &Expected {
        &self.resolved[cell.part][&cell.variant].expected
    }

    /// What a cell runs, and how.
    pub(super) fn run(&self, cell: &PlannedCell) -> (Experiment, RunOptions) {
        let resolved = &self.resolved[cell.part][&cell.variant];
        let options = RunOptions {
            seed: cell.seed,
            ..self.part(cell).options.clone()
        };
        (resolved.experiment(self.study, cell.class), options)
    }

    /// Every expectation, for what is to be checked before anything is submitted.
    pub(super) fn experiments(&self) -> impl Iterator<Item = (Experiment, &Expected)> {
        let all = self.resolved.iter().flat_map(HashMap::values);
        all.map(move |resolved| (resolved.experiment(self.study, 0), &resolved.expected))
    }

    /// Every cell, in the order of the tables, seeds, classes and methods.
    ///
    /// # Errors
    /// [`SlurmError`] when the study cannot be read.
    pub(super) fn cells(&self) -> Result<Vec<AskedCell>, SlurmError> {
        let mut cells = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let dataset = self.study.shared(&part.overrides)?.data.dataset;
            for &seed in &part.plan.seeds {
                for &class in &part.plan.classes {
                    for variant in &part.plan.methods {
                        let planned = PlannedCell {
                            part: index,
                            class,
                            variant: variant.clone(),
                            seed,
                            shares: None,
                        };
                        let place = (class, variant.as_str(), seed);
                        let folder = folder_of(self.study, dataset, part, place);
                        cells.push(AskedCell {
                            done: self
                                .expected(&planned)
                                .is_done_in(&folder, part.options.since.as_ref()),
                            folder,
                            planned,
                        });
                    }
                }
            }
        }
        Ok(cells)
    }
}

/// Where a cell is, from the submissions, the newest first, and the queue, unless Slurm did not answer.
pub(super) fn state(
    cell: &AskedCell,
    submissions: &[&Submission],
    queue: Option<&Queue>,
) -> CellState {
    let found = submissions
        .iter()
        .find_map(|submission| Some((*submission, submission.cell(&cell.folder)?)));
    let Some((submission, index)) = found else {
        return match cell.done {
            true => CellState::Done,
            false => CellState::Stopped("not submitted".to_owned()),
        };
    };
    let slurm = |work, cell| submission.state(queue?, work, cell);
    let is_replaced = || {
        let since = submission.plan.since.as_ref();
        let is_at_it = matches!(
            slurm(Work::Cell, index),
            Some(JobState::Running | JobState::Waiting(_))
        );
        is_at_it && RunFolder::new(cell.folder.clone()).is_older_than(since)
    };
    if cell.done && !is_replaced() {
        return CellState::Done;
    }
    let note = Note::read(&submission.folder, Work::Cell, index);
    let own = slurm(Work::Cell, index);
    match own {
        Some(JobState::Running) => return CellState::Running,
        Some(JobState::Waiting(reason)) => return CellState::Waiting(reason.clone()),
        _ => {}
    }
    if let Some(error) = note.error {
        return CellState::Failed(error);
    }
    if let Some(maker) = submission.plan.cells[index].shares {
        let shared = Note::read(&submission.folder, Work::Shared, maker);
        let ended = match slurm(Work::Shared, maker) {
            Some(JobState::Ended(state)) if state != "COMPLETED" => Some(state.clone()),
            _ => None,
        };
        if let Some(reason) = shared.error.or(ended) {
            let log = tail(submission, Work::Shared, maker, 1);
            let log = if log.is_empty() {
                log
            } else {
                format!(" ({log})")
            };
            return CellState::Failed(format!(
                "what it shares with others could not be made: {reason}{log}"
            ));
        }
    }
    let how = match own {
        Some(JobState::Ended(state)) => state.to_lowercase().replace('_', " "),
        _ if queue.is_none() => "Slurm does not answer".to_owned(),
        _ => "ended without a result, and Slurm has forgotten it".to_owned(),
    };
    let log = tail(submission, Work::Cell, index, 1);
    let text = match log.is_empty() {
        true => how.clone(),
        false => format!("{how}; its log ends: {log}"),
    };
    // What was cancelled, or ended with its node, has not failed for reasons of its own.
    let own_fault = matches!(own, Some(JobState::Ended(state))
        if ["FAILED", "OUT_OF_MEMORY", "TIMEOUT", "DEADLINE"].contains(&state.as_str()));
    match own_fault && !note.stopped {
        true => CellState::Failed(text),
        false => CellState::Stopped(text),
    }
}

/// The last lines that a task has printed, or nothing.
pub(super) fn tail(submission: &Submission, work: Work, cell: usize, lines: usize) -> String {
    let Some(task) = submission.task(work, cell) else {
        return String::new();
    };
    end_of(&submission.folder.log(task), lines).unwrap_or_default()
}

fn end_of(path: &Path, lines: usize) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    Ok(kept[kept.len().saturating_sub(lines)..].join("\n"))
}
