//! One official file onto this disk: whole and verified, or not there at all.
//!
//! A download grows in `<name>.part`, which survives a broken connection, a stopped program and a
//! change of address, and is renamed into place only after its size and all checksums agree.

mod checksum;
mod http;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(super) use checksum::verify;
use http::{Client, Failure};

use super::{DataError, RemoteFile};
use crate::lock::has_no_locks;

/// Held while a run downloads into a folder. The file itself stays: deleting it would let a third
/// run lock a new one while a second still waits for the old.
const LOCK: &str = ".encoder-flow.lock";

/// How [`fetch`] behaves.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Never touch the network: a file that is not there is an error.
    pub offline: bool,
    /// No progress bar and no message about waiting for another run.
    pub quiet: bool,
    /// Longest time to find and reach a server, encryption included.
    pub connect_timeout: Duration,
    /// Longest time without a single byte before a connection counts as broken.
    pub stall_timeout: Duration,
    /// How often in a row one address may break off without bringing anything new (at least a
    /// hundredth of the file) before the next address is tried.
    pub retries: usize,
    /// Time before an address that broke off is asked again.
    pub pause: Duration,
    /// Base address tried before those of the file itself, as `<mirror>/<file name>`.
    pub mirror: Option<String>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            offline: false,
            quiet: false,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            retries: 3,
            pause: Duration::from_secs(1),
            mirror: None,
        }
    }
}

/// Makes sure that `file` lies in `dir`, downloading it where it does not.
///
/// A file that is already there is verified and left alone. Two runs that want to download into
/// one folder take turns, and the second uses what the first brought.
///
/// # Returns
/// The path of the file in `dir`.
///
/// # Errors
/// [`DataError::Format`] when a file of that name is there and is not the official one: it is
/// never overwritten. [`DataError::Missing`] when it is not there and `options.offline` is set.
/// [`DataError::Download`] when no address delivers it, with the reason for each, or the disk is
/// full or the folder read-only. [`DataError::Io`] for any other trouble with the disk.
pub fn fetch(file: &RemoteFile, dir: &Path, options: &FetchOptions) -> Result<PathBuf, DataError> {
    let path = dir.join(&file.name);
    if is_there(&path, file)? {
        return Ok(path);
    }
    let urls = addresses(file, options);
    if options.offline {
        return Err(DataError::Missing(format!(
            "{} is not in {} and --offline forbids to download it: put it there by hand, from {}",
            file.name,
            dir.display(),
            urls.join(" or ")
        )));
    }
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
    let _lock = lock(dir, options)?;
    // The run that held the lock may have brought the file.
    if is_there(&path, file)? {
        return Ok(path);
    }
    let part = dir.join(format!("{}.part", file.name));
    let bar = progress_bar(file, options);
    let mut reasons = Vec::new();
    for url in &urls {
        match from_address(url, &part, file, options, &bar) {
            Ok(()) => {
                bar.finish_and_clear();
                put_in_place(&part, &path)?;
                return Ok(path);
            }
            Err(Failure::Local(error)) => return Err(error),
            Err(Failure::Again(reason) | Failure::Next(reason)) => {
                reasons.push(format!("\n  {url}: {reason}"));
            }
        }
    }
    Err(DataError::Download(format!(
        "{} could not be downloaded:{}\nTry again later (what has arrived is kept), \
         or put the file into {} by hand",
        file.name,
        reasons.concat(),
        dir.display()
    )))
}

/// The mirror of `options`, then the file's own addresses.
fn addresses(file: &RemoteFile, options: &FetchOptions) -> Vec<String> {
    let mirror = options
        .mirror
        .iter()
        .map(|base| format!("{}/{}", base.trim_end_matches('/'), file.name));
    mirror.chain(file.urls.iter().cloned()).collect()
}

/// Whether the file is there and is the official one.
fn is_there(path: &Path, file: &RemoteFile) -> Result<bool, DataError> {
    match fs::metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(DataError::io(path)(error)),
        Ok(_) => match verify(path, file) {
            Ok(()) => Ok(true),
            Err(reason) => Err(DataError::format(
                path,
                format!(
                    "{reason}. It is left as it is: move it away, and the official file is \
                     downloaded in its place"
                ),
            )),
        },
    }
}

/// Downloads and verifies `part` from one address, going on where a connection broke off.
fn from_address(
    url: &str,
    part: &Path,
    file: &RemoteFile,
    options: &FetchOptions,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let client = Client::new(url, options);
    let mut most = http::length(part)?;
    let mut fruitless = 0;
    loop {
        let before = http::length(part)?;
        let reason = match client.download(part, file, bar) {
            Ok(()) => match verify(part, file) {
                Ok(()) => return Ok(()),
                Err(reason) => {
                    http::remove(part)?;
                    if before == 0 {
                        return Err(Failure::Next(reason));
                    }
                    // What was there before may be what is wrong: once more, all from here.
                    reason
                }
            },
            Err(Failure::Again(reason)) => reason,
            Err(failure) => return Err(failure),
        };
        // Measured against the most there ever was, so that an address which makes us start over
        // time and again cannot keep us for ever.
        let after = http::length(part)?.min(file.bytes);
        if after > most.saturating_add(file.bytes / 100) {
            most = after;
            fruitless = 0;
        } else {
            fruitless += 1;
        }
        if fruitless > options.retries {
            return Err(Failure::Next(reason));
        }
        std::thread::sleep(options.pause);
    }
}

/// Waits until no other run downloads into `dir`. Dropping the file ends the lock.
fn lock(dir: &Path, options: &FetchOptions) -> Result<File, DataError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| unwritable(&path, error))?;
    let locked = match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            if !options.quiet {
                eprintln!(
                    "another run is downloading into {}: waiting for it",
                    dir.display()
                );
            }
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
    };
    match locked {
        // Some network file systems have no locks; a single run still works there.
        Err(error) if !has_no_locks(&error) => Err(DataError::io(path)(error)),
        _ => Ok(file),
    }
}

/// Renames a verified download and makes the new name survive a power cut.
fn put_in_place(part: &Path, path: &Path) -> Result<(), DataError> {
    fs::rename(part, path).map_err(|error| unwritable(path, error))?;
    if let Some(dir) = path.parent()
        && let Ok(dir) = File::open(dir)
    {
        // Not every system can sync a folder, and the file itself is synced already.
        let _ = dir.sync_all();
    }
    Ok(())
}

fn progress_bar(file: &RemoteFile, options: &FetchOptions) -> ProgressBar {
    if options.quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(file.bytes), ProgressDrawTarget::stderr());
    let template = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_message(file.name.clone())
}

/// An error of writing, with what to do about the usual ones.
fn unwritable(path: &Path, error: io::Error) -> DataError {
    let elsewhere = "name another folder with --data-dir or ENCODER_FLOW_DATA";
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DataError::Download(format!(
            "{}: the disk is full: make room and run this again (what has arrived is kept), \
             or {elsewhere}",
            path.display()
        )),
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists => DataError::Download(format!(
            "{}: cannot be written ({error}): {elsewhere}",
            path.display()
        )),
        _ => DataError::io(path)(error),
    }
}
