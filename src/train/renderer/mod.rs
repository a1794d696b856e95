//! What the user sees while a stage trains.

mod guard;
mod plain;

use std::io::{IsTerminal, Write};

use burn::train::Interrupter;
use burn::train::renderer::MetricsRenderer;
use indicatif::ProgressBar;

pub(super) use guard::{Guard, Outcome};
use plain::Plain;

use super::history::SharedHistory;
use crate::progress::progress;

/// How a stage shows its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// Burn's dashboard: plots, metrics, keys to stop.
    Dashboard,
    /// One line per epoch on standard output.
    Plain,
    /// Nothing.
    Quiet,
}

impl Display {
    /// The dashboard on a terminal, where it is compiled in and not declined; else lines.
    pub fn choose(plain: bool) -> Self {
        if !plain && cfg!(feature = "tui") && std::io::stdout().is_terminal() {
            Self::Dashboard
        } else {
            Self::Plain
        }
    }

    /// A line of progress, unless it is to be quiet; a reader that has gone (`| head`) is no reason
    /// to stop.
    pub(crate) fn say(self, line: &str) {
        if self != Self::Quiet {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    /// A bar for `count` images of a step, unless it is to be quiet.
    pub(crate) fn bar(self, step: &str, count: usize) -> ProgressBar {
        match self {
            Self::Quiet => ProgressBar::hidden(),
            Self::Dashboard | Self::Plain => progress(step, count),
        }
    }

    /// A renderer of this kind. `resumed` is the epoch continued from, if any.
    pub(super) fn renderer(
        self,
        history: SharedHistory,
        monitor: &'static str,
        interrupter: &Interrupter,
        resumed: Option<usize>,
    ) -> Box<dyn MetricsRenderer> {
        match self {
            #[cfg(feature = "tui")]
            Self::Dashboard => {
                Box::new(burn::train::renderer::tui::TuiMetricsRendererWrapper::new(
                    interrupter.clone(),
                    resumed,
                ))
            }
            #[cfg(not(feature = "tui"))]
            Self::Dashboard => {
                let _ = (interrupter, resumed); // what the dashboard alone asks for
                Box::new(Plain::new(history, monitor, true))
            }
            Self::Plain => Box::new(Plain::new(history, monitor, true)),
            Self::Quiet => Box::new(Plain::new(history, monitor, false)),
        }
    }
}
