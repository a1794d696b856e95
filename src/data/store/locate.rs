//! Where in the data folders an official file lies, packed or unpacked.

use std::path::{Path, PathBuf};

use crate::data::fetch::verify;
use crate::data::{DatasetName, RemoteFile};

/// The folder inside CIFAR-10's archive, and the usual name of it once unpacked.
const CIFAR10_FOLDER: &str = "cifar-10-batches-bin";

/// One official file and where it was found.
#[derive(Debug)]
pub(super) struct Piece {
    /// What is downloaded when nothing is found.
    pub file: RemoteFile,
    /// The file, packed or unpacked, or the folder unpacked from it.
    pub path: Option<PathBuf>,
    /// Why something that looks like it does not count, as a sentence without its full stop.
    pub note: Option<String>,
}

/// A folder in which files of a set may lie.
struct Place {
    dir: PathBuf,
    /// The folder bears the set's name, so what lies in it is meant for this set.
    own: bool,
}

/// Looks for every official file of `name` in `roots`, in this order.
pub(super) fn locate(roots: &[PathBuf], name: DatasetName) -> Vec<Piece> {
    let places: Vec<_> = roots
        .iter()
        .flat_map(|root| {
            [
                Place {
                    dir: root.join(name.folder()),
                    own: true,
                },
                Place {
                    dir: root.clone(),
                    own: root.ends_with(name.folder()),
                },
            ]
        })
        .collect();
    let unpacked = name.unpacked();
    name.files()
        .into_iter()
        .enumerate()
        .map(|(index, file)| match name {
            DatasetName::Cifar10 => cifar10(&places, file, &unpacked),
            DatasetName::Svhn => svhn(&places, file),
            _ => idx(&places, name, file, unpacked.get(index)),
        })
        .collect()
}

/// MNIST and Fashion-MNIST have the same file names. Outside a folder of the set's own name, a
/// file therefore counts only when its checksums say which of the two it is.
fn idx(
    places: &[Place],
    name: DatasetName,
    file: RemoteFile,
    unpacked: Option<&RemoteFile>,
) -> Piece {
    let mut note = None;
    for place in places {
        for form in [Some(&file), unpacked].into_iter().flatten() {
            let path = place.dir.join(&form.name);
            if !path.is_file() {
                continue;
            }
            if place.own || verify(&path, form).is_ok() {
                return Piece {
                    path: Some(path),
                    file: file.clone(),
                    note,
                };
            }
            note.get_or_insert_with(|| {
                format!(
                    "{} is not the official file of {name}; put it into a folder called {} \
                     if it is meant to be used all the same",
                    path.display(),
                    name.folder()
                )
            });
        }
    }
    let path = None;
    Piece { file, path, note }
}

/// The unpacked folder, or the archive. A folder counts when it has all six batches.
fn cifar10(places: &[Place], file: RemoteFile, batches: &[RemoteFile]) -> Piece {
    let mut note = None;
    for place in places {
        for dir in [place.dir.join(CIFAR10_FOLDER), place.dir.clone()] {
            let (here, absent): (Vec<_>, Vec<_>) = batches
                .iter()
                .partition(|batch| dir.join(&batch.name).is_file());
            if absent.is_empty() {
                let path = Some(dir);
                return Piece { file, path, note };
            }
            if !here.is_empty() {
                let absent: Vec<_> = absent.iter().map(|batch| batch.name.as_str()).collect();
                note = Some(format!("{} lacks {}", dir.display(), absent.join(", ")));
            }
        }
        let archive = place.dir.join(&file.name);
        if archive.is_file() {
            let path = Some(archive);
            return Piece { file, path, note };
        }
    }
    let path = None;
    Piece { file, path, note }
}

/// The official file wherever it is, or one named after it, such as `test_32x32_first10000.mat`.
fn svhn(places: &[Place], file: RemoteFile) -> Piece {
    let stem = file.name.trim_end_matches(".mat");
    let mut complete = places.iter().map(|place| place.dir.join(&file.name));
    let complete = complete.find(|path| path.is_file());
    let subset = |place: &Place| {
        std::fs::read_dir(&place.dir)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with(stem) && name.ends_with(".mat"))
                    && path.is_file()
            })
            // The order of a folder is the system's; the choice must not be.
            .min()
    };
    let path = complete.or_else(|| places.iter().find_map(subset));
    let note = None;
    Piece { file, path, note }
}

/// The last two parts of a path, the set's folder and the file; of a folder the last one.
pub(super) fn short(path: &Path) -> String {
    let part = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    let folder = path.parent().filter(|_| !path.is_dir()).and_then(part);
    let parts: Vec<_> = folder.into_iter().chain(part(path)).collect();
    parts.join("/")
}

/// Whether what lies at `path` has the size of an official file of that name, packed or not.
pub(super) fn has_official_size(name: DatasetName, path: &Path) -> bool {
    let same = |file: &RemoteFile, path: &Path| {
        path.file_name() == Some(file.name.as_ref()) && size(path) == file.bytes
    };
    if path.is_dir() {
        let batches = name.unpacked();
        return batches
            .iter()
            .all(|batch| same(batch, &path.join(&batch.name)));
    }
    name.files()
        .iter()
        .chain(&name.unpacked())
        .any(|file| same(file, path))
}

/// Bytes of a file, or of all files directly in a folder; 0 for what cannot be read.
pub(super) fn size(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}
