//! Every method on every class and seed of one study: independent cells, one table.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::run::stored_summary;
use super::{
    Experiment, ExperimentConfig, ExperimentError, Method, RunOptions, Study, SweepResult,
    SweepTable, SweepWorkspace, run,
};
use crate::data::DataStore;
use crate::train::{Display, panic_message};

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

impl SweepPlan {
    /// Number of cells.
    pub(super) fn cells(&self) -> usize {
        self.classes.len() * self.methods.len() * self.seeds.len()
    }

    /// True for the rows that are asked for; a table may have others from earlier sweeps.
    pub(super) fn covers(&self, row: &SweepResult) -> bool {
        self.classes.contains(&usize::from(row.class))
            && self.seeds.contains(&row.seed)
            && self
                .methods
                .iter()
                .any(|method| method.name() == row.method)
    }
}

/// One cell: a method on a class with a seed.
#[derive(Clone, Debug)]
struct Cell {
    experiment: Experiment,
    method: Method,
    seed: u64,
}

/// How far all of the cells are, of one sweep or of several, one after the other.
pub(super) struct Overall {
    total: usize,
    count: Mutex<Count>,
}

impl Overall {
    /// Nothing of `total` cells is done.
    pub(super) fn new(total: usize) -> Self {
        Self {
            total,
            count: Mutex::default(),
        }
    }
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
    let overall = Overall::new(plan.cells());
    sweep_part(study, overrides, plan, store, options, (&overall, ""))
}

/// A sweep that may be a part of something larger: its progress is counted there, and its lines begin
/// with a label.
///
/// # Errors
/// Those of [`sweep`].
pub(super) fn sweep_part(
    study: &Study,
    overrides: &[String],
    plan: &SweepPlan,
    store: &DataStore,
    options: &RunOptions,
    (overall, label): (&Overall, &str),
) -> Result<SweepTable, ExperimentError> {
    let config = study.resolve(overrides)?;
    let workspace = SweepWorkspace::open(&options.artifacts, &study.name)?;
    let log = options.log.clone().unwrap_or_else(|| workspace.log());
    crate::logging::to_file(&log);
    let options = &RunOptions {
        log: Some(log),
        ..options.clone()
    };
    let table = known_cells(study, &config, plan, options);
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
    let progress = Progress {
        groups: Mutex::new(groups),
        table: Mutex::new(table),
        stopped: Mutex::new(None),
        overall,
        label,
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
    overall: &'a Overall,
    label: &'a str,
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
        let mut skipped = false;
        let result = match outcome {
            Ok(Err(error)) if error.is_interruption() => return Err(error),
            Ok(Ok(summary)) => {
                skipped = summary.was_complete;
                SweepResult::complete(&cell.experiment, cell.method, cell.seed, &summary)
            }
            Ok(Err(error)) => cell.failed(error.to_string()),
            Err(panic) => cell.failed(panic_message(panic.as_ref())),
        };
        let line = result.line();
        let mut table = lock(&self.table);
        table.enter(result);
        self.workspace.write(&table)?;
        drop(table);
        let seconds = started.elapsed().as_secs_f64();
        let total = self.overall.total;
        let (done, left) = lock(&self.overall.count).add(seconds, skipped, total);
        self.options.display.say(&format!(
            "[{done:>width$}/{total}] {}{line}  {}{left}",
            self.label,
            if skipped {
                "done before".to_owned()
            } else {
                format!("{seconds:.1} s")
            },
            width = total.to_string().len()
        ));
        Ok(())
    }
}

impl Cell {
    fn failed(&self, error: String) -> SweepResult {
        SweepResult::failed(&self.experiment, self.method, self.seed, error)
    }
}

/// Cells so far, and how long those took that had to be run.
#[derive(Default)]
struct Count {
    done: usize,
    worked: usize,
    seconds: f64,
}

impl Count {
    /// Counts a cell; the number so far, and in words how long the rest will take.
    fn add(&mut self, seconds: f64, skipped: bool, total: usize) -> (usize, String) {
        self.done += 1;
        if !skipped {
            self.worked += 1;
            self.seconds += seconds;
        }
        let left = total - self.done;
        if self.worked == 0 || left == 0 {
            return (self.done, String::new());
        }
        let minutes = self.seconds / self.worked as f64 * left as f64 / 60.0;
        (
            self.done,
            format!("  (at most {:.0} min left)", minutes.ceil()),
        )
    }
}

/// The cells of earlier sweeps and runs of this study with the same settings: a narrower sweep adds
/// to the table and takes nothing away.
fn known_cells(
    study: &Study,
    config: &ExperimentConfig,
    plan: &SweepPlan,
    options: &RunOptions,
) -> SweepTable {
    let mut table = SweepTable::new(&study.name, &config.data, &options.command);
    for class in config.data.dataset.anomalies() {
        let experiment = study.experiment(class, config.clone());
        for method in Method::ALL {
            let folder = options.artifacts.join(&experiment.name).join(method.name());
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let seed = name
                    .to_str()
                    .and_then(|name| name.strip_prefix("seed-")?.parse().ok());
                let Some(seed) = seed else {
                    continue;
                };
                let replaced = options.fresh
                    && plan.classes.contains(&class)
                    && plan.methods.contains(&method)
                    && plan.seeds.contains(&seed);
                let options = RunOptions {
                    method,
                    seed,
                    ..options.clone()
                };
                if let (false, Some(summary)) = (replaced, stored_summary(&experiment, &options)) {
                    table.enter(SweepResult::complete(&experiment, method, seed, &summary));
                }
            }
        }
    }
    table
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
