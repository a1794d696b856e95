//! `slurm-task`: what the jobs of a submission run. Nobody types it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::print;
use crate::sweep::slurm::{collect, run_task};

#[derive(Args)]
pub struct SlurmTaskArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run a task of an array.
    Run {
        /// Folder of the plan.
        plan: PathBuf,
        /// Name of the array.
        array: String,
        /// Number of the task.
        task: usize,
    },
    /// Write the table.
    Collect {
        /// Folder of the plan.
        plan: PathBuf,
    },
}

pub fn run(args: SlurmTaskArgs) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Run { plan, array, task } => {
            let status = run_task(&plan, &array, task)?;
            Ok(ExitCode::from(status as u8))
        }
        What::Collect { plan } => {
            let collected = collect(&plan)?;
            print(&collected.markdown);
            print(&collected.place);
            Ok(ExitCode::SUCCESS)
        }
    }
}
