//! Ctrl-C, SIGTERM and SIGHUP: a stage ends after its batch and can be resumed, anything else ends at
//! once; every file is written beside its place and renamed, so nothing is lost.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::train::Interrupter;

/// The stages that are running, each by its number.
static RUNNING: Mutex<Vec<(usize, Interrupter)>> = Mutex::new(Vec::new());

/// Somebody has asked the program to stop: a stage that begins after that ends at once.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit status of a program ended by Ctrl-C, by the shells' convention.
pub(crate) const INTERRUPTED_STATUS: i32 = 130;

/// Takes over the signals: the first ends running stages after their batch, the second, or one
/// outside a stage, ends the process.
///
/// # Errors
/// When the operating system does not let handlers be installed.
pub fn install_signal_handlers() -> Result<(), ctrlc::Error> {
    let terminal = terminal::State::save();
    ctrlc::set_handler(move || {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let asked_before = ASKED.swap(true, Ordering::SeqCst);
        if asked_before || running.is_empty() {
            terminal.restore();
            std::process::exit(INTERRUPTED_STATUS);
        }
        for (_, stage) in running.iter() {
            stage.stop(Some(STOPPED));
        }
    })
}

/// Asks the stages that are running to end after their batch, and those that begin later to end at
/// once; false when none is running.
pub(crate) fn stop_stages() -> bool {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    ASKED.store(true, Ordering::SeqCst);
    for (_, stage) in running.iter() {
        stage.stop(Some(STOPPED));
    }
    !running.is_empty()
}

/// Reason given to the learner.
const STOPPED: &str = "stopped by a signal";

/// Connects a stage's interrupter with the signals until it is dropped.
pub(super) struct Connected(usize);

impl Connected {
    pub(super) fn new(interrupter: &Interrupter) -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let number = running
            .iter()
            .map(|(number, _)| number + 1)
            .max()
            .unwrap_or(0);
        running.push((number, interrupter.clone()));
        if ASKED.load(Ordering::SeqCst) {
            interrupter.stop(Some(STOPPED));
        }
        Self(number)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(number, _)| *number != self.0);
    }
}

/// The terminal as it was before any dashboard.
#[cfg(unix)]
mod terminal {
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

    pub(super) struct State(Option<Termios>);

    impl State {
        pub(super) fn save() -> Self {
            Self(tcgetattr(std::io::stdin()).ok())
        }

        pub(super) fn restore(&self) {
            if let Some(modes) = &self.0 {
                let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, modes);
                super::leave_dashboard();
            }
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    pub(super) struct State;

    impl State {
        pub(super) fn save() -> Self {
            Self
        }

        pub(super) fn restore(&self) {
            super::leave_dashboard();
        }
    }
}

/// Leaves the alternate screen, stops mouse reports, shows the cursor.
fn leave_dashboard() {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        let _ = out.write_all(b"\x1b[?1049l\x1b[?1000l\x1b[?1006l\x1b[?25h");
        let _ = out.flush();
    }
}
