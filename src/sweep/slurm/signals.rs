//! What Slurm's signals mean: USR1 is a time limit to come, after which the task is to go on; TERM is the
//! end, or a preemption, and only Slurm knows which.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::{SlurmError, client};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To stop, and to go on later.
    Requeue,
    /// To stop, and to leave it to Slurm whether the task comes back: one that was cancelled must not.
    End,
}

/// Exit status of a program that TERM has ended, by the shells' convention.
pub(super) const TERMINATED_STATUS: i32 = 143;

/// How long a partition may leave a task that is preempted or cancelled.
const LONGEST_GRACE: Duration = Duration::from_secs(600);

/// The first wish: 0 for none.
static WISH: AtomicU8 = AtomicU8::new(0);

/// What the first signal asked for, if there was one.
pub(super) fn wish() -> Option<Wish> {
    match WISH.load(Ordering::SeqCst) {
        1 => Some(Wish::Requeue),
        2 => Some(Wish::End),
        _ => None,
    }
}

/// Takes over the signals: running stages end after their batch, and [`wish`] tells what was meant.
/// Outside a stage USR1 ends the process at once; every file is written beside its place and renamed.
///
/// # Errors
/// [`SlurmError::Asked`] when the system does not let handlers be installed.
#[cfg(unix)]
pub(super) fn listen() -> Result<(), SlurmError> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
    let signals = signal_hook::iterator::Signals::new([SIGUSR1, SIGTERM, SIGINT]);
    let mut signals = signals.map_err(|error| {
        SlurmError::Asked(format!(
            "the handlers of signals cannot be installed: {error}"
        ))
    })?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let wished = if signal == SIGUSR1 { 1 } else { 2 };
            // Slurm may repeat a signal, and follow one by the other; the first decides.
            let first = WISH.compare_exchange(0, wished, Ordering::SeqCst, Ordering::SeqCst);
            if crate::train::stop_stages() || first.is_err() {
                continue;
            }
            match task_id() {
                // Outside a stage the work goes on until Slurm ends it.
                Some(_) if wished == 2 => continue,
                None => {}
                Some(_) => {
                    if let Err(error) = requeue() {
                        eprintln!("{error}: submit the sweep again to go on");
                    }
                }
            }
            std::process::exit(TERMINATED_STATUS);
        }
    });
    Ok(())
}

/// There are no such signals.
#[cfg(not(unix))]
pub(super) fn listen() -> Result<(), SlurmError> {
    Ok(())
}

/// Waits for Slurm to take this task away after TERM. A task that ends by itself before has failed in
/// Slurm's eyes, and one that was preempted would not be put back into the queue.
pub(super) fn linger() {
    if task_id().is_some() {
        std::thread::sleep(LONGEST_GRACE);
    }
}

/// Slurm's name of this task, `12_3` in an array.
fn task_id() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok();
    let array = variable("SLURM_ARRAY_JOB_ID").zip(variable("SLURM_ARRAY_TASK_ID"));
    let task = array.map(|(job, task)| format!("{job}_{task}"));
    task.or_else(|| variable("SLURM_JOB_ID"))
}

/// Puts this task back into the queue.
///
/// # Errors
/// [`SlurmError`] when Slurm refuses, `scontrol` is not on this node, or this is no task of Slurm's.
pub(super) fn requeue() -> Result<(), SlurmError> {
    match task_id() {
        Some(id) => client::requeue(&id),
        None => Err(SlurmError::Asked(
            "SLURM_JOB_ID is not set, so this task cannot be put back into the queue".to_owned(),
        )),
    }
}
