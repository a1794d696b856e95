//! Which images the arguments of `score` stand for, and their labels.

use std::path::{Path, PathBuf};

use super::layout::{Layout, MvtecTest, is_category, layout, refuse_categories};
use super::list::{Ignored, Listing, folders, list, walk};
use crate::data::DataError;

/// What is to be scored: the files, and their labels where they have any.
#[derive(Clone, Debug)]
pub struct Unscored {
    /// The images.
    pub files: Vec<PathBuf>,
    /// What the test images of a category are, where that was named.
    pub tests: Option<Vec<MvtecTest>>,
    /// Masks that are of none of these.
    pub stray_masks: Vec<PathBuf>,
    /// Files beside these that are no images.
    pub ignored: Ignored,
    /// Folders in which images are looked for: what is written there would be taken for one.
    pub searched: Vec<PathBuf>,
}

/// The images that `paths` stand for, as [`list`] takes them; of a category of MVTec AD, which is named alone, the test
/// images.
///
/// # Errors
/// [`DataError`] as of [`list`] and [`layout`], and for a folder of categories, a category among other paths, and one without
/// test images: scored as any folder, their masks and training images would be scored as well.
pub fn unscored(paths: &[PathBuf]) -> Result<Unscored, DataError> {
    if let [folder] = paths
        && is_category(folder)
    {
        return test_images(folder);
    }
    let searched = folders(paths)?;
    for folder in &searched {
        if is_category(folder) {
            return Err(DataError::format(
                folder,
                "is a category of MVTec AD, of which the test images are scored: name it alone, or its folder `test`",
            ));
        }
        refuse_categories(folder)?;
    }
    let Listing { files, ignored } = list(paths)?;
    Ok(Unscored {
        files,
        tests: None,
        stray_masks: Vec::new(),
        ignored,
        searched,
    })
}

/// The test images of a category.
fn test_images(folder: &Path) -> Result<Unscored, DataError> {
    let test_folder = folder.join("test");
    let ignored = match test_folder.is_dir() {
        true => walk(&test_folder)?.ignored,
        false => Ignored::default(),
    };
    let (tests, stray_masks) = match layout(folder)? {
        Layout::Mvtec {
            test, stray_masks, ..
        } => (test, stray_masks),
        Layout::Plain { .. } => (Vec::new(), Vec::new()),
    };
    if tests.is_empty() {
        let beside = match ignored.is_empty() {
            true => String::new(),
            false => format!(" (left out: {ignored})"),
        };
        let reason = format!("has no test images{beside}");
        return Err(DataError::format(test_folder, reason));
    }
    let parts = ["train", "test", "ground_truth"];
    Ok(Unscored {
        files: tests.iter().map(|test| test.path.clone()).collect(),
        tests: Some(tests),
        stray_masks,
        ignored,
        searched: parts.map(|part| folder.join(part)).to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_training_images_of_a_category_are_not_scored() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "set/bottle/train/good/0.png",
            "set/bottle/test/crack/0.png",
            "set/bottle/test/crack/1.gif",
            "set/bottle/ground_truth/crack/0.bmp",
            "set/bottle/test/crack/2.png",
            "set/bottle/ground_truth/crack/2_mask.PNG",
            "set/cable/train/good/0.png",
            "set/cable/test/cut/0.gif",
            "plain/0.png",
        ] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), []).unwrap();
        }
        let found = unscored(&[at("set/bottle")]).unwrap();
        let tests = ["0.png", "2.png"].map(|name| at("set/bottle/test/crack").join(name));
        assert_eq!(found.files, tests);
        assert_eq!(found.ignored.to_string(), "1 .gif");
        let masks =
            ["0.bmp", "2_mask.PNG"].map(|name| at("set/bottle/ground_truth/crack").join(name));
        let found = found.tests.unwrap().into_iter().map(|test| test.mask);
        assert!(found.eq(masks.map(Some)));

        let error = |names: &[&str]| {
            let paths: Vec<PathBuf> = names.iter().map(|name| at(name)).collect();
            unscored(&paths).unwrap_err().to_string()
        };
        assert!(error(&["set"]).contains("name one of them, as in"));
        assert!(error(&["*"]).contains("name one of them, as in"));
        assert!(error(&["set/*"]).contains("name it alone"));
        assert!(error(&["plain", "set/bottle"]).contains("name it alone"));
        assert!(error(&["set/cable"]).contains("left out: 1 .gif"));
        let both = unscored(&[at("plain"), at("set/bottle/test")]).unwrap();
        assert_eq!((both.files.len(), both.tests.is_none()), (3, true));
        assert_eq!(both.searched, [at("plain"), at("set/bottle/test")]);
        let single = unscored(&[at("plain/*.png")]).unwrap();
        assert!(single.searched.is_empty());
    }
}
