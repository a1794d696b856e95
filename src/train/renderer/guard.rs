//! A wrapper that records the epochs, remembers how a training ended, and keeps Ctrl-C working under
//! the dashboard.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::metric::store::Split;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{Interrupter, LearnerSummary};

use crate::train::history::Recorder;

/// How a training ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The learner's error.
    pub error: Option<String>,
    /// Somebody asked to stop; the reason given.
    pub stopped: Option<String>,
}

/// Delegates to another renderer, fills the history, and notes the [`Outcome`] before the dashboard
/// forgets it: its `on_train_end` resets the interrupter, so that an error or a stop would look like
/// success.
pub struct Guard {
    inner: Box<dyn MetricsRenderer>,
    recorder: Recorder,
    interrupter: Interrupter,
    outcome: Arc<Mutex<Outcome>>,
    dashboard: bool,
}

impl Guard {
    /// Wraps `inner`; the second value tells how the training ended.
    pub fn new(
        inner: Box<dyn MetricsRenderer>,
        recorder: Recorder,
        interrupter: Interrupter,
        dashboard: bool,
    ) -> (Self, Arc<Mutex<Outcome>>) {
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let guard = Self {
            inner,
            recorder,
            interrupter,
            outcome: outcome.clone(),
            dashboard,
        };
        (guard, outcome)
    }
}

impl MetricsRendererTraining for Guard {
    fn update_train(&mut self, state: MetricState) {
        self.recorder.observe(Split::Train, &state);
        self.inner.update_train(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.recorder.observe(Split::Valid, &state);
        self.inner.update_valid(state);
    }

    fn on_train_end(&mut self, summary: Option<LearnerSummary>) -> Result<(), Box<dyn Error>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.error = self.interrupter.error().map(|error| error.to_string());
        outcome.stopped = self
            .interrupter
            .interruption()
            .map(|stop| stop.reason.unwrap_or_default());
        drop(outcome);
        self.inner.on_train_end(summary)
    }
}

impl TrainingProgressLogger for Guard {
    fn start(
        &mut self,
        total_epochs: usize,
        starting_epoch: usize,
        total_items: Option<usize>,
        label: Option<&str>,
    ) {
        self.inner
            .start(total_epochs, starting_epoch, total_items, label);
    }

    fn update_epoch(&mut self, epoch: usize) {
        // An epoch that was broken off is closed like any other; it has no checkpoint, so it does
        // not count.
        if self.interrupter.should_stop() {
            return;
        }
        self.recorder.finish_epoch(epoch);
        self.inner.update_epoch(epoch);
    }

    fn start_split(&mut self, split: &str, total_items: usize) {
        self.inner.start_split(split, total_items);
    }

    fn update_split(&mut self, items_processed: usize) {
        if self.dashboard {
            keep_ctrl_c();
        }
        self.inner.update_split(items_processed);
    }

    fn end_split(&mut self) {
        self.inner.end_split();
    }

    fn end(&mut self) {
        self.inner.end();
    }

    fn log_event_training(&mut self, event: String) {
        self.inner.log_event_training(event);
    }
}

impl MetricsRendererEvaluation for Guard {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        self.inner.update_test(name, state);
    }

    fn on_test_end(&mut self, summary: Option<LearnerSummary>) -> Result<(), Box<dyn Error>> {
        self.inner.on_test_end(summary)
    }
}

impl EvaluationProgressLogger for Guard {
    fn start_global_progress(&mut self, total_tests: usize) {
        self.inner.start_global_progress(total_tests);
    }

    fn start_test(&mut self, name: &str, total_items: usize) {
        self.inner.start_test(name, total_items);
    }

    fn update_test_progress(&mut self, items_processed: usize) {
        self.inner.update_test_progress(items_processed);
    }

    fn end_test(&mut self) {
        self.inner.end_test();
    }

    fn end_global_progress(&mut self) {
        self.inner.end_global_progress();
    }

    fn log_event_evaluation(&mut self, event: String) {
        self.inner.log_event_evaluation(event);
    }
}

impl MetricsRenderer for Guard {
    fn manual_close(&mut self) {
        self.inner.manual_close();
    }

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.recorder.register(&definition);
        self.inner.register_metric(definition);
    }
}

/// The dashboard puts the terminal into raw mode, in which Ctrl-C is a key like any other and does
/// nothing. Asking for signals again lets our handler end the stage in an orderly way.
#[cfg(unix)]
fn keep_ctrl_c() {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    let terminal = std::io::stdin();
    if let Ok(mut modes) = tcgetattr(&terminal)
        && !modes.local_modes.contains(LocalModes::ISIG)
    {
        modes.local_modes.insert(LocalModes::ISIG);
        // Without it the user still has `q`.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &modes);
    }
}

#[cfg(not(unix))]
fn keep_ctrl_c() {}
