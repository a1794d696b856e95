//! The command line: one file per verb.

mod cluster;
mod data;
mod evaluate;
mod experiment;
mod fit;
mod idle;
mod labelled;
mod list;
mod many;
mod page;
mod places;
mod score;
mod select;
mod slurm_task;
mod sweep;
mod verdicts;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::data::{DataStore, silence_decoders};
use crate::method::schema;
use crate::run::{RunError, RunOptions};
use crate::study::Studies;
use crate::train::{Display, INTERRUPTED_STATUS};

/// Unsupervised image anomaly detection by exact likelihood on high-level representations.
#[derive(Parser)]
#[command(name = "encoder-flow", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Train a method on an experiment, evaluate it and write its report.
    Experiment(experiment::ExperimentArgs),
    /// Evaluate a trained experiment again, with another confidence level if asked, without training.
    Evaluate(evaluate::EvaluateArgs),
    /// Run the methods of a study on its classes and seeds, and compare them.
    Sweep(sweep::SweepArgs),
    /// Choose between settings of a study, on classes that stand in for the anomaly.
    Select(select::SelectArgs),
    /// Fit a detector to a folder of normal images.
    Fit(fit::FitArgs),
    /// Score images with a detector: is this one odd, how sure, and where?
    Score(score::ScoreArgs),
    /// Show the experiments that can be run.
    List(list::ListArgs),
    /// List, download or verify the data sets.
    Data(DataVerb),
    /// What the jobs on a cluster run.
    #[command(hide = true)]
    SlurmTask(slurm_task::SlurmTaskArgs),
}

#[derive(Args)]
struct DataVerb {
    #[command(flatten)]
    place: DataPlace,
    #[command(flatten)]
    data: data::DataArgs,
}

/// The method that runs unless another is named: the paper's.
const DEFAULT_METHOD: &str = "encoder-flow";

/// Where images are looked for.
#[derive(Args)]
struct DataPlace {
    /// Folder where data sets are looked for first, then in ENCODER_FLOW_DATA and the user's cache folder; what is
    /// missing is downloaded into the first of them.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Never use the network.
    #[arg(long, global = true)]
    offline: bool,
}

impl DataPlace {
    fn store(&self) -> anyhow::Result<DataStore> {
        Ok(DataStore::new(self.data_dir.as_deref(), self.offline)?)
    }
}

/// Where studies are read.
#[derive(Args)]
struct StudyPlace {
    /// Folder of the study files; else `experiments`, else the built-in ones.
    #[arg(long, value_name = "DIR")]
    experiments: Option<PathBuf>,
}

impl StudyPlace {
    fn studies(&self) -> anyhow::Result<Studies> {
        Ok(Studies::open(self.experiments.as_deref(), &schema())?)
    }
}

/// Where tensors live.
#[derive(Args)]
struct DeviceChoice {
    /// Backend, where several are compiled in: flex, ndarray, wgpu, vulkan.
    #[arg(
        id = "device",
        long = "device",
        value_name = "NAME",
        env = "ENCODER_FLOW_DEVICE"
    )]
    name: Option<String>,
}

/// Which run, and where it is kept.
#[derive(Args)]
struct RunPlace {
    /// Method, or variant that the study names (`encoder-flow list` shows all).
    #[arg(long, value_name = "NAME", default_value = DEFAULT_METHOD)]
    method: String,
    /// Seed of the split, the initial weights and the order of images.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of all results.
    #[arg(long, value_name = "DIR", default_value = "artifacts")]
    artifacts: PathBuf,
    #[command(flatten)]
    device: DeviceChoice,
}

impl RunPlace {
    /// How the run is carried out by this command.
    fn options(self, display: Display) -> RunOptions {
        RunOptions {
            seed: self.seed,
            since: None,
            device: self.device.name,
            display,
            artifacts: self.artifacts,
            command: command_line(),
            log: None,
            features: None,
            among_others: false,
        }
    }
}

/// Runs the program and turns its outcome into an exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that has gone is no error.
            let _ = error.print();
            // Status 2, which clap has for these, is that of an anomaly.
            return match error.use_stderr() {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            };
        }
    };
    silence_decoders();
    let done = match cli.verb {
        Verb::Experiment(args) => experiment::run(args),
        Verb::Evaluate(args) => evaluate::run(args),
        Verb::Sweep(args) => sweep::run(args),
        Verb::Select(args) => select::run(args),
        Verb::Fit(args) => fit::run(args),
        Verb::Score(args) => match score::run(args) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Verb::List(args) => list::run(args),
        Verb::SlurmTask(args) => match slurm_task::run(args) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Verb::Data(verb) => verb
            .place
            .store()
            .and_then(|store| data::run(verb.data, &store)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let interrupted = error
                .downcast_ref::<RunError>()
                .is_some_and(RunError::is_interruption);
            if interrupted {
                eprintln!("{error}");
                return ExitCode::from(INTERRUPTED_STATUS as u8);
            }
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The command line as it was typed, for the record.
fn command_line() -> String {
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words = std::iter::once("encoder-flow").chain(words.iter().map(String::as_str));
    // An argument cannot contain the NUL that could not be quoted.
    shlex::try_join(words).unwrap_or_default()
}

/// Prints to standard output; a reader that has gone (`| head`) is no error, and what else keeps it from being read is said.
fn print(text: &str) {
    use std::io::Write;
    if let Err(error) = writeln!(std::io::stdout(), "{text}")
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        eprintln!("warning: cannot write to standard output: {error}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        super::Cli::command().debug_assert();
    }
}
