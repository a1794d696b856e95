//! What the learner shows of a step: a few numbers, read from the device once.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use burn::tensor::{ExecutionError, Tensor, TensorReadError};
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};
use burn::train::{Interrupter, ItemLazy};

/// Reason given to the learner when a loss is not a number.
pub(super) const DIVERGED: &str = "loss is not finite";

/// The numbers of one step, still on the device.
///
/// All monitors of a step travel as one small tensor, and the first metric that asks reads it for
/// all: one synchronisation per step and not one per metric.
#[derive(Clone, Debug)]
pub struct StepOutput {
    batch: usize,
    values: Tensor<1>,
    read: Arc<OnceLock<Vec<f64>>>,
}

impl StepOutput {
    /// `values` are one-element tensors, in the order of the stage's monitors, the loss first.
    pub fn new(batch: usize, values: impl IntoIterator<Item = Tensor<1>>) -> Self {
        let values = Tensor::cat(values.into_iter().collect(), 0).without_autodiff();
        Self {
            batch,
            values,
            read: Arc::default(),
        }
    }

    /// The values, read on first use.
    ///
    /// # Errors
    /// [`TensorReadError`] when the device cannot be read.
    pub fn values(&self) -> Result<&[f64], TensorReadError> {
        if self.read.get().is_none() {
            let data = self.values.clone().try_into_data()?;
            let _ = self.read.set(data.iter::<f64>().collect());
        }
        Ok(self.read.get().map_or(&[], Vec::as_slice))
    }
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.values.device().flush()?;
        Ok(self)
    }
}

impl Adaptor<StepOutput> for StepOutput {
    fn adapt(&self) -> StepOutput {
        self.clone()
    }
}

/// A number of each step, averaged over the samples of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Name in the dashboard.
    pub name: &'static str,
    /// Unit, empty for a pure number.
    pub unit: &'static str,
}

/// [`Monitor`] number `index` of a [`StepOutput`] as a learner metric.
#[derive(Clone)]
pub(super) struct MonitorMetric {
    monitor: Monitor,
    index: usize,
    interrupter: Interrupter,
    state: NumericMetricState,
}

impl MonitorMetric {
    pub(super) fn new(monitor: Monitor, index: usize, interrupter: Interrupter) -> Self {
        Self {
            monitor,
            index,
            interrupter,
            state: NumericMetricState::new(),
        }
    }

    fn format(&self) -> FormatOptions {
        let options = FormatOptions::new(self.name()).precision(4);
        if self.monitor.unit.is_empty() {
            options
        } else {
            options.unit(self.monitor.unit)
        }
    }
}

impl Metric for MonitorMetric {
    type Input = StepOutput;

    fn name(&self) -> MetricName {
        Arc::new(self.monitor.name.to_owned())
    }

    fn attributes(&self) -> MetricAttributes {
        attributes(self.monitor.unit, false)
    }

    fn update(
        &mut self,
        step: &StepOutput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let value = step.values()?.get(self.index).copied().unwrap_or(f64::NAN);
        // Nothing else in the learner notices: it would train on with broken weights.
        if self.index == 0 && !value.is_finite() {
            self.interrupter.stop(Some(DIVERGED));
        }
        self.state.update(value, step.batch);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for MonitorMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

/// Samples per second since the epoch's first step ended.
#[derive(Clone)]
pub(super) struct Throughput {
    name: &'static str,
    started: Option<Instant>,
    last: Option<Instant>,
    samples: usize,
    current: f64,
}

impl Throughput {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            started: None,
            last: None,
            samples: 0,
            current: f64::NAN,
        }
    }

    fn rate(&self) -> f64 {
        let seconds = self
            .started
            .map_or(0.0, |start| start.elapsed().as_secs_f64());
        if seconds > 0.0 {
            self.samples as f64 / seconds
        } else {
            0.0
        }
    }

    fn entry(&self, entry: NumericEntry) -> SerializedEntry {
        let rate = self.rate();
        SerializedEntry::new(
            format!("epoch {rate:.0} /s - batch {:.0} /s", self.current),
            entry.serialize(),
        )
    }
}

impl Metric for Throughput {
    type Input = StepOutput;

    fn name(&self) -> MetricName {
        Arc::new(self.name.to_owned())
    }

    fn attributes(&self) -> MetricAttributes {
        attributes("/s", true)
    }

    fn update(
        &mut self,
        step: &StepOutput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        step.values()?;
        let now = Instant::now();
        match self.last.replace(now) {
            None => self.started = Some(now),
            Some(last) => {
                self.samples += step.batch;
                self.current = step.batch as f64 / (now - last).as_secs_f64().max(1e-9);
            }
        }
        Ok(self.entry(NumericEntry::Value(self.current)))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(NumericEntry::Final(self.rate())))
    }

    fn clear(&mut self) {
        *self = Self::new(self.name);
    }
}

impl Numeric for Throughput {
    fn value(&self) -> Option<NumericEntry> {
        self.current
            .is_finite()
            .then_some(NumericEntry::Value(self.current))
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.started.map(|_| NumericEntry::Value(self.rate()))
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.rate())
    }
}

fn attributes(unit: &str, higher_is_better: bool) -> MetricAttributes {
    NumericAttributes {
        unit: (!unit.is_empty()).then(|| unit.to_owned()),
        higher_is_better,
    }
    .into()
}
