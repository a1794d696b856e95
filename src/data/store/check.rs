//! Whether the files that were found are the official ones.

use std::path::{Path, PathBuf};

use indicatif::HumanCount;

use super::locate::Piece;
use crate::data::fetch::verify;
use crate::data::{Checksum, DatasetName, RemoteFile, svhn};

/// What a check of one file came to.
#[derive(Clone, Debug)]
pub struct FileCheck {
    /// The file.
    pub path: PathBuf,
    /// What was checked, or what is wrong.
    pub outcome: Result<String, String>,
}

/// Checks what was found of one official file; nothing when it is missing.
pub(super) fn checks(name: DatasetName, piece: &Piece) -> Vec<FileCheck> {
    let Some(path) = &piece.path else {
        return Vec::new();
    };
    if path.is_dir() {
        let batches = name.unpacked();
        return batches
            .iter()
            .map(|batch| official(&path.join(&batch.name), batch))
            .collect();
    }
    let forms = std::iter::once(&piece.file).cloned().chain(name.unpacked());
    match forms.into_iter().find(|form| path.ends_with(&form.name)) {
        Some(form) => vec![official(path, &form)],
        None => vec![subset(path)],
    }
}

pub(super) fn official(path: &Path, file: &RemoteFile) -> FileCheck {
    let sums: Vec<_> = file
        .checksums
        .iter()
        .map(|checksum| match checksum {
            Checksum::Md5(_) => "MD5",
            Checksum::Sha256(_) => "SHA-256",
        })
        .collect();
    FileCheck {
        path: path.to_path_buf(),
        outcome: verify(path, file).map(|()| format!("official: size, {} agree", sums.join(", "))),
    }
}

/// A file for which nobody published a checksum: all that can be checked is that it reads.
fn subset(path: &Path) -> FileCheck {
    let outcome = svhn::read(path)
        .map(|(images, _)| {
            format!(
                "not an official file, so only its structure was checked: {} images",
                HumanCount(images.len() as u64)
            )
        })
        .map_err(|error| error.to_string());
    FileCheck {
        path: path.to_path_buf(),
        outcome,
    }
}
