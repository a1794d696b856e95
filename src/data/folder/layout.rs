//! What the files of a folder are for: normal images only, or the layout of MVTec AD.
//!
//! P. Bergmann et al., "MVTec AD - A Comprehensive Real-World Dataset for Unsupervised Anomaly
//! Detection", 2019, <https://www.mvtec.com/company/research/datasets/mvtec-ad>. In the folder of a
//! category, `train/good` has the normal images to train on, `test/good` those to test on,
//! `test/<defect>` the anomalous ones, and `ground_truth/<defect>/<name>_mask.png` their masks (or `<name>.png`, or of
//! another format of images).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::GroupBy;
use super::groups::groups_of;
use super::list::{EXTENSIONS, Ignored, Listing, images_in, walk};
use crate::data::DataError;

/// What lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Images that all are normal, in the folder or below it.
    Plain {
        /// The images, sorted by path, at least one.
        normal: Vec<PathBuf>,
        /// Files that are no images.
        ignored: Ignored,
    },
    /// A category of MVTec AD, or a folder built like one.
    Mvtec {
        /// The normal images to train on, sorted by path, at least one.
        normal: Vec<PathBuf>,
        /// The images to test on, sorted by path; none where there is no folder `test`.
        test: Vec<MvtecTest>,
        /// Masks in `ground_truth` that are of none of these.
        stray_masks: Vec<PathBuf>,
        /// Files beside these that are no images.
        ignored: Ignored,
    },
}

impl Layout {
    /// All its images: those to learn from, those to test on, and the masks.
    pub fn files(self) -> Vec<PathBuf> {
        match self {
            Self::Plain { normal, .. } => normal,
            Self::Mvtec { normal, test, .. } => {
                let tests = test.into_iter();
                let tests = tests.flat_map(|test| [Some(test.path), test.mask]);
                normal.into_iter().chain(tests.flatten()).collect()
            }
        }
    }

    /// Which of the normal images of `folder` show one object, where anything says so: their names, by
    /// `group_by`, or in MVTec AD's layout the sub-folders of `train/good` that all of `files` lie in. The
    /// group of each file, numbered from 0.
    ///
    /// # Errors
    /// As of [`GroupBy::groups`].
    pub fn groups(
        &self,
        folder: &Path,
        files: &[PathBuf],
        group_by: Option<&GroupBy>,
    ) -> Result<Option<Vec<usize>>, DataError> {
        match (self, group_by) {
            (Self::Mvtec { .. }, _) => groups_of(&good_folder(folder), files, group_by),
            (Self::Plain { .. }, Some(group_by)) => group_by.groups(folder, files).map(Some),
            // Sub-folders may be anything: days, cameras, kinds of one thing.
            (Self::Plain { .. }, None) => Ok(None),
        }
    }
}

/// Names, in small letters, of folders whose images nobody means to be learnt as normal.
const NOT_NORMAL: [&str; 15] = [
    "abnormal",
    "anomalies",
    "anomalous",
    "anomaly",
    "bad",
    "broken",
    "defect",
    "defective",
    "defects",
    "faulty",
    "ground_truth",
    "ko",
    "ng",
    "nok",
    "test",
];

/// An image to test on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MvtecTest {
    /// The file.
    pub path: PathBuf,
    /// Name of the defect, that of its folder; `None` for a normal image (`good`).
    pub defect: Option<String>,
    /// The file that shows where the defect is, where there is one.
    pub mask: Option<PathBuf>,
}

/// Finds the images in `folder`: laid out as in MVTec AD when there is a folder `train/good` in it,
/// and otherwise all of them normal.
///
/// # Errors
/// [`DataError::Missing`] when there is no such folder or no image in it (or in `train/good`);
/// [`DataError::Format`] when it is a file, when it holds several categories of MVTec AD, or when a
/// test image lies in no folder that says whether it is normal; [`DataError::Io`] when something in
/// it cannot be read.
pub fn layout(folder: &Path) -> Result<Layout, DataError> {
    if !folder.exists() {
        return Err(DataError::Missing(format!(
            "{}: there is no such folder; wanted is one of images, or one with train/good, \
             test/<defect> and ground_truth/<defect> as in MVTec AD",
            folder.display()
        )));
    }
    if !folder.is_dir() {
        return Err(DataError::format(
            folder,
            "is a file: a folder of images is wanted",
        ));
    }
    if is_category(folder) {
        return mvtec(folder);
    }
    // Taken for a plain folder, this would make every defect and every mask a normal image.
    refuse_categories(folder)?;
    refuse_defects(folder)?;
    let Listing { files, ignored } = images_in(folder)?;
    refuse_categories_below(folder, &files)?;
    Ok(Layout::Plain {
        normal: files,
        ignored,
    })
}

