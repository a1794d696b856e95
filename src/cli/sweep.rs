//! `sweep STUDY`: the study's methods on every class and seed, one table.

use anyhow::bail;
use clap::Args;

use super::idle::warn_of_idle;
use super::many::{Here, ManyRuns, trimmed, unique};
use super::print;
use crate::report::sweep_markdown;
use crate::sweep::{Request, SweepPlan, sweep, sweep_report};

#[derive(Args)]
pub struct SweepArgs {
    /// Methods and variants that the study names, e.g. encoder-flow,knn [default: those of the study's
    /// section `sweep`, else all methods].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    methods: Vec<String>,
    #[command(flatten)]
    runs: ManyRuns,
}

pub fn run(args: SweepArgs) -> anyhow::Result<()> {
    let studies = args.runs.studies()?;
    let chosen = args.runs.chosen(&studies)?;
    let plan = SweepPlan {
        classes: chosen.classes,
        methods: unique(match args.methods.is_empty() {
            true => chosen.study.compared()?,
            false => trimmed(&args.methods),
        }),
        seeds: chosen.seeds,
        jobs: chosen.jobs,
    };
    let overrides = args.runs.overrides.clone();
    let request = Request::Sweep(plan.clone());
    let here = args
        .runs
        .submit_or_prepare(chosen.study, &request, &args.methods)?;
    let Some(Here { store, options }) = here else {
        return Ok(());
    };
    warn_of_idle(chosen.study, &plan.methods, &overrides)?;
    let table = sweep(chosen.study, &overrides, &plan, &store, &options)?;
    print(&sweep_markdown(&table.report()?));
    print(&format!(
        "report {}",
        sweep_report(&options.artifacts, &chosen.study.name).display()
    ));
    match table.failures() {
        0 => Ok(()),
        failed => bail!(
            "{failed} of {} cells failed: see above",
            table.results().len()
        ),
    }
}
