//! Making room where a run of another identity lies, and bringing it back.

use std::path::{Path, PathBuf};

use super::identity::Planned;
use super::{Environment, Moment, RunError, RunFolder, RunOptions, Workspace};
use crate::data::DataStore;
use crate::files::{self, FileError};
use crate::method::Identity;
use crate::study::Experiment;

/// Renames the folder of a run of another identity that lies where this one belongs: nothing is lost, and nothing is in the
/// way. A complete run of this identity that was renamed so before gets its place back, the newest of several.
///
/// # Errors
/// [`RunError`] when the folder is in use or cannot be renamed.
pub(crate) fn set_aside(
    experiment: &Experiment,
    store: &DataStore,
    options: &RunOptions,
) -> Result<(), RunError> {
    let root = options.folder(experiment);
    let folder = RunFolder::new(root.clone());
    let since = options.since.as_ref();
    let identity = Planned::of(experiment, store)?.identity;
    let is_in_the_way = || {
        let there = folder.read_identity();
        let same = there.is_ok_and(|there| there.is_same(&identity));
        folder.config().exists() && !folder.is_older_than(since) && !same
    };
    if is_in_the_way() {
        // Locked, so that nobody's work is moved.
        let workspace = Workspace::existing(root.clone())?;
        if is_in_the_way() {
            let there = folder.read_identity();
            let name = there.map_or_else(|_| "earlier".to_owned(), |there| there.fingerprint());
            let mut number = 1;
            while aside(&root, options.seed, &name, number).exists() {
                number += 1;
            }
            let target = aside(&root, options.seed, &name, number);
            workspace.rename(&target)?;
            options.display.say(&format!(
                "{} was of other settings and is {} now",
                root.display(),
                target.display()
            ));
        }
    }
    match root.exists() {
        true => Ok(()),
        false => bring_back(&root, &identity, options),
    }
}

/// Gives the newest complete run of this identity that was renamed before its place back, where there is one.
fn bring_back(root: &Path, identity: &Identity, options: &RunOptions) -> Result<(), RunError> {
    let since = options.since.as_ref();
    let mut kept: Vec<(Moment, PathBuf)> = Vec::new();
    for number in 1.. {
        let place = aside(root, options.seed, &identity.fingerprint(), number);
        if !place.exists() {
            break;
        }
        let run = RunFolder::new(place.clone());
        let begun: Result<Environment, _> = files::read_json(&run.environment());
        if let Ok(begun) = begun
            && run.is_done(identity)
            && !run.is_older_than(since)
        {
            kept.push((begun.started, place));
        }
    }
    if let Some((_, newest)) = kept.into_iter().max() {
        std::fs::rename(&newest, root).map_err(FileError::io("rename", &newest))?;
        options.display.say(&format!(
            "{} is where the run of these settings was, which had been {}",
            root.display(),
            newest.display()
        ));
    }
    Ok(())
}

/// Where a run of the fingerprint `name` is kept beside its place, the first, second, ... of them.
fn aside(root: &Path, seed: u64, name: &str, number: usize) -> PathBuf {
    root.with_file_name(match number {
        1 => format!("replaced-seed-{seed}-{name}"),
        number => format!("replaced-seed-{seed}-{name}-{number}"),
    })
}
