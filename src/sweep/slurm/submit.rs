//! From what is asked for to jobs of the cluster: only what is not done, each cell once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::arrays::arrays;
use super::client::{self, Queue};
use super::collect::patiently;
use super::plan_file::{FORMAT, PlanFile, PlanFolder, PlannedCell};
use super::scripts::{self, Wishes};
use super::submission::{COLLECT, Job, Submission, all_active};
use super::survey::{Asked, AskedCell, CellState, state};
use super::{Order, SlurmError};
use crate::backend::Backend;
use crate::data::{DatasetName, folder};
use crate::encoder::SqueezeNet;
use crate::files::{self, FileError};
use crate::lock::lock_folder;
use crate::run::{RunError, Shared, check, seed_folder};

/// What would be submitted.
pub(super) struct Prepared {
    /// The plan; it has no cells when there is nothing to do.
    pub plan: PlanFile,
    /// Where it is to be kept.
    pub folder: PlanFolder,
    /// Cells that are complete.
    pub done: usize,
    /// Cells that jobs of earlier submissions are at.
    pub under_way: usize,
    /// Those jobs.
    pub others: Vec<String>,
}

impl Prepared {
    /// Plans what is neither done nor under way. When it is only to be shown, Slurm need not be there,
    /// nor the data.
    ///
    /// # Errors
    /// [`SlurmError`] when something is impossible, or cells are under way with other settings.
    pub(super) fn new(order: &Order, shown_only: bool) -> Result<Self, SlurmError> {
        order.request.check(order.study, order.overrides)?;
        let parts = order.parts()?;
        let asked = Asked::new(order.study, parts, order.store)?;
        if !shown_only {
            check_files(order, &asked)?;
        }
        let submissions = Submission::all(&order.submissions()?);
        let queue = match client::queue() {
            Err(_) if shown_only => Queue::new(),
            queue => queue?,
        };
        let mut submissions: Vec<&Submission> = submissions.iter().collect();
        submissions.retain(|submission| !submission.active(&queue).is_empty());
        refuse_unread(order, &submissions, &queue)?;
        let (mut done, mut under_way) = (0, 0);
        let mut pending: Vec<PlannedCell> = Vec::new();
        let mut others: Vec<String> = Vec::new();
        for cell in asked.cells()? {
            let found = state(&cell, &submissions, Some(&queue));
            if matches!(found, CellState::Running | CellState::Waiting(_)) {
                under_way += 1;
                others.extend(at_it(order, &cell, &submissions, &queue)?);
            } else if cell.done {
                done += 1;
            } else {
                pending.push(cell.planned);
            }
        }
        others.sort();
        others.dedup();
        share(&mut pending, &asked);
        let largest = client::largest_array();
        let folder = order.new_folder()?;
        let program = std::env::current_exe().map_err(FileError::io("find", "this program"))?;
        let program_sha256 = files::sha256(&program)?;
        let plan = PlanFile {
            format: FORMAT,
            id: folder_name(&folder),
            command: order.options.command.clone(),
            study: order.study.name.clone(),
            request: order.request.clone(),
            overrides: order.overrides.to_vec(),
            since: order.options.since.clone(),
            device: order.options.device.clone(),
            directory: current_folder()?,
            artifacts: order.artifacts()?,
            data: absolute_all(order.store.roots())?,
            offline: order.store.is_offline(),
            program: order
                .submissions()?
                .join("programs")
                .join(&program_sha256[..16])
                .join("encoder-flow"),
            program_sha256,
            arrays: arrays(&pending, largest),
            cells: pending,
        };
        Ok(Self {
            plan,
            folder,
            done,
            under_way,
            others,
        })
    }

    /// The scripts, and the commands with which they would be submitted.
    pub(super) fn dry_run(&self, wishes: &Wishes) -> String {
        let (plan, folder) = (&self.plan, &self.folder);
        let ids: Vec<String> = plan.arrays.iter().map(scripts::placeholder).collect();
        let mut text = String::new();
        let files = [
            (folder.task_script(), scripts::task_script(plan, folder)),
            (
                folder.collect_script(),
                scripts::collect_script(plan, folder),
            ),
        ];
        for (path, script) in files {
            text += &format!("# {}\n{script}\n", path.display());
        }
        for index in 0..plan.arrays.len() {
            let options = scripts::array_options(plan, folder, index, &ids, wishes);
            text += &command("sbatch", &options);
        }
        let after = [&ids[..], &self.others].concat();
        let options = scripts::collect_options(plan, folder, &after, wishes);
        text += &command("sbatch", &options);
        text
    }

