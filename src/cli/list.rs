//! `list`: what can be run, and with which settings.

use clap::Args;

use super::{DEFAULT_METHOD, StudyPlace, print};
use crate::method::Method;
use crate::study::Study;

#[derive(Args)]
pub struct ListArgs {
    /// Show every setting of a study, or of one of its experiments, with its value.
    #[arg(long, value_name = "NAME")]
    settings: Option<String>,
    /// With --settings: the method or variant.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_METHOD, requires = "settings")]
    method: String,
    #[command(flatten)]
    studies: StudyPlace,
}

pub fn run(args: ListArgs) -> anyhow::Result<()> {
    let studies = args.studies.studies()?;
    if let Some(name) = &args.settings {
        let settings = match studies.study(name) {
            Ok(study) => study.resolve(&study.choice(&args.method)?, &[])?,
            Err(no_study) => match studies.find(name, &args.method, &[]) {
                Ok(experiment) => experiment.settings,
                Err(error) => {
                    let is_experiment = studies
                        .iter()
                        .any(|study| name.to_lowercase().starts_with(&format!("{}-", study.name)));
                    return Err(if is_experiment { error } else { no_study }.into());
                }
            },
        };
        print(settings.to_toml().trim_end());
        return Ok(());
    }
    for study in studies.iter() {
        let shown = describe(study).unwrap_or_else(|error| error.to_string());
        print(&format!("{}\n  {shown}\n", study.name));
    }
    print("Methods, for --method and --methods:");
    for method in Method::ALL {
        print(&format!("  {method:<14} {}", method.entry().summary));
    }
    print(
        "\nRun one with `encoder-flow experiment NAME`, or `just experiment NAME`.\nA class can also be given by its index or its official name: cifar10-0, cifar10-airplane.",
    );
    Ok(())
}

/// What the study is, its experiments and its variants.
fn describe(study: &Study) -> anyhow::Result<String> {
    let dataset = study.shared(&[])?.data.dataset;
    let names = dataset
        .anomalies()
        .map(|class| study.experiment_name(dataset, class));
    let names = names.collect::<Vec<_>>().join("  ");
    let mut text = format!("{}\n  {names}", study.description());
    for variant in study.variants()? {
        text += &format!("\n  --method {}: {}", variant.name, variant.method);
        let settings = variant.settings();
        if !settings.is_empty() {
            text += &format!(" with {}", settings.join(", "));
        }
    }
    Ok(text)
}
