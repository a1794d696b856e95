//! The scripts of the jobs, and the options of `sbatch` that go with them.

use super::SlurmError;
use super::arrays::ranges;
use super::plan_file::Array;
use super::plan_file::{PlanFile, PlanFolder};

/// Seconds before the time limit at which a task is told to stop and to be requeued. Slurm looks at its
/// clock now and then: the signal has been seen to come 15 to 19 s late.
const WARNING: u32 = 120;

/// Options of `sbatch` that would take a submission apart.
const OURS: [&str; 10] = [
    "--array",
    "-a",
    "--dependency",
    "-d",
    "--job-name",
    "-J",
    "--wrap",
    "--wait",
    "-W",
    "--test-only",
];

/// What the user wants of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Further options of `sbatch`, after ours.
    pub sbatch: Vec<String>,
    /// Tasks at a time, if that is to be limited.
    pub at_most: Option<u32>,
}

impl Wishes {
    /// Takes options as they are typed in a shell.
    ///
    /// # Errors
    /// [`SlurmError::Asked`] when they are not quoted well, or would take the submission apart.
    pub fn new(typed: &str, at_most: Option<u32>) -> Result<Self, SlurmError> {
        let Some(sbatch) = shlex::split(typed) else {
            return Err(SlurmError::Asked(format!(
                "--slurm-args {typed}: a quotation mark is not closed"
            )));
        };
        let clash = sbatch.iter().find(|word| {
            let name = word.split('=').next().unwrap_or_default();
            // The value of a short option may follow it at once.
            let short = OURS.iter().filter(|ours| ours.len() == 2);
            let attached =
                !word.starts_with("--") && short.into_iter().any(|ours| word.starts_with(ours));
            attached || OURS.contains(&name)
        });
        match clash {
            Some(word) => Err(SlurmError::Asked(format!(
                "--slurm-args: {word} is set by the submission itself, leave it out (--at-most limits the tasks at a time)"
            ))),
            None => Ok(Self { sbatch, at_most }),
        }
    }
}

/// Where in a dependency a job that has not been submitted yet is named.
pub(super) fn placeholder(array: &Array) -> String {
    format!("<job of {}>", array.name)
}

/// The script of all tasks.
pub(super) fn task_script(plan: &PlanFile, folder: &PlanFolder) -> String {
    let command = command(plan, folder, "run");
    format!(
        r#"#!/bin/bash
# One task of an array of the plan beside this file: `sbatch ... task.sh ARRAY`.
# As many threads as the task has processors, which srun does not take over by itself.
if [ -n "${{SLURM_CPUS_PER_TASK:-}}" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi
export RAYON_NUM_THREADS=${{RAYON_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}}}
# Under srun the signals of --signal and of preemption reach the program in time.
exec srun --ntasks=1 {command} "$1" "$SLURM_ARRAY_TASK_ID"
"#
    )
}

/// The script of the job that writes the table.
pub(super) fn collect_script(plan: &PlanFile, folder: &PlanFolder) -> String {
    let command = command(plan, folder, "collect");
    format!("#!/bin/bash\n# Writes the table from what the tasks have left.\nexec {command}\n")
}

fn command(plan: &PlanFile, folder: &PlanFolder, what: &str) -> String {
    let program = plan.program.to_string_lossy();
    let root = folder.root().to_string_lossy();
    let words = [&*program, "slurm-task", what, &*root];
    // A path cannot contain the NUL that could not be quoted.
    shlex::try_join(words).unwrap_or_default()
}

/// Name of a job on the cluster, by which it is found after an error of `sbatch`.
pub(super) fn job_name(plan: &PlanFile, part: &str) -> String {
    format!("encoder-flow-{}-{}-{part}", plan.study, plan.id)
}

/// Options of `sbatch` for an array, with its script; `ids` are the jobs that have been submitted.
pub(super) fn array_options(
    plan: &PlanFile,
    folder: &PlanFolder,
    index: usize,
    ids: &[String],
    wishes: &Wishes,
) -> Vec<String> {
    let array = &plan.arrays[index];
    let mut tasks = ranges(array.tasks.keys().copied());
    let mut after = Vec::new();
    if let Some(shared) = array.after {
        after.push(format!("aftercorr:{}", ids[shared]));
    }
    if let Some(most) = wishes.at_most {
        tasks += &format!("%{most}");
        // Slurm limits every array by itself, so they go one after the other.
        if let Some(before) = index.checked_sub(1) {
            after.push(format!("afterany:{}", ids[before]));
        }
    }
    let mut options = common(plan, folder, &array.name, "%A_%a");
    options.extend([
        format!("--array={tasks}"),
        "--requeue".to_owned(),
        format!("--signal=USR1@{WARNING}"),
    ]);
    if !after.is_empty() {
        options.push(format!("--dependency={}", after.join(",")));
        // What waits for a task that has failed would wait for ever.
        options.push("--kill-on-invalid-dep=yes".to_owned());
    }
    options.extend(wishes.sbatch.iter().cloned());
    options.push(folder.task_script().to_string_lossy().into_owned());
    options.push(array.name.clone());
    options
}

/// Options of `sbatch` for the job that writes the table when the jobs `after` have ended, however.
pub(super) fn collect_options(
    plan: &PlanFile,
    folder: &PlanFolder,
    after: &[String],
    wishes: &Wishes,
) -> Vec<String> {
    let mut options = common(plan, folder, "collect", "%j");
    options.push("--requeue".to_owned());
    let after: Vec<String> = after.iter().map(|id| format!("afterany:{id}")).collect();
    if !after.is_empty() {
        options.push(format!("--dependency={}", after.join(",")));
    }
    options.extend(wishes.sbatch.iter().cloned());
    options.push(folder.collect_script().to_string_lossy().into_owned());
    options
}

fn common(plan: &PlanFile, folder: &PlanFolder, part: &str, log: &str) -> Vec<String> {
    // Slurm replaces what follows a percent sign in the names of logs.
    let logs = folder.logs().to_string_lossy().replace('%', "%%");
    vec![
        "--parsable".to_owned(),
        format!("--job-name={}", job_name(plan, part)),
        format!("--chdir={}", plan.directory.display()),
        format!("--output={logs}/{log}.log"),
        "--open-mode=append".to_owned(),
        "--ntasks=1".to_owned(),
    ]
}
