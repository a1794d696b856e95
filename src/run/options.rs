//! How a run is carried out.

use std::path::PathBuf;

use super::Moment;
use super::paths::{features_folder, run_folder};
use crate::study::Experiment;
use crate::train::Display;

/// How a run is carried out; none of it changes what is computed but seed and device.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Seed of split, weights and order.
    pub seed: u64,
    /// Make anew what was begun before this moment, networks that runs share among it.
    pub since: Option<Moment>,
    /// Backend by name, or the preferred one.
    pub device: Option<String>,
    /// How to show progress.
    pub display: Display,
    /// Folder of all artifacts.
    pub artifacts: PathBuf,
    /// The command line, for the record.
    pub command: String,
    /// Where messages go, if not into the run's own log: a process has one log.
    pub log: Option<PathBuf>,
    /// Where features of pretrained networks are kept, if not among the artifacts: runs that have
    /// several folders of artifacts can share them.
    pub features: Option<PathBuf>,
    /// True when this process makes other runs as well: its peak memory is not that of one of them.
    pub among_others: bool,
}

impl RunOptions {
    /// Where features of pretrained networks are kept.
    pub(crate) fn features(&self) -> PathBuf {
        let own = || features_folder(&self.artifacts);
        self.features.clone().unwrap_or_else(own)
    }

    /// The folder of an experiment's run.
    pub(crate) fn folder(&self, experiment: &Experiment) -> PathBuf {
        run_folder(
            &self.artifacts,
            &experiment.name,
            &experiment.variant,
            self.seed,
        )
    }
}
