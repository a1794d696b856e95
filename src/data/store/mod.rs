//! Data sets by name, and pretrained weights: where their files are looked for, and how missing ones
//! get there.

mod check;
mod locate;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::HumanCount;

use super::{
    DataError, DatasetName, FetchOptions, Images, Labelled, RemoteFile, cifar10, digits, fetch,
    folder, idx, svhn,
};
pub use check::FileCheck;
use locate::{Piece, locate};

/// Environment variable with a data folder, looked into after `--data-dir`.
const DATA_VARIABLE: &str = "ENCODER_FLOW_DATA";

/// Environment variable with a base address that is asked before the official ones, as
/// `<mirror>/<folder>/<file>`, for example `http://files.lab.example/data/mnist/…`. What comes
/// from there must have the official size and checksums as well.
const MIRROR_VARIABLE: &str = "ENCODER_FLOW_MIRROR";

/// Folder of the pretrained weights inside a data folder.
const BACKBONES: &str = "backbones";

/// Images in the set `digits`: one size for every study, so that two of them can be compared.
const DIGITS_IMAGES: usize = 30_000;

/// Seed of the set `digits`. It is fixed: a study's seed chooses the split, not the data.
const DIGITS_SEED: u64 = 0;

/// Where one official file is, or where it can be had.
#[derive(Clone, Debug)]
pub struct FileState {
    /// Name of the official file.
    pub name: String,
    /// Where it lies, packed or unpacked; `None` when it is missing.
    pub path: Option<PathBuf>,
    /// Size in bytes: what lies there, or what would be downloaded.
    pub bytes: u64,
    /// Whether what lies there has the size of the official file, packed or unpacked.
    pub complete: bool,
    /// The first address from which it is downloaded.
    pub address: String,
    /// Why something that looks like the file does not count, as a sentence without full stop.
    pub note: Option<String>,
}

/// The folders in which data is looked for, in order, and how missing files are downloaded.
#[derive(Clone, Debug)]
pub struct DataStore {
    roots: Vec<PathBuf>,
    options: FetchOptions,
    /// [`folder::digest`] of the user's folders that have been looked at.
    digests: Arc<Mutex<HashMap<PathBuf, String>>>,
}

