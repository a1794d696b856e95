//! What `sweep` and `select` have in common: many runs of one study, here or on a cluster.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::cluster::ClusterArgs;
use super::{DataPlace, DeviceChoice, StudyPlace, command_line};
use crate::data::{DataStore, DatasetName};
use crate::run::{Moment, RunOptions};
use crate::study::{Studies, Study, find_class};
use crate::sweep::Request;
use crate::sweep::slurm::Order;
use crate::train::{Display, install_signal_handlers};

#[derive(Args)]
pub(super) struct ManyRuns {
    /// Study, e.g. mnist.
    pub(super) study: String,
    /// Classes to leave out, by index or name, e.g. 0,3,7 [default: all].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    classes: Vec<String>,
    /// Seeds, e.g. 0,1,2.
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "0")]
    seeds: Vec<u64>,
    /// Classes at a time.
    #[arg(
        long,
        default_value_t = 1,
        conflicts_with_all = ["slurm", "status", "cancel"],
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    jobs: u16,
    /// Override a setting of the study, e.g. --set encoder.training.epochs=2 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) overrides: Vec<String>,
    /// Run everything anew; the same command again continues where that was stopped.
    #[arg(long)]
    fresh: bool,
    /// Folder of all results.
    #[arg(long, value_name = "DIR", default_value = "artifacts")]
    artifacts: PathBuf,
    #[command(flatten)]
    device: DeviceChoice,
    #[command(flatten)]
    data: DataPlace,
    #[command(flatten)]
    studies: StudyPlace,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The study, and which of its classes with which seeds.
pub(super) struct Chosen<'a> {
    pub(super) study: &'a Study,
    pub(super) classes: Vec<usize>,
    pub(super) seeds: Vec<u64>,
    /// Classes at a time.
    pub(super) jobs: usize,
}

/// Where runs that are made here find their data, and how they are carried out.
pub(super) struct Here {
    pub(super) store: DataStore,
    pub(super) options: RunOptions,
}

impl ManyRuns {
    /// All studies.
    pub(super) fn studies(&self) -> anyhow::Result<Studies> {
        self.studies.studies()
    }

    /// What was asked for.
    pub(super) fn chosen<'a>(&self, studies: &'a Studies) -> anyhow::Result<Chosen<'a>> {
        let study = studies.study(&self.study)?;
        let dataset = study.shared(&self.overrides)?.data.dataset;
        Ok(Chosen {
            study,
            classes: classes(dataset, &self.classes)?,
            seeds: unique(self.seeds.clone()),
            jobs: usize::from(self.jobs),
        })
    }

    /// Hands the request to a cluster, where that is meant; else what is needed to carry it out here, with a signal as the
    /// way to stop it. `names` are the methods and variants that were asked for, none for all.
    pub(super) fn submit_or_prepare(
        self,
        study: &Study,
        request: &Request,
        names: &[String],
    ) -> anyhow::Result<Option<Here>> {
        let narrowed = !self.classes.is_empty() || !names.is_empty();
        if self.cluster.cancels() && narrowed {
            bail!(
                "--cancel ends all jobs of {} {}: leave out which classes and methods",
                request.verb(),
                study.name
            );
        }
        let options = RunOptions {
            seed: 0,
            since: self.fresh.then(Moment::now),
            device: self.device.name,
            display: Display::Plain,
            artifacts: self.artifacts,
            command: command_line(),
            log: None,
            features: None,
            among_others: true,
        };
        let store = self.data.store()?;
        if self.cluster.is_meant() {
            self.cluster.run(Order {
                study,
                overrides: &self.overrides,
                request: request.clone(),
                store: &store,
                options,
                wishes: self.cluster.wishes()?,
            })?;
            return Ok(None);
        }
        install_signal_handlers()?;
        Ok(Some(Here { store, options }))
    }
}

/// Class indices of a list of names.
fn classes(dataset: DatasetName, names: &[String]) -> anyhow::Result<Vec<usize>> {
    if names.is_empty() {
        return Ok(dataset.anomalies().collect());
    }
    let mut classes = Vec::new();
    for name in names {
        match find_class(dataset, &name.trim().to_lowercase()) {
            Some(class) => classes.push(class),
            None => bail!(
                "--classes {name}: {dataset} has no such class (known: {})",
                dataset.class_names()[dataset.anomalies()].join(", ")
            ),
        }
    }
    Ok(unique(classes))
}

/// The names of a list in which somebody has put spaces.
pub(super) fn trimmed(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.trim().to_owned()).collect()
}

/// The first of each value.
pub(super) fn unique<T: PartialEq>(values: Vec<T>) -> Vec<T> {
    values.into_iter().fold(Vec::new(), |mut kept, value| {
        if !kept.contains(&value) {
            kept.push(value);
        }
        kept
    })
}
