//! Which pictures a folder has.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::layout;
use crate::data::DataError;
use crate::files::hex;

/// First sixteen digits of a SHA-256 of a folder's pictures and masks: of where they lie within it, and of their bytes.
///
/// # Errors
/// [`DataError`] when the folder cannot be read.
pub fn digest(folder: &Path) -> Result<String, DataError> {
    Ok(digest_of(folder, layout(folder)?.files()))
}

/// [`digest`] of these of a folder's pictures.
pub fn digest_of(folder: &Path, mut paths: Vec<PathBuf>) -> String {
    paths.sort();
    paths.dedup();
    // A file that cannot be read is left out by whoever reads the pictures.
    let hash = |path: &PathBuf| Sha256::digest(std::fs::read(path).unwrap_or_default());
    let hashes: Vec<_> = paths.par_iter().map(hash).collect();
    let mut all = Sha256::new();
    for (path, hash) in paths.iter().zip(hashes) {
        let within = path.strip_prefix(folder).unwrap_or(path);
        for part in within.components() {
            all.update(part.as_os_str().as_encoded_bytes());
            all.update("/");
        }
        all.update(hash);
    }
    hex(&all.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_another_digest_when_its_pictures_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, level: u8| {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            image::GrayImage::from_pixel(4, 4, image::Luma([level]))
                .save(at(name))
                .unwrap();
        };
        for (name, level) in [
            ("train/good/a.png", 1),
            ("test/good/b.png", 2),
            ("test/hole/c.png", 3),
        ] {
            write(name, level);
        }
        let first = digest(folder.path()).unwrap();
        assert_eq!(digest(folder.path()).unwrap(), first);
        assert_eq!(first.len(), 16);
        // What is no picture is not looked at.
        std::fs::write(at("notes.txt"), "x").unwrap();
        assert_eq!(digest(folder.path()).unwrap(), first);
        write("test/hole/c.png", 4);
        let changed = digest(folder.path()).unwrap();
        assert_ne!(changed, first);
        std::fs::rename(at("test/hole/c.png"), at("test/good/c.png")).unwrap();
        assert_ne!(digest(folder.path()).unwrap(), changed);
        assert!(digest(&at("missing")).is_err());
    }
}
