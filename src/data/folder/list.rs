//! Which image files an argument stands for: a file, a folder or a pattern.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use walkdir::WalkDir;

use crate::data::DataError;

/// Extensions, in lower case, of the files that are taken from a folder.
pub(super) const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp"];

/// What a pattern has and the name of a file hardly ever.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// What [`list`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files, each once.
    pub files: Vec<PathBuf>,
    /// What lies in the folders beside them.
    pub ignored: Ignored,
}

/// Files in a folder that do not have the extension of an image, counted by extension, and hidden images.
///
/// Displayed as in `12 .gif, 1 without extension, 2 hidden images`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    by_extension: BTreeMap<String, usize>,
    hidden: usize,
}

impl Ignored {
    /// Number of files by extension, which is in lower case, without the dot, and empty for files
    /// that have none.
    pub fn counts(&self) -> &BTreeMap<String, usize> {
        &self.by_extension
    }

    /// True when no file was ignored.
    pub fn is_empty(&self) -> bool {
        self.by_extension.is_empty() && self.hidden == 0
    }

    /// Adds the counts of another folder.
    pub(super) fn merge(&mut self, other: Self) {
        for (extension, count) in other.by_extension {
            *self.by_extension.entry(extension).or_default() += count;
        }
        self.hidden += other.hidden;
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.by_extension.iter();
        let files = files.map(|(extension, count)| match extension.is_empty() {
            true => format!("{count} without extension"),
            false => format!("{count} .{extension}"),
        });
        let hidden = match self.hidden {
            0 => None,
            1 => Some("1 hidden image".to_owned()),
            hidden => Some(format!("{hidden} hidden images")),
        };
        let all: Vec<String> = files.chain(hidden).collect();
        formatter.write_str(&all.join(", "))
    }
}

impl Listing {
    /// Takes a file of a folder, or counts it as ignored.
    fn add(&mut self, path: PathBuf) {
        let extension = extension(&path);
        if EXTENSIONS.contains(&extension.as_str()) {
            self.files.push(path);
        } else {
            *self.ignored.by_extension.entry(extension).or_default() += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        self.files.extend(other.files);
        self.ignored.merge(other.ignored);
    }
}

/// The image files that `paths` stand for, in their order, each file once:
///
/// - a file is taken as it is, whatever its extension;
/// - of a folder, the `.png`, `.jpg`, `.jpeg`, `.tif`, `.tiff`, `.bmp` and `.webp` files (in any case) in it and
///   below it are taken, sorted by path; hidden files and folders are left out, links are followed;
/// - what does not exist is a pattern as in a shell, `parts/*.png` or `parts/**/*.png`, sorted.
///
/// # Errors
/// [`DataError::Missing`] naming the argument that stands for no file, [`DataError::Io`] when a
/// folder cannot be read.
pub fn list(paths: &[PathBuf]) -> Result<Listing, DataError> {
    let mut all = Listing::default();
    for path in paths {
        all.merge(expand(path)?);
    }
    let mut seen = HashSet::new();
    // `./a.png` and `a.png` are one file.
    all.files
        .retain(|file| seen.insert(std::path::absolute(file).unwrap_or_else(|_| file.clone())));
    Ok(all)
}

/// The images in a folder and below it, at least one.
///
/// # Errors
/// [`DataError::Missing`] when there is none, [`DataError::Io`] when a folder cannot be read.
pub(super) fn images_in(folder: &Path) -> Result<Listing, DataError> {
    let listing = walk(folder)?;
    if listing.files.is_empty() {
        let beside = if listing.ignored.is_empty() {
            String::new()
        } else {
            format!("; left out: {}", listing.ignored)
        };
        return Err(DataError::Missing(format!(
            "{}: no image in this folder or below it (looked for .{}{beside})",
            folder.display(),
            EXTENSIONS.join(", .")
        )));
    }
    Ok(listing)
}

/// The images in a folder and below it, sorted by path; a folder that several links lead to is looked into once.
///
/// # Errors
/// [`DataError::Io`] when a folder cannot be read.
pub(super) fn walk(folder: &Path) -> Result<Listing, DataError> {
    let mut listing = Listing::default();
    let mut seen: HashSet<PathBuf> = HashSet::new();
    let mut hidden = 0;
    let entries = WalkDir::new(folder)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        // The folder itself may be hidden: it was asked for.
        .filter_entry(|entry| {
            let is_shown = entry.depth() == 0 || !is_hidden(entry.file_name());
            let is_image = EXTENSIONS.contains(&extension(entry.path()).as_str());
            hidden += usize::from(!is_shown && is_image);
            let is_new = |real: PathBuf| seen.insert(real);
            let is_new =
                !entry.file_type().is_dir() || entry.path().canonicalize().map_or(true, is_new);
            is_shown && is_new
        });
    for entry in entries {
        let error = match entry {
            Ok(entry) => {
                if entry.file_type().is_file() {
                    listing.add(entry.into_path());
                }
                continue;
            }
            Err(error) => error,
        };
        // A link to a folder above itself leads to nothing new.
        if error.loop_ancestor().is_some() {
            continue;
        }
        let path = error.path().unwrap_or(folder).to_path_buf();
        if !path.is_symlink() {
            return Err(DataError::io(path)(error.into()));
        }
        // A link to nowhere is a file that cannot be read, which whoever reads it says.
        if !path.file_name().is_some_and(is_hidden) {
            listing.add(path);
        }
    }
    listing.ignored.hidden = hidden;
    Ok(listing)
}

/// The ending of a file's name, in lower case.
fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn expand(path: &Path) -> Result<Listing, DataError> {
    let error = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return images_in(path),
        Ok(_) => {
            return Ok(Listing {
                files: vec![path.to_path_buf()],
                ..Listing::default()
            });
        }
        Err(error) => error,
    };
    match path.to_str() {
        Some(pattern) if pattern.contains(WILDCARDS) => matching(pattern),
        _ if error.kind() == ErrorKind::NotFound => Err(DataError::Missing(format!(
            "{}: there is no such file or folder",
            path.display()
        ))),
        _ => Err(DataError::io(path)(error)),
    }
}

