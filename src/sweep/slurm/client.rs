//! Slurm's programs: `sbatch`, `squeue`, `scancel`, `scontrol`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::SlurmError;

/// How often `sbatch` and `squeue` are tried when the controller does not answer.
const TRIES: u32 = 5;
/// Slurm's default of the number of tasks in an array, for when it cannot be asked.
const USUAL_ARRAY: usize = 1001;

/// What Slurm says of a job or of a task of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    /// Not begun, or to begin again, and why.
    Waiting(String),
    /// Begun.
    Running,
    /// Over, and how.
    Ended(String),
}

/// The user's jobs by id, `<job>_<task>` those of arrays. What ended some minutes ago is forgotten.
pub(super) type Queue = HashMap<String, JobState>;

/// Runs a program of Slurm's; its standard output.
///
/// # Errors
/// [`SlurmError`] when it is not there or refuses.
fn call(program: &'static str, arguments: &[String]) -> Result<String, SlurmError> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let failed = |reason: String| SlurmError::Failed {
        command: program.to_owned(),
        reason,
    };
    match output {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(SlurmError::Missing { program }),
        Err(error) => Err(failed(error.to_string())),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(failed(match said.is_empty() {
                true => output.status.to_string(),
                false => said,
            }))
        }
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

/// [`call`], several times when the controller does not answer: asked twice, it does no more than asked once.
fn patiently(program: &'static str, arguments: &[String]) -> Result<String, SlurmError> {
    let mut tries = 0;
    loop {
        match call(program, arguments) {
            Err(error) if is_passing(&error) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_secs(u64::from(tries)));
            }
            other => return other,
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Submits a job of a unique name; its id. A submission that seems to have failed may have been taken
/// all the same, so it is looked for before it is repeated.
///
/// # Errors
/// [`SlurmError`] with what `sbatch` said.
pub(super) fn submit(options: &[String], name: &str) -> Result<String, SlurmError> {
    let mut tries = 0;
    loop {
        let error = match call("sbatch", options) {
            // `--parsable` adds the cluster's name where there are several.
            Ok(printed) => {
                let id = printed.trim().split(';').next().unwrap_or_default();
                return Ok(id.to_owned());
            }
            Err(error) => error,
        };
        tries += 1;
        if !is_passing(&error) {
            return Err(error);
        }
        std::thread::sleep(Duration::from_secs(u64::from(tries * tries)));
        let named = words(&[
            "--me",
            "--noheader",
            "--states=all",
            "--format=%A",
            "--name",
            name,
        ]);
        // Several tasks of one array have one id at first; then the smallest is the array's.
        let found = patiently("squeue", &named).map_err(|silence| unknown(name, &silence))?;
        let ids = found
            .lines()
            .filter_map(|line| line.trim().parse::<u64>().ok());
        if let Some(id) = ids.min() {
            return Ok(id.to_string());
        }
        if tries == TRIES {
            return Err(error);
        }
    }
}

/// That nobody knows whether a job of this name was taken, or by which number; it is taken back by its name, if that is heard.
fn unknown(name: &str, silence: &SlurmError) -> SlurmError {
    let taken_back = patiently("scancel", &words(&["--me", "--name", name])).is_ok();
    SlurmError::Failed {
        command: "squeue".to_owned(),
        reason: match taken_back {
            true => format!("{silence}; what may have been submitted as {name} has been cancelled"),
            false => format!(
                "{silence}; a job may have been submitted: `scancel --me --name={name}` takes it back"
            ),
        },
    }
}

/// True when the same may succeed later: the controller is busy or was not reached.
fn is_passing(error: &SlurmError) -> bool {
    let SlurmError::Failed { reason, .. } = error else {
        return false;
    };
    let reason = reason.to_lowercase();
    [
        "timed out",
        "unable to contact",
        "temporar",
        "zero bytes",
        "communication",
    ]
    .iter()
    .any(|part| reason.contains(part))
}

/// The user's jobs, those that have ended lately included.
///
/// # Errors
/// [`SlurmError`].
pub(super) fn queue() -> Result<Queue, SlurmError> {
    let options = words(&[
        "--me",
        "--noheader",
        "--array",
        "--states=all",
        "--format=%i|%T|%r",
    ]);
    Ok(call("squeue", &options)?
        .lines()
        .filter_map(entry)
        .collect())
}

/// A line of the queue: `12_3|PENDING|Priority`.
fn entry(line: &str) -> Option<(String, JobState)> {
    let mut fields = line.trim().split('|');
    let (id, state) = (fields.next()?, fields.next()?);
    let reason = fields.next().unwrap_or_default();
    let state = match state {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT"
        | "RESV_DEL_HOLD" => JobState::Waiting(reason.to_owned()),
        "RUNNING" | "CONFIGURING" | "COMPLETING" | "RESIZING" | "SIGNALING" | "STAGE_OUT"
        | "STOPPED" | "SUSPENDED" => JobState::Running,
        _ => JobState::Ended(state.to_owned()),
    };
    Some((id.to_owned(), state))
}

/// True when a job that waits for this reason begins only when somebody releases it: `JobHeldUser`,
/// `launch failed requeued held`, `JobHoldMaxRequeue`.
pub(super) fn is_hold(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    reason.contains("held") || reason.starts_with("jobhold")
}

/// Ends jobs, and takes back those that have not begun.
///
/// # Errors
/// [`SlurmError`].
pub(super) fn cancel(ids: &[String]) -> Result<(), SlurmError> {
    call("scancel", ids).map(|_| ())
}

/// Puts a job that is running back into the queue.
///
/// # Errors
/// [`SlurmError`].
pub(super) fn requeue(id: &str) -> Result<(), SlurmError> {
    call("scontrol", &words(&["requeue", id])).map(|_| ())
}

/// The number of tasks that an array may have.
pub(super) fn largest_array() -> usize {
    let config = call("scontrol", &words(&["show", "config"])).unwrap_or_default();
    let line = config.lines().find(|line| line.starts_with("MaxArraySize"));
    let value = line.and_then(|line| line.split('=').nth(1)?.trim().parse().ok());
    value.filter(|&size| size > 0).unwrap_or(USUAL_ARRAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_queue_are_read() {
        let state = |line: &str| entry(line).map(|(_, state)| state);
        let waiting = |reason: &str| Some(JobState::Waiting(reason.to_owned()));
        let ended = |state: &str| Some(JobState::Ended(state.to_owned()));
        assert_eq!(entry("12_3|RUNNING|None").unwrap().0, "12_3");
        assert_eq!(state("12_3|RUNNING|None"), Some(JobState::Running));
        assert_eq!(state("12|PENDING|Dependency"), waiting("Dependency"));
        assert_eq!(
            state("12|OUT_OF_MEMORY|OutOfMemory"),
            ended("OUT_OF_MEMORY")
        );
        assert_eq!(state(""), None);
    }

    #[test]
    fn holds_are_told_from_other_reasons_to_wait() {
        for reason in [
            "JobHeldUser",
            "JobHeldAdmin",
            "launch failed requeued held",
            "JobHoldMaxRequeue",
        ] {
            assert!(is_hold(reason), "{reason}");
        }
        for reason in [
            "Dependency",
            "Priority",
            "QOSUsageThreshold",
            "BeginTime",
            "",
        ] {
            assert!(!is_hold(reason), "{reason}");
        }
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let failed = |reason: &str| SlurmError::Failed {
            command: "sbatch".to_owned(),
            reason: reason.to_owned(),
        };
        let busy =
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation";
        assert!(is_passing(&failed(busy)));
        assert!(!is_passing(&failed(
            "sbatch: error: invalid partition specified: gpu"
        )));
        assert!(!is_passing(&SlurmError::Missing { program: "sbatch" }));
    }
}
