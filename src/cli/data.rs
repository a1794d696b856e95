//! `encoder-flow data`: what data there is, fetching it and checking it.

use std::io::{self, Write};

use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::HumanCount;

use crate::data::{DataStore, DatasetName, FileState};

/// Arguments of `encoder-flow data`.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    #[command(subcommand)]
    verb: DataVerb,
}

#[derive(Subcommand, Clone, Debug)]
enum DataVerb {
    /// Show every data set: what is here and where, what is missing and where it comes from
    List,
    /// Download the missing files of a data set into the data folder
    Fetch {
        /// digits, mnist, fashion-mnist, cifar10 or svhn
        name: DatasetName,
    },
    /// Compare size and checksums of the files that are here with the official ones
    Verify {
        /// One data set [default: all that are here]
        name: Option<DatasetName>,
    },
}

/// Runs `encoder-flow data …` on the folders of `store` and prints to standard output.
///
/// # Errors
/// When a file cannot be fetched, or `verify` finds a fault.
pub fn run(args: DataArgs, store: &DataStore) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    match args.verb {
        DataVerb::List => list(store, out),
        DataVerb::Fetch { name } => fetch(name, store, out),
        DataVerb::Verify { name } => verify(name, store, out),
    }
}

fn list(store: &DataStore, out: &mut impl Write) -> anyhow::Result<()> {
    for (name, files) in store.list() {
        let here = files.iter().filter(|file| file.path.is_some()).count();
        let state = match (here, files.len()) {
            (here, all) if here == all => "here".to_owned(),
            (0, _) => "missing".to_owned(),
            (here, all) => format!("{here} of {all}"),
        };
        writeln!(out, "{name:<14} {state:<8} {}", name.describe())?;
        for file in &files {
            print_file(file, out)?;
        }
    }
    Ok(())
}

fn print_file(file: &FileState, out: &mut impl Write) -> io::Result<()> {
    let bytes = HumanCount(file.bytes).to_string();
    match &file.path {
        Some(path) => {
            let remark = if file.complete {
                ""
            } else {
                "  (not the complete official file)"
            };
            writeln!(out, "  {bytes:>12} bytes  {}{remark}", path.display())
        }
        None => {
            writeln!(out, "  {bytes:>12} bytes  missing: {}", file.address)?;
            print_note(file, out)
        }
    }
}

fn print_note(file: &FileState, out: &mut impl Write) -> io::Result<()> {
    match &file.note {
        Some(note) => writeln!(out, "{:22}{note}", ""),
        None => Ok(()),
    }
}

fn fetch(name: DatasetName, store: &DataStore, out: &mut impl Write) -> anyhow::Result<()> {
    let paths = store.fetch_all(name)?;
    if paths.is_empty() {
        writeln!(
            out,
            "{name} is drawn by the program itself: nothing to fetch"
        )?;
    }
    for path in paths {
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

/// Without a name, a set of which nothing is here is no fault; with one, every file must be here.
fn verify(
    name: Option<DatasetName>,
    store: &DataStore,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let names = name.map_or(DatasetName::ALL.to_vec(), |name| vec![name]);
    let mut faults = 0;
    let mut checked = 0;
    for set in names {
        for verdict in store.verify(set) {
            checked += 1;
            let path = verdict.path.display();
            match verdict.outcome {
                Ok(what) => writeln!(out, "good  {path}  {what}")?,
                Err(what) => {
                    faults += 1;
                    writeln!(out, "BAD   {path}  {what}")?;
                }
            }
        }
        for file in store.state(set).iter().filter(|file| file.path.is_none()) {
            writeln!(out, "-     {set}: {} is missing", file.name)?;
            print_note(file, out)?;
            faults += usize::from(name.is_some());
        }
    }
    if faults > 0 {
        bail!(
            "{faults} of the official files are missing or wrong: \
             move wrong ones away, then `encoder-flow data fetch NAME`"
        );
    }
    writeln!(out, "{checked} files checked, no fault found")?;
    Ok(())
}
