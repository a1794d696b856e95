//! The table of what the tasks have left, with every gap named.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::client;
use super::plan_file::{PlanFolder, until_seen};
use super::scripts::Wishes;
use super::submission::Submission;
use super::survey::{Asked, AskedCell, CellState, state};
use super::{Order, SlurmError};
use crate::lock::LockError;
use crate::report::{selection_markdown, sweep_markdown};
use crate::run::RunError;
use crate::sweep::plan::known_cells;
use crate::sweep::select::selection;
use crate::sweep::{
    Request, SelectWorkspace, SweepResult, SweepTable, SweepWorkspace, selection_table,
    sweep_report,
};

/// How long to wait for another process that writes the same table.
const WRITTEN_WITHIN: Duration = Duration::from_secs(600);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// What the cells of a request say together.
pub struct Collected {
    tables: Vec<SweepTable>,
    /// The table as Markdown.
    pub markdown: String,
    /// Its page or file.
    pub place: String,
    /// Cells without a result, and all cells.
    pub failures: [usize; 2],
}

impl Collected {
    /// Reads the results of all cells that are asked for.
    ///
    /// # Errors
    /// [`SlurmError`] when the study cannot be read or a number is not finite.
    pub(super) fn new(order: &Order) -> Result<Self, SlurmError> {
        let parts = order.parts()?;
        let asked = Asked::new(order.study, parts.clone(), order.store)?;
        let cells = asked.cells()?;
        let submissions = Submission::all(&order.submissions()?);
        let submissions: Vec<&Submission> = submissions.iter().collect();
        let queue = client::queue().ok();
        let mut tables = Vec::new();
        let mut failures = 0;
        for (index, part) in parts.iter().enumerate() {
            let (study, overrides) = (order.study, &part.overrides);
            let mut table = known_cells(study, overrides, &part.plan, order.store, &part.options)?;
            let key = |row: &SweepResult| (row.class, row.seed, row.method.clone());
            let known: HashSet<_> = table.results().iter().map(key).collect();
            let mut gaps = Vec::new();
            for cell in cells.iter().filter(|cell| cell.planned.part == index) {
                let (planned, found) = (&cell.planned, state(cell, &submissions, queue.as_ref()));
                let key = (planned.class as u8, planned.seed, planned.variant.clone());
                // A run that is to be made anew does not count before it is.
                if found == CellState::Done && known.contains(&key) {
                    continue;
                }
                let reason = match found {
                    CellState::Done => "its results cannot be read".to_owned(),
                    CellState::Running => "still running".to_owned(),
                    CellState::Waiting(reason) => format!("still waiting ({reason})"),
                    CellState::Failed(reason) => reason,
                    CellState::Stopped(reason) => format!("not finished: {reason}"),
                };
                let (experiment, _) = asked.run(planned);
                let cell = planned.cell(&study.name, part);
                gaps.push(SweepResult::failed(&cell, &experiment, reason));
            }
            failures += gaps.len();
            table.extend(gaps);
            tables.push(table);
        }
        let artifacts = &order.options.artifacts;
        let (markdown, place) = match &order.request {
            Request::Sweep(_) => {
                let table = tables.first().map(SweepTable::report).transpose()?;
                let markdown = table.map(|report| sweep_markdown(&report));
                let page = sweep_report(artifacts, &order.study.name);
                (
                    markdown.unwrap_or_default(),
                    format!("report {}", page.display()),
                )
            }
            Request::Select(plan) => {
                let command = &order.options.command;
                let report = selection(order.study, order.overrides, plan, &tables, command)?;
                let table = selection_table(artifacts, &order.study.name);
                (
                    selection_markdown(&report),
                    format!("selection {}", table.display()),
                )
            }
        };
        Ok(Self {
            tables,
            markdown,
            place,
            failures: [failures, cells.len()],
        })
    }

    /// Writes table, chart and page where a local sweep or selection has them.
    ///
    /// # Errors
    /// [`SlurmError`] when another process keeps writing them, or a file cannot be written.
    pub(super) fn write(&self, order: &Order) -> Result<(), SlurmError> {
        let study = &order.study.name;
        for (part, table) in order.parts()?.iter().zip(&self.tables) {
            let artifacts = &part.options.artifacts;
            let workspace = patiently(|| SweepWorkspace::open(artifacts, study))?;
            workspace.write(table)?;
        }
        if let Request::Select(plan) = &order.request {
            let (tables, command) = (&self.tables, &order.options.command);
            let report = selection(order.study, order.overrides, plan, tables, command)?;
            let artifacts = order.artifacts()?;
            let workspace = patiently(|| SelectWorkspace::open(&artifacts, study))?;
            workspace.write(&report)?;
        }
        Ok(())
    }
}

/// Tries again while another process is working in the folder.
pub(super) fn patiently<T>(open: impl Fn() -> Result<T, RunError>) -> Result<T, RunError> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(RunError::Lock(LockError::Busy { .. })) if begun.elapsed() < WRITTEN_WITHIN => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// What the collecting job of a submission does.
///
/// # Errors
/// [`SlurmError`] when the plan cannot be read or the table cannot be written.
pub fn collect(root: &Path) -> Result<Collected, SlurmError> {
    let folder = PlanFolder::new(root.to_owned());
    let plan = folder.awaited()?;
    let (study, store) = (folder.study(&plan)?, plan.store()?);
    let order = Order {
        study: &study,
        overrides: &plan.overrides,
        request: plan.request.clone(),
        store: &store,
        options: plan.options(),
        wishes: Wishes::default(),
    };
    wait_for_results(&order)?;
    let collected = Collected::new(&order)?;
    collected.write(&order)?;
    Ok(collected)
}

/// Waits for results that Slurm says are there, as long as a shared file system may take to show them.
fn wait_for_results(order: &Order) -> Result<(), SlurmError> {
    let asked = Asked::new(order.study, order.parts()?, order.store)?;
    let submissions = Submission::all(&order.submissions()?);
    let submissions: Vec<&Submission> = submissions.iter().collect();
    // Without Slurm's word nobody knows what to wait for.
    let Ok(queue) = client::queue() else {
        return Ok(());
    };
    let is_missing = |cell: &AskedCell| {
        let found = state(cell, &submissions, Some(&queue));
        matches!(found, CellState::Stopped(how) if how.starts_with("completed"))
    };
    until_seen(|| {
        let cells = asked.cells().unwrap_or_default();
        !cells.iter().any(is_missing)
    });
    Ok(())
}
