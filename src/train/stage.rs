//! One training run under Burn's learner: start or resume, train, choose the best model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use burn::data::dataloader::DataLoader;
use burn::module::{Module, ModuleDisplay};
use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::store::ModuleRecord;
use burn::train::metric::LearningRateMetric;
use burn::train::{InferenceStep, Interrupter, Learner, SupervisedTraining, TrainStep};
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, AtomicCheckpointer, KeepBest, Patience, exhausted};
use super::gradients::Clipped;
use super::history::{History, NoLogger, Recorder, SharedHistory};
use super::interrupt::Connected;
use super::metric::{DIVERGED, Monitor, MonitorMetric, StepOutput, Throughput};
use super::renderer::{Display, Guard, Outcome};
use super::{Optimisation, TrainError};
use crate::data::EpochOrder;
use crate::files::{self, FileError};

/// The file that a stage which is done has in its folder: nothing is written there any more.
const DONE: &str = "done.json";
/// The file of its curves.
const HISTORY: &str = "history.json";
/// What Burn's dashboard panics with when a user kills the training with `k` (burn-train 0.22.1).
const KILLED: &str = "Killing training from user input";

/// What a finished stage is summed up as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSummary {
    /// Name of the stage.
    pub name: String,
    /// Epochs trained.
    pub epochs: usize,
    /// The epoch with the lowest loss on the validation normals: the model that is used. 0 where that is the model
    /// as it started.
    pub best_epoch: usize,
    /// Its validation loss.
    pub best_loss: f64,
    /// Seconds of training, over all resumptions.
    pub seconds: f64,
    /// Training samples seen.
    pub samples: usize,
}

/// What a stage trains, as it is called and shown.
#[derive(Debug)]
pub struct Kind {
    /// Name in messages and of its folder: `encoder`, `gan`.
    pub name: &'static str,
    /// Section of the settings that its `training` stands in: `encoder`, `anogan`.
    pub section: &'static str,
    /// What the step output's values are, the loss first.
    pub monitors: &'static [Monitor],
    /// Name of the throughput: `Images`, `Latents`.
    pub throughput: &'static str,
    /// True when networks play against each other: then no single monitor tells how it went.
    pub adversarial: bool,
}

impl Kind {
    /// The monitor that is minimised, and by which the best epoch is chosen.
    pub fn loss(&self) -> Monitor {
        self.monitors[0]
    }
}

/// One training run.
pub struct Stage<'a> {
    /// What is trained.
    pub kind: &'static Kind,
    /// Name in the dashboard: `1/2 encoder`.
    pub label: &'a str,
    /// What it is trained on, as a fingerprint: a stage of other inputs starts over.
    pub input: &'a str,
    /// Folder of the stage.
    pub directory: &'a Path,
    /// Log of the run, named in error messages.
    pub log: &'a Path,
    /// How to optimise.
    pub optimisation: &'a Optimisation,
    /// Seed of the order of samples.
    pub seed: u64,
    /// How to show it.
    pub display: Display,
}

/// A module that a stage can train on batches of `I`.
pub trait Trainable<I>:
    Module
    + ModuleDisplay
    + TrainStep<Input = I, Output = StepOutput>
    + InferenceStep<Input = I, Output = StepOutput>
    + 'static
{
}

impl<I, M> Trainable<I> for M where
    M: Module
        + ModuleDisplay
        + TrainStep<Input = I, Output = StepOutput>
        + InferenceStep<Input = I, Output = StepOutput>
        + 'static
{
}

/// A loader of batches of `I`.
pub type Loader<I> = Arc<dyn DataLoader<I>>;

