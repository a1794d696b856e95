//! How well the heat maps of a run's detector tell defective pixels, where the images are the user's folder and have masks.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::folder_test::{FolderTest, PixelMetrics};
use super::images::Prepared;
use super::{RunError, ScoreTable};
use crate::data::folder::{Layout, MvtecTest, below, layout, load};
use crate::data::{DatasetName, batches};
use crate::method::{Detector, HeatSource, PictureMaps};
use crate::study::Experiment;
use crate::train::Display;

/// Pictures that are decoded and described at a time.
const BATCH: usize = 64;
/// Level of the masks, of which a run says nothing.
const ALPHA: f64 = 0.05;

/// Compares the heat maps of the tested pictures with their masks, on the pictures' own sizes; nothing where there are no
/// masks, or no heat maps. Masks that cannot be used are said and left out.
///
/// # Errors
/// [`RunError`] when the folder or a picture cannot be read any more, or a value of a heat map is not finite.
pub(super) fn pixel_metrics(
    experiment: &Experiment,
    prepared: &Prepared,
    (detector, table): (&Detector, &ScoreTable),
    display: Display,
) -> Result<Vec<PixelMetrics>, RunError> {
    let data = &experiment.settings.data;
    if data.dataset != DatasetName::Folder || detector.scorer().heat_sources().is_empty() {
        return Ok(Vec::new());
    }
    let tests = tested(Path::new(&data.folder), prepared, table)?;
    if tests.iter().all(|test| test.mask.is_none()) {
        return Ok(Vec::new());
    }
    display.say(&format!(
        "comparing heat maps with masks on {} pictures",
        tests.len()
    ));
    let paths: Vec<PathBuf> = tests.iter().map(|test| test.path.clone()).collect();
    let mut test = FolderTest::new(detector, tests, ALPHA, false);
    let sources: Vec<HeatSource> = test.sources().collect();
    for indices in batches(paths.len(), BATCH) {
        let files: Vec<PathBuf> = indices.iter().map(|&index| paths[index].clone()).collect();
        let loaded = load(&files, detector.conversion(), true)?;
        let inspection = detector.inspect(&loaded.images);
        let mut found: Vec<(HeatSource, PictureMaps)> = Vec::new();
        for &source in &sources {
            found.push((source, inspection.maps(Some(source))?));
        }
        for (index, path) in loaded.paths.iter().enumerate() {
            let sides = loaded.sides[index];
            let on_picture = found
                .iter()
                .filter_map(|(source, maps)| Some((*source, maps.on_picture(index, sides)?)));
            let on_picture: Vec<_> = on_picture.collect();
            if let Some(mask) = test.add_maps(path, &on_picture)? {
                display.say(&format!(
                    "left out {}: {}",
                    mask.path.display(),
                    mask.reason
                ));
            }
        }
    }
    Ok(test.finish()?.pixels)
}

/// The pictures of the folder that the run tests on, of which `data.limit` may have left out some.
fn tested(
    folder: &Path,
    prepared: &Prepared,
    table: &ScoreTable,
) -> Result<Vec<MvtecTest>, RunError> {
    let Layout::Mvtec { test, .. } = layout(folder)? else {
        return Ok(Vec::new());
    };
    let parts = ["test-normal", "test-anomalous"].map(|name| table.part(name));
    let indices = parts.into_iter().flatten().flat_map(|part| &part.indices);
    let files = prepared.files.as_deref().unwrap_or_default();
    let names: HashSet<&str> = indices
        .filter_map(|&index| files.get(index).map(String::as_str))
        .collect();
    let tests = test.into_iter();
    Ok(tests
        .filter(|test| names.contains(below(folder, &test.path).as_str()))
        .collect())
}
