//! Threads that carry out the cells of a sweep.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::Cell;
use crate::data::DataStore;
use crate::run::{RunError, RunOptions, Summary, run, set_aside};
use crate::study::Study;
use crate::train::{Display, panic_message};

/// Takes the outcome of a cell, from any thread.
type Outcome<'a> = &'a (dyn Fn(&Cell, Result<Summary, String>) -> Result<(), RunError> + Sync + 'a);

/// Threads of this process.
pub struct Threads<'a> {
    /// Groups at a time.
    pub jobs: usize,
    /// The study of all cells.
    pub study: &'a Study,
    /// Where images and weights are.
    pub store: &'a DataStore,
    /// How runs are carried out; the seed is each cell's own.
    pub options: &'a RunOptions,
}

impl Threads<'_> {
    /// Runs a cell. Only what concerns the whole sweep is an error.
    fn run(&self, cell: &Cell) -> Result<Result<Summary, String>, RunError> {
        let own = RunOptions {
            seed: cell.seed,
            ..self.options.clone()
        };
        let options = RunOptions {
            display: Display::Quiet,
            among_others: true,
            ..own.clone()
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let experiment = cell.experiment(self.study)?;
            set_aside(&experiment, self.store, &own)?;
            run(&experiment, self.store, &options)
        }));
        match outcome {
            Ok(Err(error)) if error.is_interruption() => Err(error),
            Ok(result) => Ok(result.map_err(|error| error.to_string())),
            Err(panic) => Ok(Err(panic_message(panic.as_ref()))),
        }
    }

    /// Runs groups of cells: those of one group one after the other, because they share what they
    /// train. `done` takes the outcome of each, from any thread; what it returns as an error, and an
    /// interruption, ends the sweep.
    ///
    /// # Errors
    /// The first of these.
    pub fn execute(&self, groups: Vec<Vec<Cell>>, done: Outcome) -> Result<(), RunError> {
        let groups = Mutex::new(VecDeque::from(groups));
        let stopped = Mutex::new(None);
        let work = || {
            loop {
                let next = lock(&groups).pop_front();
                let Some(group) = next else {
                    return;
                };
                for cell in group {
                    if lock(&stopped).is_some() {
                        return;
                    }
                    let outcome = self.run(&cell).and_then(|result| done(&cell, result));
                    if let Err(error) = outcome {
                        lock(&stopped).get_or_insert(error);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(work);
            }
        });
        let stopped = stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        stopped.map_or(Ok(()), Err)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
