//! Pictures of any size, brought to one that a page can hold.

use std::io::Cursor;

use base64::Engine;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};

use super::ReportError;

/// Longest side on the page, in pixels; smaller pictures stay as they are.
const LONGEST: u32 = 320;
/// Of JPEG, 1 to 100.
const QUALITY: u8 = 88;

/// A photograph as a JPEG in the page: `data:image/jpeg;base64,...`.
///
/// # Errors
/// [`ReportError::Picture`] when it cannot be encoded.
pub(super) fn photograph(image: &RgbImage) -> Result<String, ReportError> {
    let small = shrunk(DynamicImage::ImageRgb8(image.clone()));
    let mut jpeg = Vec::new();
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))?;
    Ok(uri("jpeg", &jpeg))
}

/// A mask as a PNG in the page, where shrinking makes grey of fine parts: `data:image/png;base64,...`.
///
/// # Errors
/// [`ReportError::Picture`] when it cannot be encoded.
pub(super) fn mask(image: &GrayImage) -> Result<String, ReportError> {
    let small = shrunk(DynamicImage::ImageLuma8(image.clone()));
    let mut png = Cursor::new(Vec::new());
    small.write_to(&mut png, ImageFormat::Png)?;
    Ok(uri("png", png.get_ref()))
}

fn shrunk(image: DynamicImage) -> DynamicImage {
    match image.width().max(image.height()) > LONGEST {
        true => image.resize(LONGEST, LONGEST, FilterType::Triangle),
        false => image,
    }
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