impl Stage<'_> {
    /// Trains `model`, from where an earlier run stopped if there was one, and returns the model of
    /// the epoch with the lowest validation loss.
    ///
    /// `train` makes the training loader for an order of `samples` samples.
    ///
    /// # Errors
    /// [`TrainError`]: stopped, diverged or failed. What was trained until then is kept.
    pub fn run<M, I>(
        &self,
        model: M,
        samples: usize,
        train: impl FnOnce(EpochOrder) -> Loader<I>,
        valid: Loader<I>,
    ) -> Result<(M, StageSummary), TrainError>
    where
        I: Send + 'static,
        M: Trainable<I>,
    {
        self.start_over_for_other_input()?;
        files::create_folder(&self.checkpoints())?;
        let history = self.finished_epochs()?;
        let finished = history.epochs.len();
        let model = Clipped::new(model, self.optimisation.clip_norm);
        let order =
            EpochOrder::shuffled(samples, self.optimisation.batch_size, self.seed, finished);
        let seen = order.len();
        let complete = self.is_complete(&history);
        let history = SharedHistory::new(history);
        if !complete {
            let (model, history) = (model.clone(), history.clone());
            let steps = order.batches();
            self.train(model, train(order), valid, steps, finished, history)?;
        }
        let (model, summary) = self.best(model, seen, &history.lock())?;
        Ok((model.into_inner(), summary))
    }

    /// The curves of the stage.
    ///
    /// # Errors
    /// [`TrainError::Files`] when the file cannot be read.
    pub fn history(directory: &Path) -> Result<History, TrainError> {
        History::read(&directory.join(HISTORY))
    }

    /// True when the stage in this folder has been trained to its end.
    pub fn is_done(directory: &Path) -> bool {
        directory.join(DONE).exists()
    }

    fn history_path(&self) -> PathBuf {
        self.directory.join(HISTORY)
    }

    fn done_path(&self) -> PathBuf {
        self.directory.join(DONE)
    }

    fn checkpoints(&self) -> PathBuf {
        self.directory.join("checkpoint")
    }

    fn loss(&self) -> &'static str {
        self.kind.loss().name
    }

    /// Removes what was trained on something else: the flow, when the encoder has changed.
    fn start_over_for_other_input(&self) -> Result<(), TrainError> {
        let path = self.directory.join("input.txt");
        let same = files::read_text(&path).is_ok_and(|input| input.trim() == self.input);
        if !same && self.directory.exists() {
            self.display.say(&format!(
                "{}  starts over: its inputs have changed",
                self.label
            ));
            std::fs::remove_dir_all(self.directory)
                .map_err(FileError::io("remove", self.directory))?;
        }
        files::create_folder(self.directory)?;
        Ok(files::write_text(&path, &format!("{}\n", self.input))?)
    }

    /// The history of the epochs that the stage goes on from.
    ///
    /// Without a usable one it starts over, and says so: nothing that is left of another run is
    /// mixed with this one.
    fn finished_epochs(&self) -> Result<History, TrainError> {
        let mut history = History::read(&self.history_path())?;
        history.check(&self.history_path(), self.loss())?;
        let finished = checkpoint::last_usable(&self.checkpoints(), &history, self.loss());
        history.epochs.truncate(finished);
        if finished == 0 && checkpoint::clear(&self.checkpoints())? {
            self.display.say(&format!(
                "{}  starts over: what an earlier run left of it is not complete",
                self.label
            ));
        }
        Ok(history)
    }

    fn is_complete(&self, history: &History) -> bool {
        let finished = history.epochs.len();
        finished >= self.optimisation.epochs
            || exhausted(
                history.best_epoch(self.loss()),
                finished,
                self.optimisation.patience,
            )
    }

    /// Runs the learner from epoch `finished + 1` on.
    fn train<M, I>(
        &self,
        model: Clipped<M>,
        train: Loader<I>,
        valid: Loader<I>,
        steps: usize,
        finished: usize,
        history: SharedHistory,
    ) -> Result<(), TrainError>
    where
        I: Send + 'static,
        M: Trainable<I>,
    {
        let resumed = (finished > 0).then_some(finished);
        if let Some(epoch) = resumed {
            self.check_checkpoint(epoch)?;
        }
        let rates = self.optimisation.scheduler(steps);
        let rates = rates.map_err(|reason| TrainError::Setting {
            section: self.kind.section,
            reason,
        })?;
        // A model made on a plain device has no gradients until it is told to train.
        let learner = Learner::new(model.train(), self.optimisation.optimizer(), rates);
        let interrupter = Interrupter::new();
        let connected = Connected::new(&interrupter);
        let renderer = self
            .display
            .renderer(history.clone(), self.loss(), &interrupter, resumed);
        let recorder = Recorder::new(history.clone(), self.history_path());
        let dashboard = self.display == Display::Dashboard;
        let (renderer, outcome) = Guard::new(renderer, recorder, interrupter.clone(), dashboard);
        let checkpoints = self.checkpoints();
        let mut training = SupervisedTraining::new(self.directory, train, valid)
            .num_epochs(self.optimisation.epochs)
            .label(self.label)
            .with_application_logger(None)
            .with_metric_logger(NoLogger)
            .with_interrupter(interrupter.clone())
            .renderer(Box::new(renderer))
            .with_custom_checkpointers(
                AtomicCheckpointer::new(&checkpoints, checkpoint::PARTS[0]),
                AtomicCheckpointer::new(&checkpoints, checkpoint::PARTS[1]),
                AtomicCheckpointer::new(&checkpoints, checkpoint::PARTS[2]),
            )
            .with_checkpointing_strategy(KeepBest {
                history: history.clone(),
                monitor: self.loss(),
            })
            .early_stopping(Patience {
                history: history.clone(),
                monitor: self.loss(),
                patience: self.optimisation.patience,
                interrupter: interrupter.clone(),
            });
        for (index, &monitor) in self.kind.monitors.iter().enumerate() {
            let metric = MonitorMetric::new(monitor, index, interrupter.clone());
            training = training
                .metric_train_numeric(metric.clone())
                .metric_valid_numeric(metric);
        }
        training = training
            .metric_train_numeric(Throughput::new(self.kind.throughput))
            .metric_train_numeric(LearningRateMetric::new());
        if let Some(epoch) = resumed {
            training = training.checkpoint(epoch);
        }

        // The learner panics where it cannot go on (a checkpoint that does not load, `k` in the
        // dashboard); what it has saved until then stays good.
        let launched = catch_unwind(AssertUnwindSafe(|| {
            let result = training.launch(learner);
            // The dashboard gives the terminal back when its renderer is dropped.
            drop(result.renderer);
            result.error.map(|error| error.to_string())
        }));
        let failed = launched.unwrap_or_else(|panic| Some(panic_message(panic.as_ref())));
        drop(connected);
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = outcome.clone();
        outcome.error = outcome.error.or(failed);
        let finished = {
            let history = history.lock();
            checkpoint::last_usable(&checkpoints, &history, self.loss())
        };
        self.judge(outcome, finished)
    }

    /// Turns a learner's outcome into an error, unless it ran to its end.
    fn judge(&self, outcome: Outcome, finished: usize) -> Result<(), TrainError> {
        let stage = self.kind.name.to_owned();
        let interrupted = TrainError::Interrupted {
            stage: stage.clone(),
            finished,
        };
        match outcome {
            Outcome {
                error: Some(reason),
                ..
            } if reason.contains(KILLED) => Err(interrupted),
            Outcome {
                error: Some(reason),
                ..
            } => Err(TrainError::Failed {
                stage,
                epoch: finished + 1,
                reason,
                log: self.log.to_path_buf(),
            }),
            Outcome {
                stopped: Some(reason),
                ..
            } if reason == DIVERGED => Err(TrainError::Diverged {
                stage,
                section: self.kind.section,
                epoch: finished + 1,
                learning_rate: self.optimisation.learning_rate,
            }),
            Outcome {
                stopped: Some(_), ..
            } => Err(interrupted),
            _ => Ok(()),
        }
    }

    /// Loads the best epoch's weights into `model` and marks the stage as done.
    ///
    /// `history` is that by which checkpoints were kept; the file lacks an epoch that it could not
    /// be written after.
    fn best<M: Module>(
        &self,
        model: M,
        samples: usize,
        history: &History,
    ) -> Result<(M, StageSummary), TrainError> {
        files::write_json(&self.history_path(), history)?;
        history.check(&self.history_path(), self.loss())?;
        let Some(best_epoch) = history.best_epoch(self.loss()) else {
            return Err(TrainError::NoModel {
                stage: self.kind.name.to_owned(),
                section: self.kind.section,
            });
        };
        let path = checkpoint::path(&self.checkpoints(), checkpoint::PARTS[0], best_epoch);
        let unreadable = |reason: String| TrainError::Checkpoint {
            path: path.clone(),
            reason,
        };
        let record = ModuleRecord::load(&path).map_err(|error| unreadable(error.to_string()))?;
        let model = model
            .valid()
            .try_load_record(record)
            .map_err(|error| unreadable(error.to_string()))?;
        let summary = StageSummary {
            name: self.kind.name.to_owned(),
            epochs: history.epochs.len(),
            best_epoch,
            best_loss: history
                .valid(self.loss())
                .nth(best_epoch - 1)
                .unwrap_or(f64::NAN),
            seconds: history.epochs.iter().map(|epoch| epoch.seconds).sum(),
            samples: samples * history.epochs.len(),
        };
        files::write_json(&self.done_path(), &summary)?;
        Ok((model, summary))
    }

    /// Makes sure that a checkpoint can be read before the learner, which would panic, tries.
    fn check_checkpoint(&self, epoch: usize) -> Result<(), TrainError> {
        let path = |part| checkpoint::path(&self.checkpoints(), part, epoch);
        let [model, optimizer, scheduler] = checkpoint::PARTS.map(path);
        let readable = [
            (ModuleRecord::load(&model).err(), model),
            (OptimizerRecord::load(&optimizer).err(), optimizer),
            (LrSchedulerRecord::load(&scheduler).err(), scheduler),
        ];
        match readable
            .into_iter()
            .find_map(|(error, path)| Some((error?, path)))
        {
            None => Ok(()),
            Some((error, path)) => Err(TrainError::Checkpoint {
                path,
                reason: error.to_string(),
            }),
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked without a message".to_owned())
}
