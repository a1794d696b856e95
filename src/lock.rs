//! One process at a time in a folder.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use crate::files::FileError;

/// Name of the lock file, which stays when a run starts over.
pub const LOCK: &str = ".lock";

/// Why a folder is not this process's.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another process is working in {folder}: wait for it, or choose {instead}")]
    Busy {
        /// The folder.
        folder: String,
        /// What leads elsewhere.
        instead: String,
    },
    /// The lock file cannot be made.
    #[error(transparent)]
    Files(#[from] FileError),
}

/// Locks a folder for this process until the file is dropped; when another one has it, the error
/// advises `instead`.
///
/// # Errors
/// [`LockError`].
pub fn lock_folder(folder: &Path, instead: &str) -> Result<File, LockError> {
    let path = folder.join(LOCK);
    let lock = File::create(&path).map_err(FileError::io("write", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LockError::Busy {
            folder: folder.display().to_string(),
            instead: instead.to_owned(),
        }),
        // Some network file systems have no locks; there the user takes care.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(lock),
        Err(TryLockError::Error(error)) => Err(FileError::io("lock", path)(error).into()),
    }
}
