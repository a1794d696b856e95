//! How well images can be compressed without loss.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::data::Images;
use crate::report::ReportError;

/// How, in words.
pub(super) const COMPRESSOR: &str = "PNG";

/// Length of each image as a PNG file, in bits per pixel: with the strongest compression of the `image`
/// crate and the filter chosen line by line. The file's frame of about 60 bytes counts as well; it is the
/// same for all images of one size.
///
/// # Errors
/// [`ReportError::Picture`] when an image cannot be encoded.
pub(super) fn bits_per_pixel(images: &Images) -> Result<Vec<f32>, ReportError> {
    let [channels, height, width] = images.shape();
    let area = height * width;
    // Planes become pixels; what has not three channels is grey.
    let (used, colour) = match channels {
        3.. => (3, ExtendedColorType::Rgb8),
        _ => (1, ExtendedColorType::L8),
    };
    let length = |index: usize| -> Result<f32, ReportError> {
        let planes = images.get(index);
        let pixels = (0..area).flat_map(|at| (0..used).map(move |plane| planes[plane * area + at]));
        let mut file = Vec::new();
        let encoder =
            PngEncoder::new_with_quality(&mut file, CompressionType::Best, FilterType::Adaptive);
        let pixels: Vec<u8> = pixels.collect();
        encoder.write_image(&pixels, width as u32, height as u32, colour)?;
        Ok((8 * file.len()) as f32 / area as f32)
    };
    (0..images.len()).map(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_simple_is_short() {
        // Grey, a ramp, and bytes of a linear congruential generator, of which PNG can save nothing.
        let mut state = 1_u32;
        let noise = (0..1024).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let flat = std::iter::repeat_n(127, 1024);
        let ramp = (0..1024).map(|at| (at % 32) as u8);
        let pixels: Vec<u8> = flat.chain(ramp).chain(noise).collect();
        let images = Images::new([1, 32, 32], pixels).unwrap();
        let found = bits_per_pixel(&images).unwrap();
        assert!(found[0] < 1.0 && found[1] < 1.0, "{found:?}");
        assert!((8.0..9.0).contains(&found[2]), "{found:?}");
        // In colour a pixel has three numbers.
        let colour = Images::new([3, 32, 32], images.get(2).repeat(3)).unwrap();
        assert!(bits_per_pixel(&colour).unwrap()[0] > found[2]);
    }
}
