//! One process at a time in a folder, on one machine and on a file system that several share.
//!
//! Locks of the operating system tell at once, and let go when their process dies; but on network file
//! systems they may be missing, or be of one machine only. So who has a folder also stands in a file in
//! it, which the process renews while it lives.

mod owner;

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use crate::files::FileError;
pub use owner::OWNER;
use owner::{Claim, Refused};

/// Name of the lock file, which stays when a run starts over.
pub const LOCK: &str = ".lock";

/// Why a folder is not this process's.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another process is working in {folder}{owner}: wait for it, or choose {instead}")]
    Busy {
        /// The folder.
        folder: String,
        /// Which process it is, where that is known.
        owner: String,
        /// What leads elsewhere.
        instead: String,
    },
    /// The lock file cannot be made.
    #[error(transparent)]
    Files(#[from] FileError),
}

/// A folder that is this process's until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    // Dropped first: whoever gets the lock finds no owner.
    _claim: Claim,
    _file: File,
}

/// Locks a folder for this process; when another one has it, the error advises `instead`.
///
/// # Errors
/// [`LockError`].
pub fn lock_folder(folder: &Path, instead: &str) -> Result<FolderLock, LockError> {
    let busy = |owner: String| LockError::Busy {
        folder: folder.display().to_string(),
        owner,
        instead: instead.to_owned(),
    };
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(FileError::io("write", &path))?;
    let locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => return Err(busy(owner::describe(folder))),
        // Some network file systems have no locks.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => false,
        Err(TryLockError::Error(error)) => return Err(FileError::io("lock", path)(error).into()),
    };
    let claim = Claim::take(folder, locked).map_err(|refused| match refused {
        Refused::Taken(owner) => busy(owner),
        Refused::Files(error) => error.into(),
    })?;
    Ok(FolderLock {
        _claim: claim,
        _file: file,
    })
}