    /// Writes plan and scripts, then submits; the jobs. When Slurm refuses one of them, those before
    /// are taken back.
    ///
    /// # Errors
    /// [`SlurmError`] with what Slurm said.
    pub(super) fn submit(&self, order: &Order) -> Result<Vec<Job>, SlurmError> {
        let (plan, folder) = (&self.plan, &self.folder);
        for inner in [folder.logs(), folder.notes(), folder.studies()] {
            files::create_folder(&inner)?;
        }
        keep_program(&plan.program)?;
        for (study, text) in order.study.files()? {
            files::write_text(&folder.studies().join(format!("{study}.toml")), &text)?;
        }
        files::write_text(&folder.task_script(), &scripts::task_script(plan, folder))?;
        let collect = scripts::collect_script(plan, folder);
        files::write_text(&folder.collect_script(), &collect)?;
        // Last: a folder with a plan is a submission.
        files::write_json(&folder.plan(), plan)?;
        let mut jobs: Vec<Job> = Vec::new();
        let submitted = self.submit_all(&order.wishes, &mut jobs);
        if let Err(error) = submitted {
            let ids: Vec<String> = jobs.into_iter().map(|job| job.id).collect();
            if !ids.is_empty() {
                client::cancel(&ids)?;
            }
            return Err(error);
        }
        Ok(jobs)
    }

    fn submit_all(&self, wishes: &Wishes, jobs: &mut Vec<Job>) -> Result<(), SlurmError> {
        let (plan, folder) = (&self.plan, &self.folder);
        let mut ids = Vec::new();
        let mut submit = |name: &str, options: &[String]| -> Result<String, SlurmError> {
            let id = client::submit(options, &scripts::job_name(plan, name))?;
            jobs.push(Job {
                name: name.to_owned(),
                id: id.clone(),
            });
            files::write_json(&folder.jobs(), &*jobs)?;
            Ok(id)
        };
        for (index, array) in plan.arrays.iter().enumerate() {
            let options = scripts::array_options(plan, folder, index, &ids, wishes);
            ids.push(submit(&array.name, &options)?);
        }
        let after = [&ids[..], &self.others].concat();
        let options = scripts::collect_options(plan, folder, &after, wishes);
        submit(COLLECT, &options).map(|_| ())
    }
}

/// A command as it is typed, with as few quotation marks as a shell needs; `<job of …>` stands for a number.
fn command(program: &str, options: &[String]) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=%@:,+".contains(letter);
    let quoted = options.iter().map(|word| {
        let plain = !word.is_empty() && word.chars().all(is_plain);
        match shlex::try_quote(word) {
            Ok(quoted) if !plain && !word.contains("<job of ") => quoted.into_owned(),
            _ => word.clone(),
        }
    });
    format!("{program} {}\n", quoted.collect::<Vec<_>>().join(" "))
}

/// Refuses when there are jobs of which this version cannot read what they are at: they may be at the same cells.
///
/// # Errors
/// [`SlurmError::Asked`].
fn refuse_unread(order: &Order, read: &[&Submission], queue: &Queue) -> Result<(), SlurmError> {
    let known: Vec<String> = read.iter().flat_map(|one| one.active(queue)).collect();
    let mut unread = all_active(&order.submissions()?, queue)?;
    unread.retain(|id| !known.contains(id));
    match unread.is_empty() {
        true => Ok(()),
        false => Err(SlurmError::Asked(format!(
            "jobs {} were submitted by another version of this program, and what they are at cannot be read: wait for them, take them back with --cancel, or choose another --artifacts",
            unread.join(", ")
        ))),
    }
}

/// Which jobs are at a cell that is under way.
///
/// # Errors
/// [`SlurmError::Asked`] when they make something else of it.
fn at_it(
    order: &Order,
    cell: &AskedCell,
    submissions: &[&Submission],
    queue: &Queue,
) -> Result<Vec<String>, SlurmError> {
    let found = submissions
        .iter()
        .find(|known| known.cell(&cell.folder).is_some());
    let Some(submission) = found else {
        return Ok(Vec::new());
    };
    let plan = &submission.plan;
    let active = submission.active(queue);
    if plan.overrides != order.overrides || plan.request.verb() != order.request.verb() {
        return Err(SlurmError::Asked(format!(
            "jobs {} are at {} with other settings: wait for them, take them back with --cancel, or choose another --artifacts",
            active.join(", "),
            cell.folder.display()
        )));
    }
    if order.options.since.is_some() && order.options.since != plan.since {
        return Err(SlurmError::Asked(format!(
            "jobs {} are at {} already: wait for them, or take them back with --cancel before --fresh",
            active.join(", "),
            cell.folder.display()
        )));
    }
    Ok(active)
}

