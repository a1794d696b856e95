//! From image files to the pixels that an experiment sees.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::data::{Conversion, DataError, Images, Picture};

/// By how much the proportions of a mask may differ from those of its picture: sides are rounded.
const PROPORTIONS: f64 = 0.02;

/// What [`load`] made of the files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The images that could be read, `[len, channels, height, width]`, in the order of the files.
    pub images: Images,
    /// The file of each image.
    pub paths: Vec<PathBuf>,
    /// `[height, width]` of each picture before it was converted.
    pub sides: Vec<[usize; 2]>,
    /// The files that could not be read, in their order.
    pub skipped: Vec<Skipped>,
}

/// A file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why, and what to do; without the path.
    pub reason: String,
}

/// Decodes files, on all cores, and converts each image at once, so that the originals are never in
/// memory together.
///
/// A file that cannot be read is skipped, or with `strict` an error. When none can be read, the set
/// of images is empty.
///
/// # Errors
/// [`DataError::Format`] when there is no such conversion; with `strict`, what is wrong with the
/// first file in order that cannot be read.
pub fn load(files: &[PathBuf], conversion: Conversion, strict: bool) -> Result<Loaded, DataError> {
    load_watched(files, conversion, strict, &|_| ())
}

/// [`load`], and tells `watch` after every file how many have been tried.
///
/// # Errors
/// As of [`load`].
pub fn load_watched(
    files: &[PathBuf],
    conversion: Conversion,
    strict: bool,
    watch: &(dyn Fn(usize) + Sync),
) -> Result<Loaded, DataError> {
    conversion.check_target()?;
    let shape = conversion.shape();
    let size: usize = shape.iter().product();
    let mut pixels = vec![0; files.len() * size];
    let tried = AtomicUsize::new(0);
    let outcomes: Vec<Result<[usize; 2], DataError>> = pixels
        .par_chunks_exact_mut(size)
        .zip(files.par_iter())
        .map(|(to, path)| {
            let outcome = load_one(path, conversion, to);
            watch(tried.fetch_add(1, Ordering::Relaxed) + 1);
            outcome
        })
        .collect();

    let (mut paths, mut sides) = (Vec::new(), Vec::new());
    let mut skipped = Vec::new();
    for (index, (path, outcome)) in files.iter().zip(outcomes).enumerate() {
        match outcome {
            Ok(original) => {
                // Close the gaps that skipped files leave.
                pixels.copy_within(index * size..(index + 1) * size, paths.len() * size);
                paths.push(path.clone());
                sides.push(original);
            }
            Err(error) if strict => return Err(error),
            Err(error) => skipped.push(Skipped {
                path: path.clone(),
                reason: error.reason(),
            }),
        }
    }
    pixels.truncate(paths.len() * size);
    Ok(Loaded {
        images: Images::new(shape, pixels)?,
        paths,
        sides,
        skipped,
    })
}

/// Writes the converted image to `to`; `[height, width]` before the conversion.
fn load_one(path: &Path, conversion: Conversion, to: &mut [u8]) -> Result<[usize; 2], DataError> {
    let images = Picture::decode(path)?.into_images();
    let [_, height, width] = images.shape();
    let converted = conversion
        .apply(images)
        .map_err(|error| DataError::format(path, error.reason()))?;
    to.copy_from_slice(converted.get(0));
    Ok([height, width])
}

