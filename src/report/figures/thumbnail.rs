//! Pictures of any size, brought to one that a page can hold.

use std::io::Cursor;

use base64::Engine;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{GrayImage, ImageBuffer, ImageFormat, Pixel, RgbImage};

use crate::report::ReportError;

/// Longest side on the page, in pixels; smaller pictures stay as they are.
const LONGEST: u32 = 320;
/// Of JPEG, 1 to 100.
const QUALITY: u8 = 88;

/// A photograph as a JPEG in the page: `data:image/jpeg;base64,...`.
///
/// # Errors
/// [`ReportError::Picture`] when it cannot be encoded.
pub(in crate::report) fn photograph(image: &RgbImage) -> Result<String, ReportError> {
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    match thumbnail(image) {
        Some(small) => small.write_with_encoder(encoder)?,
        None => image.write_with_encoder(encoder)?,
    }
    Ok(uri("jpeg", &jpeg))
}

/// A mask as a PNG in the page, where shrinking makes grey of fine parts: `data:image/png;base64,...`.
///
/// # Errors
/// [`ReportError::Picture`] when it cannot be encoded.
pub(in crate::report) fn mask(image: &GrayImage) -> Result<String, ReportError> {
    let mut png = Cursor::new(Vec::new());
    match thumbnail(image) {
        Some(small) => small.write_to(&mut png, ImageFormat::Png)?,
        None => image.write_to(&mut png, ImageFormat::Png)?,
    }
    Ok(uri("png", png.get_ref()))
}

/// The picture at the size that a page shows, where it is larger.
pub fn thumbnail<P>(
    image: &ImageBuffer<P, Vec<P::Subpixel>>,
) -> Option<ImageBuffer<P, Vec<P::Subpixel>>>
where
    P: Pixel<Subpixel = u8> + 'static,
{
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    if longest <= LONGEST {
        return None;
    }
    let scaled = |side: u32| {
        let side = f64::from(side) * f64::from(LONGEST) / f64::from(longest);
        (side.round() as u32).max(1)
    };
    Some(resize(
        image,
        scaled(width),
        scaled(height),
        FilterType::Triangle,
    ))
}

fn uri(kind: &str, bytes: &[u8]) -> String {
    let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("data:image/{kind};base64,{base64}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};

    /// Sides of the picture in a `data:` address.
    fn sides(uri: &str) -> (u32, u32) {
        let (_, base64) = uri.split_once(',').unwrap();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(base64)
            .unwrap();
        let image = image::load_from_memory(&bytes).unwrap();
        (image.width(), image.height())
    }

    #[test]
    fn large_pictures_are_shrunk_in_proportion_and_small_ones_kept() {
        let picture = RgbImage::from_pixel(1280, 640, Rgb([200, 10, 10]));
        assert_eq!(sides(&photograph(&picture).unwrap()), (320, 160));
        let marked = GrayImage::from_pixel(30, 500, Luma([255]));
        assert_eq!(sides(&mask(&marked).unwrap()), (19, 320));
        assert_eq!(sides(&mask(&GrayImage::new(9, 7)).unwrap()), (9, 7));
    }
}
