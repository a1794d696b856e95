//! What there is of a run already: since when it counts, and its summary.

use std::collections::BTreeMap;

use super::evaluation::{Numbers, anomalous_set};
use super::identity::Planned;
use super::{Done, Environment, Moment, RunError, RunFolder, RunOptions, Summary};
use crate::backend::Backend;
use crate::data::DataStore;
use crate::files;
use crate::method::{Description, Identity};
use crate::study::Experiment;

/// From when on a run counts that is to be begun anew: from now on, unless the same command was stopped within it, of the
/// same identity, backend and program, which it then continues.
///
/// # Errors
/// [`RunError`] when the method cannot read its settings, or the device is not known.
pub fn fresh_since(
    experiment: &Experiment,
    store: &DataStore,
    options: &RunOptions,
) -> Result<Moment, RunError> {
    let identity = Planned::of(experiment, store)?.identity;
    let backend = Backend::named(options.device.as_deref())?.name();
    let folder = RunFolder::new(options.folder(experiment));
    let begun: Result<Environment, _> = files::read_json(&folder.environment());
    let continues = |begun: &Environment| {
        let there = folder.read_identity();
        begun.command == options.command
            && begun.backend == backend
            && begun.is_by_this_program()
            && there.is_ok_and(|there| there.is_same(&identity))
    };
    Ok(match begun {
        Ok(begun) if !folder.is_complete() && continues(&begun) => begun.started,
        _ => Moment::now(),
    })
}

/// The summary of a run that is complete and has this identity. Nothing is locked for it.
pub(crate) fn stored_summary(
    experiment: &Experiment,
    expected: &Identity,
    options: &RunOptions,
) -> Option<Summary> {
    let folder = RunFolder::new(options.folder(experiment));
    let done = folder.is_done(expected);
    done.then(|| summary_of(&folder, experiment, options, true).ok())?
}

/// The summary of a run that is there already, as this experiment would be run, if there is one. Nothing is
/// locked for it.
pub fn finished(
    experiment: &Experiment,
    store: &DataStore,
    options: &RunOptions,
) -> Option<Summary> {
    let expected = Planned::of(experiment, store).ok()?.identity;
    stored_summary(experiment, &expected, options)
}

/// The summary of a run that is complete.
pub(super) fn summary_of(
    folder: &RunFolder,
    experiment: &Experiment,
    options: &RunOptions,
    was_complete: bool,
) -> Result<Summary, RunError> {
    let done: Done = files::read_json(&folder.done())?;
    let environment: Environment = files::read_json(&folder.environment())?;
    let description = Description::read(&folder.model())?;
    let Numbers {
        metrics,
        false_alarms,
        pixels,
        ..
    } = files::read_json(&folder.metrics())?;
    let summary = Summary {
        title: format!(
            "{}  {}  seed {}",
            experiment.name, experiment.variant, options.seed
        ),
        class_name: experiment.anomaly_name().to_owned(),
        left_out: experiment
            .excluded_class()
            .map(|_| experiment.class_name.clone()),
        set: anomalous_set(&experiment.settings),
        metrics,
        false_alarms,
        pixels,
        deciding: description.deciding(),
        identity: folder.read_identity()?,
        revision: environment.revisions(),
        confidence: experiment.settings.evaluation.confidence,
        done,
        report: folder.report(),
        was_complete,
    };
    let judged = |scores: &BTreeMap<_, _>| scores.contains_key(summary.own());
    match summary.metrics.contains_key(summary.set) && summary.metrics.values().all(judged) {
        true => Ok(summary),
        false => Err(RunError::Workspace(format!(
            "{} lacks the numbers of the score `{}`: `encoder-flow evaluate` writes it anew",
            folder.metrics().display(),
            summary.own()
        ))),
    }
}
