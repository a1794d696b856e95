//! `list`: what can be run.

use clap::Args;

use super::{StudyPlace, print};
use crate::experiment::class_tags;

#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    studies: StudyPlace,
}

pub fn run(args: ListArgs) -> anyhow::Result<()> {
    for study in args.studies.studies()?.iter() {
        let config = match study.resolve(&[]) {
            Ok(config) => config,
            Err(error) => {
                print(&format!("{}\n  {error}\n", study.name));
                continue;
            }
        };
        let dataset = config.data.dataset;
        let classes = dataset.anomalies();
        let names: Vec<String> = classes
            .map(|class| format!("{}-{}", study.name, class_tags(dataset, class)[0]))
            .collect();
        print(&format!(
            "{}\n  {}\n  {}\n",
            study.name,
            study.description(),
            names.join("  ")
        ));
    }
    print(
        "Run one with `encoder-flow experiment NAME`, or `just experiment NAME`.\nA class can also be given by its index or its official name: cifar10-0, cifar10-airplane.",
    );
    Ok(())
}