/// Notes which of the cells makes what several of them share and nobody has made yet.
fn share(cells: &mut [PlannedCell], asked: &Asked) {
    // By where it is made, and by what it depends on.
    let mut groups: BTreeMap<(PathBuf, &Shared), Vec<usize>> = BTreeMap::new();
    for (index, cell) in cells.iter().enumerate() {
        let Some(shared) = &asked.expected(cell).shared else {
            continue;
        };
        let (experiment, options) = asked.run(cell);
        let place = match shared {
            Shared::Network(..) => {
                let seed = seed_folder(options.seed);
                options.artifacts.join(&experiment.name).join(seed)
            }
            Shared::Features(_) => options.features(),
        };
        groups.entry((place, shared)).or_default().push(index);
    }
    let mut makers = Vec::new();
    for ((_, shared), group) in groups {
        let first = &cells[group[0]];
        let made = || {
            let (experiment, options) = asked.run(first);
            asked.expected(first).has_network(&experiment, &options)
        };
        let is_network = matches!(shared, Shared::Network(..));
        if group.len() > 1 && !(is_network && made()) {
            makers.push(group);
        }
    }
    for group in makers {
        for &index in &group {
            cells[index].shares = Some(group[0]);
        }
    }
}

/// Makes sure that what is asked for can be run, and that images and weights are there: nodes often have no network, and one download is enough.
fn check_files(order: &Order, asked: &Asked) -> Result<(), SlurmError> {
    // A node may have the GPU that this machine lacks, but it is the same program.
    Backend::named(order.options.device.as_deref()).map_err(RunError::from)?;
    let mut wanted: Vec<DatasetName> = Vec::new();
    for (experiment, expected) in asked.experiments() {
        let data = &experiment.settings.data;
        check(&experiment)?;
        if data.dataset == DatasetName::Folder {
            folder::check_labelled(Path::new(&data.folder))?;
        }
        wanted.extend(std::iter::once(&data.dataset).chain(&data.ood));
        let squeezenet = order.store.backbone(SqueezeNet::FILE);
        match &expected.weights {
            Some(path) if *path == squeezenet => {
                SqueezeNet::check(path).map_err(RunError::from)?;
            }
            Some(path) => {
                std::fs::File::open(path).map_err(FileError::io("read", path))?;
            }
            None => {}
        }
    }
    wanted.sort_by_key(ToString::to_string);
    wanted.dedup();
    for name in wanted {
        // What is drawn or lies in the user's own folder is not downloaded.
        if !matches!(name, DatasetName::Folder | DatasetName::Digits) {
            order.store.load(name)?;
        }
    }
    Ok(())
}

/// Keeps a copy of this program: a later build must not change what waits in the queue.
fn keep_program(path: &Path) -> Result<(), SlurmError> {
    if path.is_file() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let program = std::env::current_exe().map_err(FileError::io("find", "this program"))?;
    files::create_folder(folder)?;
    let partial = tempfile::Builder::new()
        .prefix(".partial-")
        .tempfile_in(folder);
    let partial = partial
        .map_err(FileError::io("write", path))?
        .into_temp_path();
    // The permission to execute is copied as well.
    std::fs::copy(&program, &partial)
        .and_then(|_| std::fs::File::open(&partial)?.sync_all())
        .map_err(FileError::io("copy to", path))?;
    let persisted = partial.persist(path);
    persisted.map_err(|error| FileError::io("write", path)(error.error))?;
    Ok(())
}

fn folder_name(folder: &PlanFolder) -> String {
    let name = folder.root().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn current_folder() -> Result<PathBuf, SlurmError> {
    Ok(std::env::current_dir().map_err(FileError::io("find", "the current folder"))?)
}

fn absolute_all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SlurmError> {
    let absolute = |path: &PathBuf| -> Result<PathBuf, SlurmError> {
        Ok(std::path::absolute(path).map_err(FileError::io("find", path))?)
    };
    paths.iter().map(absolute).collect()
}

/// Lets submissions of one sweep wait for each other: no cell is submitted twice.
pub(super) fn alone(order: &Order) -> Result<impl Sized, SlurmError> {
    let folder = order.submissions()?;
    files::create_folder(&folder)?;
    let lock = || lock_folder(&folder, "another --artifacts").map_err(RunError::from);
    Ok(patiently(lock)?)
}