impl DataStore {
    /// Looks in `data_dir`, then in the folder that `ENCODER_FLOW_DATA` names, then in the
    /// user's cache folder (`~/.cache/encoder-flow/data` on Linux); downloads into the first of
    /// these, from the address in `ENCODER_FLOW_MIRROR` first where that is set.
    ///
    /// No folder needs to exist: the first is created when something is downloaded.
    ///
    /// # Errors
    /// [`DataError::Missing`] when no folder is named and the system knows no cache folder, or
    /// when `data_dir` is a file.
    pub fn new(data_dir: Option<&Path>, offline: bool) -> Result<Self, DataError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let roots = data_dir
            .map(Path::to_path_buf)
            .into_iter()
            .chain(variable(DATA_VARIABLE).map(PathBuf::from))
            .chain(dirs::cache_dir().map(|cache| cache.join("encoder-flow").join("data")))
            .collect();
        let options = FetchOptions {
            offline,
            mirror: variable(MIRROR_VARIABLE).map(|url| url.to_string_lossy().into_owned()),
            ..FetchOptions::default()
        };
        Self::with_roots(roots, options)
    }

    /// Looks in `roots`, in this order, and downloads into the first.
    ///
    /// # Errors
    /// [`DataError::Missing`] when there is no root, or when the first is a file.
    pub fn with_roots(roots: Vec<PathBuf>, options: FetchOptions) -> Result<Self, DataError> {
        match roots.first() {
            None => Err(DataError::Missing(format!(
                "no folder for data: name one with --data-dir or {DATA_VARIABLE}"
            ))),
            Some(root) if root.is_file() => Err(DataError::Missing(format!(
                "{} is a file: the data folder is wanted, in which data sets have folders",
                root.display()
            ))),
            Some(_) => Ok(Self {
                roots,
                options,
                digests: Arc::default(),
            }),
        }
    }

    /// The folders in which data is looked for, in order.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// True when the network is never used.
    pub fn is_offline(&self) -> bool {
        self.options.offline
    }

    /// Which pictures one of the user's folders has, as it was when it was first looked at.
    ///
    /// # Errors
    /// Those of [`folder::digest`].
    pub fn digest(&self, folder: &Path) -> Result<String, DataError> {
        let mut known = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known.get(folder) {
            return Ok(digest.clone());
        }
        let digest = folder::digest(folder)?;
        known.insert(folder.to_owned(), digest.clone());
        Ok(digest)
    }

    /// Where a file of pretrained weights lies: `backbones/<file>` in the first data folder that has
    /// it, or where it would have to be put.
    pub fn backbone(&self, file: &str) -> PathBuf {
        let paths = self
            .roots
            .iter()
            .map(|root| root.join(BACKBONES).join(file));
        let mut paths = paths.collect::<Vec<_>>();
        let found = paths.iter().position(|path| path.is_file());
        paths.swap_remove(found.unwrap_or(0))
    }

    /// Makes sure that an official file of pretrained weights lies in a data folder, where
    /// [`backbone`](Self::backbone) finds it.
    ///
    /// # Returns
    /// Where it lies.
    ///
    /// # Errors
    /// Those of [`fetch`](super::fetch).
    pub fn fetch_backbone(&self, file: &RemoteFile) -> Result<PathBuf, DataError> {
        let path = self.backbone(&file.name);
        let folder = path.parent().unwrap_or(Path::new(BACKBONES));
        fetch(file, folder, &self.options_for(BACKBONES))
    }

    /// Checks size and checksums of an official file of pretrained weights, where it is found.
    pub fn verify_backbone(&self, file: &RemoteFile) -> Option<FileCheck> {
        let path = self.backbone(&file.name);
        path.is_file().then(|| check::official(&path, file))
    }

    /// Reads a data set, downloading what is missing.
    ///
    /// In each folder, files are looked for in `<folder>/<set>/` and in `<folder>/` itself, so
    /// that the data folder may also be the folder of a single set. IDX files may be gzipped or
    /// inflated, CIFAR-10 may be the archive or the folder in it, and SVHN may be any
    /// `test_32x32*.mat`, of which the complete one is preferred.
    ///
    /// # Returns
    /// All images of the set, training files first, in the order of the files.
    ///
    /// # Errors
    /// [`DataError::Missing`] when files are missing and the network may not be used; the errors
    /// of [`fetch`](super::fetch) when one cannot be downloaded; [`DataError::Format`] and
    /// [`DataError::Io`] when a file cannot be read. A folder of the user's own is not in any data
    /// folder: [`folder::labelled`](super::folder::labelled) loads it.
    pub fn load(&self, name: DatasetName) -> Result<Labelled, DataError> {
        if name == DatasetName::Digits {
            return Ok(digits(DIGITS_IMAGES, DIGITS_SEED));
        }
        let paths = self.complete(name, locate(&self.roots, name))?;
        let mut source = Vec::new();
        let mut note = |path: &Path, images: &Images| {
            let count = HumanCount(images.len() as u64);
            let incomplete = if locate::has_official_size(name, path) {
                ""
            } else {
                "; not the complete official file"
            };
            source.push(format!(
                "{} ({count} images{incomplete})",
                locate::short(path)
            ));
        };
        let (images, labels) = match (name, paths.as_slice()) {
            (DatasetName::Cifar10, [path]) => {
                let set = if path.is_dir() {
                    cifar10::read_folder(path)?
                } else {
                    cifar10::read_archive(path)?
                };
                note(path, &set.0);
                set
            }
            (DatasetName::Svhn, [path]) => {
                let set = svhn::read(path)?;
                note(path, &set.0);
                set
            }
            (_, [train, train_labels, test, test_labels]) => {
                let (images, mut labels) = idx::read(train, train_labels)?;
                note(train, &images);
                let (more_images, more_labels) = idx::read(test, test_labels)?;
                note(test, &more_images);
                labels.extend(more_labels);
                (images.concat(&more_images)?, labels)
            }
            (_, paths) => {
                return Err(DataError::Missing(format!("{name}: {} files", paths.len())));
            }
        };
        Ok(Labelled {
            images,
            labels,
            class_names: name
                .class_names()
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            source: source.join(", "),
            given: None,
            files: None,
        })
    }

    /// Where the files of one data set are; nothing for `digits`, which has none.
    pub fn state(&self, name: DatasetName) -> Vec<FileState> {
        locate(&self.roots, name)
            .into_iter()
            .map(|piece| FileState {
                bytes: match &piece.path {
                    Some(path) => locate::size(path),
                    None => piece.file.bytes,
                },
                complete: piece
                    .path
                    .as_ref()
                    .is_some_and(|path| locate::has_official_size(name, path)),
                address: piece.file.urls.first().cloned().unwrap_or_default(),
                name: piece.file.name,
                path: piece.path,
                note: piece.note,
            })
            .collect()
    }

    /// Checks size and checksums of every file of a set that is found. Missing files are no
    /// fault here: see [`state`](Self::state).
    pub fn verify(&self, name: DatasetName) -> Vec<FileCheck> {
        locate(&self.roots, name)
            .iter()
            .flat_map(|piece| check::checks(name, piece))
            .collect()
    }

    /// Downloads every official file of a set that is not found. A subset of SVHN does not
    /// stand in for the complete file here, other than in [`load`](Self::load).
    ///
    /// # Returns
    /// Where each official file is.
    ///
    /// # Errors
    /// Those of [`fetch`](super::fetch).
    pub fn fetch_all(&self, name: DatasetName) -> Result<Vec<PathBuf>, DataError> {
        let mut pieces = locate(&self.roots, name);
        for piece in &mut pieces {
            let subset = |path: &PathBuf| path.file_name() != Some(piece.file.name.as_ref());
            if name == DatasetName::Svhn {
                piece.path = piece.path.take().filter(|path| !subset(path));
            }
        }
        self.complete(name, pieces)
    }

    /// The paths of all pieces, after those without one have been downloaded.
    fn complete(&self, name: DatasetName, pieces: Vec<Piece>) -> Result<Vec<PathBuf>, DataError> {
        if self.options.offline && pieces.iter().any(|piece| piece.path.is_none()) {
            return Err(self.missing(name, &pieces));
        }
        let options = self.options_for(name.folder());
        pieces
            .into_iter()
            .map(|piece| match piece.path {
                Some(path) => Ok(path),
                None => fetch(&piece.file, &self.home(name), &options),
            })
            .collect()
    }

    /// The options with the mirror's folder of this name for a mirror.
    fn options_for(&self, folder: &str) -> FetchOptions {
        let mirror = self.options.mirror.as_ref();
        FetchOptions {
            mirror: mirror.map(|base| format!("{}/{folder}", base.trim_end_matches('/'))),
            ..self.options.clone()
        }
    }

    /// The folder into which the files of a set are downloaded.
    fn home(&self, name: DatasetName) -> PathBuf {
        // `with_roots` leaves no store without a root.
        let root = self.roots.first().cloned().unwrap_or_default();
        if root.ends_with(name.folder()) {
            root
        } else {
            root.join(name.folder())
        }
    }

    fn missing(&self, name: DatasetName, pieces: &[Piece]) -> DataError {
        let missing = || pieces.iter().filter(|piece| piece.path.is_none());
        let addresses =
            |file: &RemoteFile| format!("\n  {}: {}", file.name, file.urls.join(" or "));
        let wanted: Vec<_> = missing().map(|piece| addresses(&piece.file)).collect();
        let roots: Vec<_> = self
            .roots
            .iter()
            .map(|root| root.display().to_string())
            .collect();
        let notes: Vec<_> = missing()
            .filter_map(|piece| piece.note.as_ref())
            .map(|note| format!("\nNote: {note}."))
            .collect();
        DataError::Missing(format!(
            "{name}: {} of {} files are missing (looked in {}) and --offline forbids to download \
             them. Run without it, or put them into {} by hand:{}{}",
            wanted.len(),
            pieces.len(),
            roots.join(", "),
            self.home(name).display(),
            wanted.concat(),
            notes.concat()
        ))
    }
}

#[cfg(test)]
mod tests;
