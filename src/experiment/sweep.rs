//! Every method on every class and seed of one study: independent cells, one table.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::fit::say;
use super::{
    Experiment, ExperimentError, Method, RunOptions, Study, SweepResult, SweepTable,
    SweepWorkspace, run,
};
use crate::data::DataStore;
use crate::train::Display;

/// What a sweep runs over.
#[derive(Clone, Debug)]
pub struct SweepPlan {
    /// Indices of the classes that are left out, one at a time.
    pub classes: Vec<usize>,
    /// The methods.
    pub methods: Vec<Method>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Cells at a time.
    pub jobs: usize,
}

/// One cell: a method on a class with a seed.
#[derive(Clone, Debug)]
struct Cell {
    experiment: Experiment,
    method: Method,
    seed: u64,
}

/// Runs the cells that are not done, and writes table and report after every one.
///
/// A cell that fails is noted and does not stop the others.
///
/// # Errors
/// [`ExperimentError`] when the sweep itself cannot go on: another one is using its folder, it was
/// interrupted, or its table cannot be written.
pub fn sweep(
    study: &Study,
    overrides: &[String],
    plan: &SweepPlan,
    store: &DataStore,
    options: &RunOptions,
) -> Result<SweepTable, ExperimentError> {
    let config = study.resolve(overrides)?;
    let workspace = SweepWorkspace::open(&options.artifacts, &study.name)?;
    // Methods of one class and seed share their encoder, so they belong to one job.
    let mut groups = VecDeque::new();
    for &seed in &plan.seeds {
        for &class in &plan.classes {
            let cells = plan.methods.iter().map(|&method| Cell {
                experiment: study.experiment(class, config.clone()),
                method,
                seed,
            });
            groups.push_back(cells.collect::<Vec<_>>());
        }
    }
    let total = groups.iter().map(Vec::len).sum();
    let progress = Progress {
        groups: Mutex::new(groups),
        table: Mutex::new(SweepTable::new(
            &study.name,
            &config,
            plan,
            &options.command,
        )),
        stopped: Mutex::new(None),
        started: Instant::now(),
        total,
        workspace: &workspace,
        store,
        options,
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| progress.work());
        }
    });
    let stopped = progress
        .stopped
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let table = progress
        .table
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match stopped {
        Some(error) => Err(error),
        None => Ok(table),
    }
}

/// What the jobs share.
struct Progress<'a> {
    groups: Mutex<VecDeque<Vec<Cell>>>,
    table: Mutex<SweepTable>,
    stopped: Mutex<Option<ExperimentError>>,
    started: Instant,
    total: usize,
    workspace: &'a SweepWorkspace,
    store: &'a DataStore,
    options: &'a RunOptions,
}

impl Progress<'_> {
    /// Takes group after group until there is none, or somebody stops.
    fn work(&self) {
        loop {
            let next = lock(&self.groups).pop_front();
            let Some(group) = next else {
                return;
            };
            for cell in group {
                if lock(&self.stopped).is_some() {
                    return;
                }
                if let Err(error) = self.run_cell(&cell) {
                    lock(&self.stopped).get_or_insert(error);
                    return;
                }
            }
        }
    }

    /// Runs a cell and enters it into the table. Only what concerns the whole sweep is an error.
    fn run_cell(&self, cell: &Cell) -> Result<(), ExperimentError> {
        let started = Instant::now();
        let options = RunOptions {
            method: cell.method,
            seed: cell.seed,
            display: Display::Quiet,
            ..self.options.clone()
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run(&cell.experiment, self.store, &options)
        }));
        let outcome = match outcome {
            Ok(Err(error)) if error.is_interruption() => return Err(error),
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("the cell panicked".to_owned()),
        };
        let result = SweepResult::new(&cell.experiment, cell.method, cell.seed, outcome);
        let line = result.line();
        let mut table = lock(&self.table);
        table.results.push(result);
        self.workspace.write(&table)?;
        let done = table.results.len();
        drop(table);
        let left = self.started.elapsed().as_secs_f64() / done as f64 * (self.total - done) as f64;
        say(
            self.options.display,
            &format!(
                "[{done:>width$}/{}] {line}  {:.1} s  (about {:.0} min left)",
                self.total,
                started.elapsed().as_secs_f64(),
                (left / 60.0).ceil(),
                width = self.total.to_string().len()
            ),
        );
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
