//! `encoder-flow data`: what data there is, fetching it and checking it.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::HumanCount;

use crate::data::{Asset, DataStore, DatasetName, FileCheck, FileState, squeezenet_checkpoint};
use crate::encoder::SqueezeNet;

/// Arguments of `encoder-flow data`.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    #[command(subcommand)]
    verb: DataVerb,
}

#[derive(Subcommand, Clone, Debug)]
enum DataVerb {
    /// Show every data set and the pretrained weights: what is here and where, what is missing and
    /// where it comes from
    List,
    /// Download the missing files of a data set, or pretrained weights, into the data folder
    Fetch {
        /// digits, mnist, fashion-mnist, cifar10, svhn or squeezenet
        name: Asset,
    },
    /// Compare size and checksums of the files that are here with the official ones
    Verify {
        /// One data set, or squeezenet [default: all that are here]
        name: Option<Asset>,
    },
}

/// Runs `encoder-flow data …` on the folders of `store` and prints to standard output.
///
/// # Errors
/// When a file cannot be fetched, or `verify` finds a fault.
pub fn run(args: DataArgs, store: &DataStore) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    let outcome = match args.verb {
        DataVerb::List => list(store, out),
        DataVerb::Fetch { name } => match name {
            Asset::Dataset(name) => fetch(name, store, out),
            Asset::SqueezeNet => fetch_squeezenet(store, out),
        },
        DataVerb::Verify { name } => verify(name, store, out),
    };
    // Whoever reads may have seen enough, as `| head` has.
    let is_read_no_more = |error: &anyhow::Error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    match outcome {
        Err(error) if is_read_no_more(&error) => Ok(()),
        outcome => outcome,
    }
}

fn list(store: &DataStore, out: &mut impl Write) -> anyhow::Result<()> {
    for asset in Asset::all() {
        let files = files_of(asset, store);
        let here = files.iter().filter(|file| file.path.is_some()).count();
        let state = match (here, files.len()) {
            (here, all) if here == all => "here".to_owned(),
            (0, _) => "missing".to_owned(),
            (here, all) => format!("{here} of {all}"),
        };
        writeln!(out, "{asset:<14} {state:<8} {}", asset.describe())?;
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
    // What lay there already may be cut off or something else.
    let checks = store.verify(name);
    let fault = checks
        .iter()
        .find_map(|check| Some((&check.path, check.outcome.as_ref().err()?)));
    if let Some((path, reason)) = fault {
        bail!(
            "{}: {reason}. It is left as it is: move it away, and the same command fetches it",
            path.display()
        );
    }
    for path in paths {
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn fetch_squeezenet(store: &DataStore, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{}", fetch_weights(store)?.display())?;
    Ok(())
}

/// Downloads and converts the pretrained weights, unless their file is there already.
///
/// # Errors
/// When they cannot be had, or the file that is there is damaged.
pub(super) fn fetch_weights(store: &DataStore) -> anyhow::Result<PathBuf> {
    let path = store.backbone(SqueezeNet::FILE);
    if path.is_file() {
        if let Err(error) = SqueezeNet::check(&path) {
            bail!(
                "{error}. It is left as it is: move it away, and \
                 `encoder-flow data fetch squeezenet` puts another in its place"
            );
        }
    } else {
        let checkpoint = match store.fetch_backbone(&squeezenet_checkpoint()) {
            Ok(checkpoint) => checkpoint,
            Err(error) => bail!(
                "{error}\nA safetensors file of these weights serves as well: {}",
                path.display()
            ),
        };
        SqueezeNet::convert(&checkpoint, &path)?;
    }
    Ok(path)
}

/// The files that are used of a data set or of the pretrained weights.
fn files_of(asset: Asset, store: &DataStore) -> Vec<FileState> {
    match asset {
        Asset::Dataset(name) => store.state(name),
        Asset::SqueezeNet => vec![squeezenet_state(store)],
    }
}

/// The weights file, which is converted from what is downloaded.
fn squeezenet_state(store: &DataStore) -> FileState {
    let path = store.backbone(SqueezeNet::FILE);
    let source = squeezenet_checkpoint();
    let checkpoint = store.backbone(&source.name);
    let metadata = path.metadata().ok().filter(|metadata| metadata.is_file());
    let note = if metadata.is_some() {
        None
    } else if checkpoint.is_file() {
        Some(format!(
            "`encoder-flow data fetch squeezenet` converts {}",
            checkpoint.display()
        ))
    } else {
        Some("`encoder-flow data fetch squeezenet` brings and converts it".to_owned())
    };
    FileState {
        name: SqueezeNet::FILE.to_owned(),
        bytes: metadata.as_ref().map_or(source.bytes, |file| file.len()),
        complete: SqueezeNet::check(&path).is_ok(),
        address: source.urls.first().cloned().unwrap_or_default(),
        path: metadata.is_some().then_some(path),
        note,
    }
}

/// Checks what is here of a data set or of the pretrained weights.
fn checks_of(asset: Asset, store: &DataStore) -> Vec<FileCheck> {
    match asset {
        Asset::Dataset(name) => store.verify(name),
        Asset::SqueezeNet => {
            let checkpoint = store.verify_backbone(&squeezenet_checkpoint());
            let path = store.backbone(SqueezeNet::FILE);
            let converted = path.is_file().then(|| FileCheck {
                outcome: SqueezeNet::check(&path)
                    .map(|()| {
                        "no official file, so only names and shapes of its tensors were checked"
                            .to_owned()
                    })
                    .map_err(|error| error.to_string()),
                path,
            });
            checkpoint.into_iter().chain(converted).collect()
        }
    }
}

/// Without a name, a set of which nothing is here is no fault; with one, every file must be here.
fn verify(name: Option<Asset>, store: &DataStore, out: &mut impl Write) -> anyhow::Result<()> {
    let assets = name.map_or_else(Asset::all, |name| vec![name]);
    let mut faults = 0;
    let mut checked = 0;
    for asset in assets {
        for check in checks_of(asset, store) {
            checked += 1;
            let path = check.path.display();
            match check.outcome {
                Ok(what) => writeln!(out, "good  {path}  {what}")?,
                Err(what) => {
                    faults += 1;
                    writeln!(out, "BAD   {path}  {what}")?;
                }
            }
        }
        let files = files_of(asset, store);
        for file in files.iter().filter(|file| file.path.is_none()) {
            writeln!(out, "-     {asset}: {} is missing", file.name)?;
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
