//! Files that are whole or not there: written beside their place, then renamed.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// What the names of files begin with that are not whole yet.
const PARTIAL: &str = ".partial-";

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The contents are not what they should be.
    #[error("{} is damaged ({reason}): delete it, or start over with --fresh", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl FileError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn contents(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Contents {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

/// SHA-256 of a file's contents, in hexadecimal digits.
///
/// # Errors
/// [`FileError`] naming the file.
pub(crate) fn sha256(path: &Path) -> Result<String, FileError> {
    let mut file = std::fs::File::open(path).map_err(FileError::io("read", path))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(FileError::io("read", path))?;
    Ok(hex(&hash.finalize()))
}

/// Feeds what is written to it to a hash.
struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Creates a folder and its parents.
///
/// # Errors
/// [`FileError::Io`] naming the folder.
pub(crate) fn create_folder(path: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(path).map_err(FileError::io("create the folder", path))
}

/// That files can be made in a folder, before much is done whose result is to lie there.
///
/// # Errors
/// [`FileError::Io`] naming the folder.
pub(crate) fn check_writable(folder: &Path) -> Result<(), FileError> {
    let mut builder = tempfile::Builder::new();
    let made = builder.prefix(PARTIAL).tempfile_in(folder);
    made.map(drop).map_err(FileError::io("write into", folder))
}

/// As [`replace`]; of a symbolic link, the file that it leads to is replaced, for files that users name.
///
/// # Errors
/// [`FileError::Io`] naming the file.
pub(crate) fn replace_linked(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let target = path.is_symlink().then(|| std::fs::canonicalize(path).ok());
    replace(target.flatten().as_deref().unwrap_or(path), write)
}

/// Replaces the file at `path` by what `write` produces, or leaves it as it was.
///
/// # Errors
/// [`FileError::Io`] naming the file.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let attempt = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PARTIAL);
        // A temporary file is private to its owner; a result obeys the umask like any other file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        let mut buffered = std::io::BufWriter::new(file.as_file_mut());
        write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    attempt().map_err(FileError::io("write", path))
}

/// Removes a file that may not be there.
///
/// # Errors
/// [`FileError::Io`] naming the file.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Copies a folder with everything in it; the copy appears as a whole, or not at all.
///
/// # Errors
/// [`FileError::Io`] naming what cannot be copied.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<(), FileError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PARTIAL);
    // As in `replace`.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let beside = to.parent().unwrap_or(Path::new("."));
    let partial = builder
        .tempdir_in(beside)
        .map_err(FileError::io("create a folder in", beside))?;
    copy_contents(from, partial.path())?;
    std::fs::rename(partial.path(), to).map_err(FileError::io("rename to", to))?;
    // It is no longer where it would be removed.
    let _ = partial.keep();
    Ok(())
}

fn copy_contents(from: &Path, to: &Path) -> Result<(), FileError> {
    for entry in std::fs::read_dir(from).map_err(FileError::io("read", from))? {
        let entry = entry.map_err(FileError::io("read", from))?;
        // What is being written beside its place is gone in a moment.
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            create_folder(&target)?;
            copy_contents(&source, &target)?;
        } else {
            std::fs::copy(&source, &target)
                .and_then(|_| std::fs::File::open(&target)?.sync_all())
                .map_err(FileError::io("copy to", &target))?;
        }
    }
    Ok(())
}

/// [`replace`]s a file by text.
///
/// # Errors
/// [`FileError::Io`] naming the file.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), FileError> {
    replace(path, |file| file.write_all(text.as_bytes()))
}

/// Reads a text file.
///
/// # Errors
/// [`FileError::Io`] naming the file.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    let read = || std::fs::read_to_string(path);
    // On a network file system the file may have been replaced between being found and being read.
    let read = read().or_else(|error| match error.kind() {
        ErrorKind::StaleNetworkFileHandle => read(),
        _ => Err(error),
    });
    read.map_err(FileError::io("read", path))
}

/// [`replace`]s a file by a value as indented JSON.
///
/// # Errors
/// [`FileError::Io`] naming the file.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    replace(path, |mut file| {
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")
    })
}

/// Reads a value from JSON.
///
/// # Errors
/// [`FileError::Io`] when the file cannot be read, [`FileError::Contents`] when it is something else.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| FileError::contents(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value.json");
        write_json(&path, &1).unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"half")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("value.json"));
        assert_eq!(read_json::<i32>(&path).unwrap(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_leads_to_what_replaces_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let [link, file] = ["link", "file"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_json(&file, &1).unwrap();
        replace_linked(&link, |file| file.write_all(b"2")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(read_json::<i32>(&file).unwrap(), 2);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value.json");
        write_text(&path, "{").unwrap();
        assert!(
            read_json::<i32>(&path)
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
    }

    #[test]
    fn a_copy_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        create_folder(&from.join("inner")).unwrap();
        write_text(&from.join("inner/a.txt"), "a").unwrap();
        // What a copy that was killed has left is neither used nor in the way.
        create_folder(&folder.path().join("to.partial/stale")).unwrap();
        copy_folder(&from, &to).unwrap();
        assert_eq!(read_text(&to.join("inner/a.txt")).unwrap(), "a");
        assert!(!to.join("stale").exists());

        let entries = || std::fs::read_dir(folder.path()).unwrap().count();
        let before = entries();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", from.join("inner/z.txt")).unwrap();
            let again = folder.path().join("again");
            let error = copy_folder(&from, &again).unwrap_err().to_string();
            assert!(error.contains("z.txt"), "{error}");
            assert!(!again.exists());
        }
        assert!(copy_folder(&folder.path().join("none"), &folder.path().join("b")).is_err());
        assert_eq!(entries(), before);
    }
}
