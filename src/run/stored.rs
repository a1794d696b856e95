//! What there is of a run already: its identity, its summary, and making room where another lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::evaluation::{Numbers, anomalous_set};
use super::{Done, Environment, Moment, RunError, RunFolder, RunOptions, Summary, Workspace};
use crate::backend::Backend;
use crate::data::{DataStore, DatasetName};
use crate::encoder::SqueezeNet;
use crate::files::{self, FileError};
use crate::method::{Description, Identity, Method, Plan};
use crate::study::Experiment;

/// The experiment's method, and what it reads of the settings.
pub(super) fn plan_of(experiment: &Experiment) -> Result<(Method, Box<dyn Plan>), RunError> {
    let method: Method = experiment.method.parse()?;
    Ok((method, method.plan(&experiment.settings)?))
}

/// What the run's numbers depend on.
pub(super) fn identity(experiment: &Experiment, plan: &dyn Plan, store: &DataStore) -> Identity {
    let weights = store.backbone(SqueezeNet::FILE);
    Identity {
        pictures: pictures(experiment, store),
        ..Identity::of(&experiment.method, plan, &experiment.settings, &weights)
    }
}

/// Which pictures the user's folder has, where the images are these.
pub(super) fn pictures(experiment: &Experiment, store: &DataStore) -> Option<String> {
    let data = &experiment.settings.data;
    let own = data.dataset == DatasetName::Folder && !data.folder.is_empty();
    let digest = || store.digest(Path::new(&data.folder));
    // What is wrong with it is said where it is needed.
    own.then(|| digest().unwrap_or_else(|_| Identity::UNREADABLE.to_owned()))
}

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
    let (_, plan) = plan_of(experiment)?;
    let identity = identity(experiment, plan.as_ref(), store);
    let backend = Backend::named(options.device.as_deref())?.name();
    let folder = RunFolder::new(options.folder(experiment));
    let begun: Result<Environment, _> = files::read_json(&folder.environment());
    let continues = |begun: &Environment| {
        let there = folder.read_identity();
        begun.command == options.command
            && begun.backend == backend
            && begun.is_by_this_program()
            && there.is_ok_and(|there| there.differences(&identity).is_empty())
    };
    Ok(match begun {
        Ok(begun) if !folder.is_complete() && continues(&begun) => begun.started,
        _ => Moment::now(),
    })
}

/// Renames the folder of a run of another identity that lies where this one belongs: nothing is lost, and nothing is in the
/// way. A complete run of this identity that was renamed so before gets its place back, the newest of several.
///
/// # Errors
/// [`RunError`] when the folder is in use or cannot be renamed.
pub(crate) fn set_aside(
    experiment: &Experiment,
    store: &DataStore,
    options: &RunOptions,
) -> Result<(), RunError> {
    let root = options.folder(experiment);
    let folder = RunFolder::new(root.clone());
    let since = options.since.as_ref();
    let (_, plan) = plan_of(experiment)?;
    let identity = identity(experiment, plan.as_ref(), store);
    let is_in_the_way = || {
        let there = folder.read_identity();
        let same = there.is_ok_and(|there| there.differences(&identity).is_empty());
        folder.config().exists() && !folder.is_older_than(since) && !same
    };
    if is_in_the_way() {
        // Locked, so that nobody's work is moved.
        let _workspace = Workspace::existing(root.clone())?;
        if is_in_the_way() {
            let there = folder.read_identity();
            let name = there.map_or_else(|_| "earlier".to_owned(), |there| there.fingerprint());
            let mut number = 1;
            while aside(&root, options.seed, &name, number).exists() {
                number += 1;
            }
            let target = aside(&root, options.seed, &name, number);
            rename(&root, &target)?;
            options.display.say(&format!(
                "{} was of other settings and is {} now",
                root.display(),
                target.display()
            ));
        }
    }
    if root.exists() {
        return Ok(());
    }
    let mut kept: Vec<(Moment, PathBuf)> = Vec::new();
    for number in 1.. {
        let place = aside(&root, options.seed, &identity.fingerprint(), number);
        if !place.exists() {
            break;
        }
        let run = RunFolder::new(place.clone());
        let begun: Result<Environment, _> = files::read_json(&run.environment());
        if let Ok(begun) = begun
            && run.is_done(&identity)
            && !run.is_older_than(since)
        {
            kept.push((begun.started, place));
        }
    }
    if let Some((_, newest)) = kept.into_iter().max() {
        rename(&newest, &root)?;
        options.display.say(&format!(
            "{} is where the run of these settings was, which had been {}",
            root.display(),
            newest.display()
        ));
    }
    Ok(())
}

/// Where a run of the fingerprint `name` is kept beside its place, the first, second, ... of them.
fn aside(root: &Path, seed: u64, name: &str, number: usize) -> PathBuf {
    root.with_file_name(match number {
        1 => format!("replaced-seed-{seed}-{name}"),
        number => format!("replaced-seed-{seed}-{name}-{number}"),
    })
}

fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::rename(from, to).map_err(FileError::io("rename", from))
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
    let (_, plan) = plan_of(experiment).ok()?;
    let expected = identity(experiment, plan.as_ref(), store);
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
