//! What a task of an array does: one cell of the plan, or what it shares with others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::SlurmError;
use super::collect::patiently;
use super::notes::Note;
use super::plan_file::Work;
use super::plan_file::{PlanFolder, until_seen};
use super::signals::{self, Wish};
use super::survey::Asked;
use crate::data::DataStore;
use crate::run::{Expected, RunError, RunOptions, Shared, make_shared, run, set_aside};
use crate::study::Experiment;
use crate::train::panic_message;

/// Exit status of a task that stopped where it can go on.
const STOPPED_STATUS: i32 = 75;

/// Runs task `task` of an array of the plan in a folder; the exit status.
///
/// # Errors
/// [`SlurmError`] when the plan cannot be read or there is no such task. What keeps the cell from being
/// run is noted beside the plan, printed, and no error.
pub fn run_task(root: &Path, array: &str, task: usize) -> Result<i32, SlurmError> {
    let folder = PlanFolder::new(root.to_owned());
    let plan = folder.awaited()?;
    let array = plan.arrays.iter().find(|known| known.name == array);
    let found = array.and_then(|array| Some((array.work, *array.tasks.get(&task)?)));
    let Some((work, index)) = found else {
        return Err(SlurmError::Asked(format!(
            "the plan in {} has no such task",
            root.display()
        )));
    };
    let (study, store) = (folder.study(&plan)?, plan.store()?);
    let asked = Asked::new(&study, plan.parts(), &store)?;
    let cell = &plan.cells[index];
    let (experiment, options) = asked.run(cell);
    let mut note = Note::read(&folder, work, index);
    note.error = None;
    note.stopped = false;
    signals::listen()?;
    let job = Task {
        work,
        experiment: &experiment,
        expected: asked.expected(cell),
        store: &store,
        options: &options,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<(), SlurmError> {
        note.write(&folder, work, index)?;
        let waits = work == Work::Cell && cell.shares.is_some();
        if waits && matches!(job.expected.shared, Some(Shared::Network(..))) {
            // Trained on another node perhaps; if it is not seen, this cell trains it after all.
            until_seen(|| job.expected.has_network(job.experiment, job.options));
        }
        Ok(patiently(|| job.run())?)
    }));
    let error = match outcome {
        Ok(Ok(())) => return Ok(0),
        Ok(Err(SlurmError::Run(error))) => {
            if let Some((stage, finished)) = error.interrupted_at() {
                println!("{error}");
                return stopped(&folder, (work, index), note, (stage, finished));
            }
            error.to_string()
        }
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic_message(panic.as_ref()),
    };
    eprintln!("error: {error}");
    note.error = Some(error);
    note.write(&folder, work, index)?;
    Ok(1)
}

/// Notes where a task was stopped, and puts it back into the queue if that is what the signal meant.
fn stopped(
    folder: &PlanFolder,
    (work, index): (Work, usize),
    mut note: Note,
    (stage, finished): (&str, usize),
) -> Result<i32, SlurmError> {
    if signals::wish() != Some(Wish::Requeue) {
        note.stopped = true;
        note.write(folder, work, index)?;
        signals::linger();
        return Ok(signals::TERMINATED_STATUS);
    }
    if !note.stop_at(stage, finished) {
        let error = format!(
            "it was stopped again and again in epoch {} of stage {stage}: an epoch takes longer than the cluster lets it run, so give it more time with --slurm-args '--time=…'",
            finished + 1
        );
        eprintln!("error: {error}");
        note.error = Some(error);
        note.write(folder, work, index)?;
        return Ok(1);
    }
    note.stopped = true;
    note.write(folder, work, index)?;
    if let Err(error) = signals::requeue() {
        eprintln!("{error}: submit the sweep again to go on");
    }
    Ok(STOPPED_STATUS)
}

/// A task that knows what to do.
struct Task<'a> {
    work: Work,
    experiment: &'a Experiment,
    expected: &'a Expected,
    store: &'a DataStore,
    options: &'a RunOptions,
}

impl Task<'_> {
    fn run(&self) -> Result<(), RunError> {
        set_aside(self.experiment, self.store, self.options)?;
        match self.work {
            Work::Shared => make_shared(self.experiment, self.store, self.options),
            Work::Cell => {
                let summary = run(self.experiment, self.store, self.options)?;
                println!("{summary}");
                Ok(())
            }
        }
    }
}
