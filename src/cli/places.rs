//! Where results may be written: never over what they come from, nor among it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::bail;

/// True for two names of one file or folder; of what is not there yet, as far as the names say it.
pub fn same_place(left: &Path, right: &Path) -> bool {
    place(left) == place(right)
}

/// Where a path leads, links and `..` followed.
fn place(path: &Path) -> PathBuf {
    // The parent of a bare name is an empty path.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole
        .components()
        .fold(PathBuf::new(), |place, part| match part {
            Component::ParentDir => place.parent().unwrap_or(&place).to_owned(),
            part => {
                let next = place.join(part);
                next.canonicalize().unwrap_or(next)
            }
        })
}

/// Refuses a file that a result would replace although it is one of the `sources`, which are read.
pub fn refuse_source(option: &str, path: &Path, sources: &[PathBuf]) -> anyhow::Result<()> {
    // What is not there yet is nobody's source.
    let Ok(wanted) = path.canonicalize() else {
        return Ok(());
    };
    let is_it = |source: &PathBuf| source.canonicalize().is_ok_and(|source| source == wanted);
    if sources.iter().any(is_it) {
        bail!(
            "{option} {}: would replace what is read: name another file",
            path.display()
        );
    }
    Ok(())
}

/// Refuses a folder for pictures that holds images which are scored, where pictures would replace them, or that lies in
/// one of the `searched` folders, where the next run would take these pictures for images.
pub fn refuse_among_images(
    option: &str,
    folder: &Path,
    images: &[PathBuf],
    searched: &[PathBuf],
) -> anyhow::Result<()> {
    let wanted = place(folder);
    let parents: BTreeSet<&Path> = images.iter().filter_map(|path| path.parent()).collect();
    if parents.into_iter().any(|parent| place(parent) == wanted) {
        bail!(
            "{option} {}: holds images that are scored, and these pictures could replace them: name another folder",
            folder.display()
        );
    }
    if let Some(outer) = searched
        .iter()
        .find(|outer| wanted.starts_with(place(outer)))
    {
        bail!(
            "{option} {}: lies in {}, where images are looked for: the next run would take these pictures for images. \
             Name a folder elsewhere",
            folder.display(),
            outer.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_not_there_yet_are_told_apart_by_where_they_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("a")).unwrap();
        for (left, right, same) in [
            ("maps", "maps/", true),
            ("a/../maps", "maps", true),
            ("b/../maps", "maps", true),
            ("./maps/x", "maps/x", true),
            ("maps", "masks", false),
            ("a/maps", "maps", false),
        ] {
            assert_eq!(same_place(&at(left), &at(right)), same, "{left} {right}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
            assert!(same_place(&at("link/maps"), &at("a/maps")));
        }
    }

    #[test]
    fn pictures_go_neither_over_images_nor_among_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("photos/day")).unwrap();
        let refused = |output: &str, searched: &[PathBuf]| {
            let images = [at("photos/day/a.png")];
            let refusal = refuse_among_images("--masks", &at(output), &images, searched);
            refusal.err().map(|error| error.to_string())
        };
        let over = refused("photos/day/.", &[]).unwrap();
        assert!(over.contains("could replace them"), "{over}");
        let among = refused("photos/maps", &[at("photos")]).unwrap();
        assert!(among.contains("the next run"), "{among}");
        // Beside what was named, and above an image that was named alone.
        assert_eq!(refused("maps", &[at("photos")]), None);
        assert_eq!(refused("photos", &[]), None);
    }

    #[test]
    fn nothing_is_written_over_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.safetensors");
        assert!(refuse_source("--report", &model, std::slice::from_ref(&model)).is_ok());
        std::fs::write(&model, []).unwrap();
        let refusal = refuse_source(
            "--report",
            &folder.path().join("./m.safetensors"),
            std::slice::from_ref(&model),
        );
        assert!(
            refusal
                .unwrap_err()
                .to_string()
                .contains("name another file")
        );
    }
}