/// Refuses a folder that holds categories.
///
/// # Errors
/// [`DataError::Format`] naming one of them; [`DataError::Io`] when the folder cannot be read.
pub(super) fn refuse_categories(folder: &Path) -> Result<(), DataError> {
    let categories = categories(folder)?;
    match categories.first() {
        None => Ok(()),
        Some(example) => Err(DataError::format(
            folder,
            format!(
                "holds the MVTec AD categories {}, each a data set of its own: name one of them, as in {}",
                categories.join(", "),
                folder.join(example).display()
            ),
        )),
    }
}

/// Refuses a folder that holds categories further down, told by where its `files` lie.
///
/// # Errors
/// [`DataError::Format`] naming one of them.
fn refuse_categories_below(folder: &Path, files: &[PathBuf]) -> Result<(), DataError> {
    let category = |file: &PathBuf| -> Option<PathBuf> {
        let mut good = file
            .ancestors()
            .filter(|place| place.ends_with("train/good"));
        let category = good.next()?.parent()?.parent()?;
        category.starts_with(folder).then(|| category.to_owned())
    };
    match files.iter().find_map(category) {
        None => Ok(()),
        Some(example) => Err(DataError::format(
            folder,
            format!(
                "holds {}, a category of MVTec AD, which is a data set of its own: name that folder",
                example.display()
            ),
        )),
    }
}

/// Refuses a folder of normal images that has folders in it whose names say that theirs are not: in another layout, such as
/// `train/ok` and `test/ko`, defects and their masks would be learnt as normal.
///
/// # Errors
/// [`DataError::Format`] naming them; [`DataError::Io`] when the folder cannot be read.
fn refuse_defects(folder: &Path) -> Result<(), DataError> {
    let suspects = folders_in(folder, |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        NOT_NORMAL.contains(&name.to_lowercase().as_str())
    })?;
    if suspects.is_empty() {
        return Ok(());
    }
    Err(DataError::format(
        folder,
        format!(
            "holds {}, which by this name is not normal, and all images below a folder without train/good are learnt as \
             normal ones: name the folder of these, or call the folders train/good, test/good, test/<defect> and \
             ground_truth/<defect>",
            suspects.join(", ")
        ),
    ))
}

/// True for the folder of a category.
pub(super) fn is_category(folder: &Path) -> bool {
    good_folder(folder).is_dir()
}

/// Where the normal images to train on are in a category.
pub(super) fn good_folder(folder: &Path) -> PathBuf {
    folder.join("train").join("good")
}

/// Names of the folders in `folder` that are categories, sorted.
fn categories(folder: &Path) -> Result<Vec<String>, DataError> {
    folders_in(folder, is_category)
}

