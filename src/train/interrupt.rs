//! Ctrl-C and SIGTERM: end after the current batch, leave a run that can be resumed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::train::Interrupter;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static RUNNING: Mutex<Option<Interrupter>> = Mutex::new(None);

/// Exit status of a program ended by Ctrl-C, by the shells' convention.
pub(crate) const INTERRUPTED_STATUS: i32 = 130;

/// Takes over Ctrl-C, SIGTERM and SIGHUP: the first ends the running stage after its batch, the
/// second ends the process at once.
///
/// # Errors
/// When the operating system does not let handlers be installed.
pub fn install_signal_handlers() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED_STATUS);
        }
        if let Some(running) = &*RUNNING.lock().unwrap_or_else(PoisonError::into_inner) {
            running.stop(Some("stopped by a signal"));
        }
    })
}

/// True once the user has asked the program to stop.
pub fn was_interrupted() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Connects a stage's interrupter with the signals until it is dropped.
pub(super) struct Connected;

impl Connected {
    pub(super) fn new(interrupter: &Interrupter) -> Self {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some(interrupter.clone());
        if was_interrupted() {
            interrupter.stop(Some("stopped by a signal"));
        }
        Self
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
