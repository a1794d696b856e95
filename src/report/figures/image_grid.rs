//! Images as PNG inside the page: single ones and contact sheets, one pixel per pixel. The page
//! enlarges them with `image-rendering: pixelated`, so files stay small and pixels stay honest.

use std::io::Cursor;

use base64::Engine;
use image::{ImageFormat, Rgba, RgbaImage};

use crate::data::Images;
use crate::report::ReportError;

/// A picture ready for an `<img>`.
pub(in crate::report) struct Picture {
    /// `data:image/png;base64,...`.
    pub uri: String,
    /// Pixels across, for the page to choose an enlargement.
    pub width: u32,
}

/// Image `index` alone.
///
/// # Errors
/// [`ReportError::Picture`] when it cannot be encoded.
pub(in crate::report) fn single(images: &Images, index: usize) -> Result<Picture, ReportError> {
    let [_, height, width] = images.shape();
    let mut canvas = RgbaImage::new(width as u32, height as u32);
    paste(&mut canvas, images, index, (0, 0));
    encode(&canvas)
}

/// All of `sets` (same shape and length), in blocks of rows: up to `columns` images of the first set,
/// below them the same images of the second, and so on; a wider gap parts the blocks.
///
/// # Errors
/// [`ReportError::Mismatch`] when the sets differ in shape or length, [`ReportError::Picture`] when
/// the sheet cannot be encoded.
pub(in crate::report) fn sheet(
    title: &str,
    sets: &[&Images],
    columns: usize,
) -> Result<Option<Picture>, ReportError> {
    let Some(first) = sets.first().filter(|first| !first.is_empty()) else {
        return Ok(None);
    };
    let describe = |images: &Images| {
        let [channels, height, width] = images.shape();
        format!("{} images of {channels}x{height}x{width}", images.len())
    };
    let differs = |other: &&&Images| other.shape() != first.shape() || other.len() != first.len();
    if let Some(other) = sets.iter().find(differs) {
        return Err(ReportError::Mismatch {
            title: title.to_owned(),
            left: describe(first),
            right: describe(other),
        });
    }
    let [_, height, width] = first.shape();
    let columns = columns.clamp(1, first.len());
    let blocks = first.len().div_ceil(columns);
    let gap = (width / 16).max(1);
    let block_gap = if sets.len() > 1 { 3 * gap } else { gap };
    let block_height = sets.len() * (height + gap) - gap;
    let mut canvas = RgbaImage::from_pixel(
        (columns * (width + gap) - gap) as u32,
        (blocks * (block_height + block_gap) - block_gap) as u32,
        // Transparent, so that gaps have the colour of the page.
        Rgba([255, 255, 255, 0]),
    );
    for (set, images) in sets.iter().enumerate() {
        for index in 0..images.len() {
            let x = (index % columns) * (width + gap);
            let y = (index / columns) * (block_height + block_gap) + set * (height + gap);
            paste(&mut canvas, images, index, (x, y));
        }
    }
    encode(&canvas).map(Some)
}

/// Copies one image; one channel is grey, of several the first three are red, green and blue.
fn paste(canvas: &mut RgbaImage, images: &Images, index: usize, (left, top): (usize, usize)) {
    let [channels, height, width] = images.shape();
    let bytes = images.get(index);
    let plane = height * width;
    for y in 0..height {
        for x in 0..width {
            let at = |channel: usize| bytes[channel * plane + y * width + x];
            let pixel = if channels < 3 {
                [at(0), at(0), at(0), 255]
            } else {
                [at(0), at(1), at(2), 255]
            };
            canvas.put_pixel((left + x) as u32, (top + y) as u32, Rgba(pixel));
        }
    }
}

fn encode(canvas: &RgbaImage) -> Result<Picture, ReportError> {
    let mut png = Cursor::new(Vec::new());
    canvas.write_to(&mut png, ImageFormat::Png)?;
    let base64 = base64::engine::general_purpose::STANDARD.encode(png.into_inner());
    Ok(Picture {
        uri: format!("data:image/png;base64,{base64}"),
        width: canvas.width(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(picture: &Picture) -> RgbaImage {
        let base64 = picture.uri.strip_prefix("data:image/png;base64,").unwrap();
        let png = base64::engine::general_purpose::STANDARD
            .decode(base64)
            .unwrap();
        image::load_from_memory(&png).unwrap().to_rgba8()
    }

    #[test]
    fn planes_become_pixels() {
        let colour = Images::new([3, 1, 2], vec![1, 2, 3, 4, 5, 6]).unwrap();
        let pixels = decode(&single(&colour, 0).unwrap());
        assert_eq!(
            (pixels[(0, 0)].0, pixels[(1, 0)].0),
            ([1, 3, 5, 255], [2, 4, 6, 255])
        );
        let grey = Images::new([1, 1, 1], vec![9, 7]).unwrap();
        assert_eq!(decode(&single(&grey, 1).unwrap())[(0, 0)].0, [7, 7, 7, 255]);
    }

    #[test]
    fn sheets_put_sets_below_each_other() {
        let top = Images::new([1, 2, 2], vec![10; 12]).unwrap();
        let bottom = Images::new([1, 2, 2], vec![20; 12]).unwrap();
        let picture = sheet("t", &[&top, &bottom], 2).unwrap().unwrap();
        let pixels = decode(&picture);
        // Two columns of 2 with a gap of 1; two blocks of 2 + 1 + 2 with a gap of 3.
        assert_eq!(pixels.dimensions(), (5, 13));
        assert_eq!(pixels[(0, 0)].0, [10, 10, 10, 255]);
        assert_eq!(pixels[(0, 3)].0, [20, 20, 20, 255]);
        assert_eq!(pixels[(0, 8)].0, [10, 10, 10, 255]);
        assert_eq!(
            pixels[(3, 8)].0[3],
            0,
            "the place of a fourth image stays empty"
        );
    }

    #[test]
    fn empty_is_nothing_and_unequal_is_an_error() {
        let empty = Images::new([1, 2, 2], vec![]).unwrap();
        assert!(sheet("t", &[&empty], 4).unwrap().is_none());
        let one = Images::new([1, 2, 2], vec![0; 4]).unwrap();
        let two = Images::new([1, 2, 2], vec![0; 8]).unwrap();
        let error = sheet("digits", &[&one, &two], 4).err().unwrap();
        assert!(error.to_string().contains("1 images of 1x2x2"), "{error}");
    }
}
