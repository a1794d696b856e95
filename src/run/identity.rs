//! What the numbers of a run depend on.

use std::path::Path;

use super::RunError;
use crate::data::{DataStore, DatasetName};
use crate::encoder::SqueezeNet;
use crate::method::{Identity, Method, Plan};
use crate::study::Experiment;

/// The experiment's method, and what it reads of the settings.
pub(super) fn plan_of(experiment: &Experiment) -> Result<(Method, Box<dyn Plan>), RunError> {
    let method: Method = experiment.method.parse()?;
    Ok((method, method.plan(&experiment.settings)?))
}

/// What an experiment is to do, and what its numbers depend on.
pub(super) struct Planned {
    /// The method.
    pub method: Method,
    /// What it does.
    pub plan: Box<dyn Plan>,
    /// What the run's numbers depend on.
    pub identity: Identity,
}

impl Planned {
    /// Of the experiment, with the images and weights of this store.
    ///
    /// # Errors
    /// [`RunError`] when there is no such method or it cannot read its settings.
    pub(super) fn of(experiment: &Experiment, store: &DataStore) -> Result<Self, RunError> {
        let (method, plan) = plan_of(experiment)?;
        let weights = store.backbone(SqueezeNet::FILE);
        let (name, settings) = (&experiment.method, &experiment.settings);
        let identity = Identity {
            pictures: pictures(experiment, store),
            ..Identity::of(name, plan.as_ref(), settings, &weights)
        };
        Ok(Self {
            method,
            plan,
            identity,
        })
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
