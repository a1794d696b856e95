//! A folder of MVTec AD's layout as a data set: normal images to train on, normal and anomalous ones to
//! test on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::groups::{below, groups_of};
use super::layout::good_folder;
use super::{GroupBy, Layout, MvtecTest, Sizing, Skipped, layout, load};
use crate::data::{DataError, DatasetName, GivenSplit, Images, Labelled};

/// Index of the class of all defects.
const DEFECT: u8 = 0;
/// Index of the class of normal images.
const GOOD: u8 = 1;

/// Makes sure that a folder is laid out for [`labelled`], without reading its pictures.
///
/// # Errors
/// [`DataError`] when it is not.
pub fn check_labelled(folder: &Path) -> Result<(), DataError> {
    parts(folder).map(|_| ())
}

/// The pictures to learn from, and those to test on.
fn parts(folder: &Path) -> Result<(Vec<PathBuf>, Vec<MvtecTest>), DataError> {
    if folder.as_os_str().is_empty() {
        return Err(DataError::Missing(
            "which folder? Name one in MVTec AD's layout with --set data.folder=PATH".to_owned(),
        ));
    }
    match layout(folder)? {
        Layout::Mvtec { normal, test, .. } => Ok((normal, test)),
        Layout::Plain { .. } => Err(DataError::Missing(format!(
            "{} has no train/good: an experiment tests on normal and anomalous images, laid out as in MVTec AD (train/good, test/good, test/<defect>); `encoder-flow fit` learns from normal images alone",
            folder.display()
        ))),
    }
}

/// Loads the images of `folder`, converted, those of `train/good` first, and says which files could
/// not be read. Those to train on are grouped by their names, or by the sub-folders that all of them
/// lie in.
///
/// # Errors
/// [`DataError::Missing`] when the folder has no images to train on or lacks normal or anomalous ones
/// to test on; otherwise those of [`layout`], [`load`] and [`GroupBy::groups`].
pub fn labelled(
    folder: &Path,
    sizing: Sizing,
    group_by: Option<&GroupBy>,
) -> Result<(Labelled, Vec<Skipped>), DataError> {
    let (normal, test) = parts(folder)?;
    let conversion = sizing.of(&normal);
    let (good, defective): (Vec<MvtecTest>, Vec<MvtecTest>) =
        test.into_iter().partition(|image| image.defect.is_none());
    let defects: BTreeSet<String> = defective
        .iter()
        .filter_map(|image| image.defect.clone())
        .collect();
    let paths = |test: Vec<MvtecTest>| test.into_iter().map(|image| image.path).collect();
    let mut images = Images::new(conversion.shape(), Vec::new())?;
    let (mut counts, mut skipped) = (Vec::new(), Vec::new());
    let mut names = Vec::new();
    let mut groups = None;
    for (place, files) in [
        ("train/good", normal),
        ("test/good", paths(good)),
        ("test/<defect>", paths(defective)),
    ] {
        let loaded = load(&files, conversion, false)?;
        if loaded.images.is_empty() {
            return Err(DataError::Missing(format!(
                "{} has no readable images in {place}: an experiment needs normal and anomalous ones to test on; `encoder-flow fit` learns from normal images alone",
                folder.display()
            )));
        }
        if counts.is_empty() {
            groups = groups_of(&good_folder(folder), &loaded.paths, group_by)?;
        }
        names.extend(loaded.paths.iter().map(|path| below(folder, path)));
        counts.push(loaded.images.len());
        images = images.concat(&loaded.images)?;
        skipped.extend(loaded.skipped);
    }
    let classes = [GOOD, GOOD, DEFECT].into_iter().zip(&counts);
    let defects: Vec<String> = defects.into_iter().collect();
    let set = Labelled {
        source: format!(
            "{} ({} images to train on, {} normal and {} anomalous ones to test on: {}; {} files left out)",
            folder.display(),
            counts[0],
            counts[1],
            counts[2],
            defects.join(", "),
            skipped.len()
        ),
        images,
        labels: classes
            .flat_map(|(class, &count)| vec![class; count])
            .collect(),
        class_names: DatasetName::Folder
            .class_names()
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        given: Some(GivenSplit {
            train: counts[0],
            groups,
        }),
        files: Some(names),
    };
    Ok((set, skipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Conversion, Framing};
    use image::{GrayImage, Luma};

    const SIZING: Sizing = Sizing {
        conversion: Conversion {
            channels: 1,
            height: 32,
            width: 32,
            fit: Framing::Resize,
        },
        enlarge: true,
    };

    fn write(folder: &Path, name: &str, value: u8) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(8, 8, Luma([value]))
            .save(path)
            .unwrap();
    }

    #[test]
    fn training_images_come_first_and_defects_last() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (name, value) in [
            ("test/crack/0.png", 3),
            ("test/good/0.png", 2),
            ("train/good/0.png", 0),
            ("train/good/1.png", 1),
            ("test/spot/0.png", 4),
        ] {
            write(folder, name, value);
        }
        std::fs::write(folder.join("train/good/2.png"), "no picture").unwrap();
        std::fs::write(folder.join("test/crack/1.png"), "").unwrap();
        let (set, skipped) = labelled(folder, SIZING, None).unwrap();
        let values: Vec<u8> = (0..set.images.len())
            .map(|index| set.images.get(index)[0])
            .collect();
        assert_eq!(values, [0, 1, 2, 3, 4]);
        assert_eq!(set.labels, [GOOD, GOOD, GOOD, DEFECT, DEFECT]);
        let given = set.given.unwrap();
        assert_eq!((given.train, given.groups, skipped.len()), (2, None, 2));
        assert!(
            set.source.contains("crack, spot; 2 files left out"),
            "{}",
            set.source
        );
    }

    #[test]
    fn images_to_train_on_are_grouped_by_name_or_sub_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for name in ["a/0", "a/1", "b/0"] {
            write(folder, &format!("train/good/{name}.png"), 0);
        }
        write(folder, "test/good/0.png", 0);
        write(folder, "test/crack/0.png", 0);
        let groups = |group_by: Option<GroupBy>| {
            let (set, _) = labelled(folder, SIZING, group_by.as_ref()).unwrap();
            set.given.unwrap().groups
        };
        assert_eq!(groups(None), Some(vec![0, 0, 1]));
        let by_name = GroupBy::new(r"/(\d)").unwrap();
        assert_eq!(groups(Some(by_name)), Some(vec![0, 1, 0]));
    }

    #[test]
    fn what_an_experiment_cannot_use_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let refused = |folder: &Path| labelled(folder, SIZING, None).unwrap_err().to_string();
        assert!(refused(Path::new("")).contains("data.folder=PATH"));
        assert!(refused(&folder.join("none")).contains("no such folder"));
        write(folder, "0.png", 0);
        assert!(refused(folder).contains("no train/good"));
        write(folder, "train/good/0.png", 0);
        assert!(refused(folder).contains("no readable images in test/good"));
        write(folder, "test/good/0.png", 0);
        assert!(refused(folder).contains("no readable images in test/<defect>"));
    }
}
