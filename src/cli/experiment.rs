//! `experiment NAME`: training, evaluation, report.

use clap::Args;

use super::idle::warn_of_idle;
use super::{DEFAULT_METHOD, DataPlace, RunPlace, StudyPlace, print};
use crate::data::DataStore;
use crate::method::Method;
use crate::run::{RunOptions, finished, fresh_since, run as run_experiment};
use crate::study::{Experiment, Studies};
use crate::train::{Display, install_signal_handlers};

/// Name of the variant that a study recommends.
const BEST: &str = "best";

#[derive(Args)]
pub struct ExperimentArgs {
    /// Study and class left out: digits-3, mnist-3, cifar10-plane (`encoder-flow list` shows all).
    name: String,
    /// Override a setting of the study, e.g. --set encoder.training.epochs=2 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Start over where an earlier run was stopped or is complete; the same command again continues.
    #[arg(long)]
    fresh: bool,
    /// One line per epoch, no dashboard.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    run: RunPlace,
    #[command(flatten)]
    data: DataPlace,
    #[command(flatten)]
    studies: StudyPlace,
}

pub fn run(args: ExperimentArgs) -> anyhow::Result<()> {
    let studies = args.studies.studies()?;
    let experiment = studies.find(&args.name, &args.run.method, &args.overrides)?;
    let study = studies.study(&experiment.study)?;
    warn_of_idle(
        study,
        std::slice::from_ref(&experiment.variant),
        &args.overrides,
    )?;
    install_signal_handlers()?;
    let mut options = args.run.options(Display::choose(args.plain));
    let store = args.data.store()?;
    if args.fresh {
        options.since = Some(fresh_since(&experiment, &store, &options)?);
    }
    let summary = run_experiment(&experiment, &store, &options)?;
    print(&summary.to_string());
    // The paper's pipeline runs unless another is named; a study may know a better one.
    if experiment.variant == DEFAULT_METHOD {
        recommend(&studies, &args.name, &args.overrides, &experiment, |best| {
            compared(best, &store, &options)
        })?;
    }
    Ok(())
}

/// Says what the variant is that the study recommends, and how it has done, unless it does what was just run.
fn recommend(
    studies: &Studies,
    name: &str,
    overrides: &[String],
    done: &Experiment,
    compared: impl Fn(&Experiment) -> Option<String>,
) -> anyhow::Result<()> {
    // A study may have none, and with these overrides it may be impossible.
    let Ok(best) = studies.find(name, BEST, overrides) else {
        return Ok(());
    };
    if (&best.method, &best.settings) == (&done.method, &done.settings) {
        return Ok(());
    }
    let summary = best.method.parse::<Method>()?.entry().summary;
    print(&format!(
        "  recommended here: --method {BEST} ({summary}{})",
        looks(&best)
    ));
    print(&match compared(&best) {
        Some(found) => format!("    {found}"),
        None => "    not run yet as this one was: repeat the command with it".to_owned(),
    });
    Ok(())
}

/// What the views of a variant are of, where it has any: `: pixels, simclr, patches`.
fn looks(variant: &Experiment) -> String {
    let table = variant.settings.table();
    let list = |section: &str, key: &str| table.get(section)?.get(key)?.as_array();
    let views = match variant.method == Method::Views.name() {
        true => list("views", "list").map_or(&[][..], Vec::as_slice),
        false => &[],
    };
    let mut names: Vec<&str> = views
        .iter()
        .filter_map(|view| view.get("of")?.as_str())
        .collect();
    names.dedup();
    match names.is_empty() {
        true => String::new(),
        false => format!(": {}", names.join(", ")),
    }
}

/// How a variant has done what was just run, if it has been run here with the same seed and settings.
fn compared(same: &Experiment, store: &DataStore, options: &RunOptions) -> Option<String> {
    let found = finished(same, store, options)?;
    let sets = found.metrics.iter().map(|(set, scores)| {
        let auroc = scores.get(found.own()).map(|score| score.auroc)?;
        let name = match set == found.set {
            true => format!("class {:?}", found.class_name),
            false => set.clone(),
        };
        Some(format!("{auroc:.3} {name}"))
    });
    let aurocs: Vec<String> = sets.collect::<Option<_>>()?;
    let report = found.report.display();
    Some(format!("AUROC {}  {report}", aurocs.join(", ")))
}