/// Reads the mask of a picture of `sides` = `[height, width]`: where it is not black, there is the
/// defect; in a format that loses details, where it is nearer to white than to black, for its edges
/// ring. A mask of other sides and the same proportions is stretched to those; each pixel takes the value of the nearest one
/// of the file.
///
/// # Returns
/// `[height, width]`, row-major.
///
/// # Errors
/// Those of [`Picture::decode`]; [`DataError::Format`] for other proportions, and for a mask that marks nothing.
pub fn load_mask(path: &Path, sides: [usize; 2]) -> Result<Vec<bool>, DataError> {
    let picture = Picture::decode(path)?;
    let [height, width] = [picture.height(), picture.width()];
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let least = match extension.to_str() {
        Some("jpg" | "jpeg" | "webp") => 128,
        _ => 1,
    };
    let mut mask = vec![false; height * width];
    for plane in picture.pixels().chunks_exact(mask.len()) {
        for (set, &value) in mask.iter_mut().zip(plane) {
            *set |= value >= least;
        }
    }
    if !mask.contains(&true) {
        return Err(DataError::format(
            path,
            "a mask that marks nothing, of a picture among the defective ones: draw the defect, or move both",
        ));
    }
    if sides == [height, width] {
        return Ok(mask);
    }
    let [ours, theirs] = [height * sides[1], width * sides[0]];
    if ours.abs_diff(theirs) as f64 > PROPORTIONS * ours.max(theirs) as f64 {
        let [picture_height, picture_width] = sides;
        return Err(DataError::format(
            path,
            format!(
                "a mask of {width}x{height} pixels, and its picture has {picture_width}x{picture_height}: it must have the \
                 picture's proportions"
            ),
        ));
    }
    let nearest = |index: usize, to: usize, from: usize| (2 * index + 1) * from / (2 * to);
    let columns: Vec<usize> = (0..sides[1])
        .map(|column| nearest(column, sides[1], width))
        .collect();
    let rows = (0..sides[0]).map(|row| nearest(row, sides[0], height) * width);
    Ok(rows
        .flat_map(|start| columns.iter().map(move |column| start + column))
        .map(|at| mask[at])
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Framing;
    use image::{GrayImage, Luma, Rgb, RgbImage};
    use std::fs;

    const CONVERSION: Conversion = Conversion {
        channels: 1,
        height: 32,
        width: 32,
        fit: Framing::Resize,
    };

    #[test]
    fn images_keep_their_order_and_damaged_files_are_skipped_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..20)
            .map(|index: u8| folder.path().join(format!("{index}.png")))
            .collect();
        for (index, path) in paths.iter().enumerate() {
            // Of different sizes: only the conversion makes them one set.
            let value = Luma([10 * index as u8]);
            GrayImage::from_pixel(20 + index as u32, 40, value)
                .save(path)
                .unwrap();
        }
        fs::write(&paths[3], "not an image").unwrap();
        fs::write(&paths[7], []).unwrap();
        let loaded = load(&paths, CONVERSION, false).unwrap();
        assert_eq!((loaded.images.len(), loaded.paths.len()), (18, 18));
        assert_eq!(loaded.images.shape(), [1, 32, 32]);
        for (index, path) in loaded.paths.iter().enumerate() {
            let place = paths.iter().position(|known| known == path).unwrap();
            let value = 10 * place as u8;
            assert!(loaded.images.get(index).iter().all(|&p| p == value));
        }
        assert!(
            loaded
                .paths
                .is_sorted_by_key(|path| paths.iter().position(|p| p == path))
        );
        assert_eq!(loaded.skipped.len(), 2);
        assert_eq!(loaded.skipped[0].path, paths[3]);
        assert!(loaded.skipped[0].reason.starts_with("not an image"));
        assert!(loaded.skipped[1].reason.contains("empty"));

        let error = load(&paths, CONVERSION, true).unwrap_err().to_string();
        assert!(error.contains("3.png: not an image"), "{error}");
        let none = load(&paths[7..8], CONVERSION, false).unwrap();
        assert!(none.images.is_empty() && none.paths.is_empty());
        assert!(load(&[], CONVERSION, true).unwrap().images.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_skipped_but_an_impossible_conversion_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().join("a.png"), folder.path().join("b.png")];
        for (path, side) in paths.iter().zip([28, 33]) {
            RgbImage::from_pixel(side, side, Rgb([1, 2, 3]))
                .save(path)
                .unwrap();
        }
        let pad = Conversion {
            fit: Framing::Pad,
            ..CONVERSION
        };
        let loaded = load(&paths, pad, false).unwrap();
        assert_eq!(loaded.paths, paths[..1]);
        assert!(loaded.skipped[0].reason.contains("cannot be padded"));
        let error = load(&paths, pad, true).unwrap_err().to_string();
        assert!(error.contains("b.png: 33x33"), "{error}");

        let odd = Conversion {
            height: 8,
            ..CONVERSION
        };
        let error = load(&paths, odd, false).unwrap_err().to_string();
        assert!(error.contains("height = 8"), "{error}");
    }

    #[test]
    fn a_mask_is_set_where_any_channel_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        // 64 wide, 32 high: the defect is a single level of blue in columns 16 to 31.
        let blue = |x: u32, _: u32| Rgb([0, 0, u8::from((16..32).contains(&x))]);
        RgbImage::from_fn(64, 32, blue).save(&path).unwrap();
        let columns = |height: usize, width: usize| {
            let mask = load_mask(&path, [height, width]).unwrap();
            assert_eq!(mask.len(), height * width);
            let set = |column: &usize| (0..height).all(|row| mask[width * row + *column]);
            let none = |column: &usize| (0..height).all(|row| !mask[width * row + *column]);
            assert!((0..width).all(|column| set(&column) || none(&column)));
            (0..width).filter(set).collect::<Vec<usize>>()
        };
        assert_eq!(columns(32, 64), (16..32).collect::<Vec<_>>());
        assert_eq!(columns(64, 128), (32..64).collect::<Vec<_>>());
        assert_eq!(columns(4, 8), [2, 3]);
        // Of another picture, and of none.
        let error = load_mask(&path, [64, 32]).unwrap_err().to_string();
        assert!(
            error.contains("64x32 pixels, and its picture has 32x64"),
            "{error}"
        );
        RgbImage::new(64, 32).save(&path).unwrap();
        let error = load_mask(&path, [32, 64]).unwrap_err().to_string();
        assert!(error.contains("marks nothing"), "{error}");
    }

    #[test]
    fn the_ringing_edges_of_a_jpeg_are_no_defect() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |x: u32, y: u32| (5..17).contains(&x) && (9..20).contains(&y);
        let picture = image::GrayImage::from_fn(32, 24, |x, y| {
            image::Luma([if inside(x, y) { 255 } else { 0 }])
        });
        for name in ["mask.JPG", "mask.png"] {
            let path = folder.path().join(name);
            picture.save(&path).unwrap();
            let mask = load_mask(&path, [24, 32]).unwrap();
            let expected = (0..24).flat_map(|y| (0..32).map(move |x| inside(x, y)));
            assert!(mask.into_iter().eq(expected), "{name}");
        }
    }
}
