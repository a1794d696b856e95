//! What is done, running, waiting and failed, in words.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::client::{self, Queue};
use super::plan_file::Work;
use super::submission::Submission;
use super::survey::{Asked, CellState, state, tail};
use super::{Order, SlurmError};

/// Lines of the log of a cell that failed.
const LOG_LINES: usize = 5;

/// Cells by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Complete.
    pub done: usize,
    /// A task is at them.
    pub running: usize,
    /// A task will be at them.
    pub waiting: usize,
    /// Those of the waiting whose task begins only when somebody releases it.
    pub held: usize,
    /// They failed for their own reasons, or what they share did.
    pub failed: usize,
    /// Not complete, and no task is at them.
    pub stopped: usize,
}

impl Counts {
    fn add(&mut self, state: &CellState) {
        if matches!(state, CellState::Waiting(reason) if client::is_hold(reason)) {
            self.held += 1;
        }
        *match state {
            CellState::Done => &mut self.done,
            CellState::Running => &mut self.running,
            CellState::Waiting(_) => &mut self.waiting,
            CellState::Failed(_) => &mut self.failed,
            CellState::Stopped(_) => &mut self.stopped,
        } += 1;
    }

    /// True when nothing will change by itself.
    pub fn is_over(&self) -> bool {
        self.running + self.waiting == 0
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            done,
            running,
            waiting,
            held,
            failed,
            stopped,
        } = self;
        let total = done + running + waiting + failed + stopped;
        write!(
            f,
            "{done}/{total} done, {running} running, {waiting} waiting"
        )?;
        if *held > 0 {
            write!(f, " ({held} held by Slurm)")?;
        }
        write!(f, ", {failed} failed")?;
        match stopped {
            0 => Ok(()),
            stopped => write!(f, ", {stopped} stopped"),
        }
    }
}

/// How far a submission is, from one look at the queue.
///
/// # Errors
/// [`SlurmError`] when the study cannot be read.
pub(super) fn counts(order: &Order, queue: &Queue) -> Result<Counts, SlurmError> {
    let asked = Asked::new(order.study, order.parts()?, order.store)?;
    let submissions = Submission::all(&order.submissions()?);
    let submissions: Vec<&Submission> = submissions.iter().collect();
    let mut counts = Counts::default();
    for cell in asked.cells()? {
        counts.add(&state(&cell, &submissions, Some(queue)));
    }
    Ok(counts)
}

/// What has been submitted, cell by cell where something is wrong.
///
/// # Errors
/// [`SlurmError`] when nothing has been submitted, or Slurm is not here.
pub(super) fn status(order: &Order) -> Result<String, SlurmError> {
    let all = Submission::all(&order.submissions()?);
    if all.is_empty() {
        return Err(order.nothing_submitted()?);
    }
    let (queue, silent) = match client::queue() {
        Ok(queue) => (Some(queue), None),
        Err(error @ SlurmError::Missing { .. }) => return Err(error),
        Err(error) => (None, Some(error.to_string())),
    };
    let submissions: Vec<&Submission> = all.iter().collect();
    let mut text = String::new();
    for (number, submission) in all.iter().enumerate() {
        let active = queue.as_ref().map(|queue| submission.active(queue));
        let active = active.unwrap_or_default();
        if number > 0 && active.is_empty() {
            continue;
        }
        text += &describe(submission, &submissions, queue.as_ref(), &active)?;
    }
    if let Some(error) = silent {
        text += &format!("Slurm does not answer, so what runs or waits is not known: {error}\n");
    }
    Ok(text)
}

fn describe(
    submission: &Submission,
    all: &[&Submission],
    queue: Option<&Queue>,
    active: &[String],
) -> Result<String, SlurmError> {
    let plan = &submission.plan;
    let (study, store) = (submission.folder.study(plan)?, plan.store()?);
    let asked = Asked::new(&study, plan.parts(), &store)?;
    let mut counts = Counts::default();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut lines = String::new();
    for cell in asked.cells()? {
        let found = state(&cell, all, queue);
        counts.add(&found);
        let (word, reason) = match &found {
            CellState::Done | CellState::Running => continue,
            CellState::Waiting(reason) => {
                *reasons.entry(reason.clone()).or_default() += 1;
                continue;
            }
            CellState::Failed(reason) => ("failed ", reason),
            CellState::Stopped(reason) => ("stopped", reason),
        };
        let part = asked.part(&cell.planned);
        let run = cell.planned.cell(&study.name, part);
        let name = format!("{}-{}", run.study, run.class);
        let (label, variant, seed) = (&part.label, &run.variant, run.seed);
        // Writing to a string cannot fail.
        let _ = writeln!(
            lines,
            "  {word}  {label}{name} {variant} seed {seed}: {reason}"
        );
        if word == "stopped" {
            continue;
        }
        let here = submission.cell(&cell.folder);
        let log = here.map(|index| tail(submission, Work::Cell, index, LOG_LINES));
        for line in log.unwrap_or_default().lines() {
            let _ = writeln!(lines, "           | {line}");
        }
        let task = here.and_then(|index| submission.task(Work::Cell, index));
        if let Some(task) = task {
            let _ = writeln!(
                lines,
                "           log {}",
                submission.folder.log(task).display()
            );
        }
    }
    let mut text = format!("{} {}: {counts}\n", plan.request.verb(), plan.study);
    if !reasons.is_empty() {
        let reasons = reasons
            .iter()
            .map(|(reason, count)| format!("{count} for {reason}"));
        text += &format!("  waiting: {}\n", reasons.collect::<Vec<_>>().join(", "));
    }
    let held = queue.map(|queue| submission.held(queue));
    if let Some(held) = held.filter(|held| !held.is_empty()) {
        text += &format!(
            "  what Slurm holds begins after: scontrol release {}\n",
            held.join(" ")
        );
    }
    text += &lines;
    if !active.is_empty() {
        text += &format!("  jobs {}\n", active.join(", "));
    } else if counts.failed + counts.stopped > 0 {
        text += &format!("  to submit what is not done again: {}\n", plan.command);
    }
    Ok(text)
}