/// The folders that `paths` stand for, whose images [`list`] takes.
///
/// # Errors
/// As of [`list`].
pub(super) fn folders(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut folders = Vec::new();
    for path in paths {
        match path.to_str() {
            Some(pattern) if !path.exists() && pattern.contains(WILDCARDS) => {
                let matched = matched(pattern)?.into_iter();
                folders.extend(matched.filter(|path| path.is_dir()));
            }
            _ if path.is_dir() => folders.push(path.clone()),
            _ => {}
        }
    }
    Ok(folders)
}

/// What a shell would put in place of the pattern, with folders replaced by the images in them.
fn matching(pattern: &str) -> Result<Listing, DataError> {
    let mut listing = Listing::default();
    for path in matched(pattern)? {
        if path.is_dir() {
            listing.merge(walk(&path)?);
        } else {
            listing.files.push(path);
        }
    }
    listing.files.sort();
    if listing.files.is_empty() {
        return Err(DataError::Missing(format!(
            "{pattern}: no file has a name of this pattern"
        )));
    }
    Ok(listing)
}

/// What a shell would put in place of the pattern, sorted. (The iterator of `glob` 0.3 panics beside names that are not
/// UTF-8, which no pattern matches here.)
fn matched(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    // One separator between parts, as in the paths that are found.
    let parts: PathBuf = Path::new(pattern).components().collect();
    let parts = parts.to_str().unwrap_or(pattern);
    let compiled = Pattern::new(parts).map_err(|error| {
        DataError::Missing(format!(
            "{pattern}: there is no such file, and it is no pattern ({error})"
        ))
    })?;
    let has_wildcard = |part: &Component| part.as_os_str().to_string_lossy().contains(WILDCARDS);
    let fixed = Path::new(parts).components();
    let fixed: PathBuf = fixed.take_while(|part| !has_wildcard(part)).collect();
    let depth = Path::new(parts).components().count() - fixed.components().count();
    let here = Path::new(".");
    let (start, is_here) = match fixed.as_os_str().is_empty() {
        true => (here, true),
        false => (fixed.as_path(), false),
    };
    let mut walk = WalkDir::new(start).min_depth(1).sort_by_file_name();
    if !parts.contains("**") {
        // As a shell, into links as well: no loop is that deep.
        walk = walk.max_depth(depth).follow_links(true);
    }
    let mut found = Vec::new();
    for entry in walk {
        let path = match entry {
            Ok(entry) => entry.into_path(),
            // A link that leads nowhere, or a folder that nobody may look into: whoever reads it says why not.
            Err(error) if error.depth() > 0 => match error.path() {
                Some(path) => path.to_path_buf(),
                None => continue,
            },
            Err(error) => {
                let path = error.path().unwrap_or(start).to_path_buf();
                return match error.io_error().map(std::io::Error::kind) {
                    Some(ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
                    _ => Err(DataError::io(path)(error.into())),
                };
            }
        };
        let path = match is_here {
            true => path.strip_prefix(here).unwrap_or(&path).to_path_buf(),
            false => path,
        };
        if compiled.matches_path_with(&path, options) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A folder with empty files of these names.
    fn folder(names: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, []).unwrap();
        }
        folder
    }

    /// Names below `folder` of what an argument in it stands for.
    fn names(folder: &TempDir, arguments: &[&str]) -> Vec<String> {
        let paths: Vec<_> = arguments
            .iter()
            .map(|name| folder.path().join(name))
            .collect();
        let files = list(&paths).unwrap().files;
        files
            .iter()
            .map(|file| file.strip_prefix(folder.path()).unwrap())
            .map(|file| file.to_str().unwrap().replace('\\', "/"))
            .collect()
    }

    #[test]
    fn a_folder_is_walked_in_order_without_what_is_hidden() {
        let folder = folder(&[
            "b.png",
            "a.JPG",
            "sub/deep/c.webp",
            "sub/a.bmp",
            "sub/b.TIFF",
            "z.jpeg",
            ".hidden.png",
            ".trash/d.png",
            "x.gif",
            "y.GIF",
            "readme",
        ]);
        let expected = [
            "a.JPG",
            "b.png",
            "sub/a.bmp",
            "sub/b.TIFF",
            "sub/deep/c.webp",
            "z.jpeg",
        ];
        assert_eq!(names(&folder, &[""]), expected);
        let ignored = list(&[folder.path().to_path_buf()]).unwrap().ignored;
        assert_eq!(
            ignored.to_string(),
            "1 without extension, 2 .gif, 1 hidden image"
        );
        assert_eq!(ignored.counts()["gif"], 2);
        assert!(Ignored::default().is_empty() && !ignored.is_empty());
    }

    #[test]
    fn arguments_keep_their_order_and_files_come_once() {
        let folder = folder(&["a.png", "b.png", "scan.dat", "sub/c.png"]);
        let expected = ["scan.dat", "b.png", "a.png", "sub/c.png"];
        assert_eq!(
            names(&folder, &["scan.dat", "b.png", "", "./a.png"]),
            expected
        );
    }

    #[test]
    fn what_does_not_exist_is_a_pattern() {
        let folder = folder(&["a1.png", "a2.png", "b1.png", ".a3.png", "sub/a4.png"]);
        assert_eq!(names(&folder, &["a*.png"]), ["a1.png", "a2.png"]);
        assert_eq!(names(&folder, &["?1.png"]), ["a1.png", "b1.png"]);
        assert_eq!(
            names(&folder, &["**/a*.png"]),
            ["a1.png", "a2.png", "sub/a4.png"]
        );
        assert_eq!(names(&folder, &["s*"]), ["sub/a4.png"]);
    }

    #[test]
    fn a_name_with_brackets_is_a_name_first() {
        let folder = folder(&["a[1].png", "a1.png"]);
        assert_eq!(names(&folder, &["a[1].png"]), ["a[1].png"]);
        fs::remove_file(folder.path().join("a[1].png")).unwrap();
        assert_eq!(names(&folder, &["a[1].png"]), ["a1.png"]);
    }

    #[test]
    fn an_argument_without_files_is_named() {
        let folder = folder(&["empty/notes.txt"]);
        let error = |name: &str| {
            let error = list(&[folder.path().join(name)]).unwrap_err();
            assert!(matches!(error, DataError::Missing(_)), "{error}");
            error.to_string()
        };
        let text = error("empty");
        assert!(
            text.contains("empty: no image") && text.contains("1 .txt"),
            "{text}"
        );
        assert!(error("none.png").contains("none.png: there is no such file"));
        assert!(error("*.bmp").contains("*.bmp: no file"));
        assert!(error("a[.png").contains("no pattern"));
        assert_eq!(list(&[]).unwrap(), Listing::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pattern_passes_names_that_are_no_text() {
        use std::os::unix::ffi::OsStrExt;
        let folder = folder(&["images/a.png", "images/more/b.png"]);
        let odd = OsStr::from_bytes(b"Pr\xfcfling.png");
        fs::write(folder.path().join("images").join(odd), []).unwrap();
        fs::write(folder.path().join("images/more").join(odd), []).unwrap();
        assert_eq!(names(&folder, &["images/*.png"]), ["images/a.png"]);
        assert_eq!(names(&folder, &["images//*/b*"]), ["images/more/b.png"]);
        assert_eq!(
            names(&folder, &["**/*.png"]),
            ["images/a.png", "images/more/b.png"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_broken_ones_are_left_to_the_reader() {
        use std::os::unix::fs::symlink;
        let folder = folder(&["images/a.png", "elsewhere/b.png"]);
        let images = folder.path().join("images");
        symlink(folder.path().join("elsewhere"), images.join("more")).unwrap();
        symlink(&images, images.join("loop")).unwrap();
        symlink("nowhere", images.join("gone.png")).unwrap();
        symlink("nowhere", images.join(".#lock.png")).unwrap();
        let all = ["images/a.png", "images/gone.png", "images/more/b.png"];
        assert_eq!(names(&folder, &["images"]), all);
        assert_eq!(names(&folder, &["images/*.png", "images/m*/*"]), all);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_looked_into_once_and_a_linked_picture_is_a_picture() {
        use std::os::unix::fs::symlink;
        let folder = folder(&["elsewhere/b.png", "images/a.png"]);
        let images = folder.path().join("images");
        symlink(folder.path().join("elsewhere"), images.join("first")).unwrap();
        symlink(folder.path().join("elsewhere"), images.join("second")).unwrap();
        // A way back to what is being looked into.
        symlink(folder.path(), images.join("up")).unwrap();
        symlink(images.join("a.png"), images.join("c.png")).unwrap();
        let all = ["images/a.png", "images/c.png", "images/first/b.png"];
        assert_eq!(names(&folder, &["images"]), all);
    }
}
