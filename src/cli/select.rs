//! `select STUDY`: settings compared on classes that stand in for the anomaly, and one chosen.

use anyhow::bail;
use clap::Args;

use super::cluster::ClusterArgs;
use super::sweep::{classes, unique};
use super::{DataPlace, DeviceChoice, StudyPlace, command_line, print};
use crate::report::selection_markdown;
use crate::run::RunOptions;
use crate::sweep::slurm::Order;
use crate::sweep::{Request, SelectPlan, select, selection_table};
use crate::train::{Display, install_signal_handlers};

#[derive(Args)]
pub struct SelectArgs {
    /// Study, e.g. mnist.
    study: String,
    /// Methods and variants that the study names, e.g. pca-flow,knn (repeatable).
    #[arg(
        long = "candidate",
        alias = "candidates",
        value_name = "NAME,...",
        value_delimiter = ',',
        required_unless_present_any = ["status", "cancel"]
    )]
    candidates: Vec<String>,
    /// Classes that stand in for every class left out, one at a time: the first ones after it.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    stand_ins: u16,
    /// Classes to leave out, by index or name, e.g. 0,3,7 [default: all].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    classes: Vec<String>,
    /// Seeds, e.g. 0,1,2.
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "0")]
    seeds: Vec<u64>,
    /// Classes at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Override a setting of the study for all candidates, e.g. --set data.limit=5000 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Run everything anew.
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

pub fn run(args: SelectArgs) -> anyhow::Result<()> {
    let studies = args.studies.studies()?;
    let study = studies.study(&args.study)?;
    let dataset = study.shared(&args.overrides)?.data.dataset;
    let plan = SelectPlan {
        candidates: args.candidates,
        stand_ins: usize::from(args.stand_ins),
        classes: classes(dataset, &args.classes)?,
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
            request: Request::Select(plan),
            store,
            options: &options,
            wishes: args.cluster.wishes()?,
        });
    }
    install_signal_handlers()?;
    let report = select(study, &args.overrides, &plan, store, &options)?;
    print(&selection_markdown(&report));
    let table = selection_table(&options.artifacts, &study.name);
    print(&format!("selection {}", table.display()));
    match report.failures().count() {
        0 => Ok(()),
        failed => bail!("{failed} runs failed: see above"),
    }
}
