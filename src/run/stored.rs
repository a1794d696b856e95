//! What there is of a run already: its identity, its summary, and making room where another lies.

use std::path::Path;

use super::evaluation::{Numbers, anomalous_set};
use super::{Done, Environment, RunError, RunFolder, RunOptions, Summary, Workspace};
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

/// Which pictures the user's folder has, where the images are these. One that cannot be read is said where it is needed.
pub(super) fn pictures(experiment: &Experiment, store: &DataStore) -> Option<String> {
    let data = &experiment.settings.data;
    let own = data.dataset == DatasetName::Folder && !data.folder.is_empty();
    own.then(|| store.digest(Path::new(&data.folder)).ok())?
}

/// Renames the folder of a run of another identity that lies where this one belongs: nothing is lost, and nothing is in the
/// way. A complete run of this identity that was renamed so before gets its place back.
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
    if !folder.config().exists() || folder.is_older_than(options.since.as_ref()) {
        return Ok(());
    }
    let (_, plan) = plan_of(experiment)?;
    let identity = identity(experiment, plan.as_ref(), store);
    let name = match folder.read_identity() {
        Ok(there) if there.differences(&identity).is_empty() => return Ok(()),
        Ok(there) => there.fingerprint(),
        Err(_) => "earlier".to_owned(),
    };
    // Locked, so that nobody's work is moved.
    let _workspace = Workspace::existing(root.clone())?;
    let seed = options.seed;
    let aside = |name: &str| root.with_file_name(format!("replaced-seed-{seed}-{name}"));
    let mut target = aside(&name);
    for number in 2.. {
        if !target.exists() {
            break;
        }
        target = aside(&format!("{name}-{number}"));
    }
    rename(&root, &target)?;
    // What was set aside for others before is wanted again.
    let wanted = aside(&identity.fingerprint());
    let back = RunFolder::new(wanted.clone()).is_done(&identity);
    if back {
        rename(&wanted, &root)?;
    }
    options.display.say(&format!(
        "{} was of other settings and is {} now{}",
        root.display(),
        target.display(),
        if back {
            ", where the run of these settings was"
        } else {
            ""
        }
    ));
    Ok(())
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
        revision: environment.revisions(),
        confidence: experiment.settings.evaluation.confidence,
        done,
        report: folder.report(),
        was_complete,
    })
}
