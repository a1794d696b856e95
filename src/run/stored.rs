//! What there is of a run already: its identity, its summary, and making room where another lies.

use std::path::Path;

use super::evaluation::{Numbers, anomalous_set};
use super::{Done, Environment, RunError, RunFolder, RunOptions, Summary, Workspace};
use crate::data::DataStore;
use crate::encoder::SqueezeNet;
use crate::files::{self, FileError};
use crate::method::{Description, Identity, Method, Plan};
use crate::study::Experiment;

/// The experiment's method, and what it reads of the settings.
pub(super) fn plan_of(experiment: &Experiment) -> Result<(Method, Box<dyn Plan>), RunError> {
    let method: Method = experiment.method.parse()?;
    Ok((method, method.plan(&experiment.settings)?))
}

/// What the run's numbers depend on, with SqueezeNet's weights in the file `weights`.
pub(super) fn identity(experiment: &Experiment, plan: &dyn Plan, weights: &Path) -> Identity {
    Identity::of(&experiment.method, plan, &experiment.settings, weights)
}

/// Renames the folder of a run of another identity that lies where this one belongs: nothing is lost,
/// and nothing is in the way.
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
    if options.fresh || !folder.config().exists() {
        return Ok(());
    }
    let (_, plan) = plan_of(experiment)?;
    let identity = identity(experiment, plan.as_ref(), &store.backbone(SqueezeNet::FILE));
    let name = match folder.read_identity() {
        Ok(there) if there.differences(&identity).is_empty() => return Ok(()),
        Ok(there) => there.fingerprint(),
        Err(_) => "earlier".to_owned(),
    };
    // Locked, so that nobody's work is moved.
    let _workspace = Workspace::existing(root.clone())?;
    let seed = options.seed;
    let mut target = root.with_file_name(format!("replaced-seed-{seed}-{name}"));
    for number in 2.. {
        if !target.exists() {
            break;
        }
        target = root.with_file_name(format!("replaced-seed-{seed}-{name}-{number}"));
    }
    std::fs::rename(&root, &target).map_err(FileError::io("rename", &root))?;
    Ok(())
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
    let expected = identity(experiment, plan.as_ref(), &store.backbone(SqueezeNet::FILE));
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
    let Numbers { metrics, .. } = files::read_json(&folder.metrics())?;
    Ok(Summary {
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
        deciding: description.deciding(),
        identity: folder.read_identity()?,
        revision: environment.revision,
        confidence: experiment.settings.evaluation.confidence,
        done,
        report: folder.report(),
        was_complete,
    })
}
