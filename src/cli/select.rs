//! `select STUDY`: settings compared on classes that stand in for the anomaly, and one chosen.

use anyhow::bail;
use clap::Args;

use super::idle::warn_of_idle;
use super::many::{Here, ManyRuns, trimmed};
use super::print;
use crate::report::selection_markdown;
use crate::sweep::{Request, SelectPlan, select, selection_table};

#[derive(Args)]
pub struct SelectArgs {
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
    #[command(flatten)]
    runs: ManyRuns,
}

pub fn run(args: SelectArgs) -> anyhow::Result<()> {
    let studies = args.runs.studies()?;
    let chosen = args.runs.chosen(&studies)?;
    let plan = SelectPlan {
        candidates: trimmed(&args.candidates),
        stand_ins: usize::from(args.stand_ins),
        classes: chosen.classes,
        seeds: chosen.seeds,
        jobs: chosen.jobs,
    };
    let overrides = args.runs.overrides.clone();
    let request = Request::Select(plan.clone());
    let here = args
        .runs
        .submit_or_prepare(chosen.study, &request, &args.candidates)?;
    let Some(Here { store, options }) = here else {
        return Ok(());
    };
    warn_of_idle(chosen.study, &plan.candidates, &overrides)?;
    let report = select(chosen.study, &overrides, &plan, &store, &options)?;
    print(&selection_markdown(&report));
    let table = selection_table(&options.artifacts, &chosen.study.name);
    print(&format!("selection {}", table.display()));
    match report.failures().count() {
        0 => Ok(()),
        failed => bail!("{failed} runs failed: see above"),
    }
}
