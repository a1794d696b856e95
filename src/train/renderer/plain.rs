//! One readable line per epoch, for pipes, logs and CI.

use std::io::Write;

use burn::train::LearnerSummary;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

use crate::train::history::SharedHistory;

/// Prints the loss of every epoch: `1/2 encoder   3/25  L1 train 0.1180  valid 0.1210  12.4 s`.
pub(super) struct Plain {
    history: SharedHistory,
    monitor: &'static str,
    speaks: bool,
    label: String,
    epochs: usize,
}

impl Plain {
    pub(super) fn new(history: SharedHistory, monitor: &'static str, speaks: bool) -> Self {
        Self {
            history,
            monitor,
            speaks,
            label: String::new(),
            epochs: 0,
        }
    }

    /// Prints, and does not mind a reader that has gone (`| head`).
    fn say(&self, line: &str) {
        if self.speaks {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

impl TrainingProgressLogger for Plain {
    fn start(
        &mut self,
        total_epochs: usize,
        starting_epoch: usize,
        _total_items: Option<usize>,
        label: Option<&str>,
    ) {
        self.epochs = total_epochs;
        self.label = label.unwrap_or("training").to_owned();
        if starting_epoch > 1 {
            self.say(&format!(
                "{}  continues with epoch {starting_epoch} of {total_epochs}",
                self.label
            ));
        }
    }

    fn update_epoch(&mut self, epoch: usize) {
        let line = {
            let history = self.history.lock();
            let Some(record) = history.epochs.get(epoch.wrapping_sub(1)) else {
                return;
            };
            let best = history.best_epoch(self.monitor) == Some(epoch);
            let value = |split: &std::collections::BTreeMap<String, f64>| {
                split.get(self.monitor).copied().unwrap_or(f64::NAN)
            };
            format!(
                "{}  {epoch:>width$}/{}  {}  train {:.4}  valid {:.4}  {:.1} s{}",
                self.label,
                self.epochs,
                self.monitor,
                value(&record.train),
                value(&record.valid),
                record.seconds,
                if best { "  best so far" } else { "" },
                width = self.epochs.to_string().len(),
            )
        };
        self.say(&line);
    }

    fn start_split(&mut self, _split: &str, _total_items: usize) {}
    fn update_split(&mut self, _items_processed: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRendererTraining for Plain {
    fn update_train(&mut self, _state: MetricState) {}
    fn update_valid(&mut self, _state: MetricState) {}

    fn on_train_end(
        &mut self,
        _summary: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

impl MetricsRendererEvaluation for Plain {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl EvaluationProgressLogger for Plain {
    fn start_global_progress(&mut self, _total_tests: usize) {}
    fn start_test(&mut self, _name: &str, _total_items: usize) {}
    fn update_test_progress(&mut self, _items_processed: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRenderer for Plain {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _definition: MetricDefinition) {}
}
