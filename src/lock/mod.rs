//! One process at a time in a folder, on one machine and on a file system that several share.
//!
//! Locks of the operating system tell at once, and let go when their process dies; but on network file
//! systems they may be missing, or be of one machine only. So who has a folder also stands in a file in
//! it, which the process renews while it lives.

mod owner;

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
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
    claim: Claim,
    _file: File,
}

/// What Linux and other Unix systems call a file system whose lock daemon does not run, such as NFS without `lockd`; Rust has no
/// name for it.
const ENOLCK: i32 = if cfg!(target_os = "linux") { 37 } else { 77 };

/// True when this is what a file system says that has no locks.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    let no_daemon = cfg!(unix) && error.raw_os_error() == Some(ENOLCK);
    error.kind() == ErrorKind::Unsupported || no_daemon
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
        Err(TryLockError::Error(error)) if has_no_locks(&error) => false,
        Err(TryLockError::Error(error)) => return Err(FileError::io("lock", path)(error).into()),
    };
    let claim = Claim::take(folder, locked).map_err(|refused| match refused {
        Refused::Taken(owner) => busy(owner),
        Refused::Files(error) => error.into(),
    })?;
    Ok(FolderLock { claim, _file: file })
}

impl FolderLock {
    /// Says that the folder has been renamed: the claim is let go where it is now.
    pub(crate) fn moved_to(&mut self, folder: &Path) {
        self.claim.moved_to(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_renamed_is_nobody_s_afterwards() {
        let parent = tempfile::tempdir().unwrap();
        let (before, after) = (parent.path().join("before"), parent.path().join("after"));
        std::fs::create_dir(&before).unwrap();
        let mut lock = lock_folder(&before, "another").unwrap();
        std::fs::rename(&before, &after).unwrap();
        lock.moved_to(&after);
        assert!(after.join(OWNER).exists());
        drop(lock);
        assert!(!after.join(OWNER).exists());
    }

    #[test]
    fn a_file_system_without_locks_is_told_from_one_that_fails() {
        assert!(has_no_locks(&ErrorKind::Unsupported.into()));
        assert!(!has_no_locks(&ErrorKind::PermissionDenied.into()));
        if cfg!(unix) {
            assert!(has_no_locks(&io::Error::from_raw_os_error(ENOLCK)));
        }
    }
}
