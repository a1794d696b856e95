//! Every method and variant on every class and seed of one study: independent cells, one table.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::fresh::FreshStart;
use super::threads::lock;
use super::{Cell, Request, SweepResult, SweepTable, SweepWorkspace, Threads};
use crate::data::DataStore;
use crate::run::{Expected, RunError, RunFolder, RunOptions, Summary, seed_of, stored_summary};
use crate::study::{Choice, Experiment, Settings, Study, StudyError};

/// What a sweep runs over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepPlan {
    /// Indices of the classes that are left out, one at a time.
    pub classes: Vec<usize>,
    /// Names of methods and variants.
    pub methods: Vec<String>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Classes at a time.
    pub jobs: usize,
}

impl SweepPlan {
    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.classes.len() * self.methods.len() * self.seeds.len()
    }

    /// The cells; those of one class and seed are one group, because they share their encoder.
    pub fn groups(&self, study: &Study, overrides: &[String]) -> Vec<Vec<Cell>> {
        let mut groups = Vec::new();
        for &seed in &self.seeds {
            for &class in &self.classes {
                let cells = self.methods.iter().map(|variant| Cell {
                    study: study.name.clone(),
                    class,
                    variant: variant.clone(),
                    seed,
                    overrides: overrides.to_vec(),
                });
                groups.push(cells.collect());
            }
        }
        groups
    }

    /// What is impossible is said before anything is run.
    pub(super) fn check(&self, study: &Study, overrides: &[String]) -> Result<(), StudyError> {
        for name in &self.methods {
            study.resolve(&study.choice(name)?, overrides)?;
        }
        Ok(())
    }

    /// True for the rows that are asked for; a table may have others from earlier sweeps.
    pub(super) fn covers(&self, row: &SweepResult) -> bool {
        self.asks_for(row.class.into(), &row.method, row.seed)
    }

    /// True where a run is asked for, a method or variant with a class left out and a seed.
    fn asks_for(&self, class: usize, method: &String, seed: u64) -> bool {
        self.classes.contains(&class) && self.methods.contains(method) && self.seeds.contains(&seed)
    }
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
/// A cell that fails is noted and does not stop the others. A run of other settings that lies where
/// a cell's belongs is kept beside it.
///
/// # Errors
/// [`RunError`] when the sweep itself cannot go on: another one is using its folder, it was
/// interrupted, or its table cannot be written.
pub fn sweep(
    study: &Study,
    overrides: &[String],
    plan: &SweepPlan,
    store: &DataStore,
    options: &RunOptions,
) -> Result<SweepTable, RunError> {
    plan.check(study, overrides)?;
    let workspace = SweepWorkspace::open(&options.artifacts, &study.name)?;
    let request = Request::Sweep(plan.clone());
    anew(
        workspace.root(),
        (&request, overrides),
        options,
        |options| {
            let within = (&workspace, &Overall::new(plan.cells()), "");
            sweep_part(study, overrides, plan, store, options, within)
        },
    )
}

/// Runs what is requested, with what a start of it that was stopped has left in its folder, where everything is to be made
/// anew.
///
/// # Errors
/// Those of `run`, and [`RunError`] when that cannot be noted.
pub(super) fn anew<T>(
    folder: &Path,
    asked: (&Request, &[String]),
    options: &RunOptions,
    run: impl FnOnce(&RunOptions) -> Result<T, RunError>,
) -> Result<T, RunError> {
    let Some(since) = &options.since else {
        return run(options);
    };
    let start = FreshStart::new(since.clone(), asked, options.device.as_deref());
    let options = RunOptions {
        since: Some(start.clone().begin(folder)?),
        ..options.clone()
    };
    let result = run(&options)?;
    start.finish(folder)?;
    Ok(result)
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
    (workspace, overall, label): (&SweepWorkspace, &Overall, &str),
) -> Result<SweepTable, RunError> {
    plan.check(study, overrides)?;
    let log = options.log.clone().unwrap_or_else(|| workspace.log());
    crate::logging::to_file(&log);
    let options = &RunOptions {
        log: Some(log),
        ..options.clone()
    };
    let known = known_cells(study, overrides, plan, store, options)?;
    let table = Mutex::new(known);
    let done = |cell: &Cell, result: Result<Summary, String>| -> Result<(), RunError> {
        let experiment = cell.experiment(study)?;
        let skipped = result.as_ref().is_ok_and(|summary| summary.was_complete);
        let row = match result {
            Ok(summary) => SweepResult::complete(cell, &experiment, &summary),
            Err(error) => SweepResult::failed(cell, &experiment, error),
        };
        let line = row.line();
        let seconds = row.seconds.unwrap_or_default();
        let mut table = lock(&table);
        table.enter(row);
        workspace.write(&table)?;
        drop(table);
        let total = overall.total;
        let (number, left) = lock(&overall.count).add(seconds, skipped, total);
        options.display.say(&format!(
            "[{number:>width$}/{total}] {label}{line}  {}{left}",
            if skipped {
                "done before".to_owned()
            } else {
                format!("{seconds:.1} s")
            },
            width = total.to_string().len()
        ));
        Ok(())
    };
    let threads = Threads {
        jobs: plan.jobs,
        study,
        store,
        options,
    };
    threads.execute(plan.groups(study, overrides), &done)?;
    Ok(table
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
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
            format!("  (about {:.0} min left)", minutes.ceil()),
        )
    }
}