/// Names of those folders in `folder` that are `wanted`, sorted.
fn folders_in(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<String>, DataError> {
    let entries = std::fs::read_dir(folder).map_err(DataError::io(folder))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir() && wanted(&entry.path()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

fn mvtec(folder: &Path) -> Result<Layout, DataError> {
    let mut normal = images_in(&good_folder(folder))?;
    let test_folder = folder.join("test");
    let found = if test_folder.is_dir() {
        walk(&test_folder)?
    } else {
        Listing::default()
    };
    let test = found
        .files
        .into_iter()
        .map(|path| test_image(folder, &test_folder, path))
        .collect::<Result<Vec<MvtecTest>, _>>()?;
    let used: HashSet<&Path> = test.iter().filter_map(|one| one.mask.as_deref()).collect();
    let masks = folder.join("ground_truth");
    let mut stray_masks = match masks.is_dir() {
        true => walk(&masks)?.files,
        false => Vec::new(),
    };
    // Some conversions give good images masks, too.
    let good = masks.join("good");
    stray_masks.retain(|mask| !used.contains(mask.as_path()) && !mask.starts_with(&good));
    normal.ignored.merge(found.ignored);
    Ok(Layout::Mvtec {
        normal: normal.files,
        test,
        stray_masks,
        ignored: normal.ignored,
    })
}

/// The test image `path`, which lies below `test_folder`, with its label and mask.
fn test_image(folder: &Path, test_folder: &Path, path: PathBuf) -> Result<MvtecTest, DataError> {
    let inside = path.strip_prefix(test_folder).unwrap_or(&path);
    let mut parts = inside.components();
    let (Some(label), Some(_)) = (parts.next(), parts.next()) else {
        let reason = "lies in `test` itself: move it to test/good when it is normal, and to test/<name of the defect> otherwise";
        return Err(DataError::format(&path, reason));
    };
    let label = label.as_os_str().to_string_lossy().into_owned();
    let defect = (label != "good").then_some(label);
    let mask = defect.as_ref().and_then(|_| mask_of(folder, inside));
    Ok(MvtecTest { path, defect, mask })
}

/// The mask of the test image at `inside`, as seen from the folder `test`.
fn mask_of(folder: &Path, inside: &Path) -> Option<PathBuf> {
    let stem = inside.file_stem()?.to_string_lossy();
    let masks = folder.join("ground_truth").join(inside.parent()?);
    let names = [format!("{stem}_mask"), stem.into_owned()];
    let files = names.iter().flat_map(|name| {
        let extensions = EXTENSIONS.iter().map(|&extension| extension.to_owned());
        let capitals = EXTENSIONS.iter().map(|extension| extension.to_uppercase());
        let extensions = extensions.chain(capitals);
        extensions.map(move |extension| format!("{name}.{extension}"))
    });
    files
        .map(|file| masks.join(file))
        .find(|path| path.is_file())
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

    fn error(folder: &Path) -> String {
        layout(folder).unwrap_err().to_string()
    }

    #[test]
    fn folders_by_whose_name_images_are_not_normal_are_refused() {
        for names in [
            &["good/1.png", "Bad/2.png"][..],
            &["train/ok/1.png", "test/ok/2.png", "ground_truth/ko/3.png"],
            &["1.png", "NG/2.png"],
        ] {
            let error = error(folder(names).path());
            assert!(error.contains("is not normal"), "{error}");
        }
        assert!(error(folder(&["1.png", "NG/2.png"]).path()).contains("holds NG"));
        // A file is none, and what lies deeper may be called anything.
        let folder = folder(&["bad.png", "day/ko/1.png"]);
        assert!(layout(folder.path()).is_ok());
    }

    #[test]
    fn categories_further_down_are_refused() {
        let folder = folder(&["sets/bottle/train/good/1.png", "sets/bottle/test/cut/2.png"]);
        let error = error(folder.path());
        assert!(error.contains("bottle, a category of MVTec AD"), "{error}");
        // What somebody names is what they mean.
        for named in ["sets/bottle/train", "sets/bottle/train/good"] {
            assert!(layout(&folder.path().join(named)).is_ok(), "{named}");
        }
    }

    #[test]
    fn images_are_normal_where_nothing_says_otherwise() {
        let folder = folder(&["b/2.png", "a.jpg", "notes.txt"]);
        let Layout::Plain { normal, ignored } = layout(folder.path()).unwrap() else {
            panic!("a plain folder");
        };
        let expected = ["a.jpg", "b/2.png"].map(|name| folder.path().join(name));
        assert_eq!(normal, expected);
        assert_eq!(ignored.to_string(), "1 .txt");
    }

    #[test]
    fn a_category_of_mvtec_is_recognised() {
        let folder = folder(&[
            "train/good/001.png",
            "train/good/000.png",
            "test/good/000.png",
            "test/crack/000.png",
            "test/crack/001.jpg",
            "test/crack/002.png",
            "test/hole/000.png",
            "test/hole/Thumbs.db",
            "ground_truth/crack/000_mask.png",
            "ground_truth/crack/001.png",
            "ground_truth/hole/001_mask.png",
            "ground_truth/good/000_mask.png",
            "license.txt",
        ]);
        let inside = |name: &str| folder.path().join(name);
        let Layout::Mvtec {
            normal,
            test,
            stray_masks,
            ignored,
        } = layout(folder.path()).unwrap()
        else {
            panic!("the layout of MVTec AD");
        };
        assert_eq!(
            normal,
            ["train/good/000.png", "train/good/001.png"].map(inside)
        );
        assert_eq!(ignored.to_string(), "1 .db");
        assert_eq!(stray_masks, [inside("ground_truth/hole/001_mask.png")]);
        let expected = [
            ("test/crack/000.png", Some("crack"), Some("000_mask.png")),
            ("test/crack/001.jpg", Some("crack"), Some("001.png")),
            ("test/crack/002.png", Some("crack"), None),
            ("test/good/000.png", None, None),
            ("test/hole/000.png", Some("hole"), None),
        ]
        .map(|(path, defect, mask)| MvtecTest {
            path: inside(path),
            defect: defect.map(str::to_owned),
            mask: mask.map(|mask| inside("ground_truth/crack").join(mask)),
        });
        assert_eq!(test, expected);
    }

    #[test]
    fn a_category_may_have_no_test() {
        let folder = folder(&["train/good/000.png"]);
        let found = layout(folder.path()).unwrap();
        assert!(matches!(found, Layout::Mvtec { test, .. } if test.is_empty()));
    }

    #[test]
    fn says_what_was_looked_for() {
        let folder = folder(&[
            "file.png",
            "text/notes.txt",
            "bottle/train/good/000.png",
            "bottle/test/000.png",
            "cable/train/good/000.png",
            "empty/train/good/notes.txt",
        ]);
        let error = |name: &str| error(&folder.path().join(name));
        assert!(error("none").contains("train/good"));
        assert!(error("file.png").contains("file.png: is a file"));
        assert!(error("text").contains("text: no image"));
        assert!(error("empty").contains("good: no image"));
        assert!(error("").contains("bottle, cable, empty"));
        assert!(error("bottle").contains("000.png: lies in `test` itself"));
    }
}
