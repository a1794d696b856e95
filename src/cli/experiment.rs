//! `experiment NAME`: training, evaluation, report.

use clap::Args;

use super::idle::warn_of_idle;
use super::{DEFAULT_METHOD, DataPlace, RunPlace, StudyPlace, command_line, print};
use crate::data::DataStore;
use crate::method::Method;
use crate::run::{RunOptions, finished, fresh_since, run as run_experiment};
use crate::study::Experiment;
use crate::train::{Display, install_signal_handlers};

/// What the names of variants begin with that a study recommends.
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

#[cfg(test)]
impl ExperimentArgs {
    /// What decides the run's numbers: name, method, seed, overrides.
    pub fn identity(&self) -> (&str, &str, u64, &[String]) {
        (&self.name, &self.run.method, self.run.seed, &self.overrides)
    }
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
    let mut options = RunOptions {
        seed: args.run.seed,
        since: None,
        device: args.run.device.name,
        display: Display::choose(args.plain),
        artifacts: args.run.artifacts,
        command: command_line(),
        log: None,
        features: None,
        among_others: false,
    };
    let store = args.data.store()?;
    if args.fresh {
        options.since = Some(fresh_since(&experiment, &store, &options)?);
    }
    let summary = run_experiment(&experiment, &store, &options)?;
    print(&summary.to_string());
    if experiment.variant == DEFAULT_METHOD {
        // The paper's pipeline runs unless another is named; a study may know a better one.
        let variants = study.variants()?;
        let better = variants
            .iter()
            .filter(|variant| variant.name.starts_with(BEST));
        let does = |run: &Experiment| (run.method.clone(), run.settings.clone());
        // What does the same as this run, or as another variant, is not recommended beside it.
        let mut known = vec![does(&experiment)];
        for better in better {
            let same = studies.find(&args.name, &better.name, &args.overrides);
            if let Ok(same) = &same {
                if known.contains(&does(same)) {
                    continue;
                }
                known.push(does(same));
            }
            print(&format!(
                "  recommended here: --method {} ({})",
                better.name,
                better.method.parse::<Method>()?.entry().summary
            ));
            print(
                &match same.ok().and_then(|same| compared(&same, &store, &options)) {
                    Some(found) => format!("    {found}"),
                    None => {
                        "    not run yet as this one was: repeat the command with it".to_owned()
                    }
                },
            );
        }
    }
    Ok(())
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