/// What the cells of one method have in common: its settings depend on neither class nor seed.
pub(super) struct Resolved {
    choice: Choice,
    settings: Settings,
    /// What its runs have to be.
    pub expected: Expected,
}

impl Resolved {
    fn of(
        study: &Study,
        choice: Choice,
        overrides: &[String],
        store: &DataStore,
    ) -> Result<Self, RunError> {
        let settings = study.resolve(&choice, overrides)?;
        // Any class will do.
        let experiment = study.experiment(0, &choice, settings.clone());
        Ok(Self {
            expected: Expected::of(&experiment, store)?,
            choice,
            settings,
        })
    }

    /// The methods of a sweep, by name.
    ///
    /// # Errors
    /// [`RunError`] when there is no such method or a setting is impossible.
    pub(super) fn all(
        study: &Study,
        plan: &SweepPlan,
        overrides: &[String],
        store: &DataStore,
    ) -> Result<HashMap<String, Self>, RunError> {
        let resolve = |name: &String| {
            let resolved = Self::of(study, study.choice(name)?, overrides, store)?;
            Ok((name.clone(), resolved))
        };
        plan.methods.iter().map(resolve).collect()
    }

    /// The run that leaves `class` out.
    pub(super) fn experiment(&self, study: &Study, class: usize) -> Experiment {
        study.experiment(class, &self.choice, self.settings.clone())
    }
}

/// The cells of earlier sweeps and runs of this study with the same settings: a narrower sweep adds
/// to the table and takes nothing away. One that is damaged costs its row and nothing else.
pub(super) fn known_cells(
    study: &Study,
    overrides: &[String],
    plan: &SweepPlan,
    store: &DataStore,
    options: &RunOptions,
) -> Result<SweepTable, RunError> {
    let data = study.shared(overrides)?.data;
    let choices = study.choices()?;
    let order = choices.iter().map(|choice| choice.name.clone()).collect();
    let mut table = SweepTable::new(&study.name, order, &data, &options.command);
    let mut rows = Vec::new();
    for choice in choices {
        // A variant that these overrides make impossible has no results with them.
        let Ok(resolved) = Resolved::of(study, choice, overrides, store) else {
            continue;
        };
        let name = &resolved.choice.name;
        for class in data.dataset.anomalies() {
            let experiment = resolved.experiment(study, class);
            let folder = options.artifacts.join(&experiment.name).join(name);
            for seed in seeds_in(&folder) {
                let cell = Cell {
                    study: study.name.clone(),
                    class,
                    variant: name.clone(),
                    seed,
                    overrides: overrides.to_vec(),
                };
                let asked = plan.asks_for(class, name, seed);
                let options = RunOptions {
                    seed,
                    ..options.clone()
                };
                let since = options.since.as_ref().filter(|_| asked);
                if RunFolder::new(options.folder(&experiment)).is_older_than(since) {
                    continue;
                }
                let identity = &resolved.expected.identity;
                if let Some(summary) = stored_summary(&experiment, identity, &options) {
                    rows.push(SweepResult::complete(&cell, &experiment, &summary));
                }
            }
        }
    }
    table.extend(rows);
    Ok(table)
}

/// Seeds of the runs in a method's folder.
fn seeds_in(folder: &std::path::Path) -> BTreeSet<u64> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| seed_of(&name)).collect()
}
