//! What sweeps and selections leave on disk, and where.

use std::path::{Path, PathBuf};

use super::SweepTable;
use crate::files;
use crate::lock::{FolderLock, lock_folder};
use crate::report::{
    CHART_FILE, SelectionReport, render_sweep, selection_markdown, sweep_chart, sweep_markdown,
};
use crate::run::RunError;

/// What can be changed for not having to wait.
const ELSEWHERE: &str = "another --artifacts";

/// A folder, locked for this process.
#[derive(Debug)]
struct LockedFolder {
    root: PathBuf,
    _lock: FolderLock,
}

impl LockedFolder {
    /// Locks the folder, making it if need be.
    fn open(root: PathBuf) -> Result<Self, RunError> {
        files::create_folder(&root)?;
        let lock = lock_folder(&root, ELSEWHERE)?;
        Ok(Self { root, _lock: lock })
    }

    /// A file in it.
    fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The folder of a sweep, `<artifacts>/sweeps/<study>`, locked for this process.
#[derive(Debug)]
pub struct SweepWorkspace(LockedFolder);

impl SweepWorkspace {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// [`RunError`] when another sweep is using it or it cannot be written.
    pub fn open(artifacts: &Path, study: &str) -> Result<Self, RunError> {
        LockedFolder::open(sweep_folder(artifacts, study)).map(Self)
    }

    /// Messages of the sweep's runs.
    pub fn log(&self) -> PathBuf {
        self.0.file("sweep.log")
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.0.root
    }

    /// Writes table, figure, Markdown and page. They are made from the cells' own results, so a
    /// damaged or outdated one is simply replaced.
    ///
    /// # Errors
    /// [`RunError`] when a file cannot be made or written.
    pub fn write(&self, table: &SweepTable) -> Result<(), RunError> {
        let report = table.report()?;
        let html = render_sweep(&report)?;
        let chart = sweep_chart(&report)?;
        files::replace(&self.0.file("results.csv"), |file| {
            let mut csv = csv::Writer::from_writer(file);
            for row in table.results() {
                csv.serialize(row)?;
            }
            csv.flush()
        })?;
        let chart_file = self.0.file(CHART_FILE);
        match chart {
            Some(svg) => files::write_text(&chart_file, &svg)?,
            None => files::remove(&chart_file)?,
        }
        files::write_text(&self.0.file("results.md"), &sweep_markdown(&report))?;
        Ok(files::write_text(&self.0.file("report.html"), &html)?)
    }
}

/// The folder of a selection, `<artifacts>/<study>-select`, locked for this process.
#[derive(Debug)]
pub struct SelectWorkspace(LockedFolder);

impl SelectWorkspace {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// [`RunError`] when another selection is using it or it cannot be written.
    pub fn open(artifacts: &Path, study: &str) -> Result<Self, RunError> {
        LockedFolder::open(selection_folder(artifacts, study)).map(Self)
    }

    /// Messages of the selection's runs.
    pub fn log(&self) -> PathBuf {
        self.0.file("select.log")
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.0.root
    }

    /// Artifacts folder of the runs with one stand-in, the `number`-th class after the one left out.
    pub(super) fn artifacts(artifacts: &Path, study: &str, number: usize) -> PathBuf {
        selection_folder(artifacts, study).join(Self::folder(number))
    }

    /// That folder, relative to the selection's.
    pub(super) fn folder(number: usize) -> String {
        format!("stand-in-{number}")
    }

    /// Writes the choice as JSON, its table as CSV and both as Markdown.
    ///
    /// # Errors
    /// [`RunError`] when a file cannot be written.
    pub fn write(&self, report: &SelectionReport) -> Result<(), RunError> {
        files::write_json(&self.0.file("selection.json"), report)?;
        files::replace(&self.0.file("selection.csv"), |file| {
            let mut csv = csv::Writer::from_writer(file);
            let head = ["candidate", "method"].map(str::to_owned).into_iter();
            let head = head.chain(report.classes.iter().cloned());
            csv.write_record(head.chain(["mean", "chosen_by", "chosen"].map(str::to_owned)))?;
            for candidate in &report.candidates {
                let names = [candidate.name.clone(), candidate.method.clone()];
                let values = candidate.auroc.iter().chain([&candidate.mean]);
                let values = values.map(|value| value.map_or_else(String::new, |v| v.to_string()));
                let chosen = report.chosen.as_ref() == Some(&candidate.name);
                let choices = [
                    report.choosing(Some(&candidate.name)).join(" "),
                    chosen.to_string(),
                ];
                csv.write_record(names.into_iter().chain(values).chain(choices))?;
            }
            csv.flush()
        })?;
        let markdown = selection_markdown(report);
        Ok(files::write_text(&self.0.file(SELECTION), &markdown)?)
    }
}

/// A selection's Markdown.
const SELECTION: &str = "selection.md";

/// Folder of a study's selection below the artifacts folder.
pub(super) fn selection_folder(artifacts: &Path, study: &str) -> PathBuf {
    artifacts.join(format!("{study}-select"))
}

/// The Markdown of a study's selection.
pub fn selection_table(artifacts: &Path, study: &str) -> PathBuf {
    selection_folder(artifacts, study).join(SELECTION)
}

/// Folder of a study's sweep below the artifacts folder.
pub(super) fn sweep_folder(artifacts: &Path, study: &str) -> PathBuf {
    artifacts.join("sweeps").join(study)
}

/// The page of a study's sweep.
pub fn sweep_report(artifacts: &Path, study: &str) -> PathBuf {
    sweep_folder(artifacts, study).join("report.html")
}
