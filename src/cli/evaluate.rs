//! `evaluate NAME`: thresholds, metrics and report anew, without training.

use clap::Args;

use super::{DataPlace, RunPlace, StudyPlace, print};
use crate::run::reevaluate;
use crate::train::Display;

#[derive(Args)]
pub struct EvaluateArgs {
    /// Study and class left out: digits-3, mnist-3, cifar10-plane.
    name: String,
    /// Share of the training images that the threshold calls normal, e.g. 0.99; of the validation images, where a
    /// method does not score those.
    #[arg(long, value_name = "LEVEL")]
    confidence: Option<f64>,
    #[command(flatten)]
    run: RunPlace,
    #[command(flatten)]
    data: DataPlace,
    #[command(flatten)]
    studies: StudyPlace,
}

pub fn run(args: EvaluateArgs) -> anyhow::Result<()> {
    let experiment = args
        .studies
        .studies()?
        .find(&args.name, &args.run.method, &[])?;
    let options = args.run.options(Display::Quiet);
    let summary = reevaluate(&experiment, args.confidence, &args.data.store()?, &options)?;
    print(&summary.to_string());
    Ok(())
}
