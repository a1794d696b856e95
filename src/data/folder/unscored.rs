//! Which images the arguments of `score` stand for, and their labels.

use std::path::PathBuf;

use super::layout::{Layout, MvtecTest, is_category, layout, refuse_categories};
use super::list::{Ignored, Listing, list};
use crate::data::DataError;

/// What is to be scored: the files, and their labels where they have any.
#[derive(Clone, Debug)]
pub struct Unscored {
    /// The images.
    pub files: Vec<PathBuf>,
    /// What the test images of a category are, where that was named.
    pub tests: Option<Vec<MvtecTest>>,
    /// Files beside these that are no images.
    pub ignored: Ignored,
}

/// The images that `paths` stand for, as [`list`] takes them; of a category of MVTec AD, which is named alone, the test
/// images.
///
/// # Errors
/// [`DataError`] as of [`list`] and [`layout`], and for a folder of categories, a category among other paths, and one without
/// test images: scored as any folder, their masks and training images would be scored as well.
pub fn unscored(paths: &[PathBuf]) -> Result<Unscored, DataError> {
    for path in paths.iter().filter(|path| path.is_dir()) {
        if !is_category(path) {
            refuse_categories(path)?;
        } else if paths.len() > 1 {
            return Err(DataError::format(
                path,
                "is a category of MVTec AD, of which the test images are scored: name it alone, or its folder `test`",
            ));
        }
    }
    if let [folder] = paths
        && is_category(folder)
        && let Layout::Mvtec { test, ignored, .. } = layout(folder)?
    {
        if test.is_empty() {
            let folder = folder.join("test");
            let beside = match ignored.is_empty() {
                true => String::new(),
                false => format!(" (left out: {ignored})"),
            };
            return Err(DataError::format(
                folder,
                format!("has no test images{beside}"),
            ));
        }
        return Ok(Unscored {
            files: test.iter().map(|test| test.path.clone()).collect(),
            tests: Some(test),
            ignored,
        });
    }
    let Listing { files, ignored } = list(paths)?;
    Ok(Unscored {
        files,
        tests: None,
        ignored,
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
            "set/bottle/test/crack/1.tif",
            "set/bottle/ground_truth/crack/0.bmp",
            "set/cable/train/good/0.png",
            "set/cable/test/cut/0.tif",
            "plain/0.png",
        ] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), []).unwrap();
        }
        let found = unscored(&[at("set/bottle")]).unwrap();
        assert_eq!(found.files, [at("set/bottle/test/crack/0.png")]);
        assert_eq!(found.ignored.to_string(), "1 .tif");
        let mask = found.tests.unwrap()[0].mask.clone();
        assert_eq!(mask, Some(at("set/bottle/ground_truth/crack/0.bmp")));

        let error = |names: &[&str]| {
            let paths: Vec<PathBuf> = names.iter().map(|name| at(name)).collect();
            unscored(&paths).unwrap_err().to_string()
        };
        assert!(error(&["set"]).contains("name one of them, as in"));
        assert!(error(&["plain", "set/bottle"]).contains("name it alone"));
        assert!(error(&["set/cable"]).contains("left out: 1 .tif"));
        let both = unscored(&[at("plain"), at("set/bottle/test")]).unwrap();
        assert_eq!((both.files.len(), both.tests.is_none()), (2, true));
    }
}
