//! What several runs have in common, and making it before them.

use std::path::{Path, PathBuf};

use super::identity::Planned;
use super::pipeline::Run;
use super::{Moment, RunError, RunFolder, RunOptions};
use crate::backend::Backend;
use crate::data::DataStore;
use crate::encoder::SqueezeNet;
use crate::method::{Identity, SharedNetwork};
use crate::study::Experiment;

/// A step that runs have in common: it is done once, by the first of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shared {
    /// A network of one class and seed; in words, what it depends on beside these.
    Network(SharedNetwork, String),
    /// A pretrained network's features of all images; in words, what they depend on.
    Features(String),
}

/// What the runs of one method's settings have to be, whatever their class and seed.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// What their numbers depend on.
    pub identity: Identity,
    /// The step that others may have as well.
    pub shared: Option<Shared>,
    /// The file of pretrained weights that they read, if they do.
    pub weights: Option<PathBuf>,
}

impl Expected {
    /// Of an experiment, and of all that differ from it in class and seed.
    ///
    /// # Errors
    /// [`RunError`] when the method cannot read its settings.
    pub(crate) fn of(experiment: &Experiment, store: &DataStore) -> Result<Self, RunError> {
        let Planned { plan, identity, .. } = Planned::of(experiment, store)?;
        let data = &experiment.settings.data;
        let network = SharedNetwork::made_first(plan.as_ref());
        let network = network.and_then(|network| Some((network, network.depends_on(&identity)?)));
        let shared = match (network, plan.pretrained()) {
            (Some((network, key)), _) => Some(Shared::Network(network, key)),
            (None, Some(look)) => Some(Shared::Features(format!(
                "{} {} {:?} {} {} {:?}, {look:?}",
                data.dataset,
                data.folder,
                data.ood,
                data.limit,
                data.channels,
                (data.size, data.fit)
            ))),
            (None, None) => None,
        };
        Ok(Self {
            weights: plan.weights_file(&store.backbone(SqueezeNet::FILE)),
            identity,
            shared,
        })
    }

    /// True when the run in a folder is complete, one of these, and was not begun before the moment. Nothing is locked
    /// for it.
    pub(crate) fn is_done_in(&self, folder: &Path, since: Option<&Moment>) -> bool {
        let folder = RunFolder::new(folder.to_owned());
        folder.is_done(&self.identity) && !folder.is_older_than(since)
    }

    /// True when a run of the experiment finds the network that it shares trained, by itself or by another method.
    pub(crate) fn has_network(&self, experiment: &Experiment, options: &RunOptions) -> bool {
        let Some(Shared::Network(network, _)) = &self.shared else {
            return false;
        };
        // A device that cannot be had is said where it is needed.
        let Ok(backend) = Backend::named(options.device.as_deref()) else {
            return false;
        };
        let wanted = (&self.identity, backend.name());
        let runs = RunFolder::new(options.folder(experiment)).of_all_methods();
        runs.iter()
            .any(|run| run.has_trained(*network, wanted, options.since.as_ref()))
    }
}

/// Makes what a run shares with others, and nothing else of it; the run goes on from there when it is
/// started.
///
/// # Errors
/// [`RunError`] as for [`run`](super::run()).
pub(crate) fn make_shared(
    experiment: &Experiment,
    store: &DataStore,
    options: &RunOptions,
) -> Result<(), RunError> {
    match Run::open(experiment, store, options)? {
        (_, None) => Ok(()),
        (run, Some((pools, clock))) => run.shared_part(pools, clock),
    }
}
