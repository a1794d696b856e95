//! The options with which a sweep or a selection runs on a Slurm cluster.

use anyhow::bail;
use clap::Args;

use super::print;
use crate::sweep::slurm::{Order, Wishes};

#[derive(Args)]
pub struct ClusterArgs {
    /// Submit to the Slurm cluster that this machine belongs to, and return: artifacts and data have to
    /// be in folders that its nodes share. The same command again submits what is not done.
    #[arg(long)]
    slurm: bool,
    /// Stay until all jobs are over, and print the table.
    #[arg(long, requires = "slurm")]
    wait: bool,
    /// Print scripts and commands, and submit nothing.
    #[arg(long, requires = "slurm", conflicts_with = "wait")]
    dry_run: bool,
    /// Options of sbatch, after ours, e.g. '--partition=gpu --gres=gpu:1 --time=2:00:00'.
    #[arg(
        long,
        requires = "slurm",
        value_name = "OPTIONS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    slurm_args: String,
    /// Tasks on the cluster at a time.
    #[arg(long, requires = "slurm", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    at_most: Option<u32>,
    /// Say what of this study has been submitted and is done, running, waiting, or failed, and why.
    #[arg(long, conflicts_with_all = ["slurm", "cancel", "fresh"])]
    status: bool,
    /// Take back what is queued on the cluster of this study's sweeps or selections, and end what runs.
    #[arg(long, conflicts_with_all = ["slurm", "fresh"])]
    cancel: bool,
}

impl ClusterArgs {
    /// True when a cluster is meant, and not this machine.
    pub fn is_meant(&self) -> bool {
        self.slurm || self.status || self.cancel
    }

    /// True when jobs are to be ended.
    pub fn cancels(&self) -> bool {
        self.cancel
    }

    /// What is asked of it.
    ///
    /// # Errors
    /// When the options of sbatch cannot be used.
    pub fn wishes(&self) -> anyhow::Result<Wishes> {
        Ok(Wishes::new(&self.slurm_args, self.at_most)?)
    }

    /// Submits, tells or takes back.
    ///
    /// # Errors
    /// What the cluster refuses; with --wait also cells without a result.
    pub fn run(&self, order: Order) -> anyhow::Result<()> {
        let order = order.continuing()?;
        let study = &order.study.name;
        if self.status {
            print(order.status()?.trim_end());
            return Ok(());
        }
        if self.cancel {
            let jobs = order.cancel()?;
            print(&match jobs.is_empty() {
                true => "no jobs are queued".to_owned(),
                false => format!("cancelled jobs {}", jobs.join(", ")),
            });
            return Ok(());
        }
        if self.dry_run {
            print(order.dry_run()?.trim_end());
            return Ok(());
        }
        let submitted = order.submit()?;
        let (cells, done) = (submitted.cells, submitted.done);
        let mut line = format!("{cells} cells submitted, {done} done before");
        if submitted.under_way > 0 {
            line += &format!(", {} under way in earlier jobs", submitted.under_way);
        }
        print(&line);
        for (id, name) in &submitted.jobs {
            print(&format!("  job {id}  {name}"));
        }
        let nothing = submitted.cells + submitted.under_way == 0;
        if !self.wait && !nothing {
            let verb = order.verb();
            print(&format!("plan and logs {}", submitted.folder.display()));
            print(&format!(
                "encoder-flow {verb} {study} --status tells how far they are, --cancel ends them"
            ));
            return Ok(());
        }
        if !nothing {
            print("waiting; the jobs go on without this process (Ctrl-C)");
            order.wait(|counts| print(&format!("  {counts}")))?;
        }
        let collected = order.collected()?;
        if nothing {
            // No job will.
            order.write(&collected)?;
        }
        print(&collected.markdown);
        print(&collected.place);
        match collected.failures {
            [0, _] => Ok(()),
            [failed, all] => bail!("{failed} of {all} cells have no result: see above"),
        }
    }
}
