//! A finished run evaluated again: metrics and report from its stored scores.

use super::identity::{pictures, plan_of};
use super::images::Pools;
use super::pipeline::{Run, ScoredRun};
use super::stored::summary_of;
use super::{DECIDING, Done, Environment, RunError, RunOptions, ScoreTable, Summary, Workspace};
use crate::backend::Backend;
use crate::data::DataStore;
use crate::encoder::SqueezeNet;
use crate::files;
use crate::method::{Detector, Identity};
use crate::study::Experiment;

/// Evaluates a trained run again, with other thresholds, and writes metrics and report anew.
///
/// # Errors
/// [`RunError`] when there is no finished run; nothing is changed then.
pub fn reevaluate(
    experiment: &Experiment,
    confidence: Option<f64>,
    store: &DataStore,
    options: &RunOptions,
) -> Result<Summary, RunError> {
    let open = Backend::choose(options.device.as_deref())?;
    let workspace = Workspace::existing(options.folder(experiment))?;
    if !workspace.is_complete() {
        return Err(RunError::Workspace(format!(
            "the run in {} is not complete: `encoder-flow experiment {}` continues it",
            workspace.root().display(),
            experiment.name
        )));
    }
    let mut experiment = experiment.clone();
    experiment.settings = workspace.read_settings()?;
    if let Some(confidence) = confidence {
        experiment.settings = experiment.settings.with_confidence(confidence)?;
    }
    let (method, plan) = plan_of(&experiment)?;
    let run = Run {
        experiment: &experiment,
        options,
        method,
        plan,
        identity: workspace.read_identity()?,
        log: workspace.log(),
        workspace,
        open,
        weights: store.backbone(SqueezeNet::FILE),
    };
    run.evaluate_again(store, false)
}

impl Run<'_> {
    /// A run that is complete: its summary, evaluated again if the threshold has changed.
    pub(super) fn complete_before(&self, store: &DataStore) -> Result<Summary, RunError> {
        let unchanged = self.workspace.metrics().exists()
            && self.workspace.report().exists()
            && self.workspace.read_settings()?.evaluation == self.experiment.settings.evaluation;
        if !unchanged {
            return self.evaluate_again(store, true);
        }
        summary_of(&self.workspace, self.experiment, self.options, true)
    }

    /// Metrics and report of a finished run, from its stored scores.
    fn evaluate_again(&self, store: &DataStore, was_complete: bool) -> Result<Summary, RunError> {
        let done: Done = files::read_json(&self.workspace.done())?;
        let table = ScoreTable::read(&self.workspace.scores())?;
        let mut environment: Environment = files::read_json(&self.workspace.environment())?;
        // What repeats the page: the run and this evaluation, or the command that was both.
        environment.command = match was_complete {
            true => self.options.command.clone(),
            false => format!("{}\n{}", environment.command, self.evaluate_command()),
        };
        let detector = Detector::load_on(self.workspace.model(), &self.open.device)?;
        detector.check_device(&self.open)?;
        let unscored = detector.scorer().score_names().iter().copied();
        let unscored = unscored
            .chain([DECIDING])
            .find(|&name| !table.names.iter().any(|other| other == name));
        if let Some(name) = unscored {
            return Err(RunError::Workspace(format!(
                "{} has no score `{name}`, which the run gives: run the experiment with --fresh",
                self.workspace.scores().display()
            )));
        }
        let now = Identity {
            pictures: pictures(self.experiment, store),
            ..self.identity.clone()
        };
        if !self.identity.is_same(&now) {
            let run = self.workspace.root().display();
            return Err(RunError::pictures(
                &self.experiment.settings.data.folder,
                match self.identity.pictures {
                    Some(_) => format!(
                        "its pictures are not those that {run} was made from: put these back, or run the experiment with --fresh"
                    ),
                    None => format!(
                        "{run} does not say from which pictures it was made, by an earlier version of this program: run the experiment with --fresh"
                    ),
                },
            ));
        }
        let pools = Pools::load(self.experiment, store)?;
        let path = self.workspace.split();
        let prepared = pools.split(self.experiment, self.options.seed, &path)?;
        for scored in &table.parts {
            let part = prepared.parts.get(&scored.name);
            if part.is_none_or(|part| part.indices != scored.indices) {
                return Err(RunError::Workspace(format!(
                    "the {} images are not those that {} was made from: use the same data, or --fresh",
                    scored.name,
                    self.workspace.scores().display()
                )));
            }
        }
        let scored = ScoredRun {
            prepared: &prepared,
            detector: &detector,
            table: &table,
        };
        let judged = self.judge(&scored)?;
        self.write(&scored, &judged, &environment, &done)?;
        summary_of(&self.workspace, self.experiment, self.options, was_complete)
    }

    /// The command of this evaluation, with its confidence: a later one without would keep that.
    fn evaluate_command(&self) -> String {
        const OPTION: &str = "--confidence";
        let command = &self.options.command;
        match command.contains(OPTION) {
            true => command.clone(),
            false => {
                let confidence = self.experiment.settings.evaluation.confidence;
                format!("{command} {OPTION} {confidence}")
            }
        }
    }
}
