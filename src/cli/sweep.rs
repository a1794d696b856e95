//! `sweep STUDY`: the study's methods on every class and seed, one table.

use anyhow::bail;
use clap::Args;

use super::cluster::ClusterArgs;
use super::{DataPlace, DeviceChoice, StudyPlace, command_line, print};
use crate::data::DatasetName;
use crate::report::sweep_markdown;
use crate::run::RunOptions;
use crate::study::find_class;
use crate::sweep::slurm::Order;
use crate::sweep::{Request, SweepPlan, sweep, sweep_report};
use crate::train::{Display, install_signal_handlers};

#[derive(Args)]
pub struct SweepArgs {
    /// Study, e.g. mnist.
    study: String,
    /// Classes to leave out, by index or name, e.g. 0,3,7 [default: all].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    classes: Vec<String>,
    /// Methods and variants that the study names, e.g. encoder-flow,knn [default: those of the study's
    /// section `sweep`, else all methods].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    methods: Vec<String>,
    /// Seeds, e.g. 0,1,2.
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "0")]
    seeds: Vec<u64>,
    /// Classes at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Override a setting of the study, e.g. --set encoder.training.epochs=2 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Run every cell anew.
    #[arg(long)]
    fresh: bool,
    /// Folder of all results.
    #[arg(long, value_name = "DIR", default_value = "artifacts")]
    artifacts: std::path::PathBuf,
    #[command(flatten)]
    device: DeviceChoice,
    #[command(flatten)]
    data: DataPlace,
    #[command(flatten)]
    studies: StudyPlace,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub fn run(args: SweepArgs) -> anyhow::Result<()> {
    let studies = args.studies.studies()?;
    let study = studies.study(&args.study)?;
    let dataset = study.shared(&args.overrides)?.data.dataset;
    let plan = SweepPlan {
        classes: classes(dataset, &args.classes)?,
        methods: unique(if args.methods.is_empty() {
            study.compared()?
        } else {
            args.methods
        }),
        seeds: unique(args.seeds),
        jobs: usize::from(args.jobs),
    };
    let options = RunOptions {
        seed: 0,
        fresh: args.fresh,
        device: args.device.name,
        display: Display::Plain,
        artifacts: args.artifacts,
        command: command_line(),
        log: None,
        features: None,
        among_others: true,
    };
    let store = &args.data.store()?;
    if args.cluster.is_meant() {
        return args.cluster.run(&Order {
            study,
            overrides: &args.overrides,
            request: Request::Sweep(plan),
            store,
            options: &options,
            wishes: args.cluster.wishes()?,
        });
    }
    install_signal_handlers()?;
    let table = sweep(study, &args.overrides, &plan, store, &options)?;
    print(&sweep_markdown(&table.report()?));
    print(&format!(
        "report {}",
        sweep_report(&options.artifacts, &study.name).display()
    ));
    match table.failures() {
        0 => Ok(()),
        failed => bail!(
            "{failed} of {} cells failed: see above",
            table.results().len()
        ),
    }
}

/// Class indices of a list of names.
pub(super) fn classes(dataset: DatasetName, names: &[String]) -> anyhow::Result<Vec<usize>> {
    if names.is_empty() {
        return Ok(dataset.anomalies().collect());
    }
    let mut classes = Vec::new();
    for name in names {
        match find_class(dataset, &name.to_lowercase()) {
            Some(class) => classes.push(class),
            None => bail!(
                "--classes {name}: {dataset} has no such class (known: {})",
                dataset.class_names()[dataset.anomalies()].join(", ")
            ),
        }
    }
    Ok(unique(classes))
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
