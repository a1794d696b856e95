//! From the bytes of a file to an upright image, within limits and whatever the bytes are.

use std::cell::Cell;
use std::io::Cursor;
use std::panic::{UnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;

use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::container::{holds_several, jpeg_ends, webp_chunks, webp_orientation};
use crate::data::DataError;

/// Longest side of an image, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most pixels of an image. With the 8 bytes of 16-bit RGBA each, they stay below [`MAX_MEMORY`].
const MAX_PIXELS: u64 = 100_000_000;
/// Most bytes that a file may have, and that its decoder may take in one piece.
pub(super) const MAX_MEMORY: u64 = 1 << 30;

/// Endings of the raw files of cameras: most are TIFF by their first bytes, and what can be read of them is a preview.
const RAW: [&str; 14] = [
    "3fr", "arw", "cr2", "cr3", "dng", "iiq", "kdc", "nef", "nrw", "orf", "pef", "raf", "rw2",
    "srw",
];

/// For errors about files of another format.
const READ: &str = "PNG, JPEG, TIFF, BMP and WebP are read";

/// The upright image in a file of any of the formats that are read; the contents say which.
///
/// # Errors
/// As those of [`Picture::decode`](super::Picture::decode), but for [`DataError::Io`].
pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<DynamicImage, DataError> {
    guarded(bytes, path, |format| {
        let (decoder, orientation) = opened(bytes, format, path)?;
        let image = DynamicImage::from_decoder(decoder);
        let mut image = image.map_err(|error| explain(path, &error))?;
        within_range(&image, path)?;
        image.apply_orientation(orientation);
        Ok(image)
    })
}

/// `[height, width]` of the upright image in such a file, which is not decoded for them.
///
/// # Errors
/// As [`decode`].
pub(super) fn sides(bytes: &[u8], path: &Path) -> Result<[u32; 2], DataError> {
    guarded(bytes, path, |format| {
        let (decoder, orientation) = opened(bytes, format, path)?;
        let (width, height) = decoder.dimensions();
        let lies = matches!(
            orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        Ok(if lies {
            [width, height]
        } else {
            [height, width]
        })
    })
}

/// Does `work` on a file of a format that is read, whatever its decoder does.
fn guarded<T>(
    bytes: &[u8],
    path: &Path,
    work: impl FnOnce(ImageFormat) -> Result<T, DataError> + UnwindSafe,
) -> Result<T, DataError> {
    if bytes.is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    if RAW.contains(&ending.to_lowercase().as_str()) {
        return Err(DataError::format(
            path,
            "a camera's raw file, of which only the preview could be read: save it as TIFF or PNG",
        ));
    }
    // The larger form of TIFF, which is not guessed.
    let is_big_tiff = [b"II+\0", b"MM\0+"]
        .iter()
        .any(|magic| bytes.starts_with(*magic));
    let format = match image::guess_format(bytes) {
        _ if is_big_tiff => ImageFormat::Tiff,
        Ok(
            format @ (ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::Tiff
            | ImageFormat::Bmp
            | ImageFormat::WebP),
        ) => format,
        Ok(other) => {
            let kind = other.to_mime_type();
            return Err(DataError::format(
                path,
                format!("a file of type {kind}: {READ}, save it as one of these"),
            ));
        }
        Err(_) => {
            return Err(DataError::format(
                path,
                format!("not an image by its first bytes: {READ}"),
            ));
        }
    };
    // Damaged files make some decoders panic, zune-jpeg 0.5.15 for one
    // (https://github.com/etemesi254/zune-image/issues/409), and one file of thousands must not
    // end the program. Nothing that a decoder leaves behind is used afterwards.
    DECODING.set(true);
    let outcome = catch_unwind(|| work(format));
    DECODING.set(false);
    outcome.unwrap_or_else(|_| Err(damaged(path, "its decoder gave up")))
}

thread_local! {
    /// Whether this thread is in a decoder, whose panics are caught.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Lets panics that are caught and told as a damaged file say nothing of their own, for the rest of the process: for
/// programs, which own the panic hook.
pub fn silence_decoders() {
    let others = take_hook();
    set_hook(Box::new(move |panic| {
        if !DECODING.get() {
            others(panic);
        }
    }));
}

/// A file of a known format, within the limits, and how its image is turned.
fn opened<'a>(
    bytes: &'a [u8],
    format: ImageFormat,
    path: &Path,
) -> Result<(impl ImageDecoder + 'a, Orientation), DataError> {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader
        .into_decoder()
        .map_err(|error| explain(path, &error))?;

    if holds_several(bytes, format) {
        return Err(DataError::format(
            path,
            "holds several pictures, pages or frames, of which only the first could be looked at: save each as a file",
        ));
    }
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(DataError::too_large(
            path,
            format!(
                "{width}x{height} pixels are more than the {} megapixels that one image may have: make it smaller",
                MAX_PIXELS / 1_000_000
            ),
        ));
    }
    if width == 0 || height == 0 {
        return Err(damaged(path, "it says that it has no pixel"));
    }
    // None when the file ends early: two decoders fill in what is missing, without a word.
    let orientation = match format {
        ImageFormat::Jpeg if !jpeg_ends(bytes) => None,
        // Its decoder takes as much memory for the EXIF chunk as the file asks for.
        ImageFormat::WebP => webp_chunks(bytes).map(|chunks| webp_orientation(&chunks)),
        _ => Some(decoder.orientation().ok()),
    };
    let orientation = orientation.ok_or_else(|| damaged(path, "it ends before the image does"))?;
    Ok((decoder, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Refuses floating-point values, which TIFF files have, that lie beyond black and white: they would all become white or
/// black, and how far the scale goes is nowhere said.
fn within_range(image: &DynamicImage, path: &Path) -> Result<(), DataError> {
    let values: &[f32] = match image {
        DynamicImage::ImageRgb32F(image) => image.as_raw(),
        DynamicImage::ImageRgba32F(image) => image.as_raw(),
        _ => &[],
    };
    match values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        Some(value) => Err(DataError::format(
            path,
            format!(
                "floating-point values beyond 0 to 1 ({value}), whose black and white nothing says: save it with 8 or 16 bits"
            ),
        )),
        None => Ok(()),
    }
}

fn damaged(path: &Path, detail: impl std::fmt::Display) -> DataError {
    DataError::format(
        path,
        format!("truncated or damaged image ({detail}): copy it again"),
    )
}

fn explain(path: &Path, error: &ImageError) -> DataError {
    match error {
        ImageError::Limits(limit) if limit.kind() == LimitErrorKind::DimensionError => {
            DataError::too_large(
                path,
                format!("a side is longer than {MAX_SIDE} pixels: make it smaller"),
            )
        }
        ImageError::Limits(_) => DataError::too_large(
            path,
            "decoding it would take more than 1 GiB of memory: make it smaller",
        ),
        ImageError::Unsupported(_) => {
            DataError::format(path, format!("cannot be decoded ({error}): save it as PNG"))
        }
        _ => damaged(path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_files::{encode, error, noise, picture, png};
    use super::*;
    use image::Rgb32FImage;

    #[test]
    fn absurd_sizes_are_refused_by_the_header() {
        for (sides, reason) in [
            ([60_000, 60_000], "16384 pixels"),
            ([20_000, 1], "16384 pixels"),
            (
                [12_000, 12_000],
                "12000x12000 pixels are more than the 100 megapixels",
            ),
        ] {
            let error = error(&png(sides, 0, &[], &[0; 16]));
            assert!(matches!(error, DataError::TooLarge { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        let mut bmp = encode(&noise(), ImageFormat::Bmp);
        bmp[18..20].copy_from_slice(&[0xff, 0xff]);
        assert!(matches!(error(&bmp), DataError::TooLarge { .. }));
    }

    #[test]
    fn a_decoder_that_panics_is_a_damaged_file() {
        let path = Path::new("broken.png");
        let bytes = encode(&noise(), ImageFormat::Png);
        let outcome = guarded(&bytes, path, |_| -> Result<(), DataError> {
            panic!("a decoder's own")
        });
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("its decoder gave up"), "{error}");
        assert!(!DECODING.get());
    }

    #[test]
    fn floating_point_values_have_to_lie_between_black_and_white() {
        let of = |values: [f32; 3]| {
            let image = Rgb32FImage::from_raw(1, 1, values.to_vec()).unwrap();
            encode(&image.into(), ImageFormat::Tiff)
        };
        assert_eq!(picture(&of([0.0, 0.5, 1.0])).pixels(), [0, 128, 255]);
        for beyond in [255.0, -0.1, f32::NAN] {
            let error = error(&of([0.0, beyond, 1.0])).to_string();
            assert!(error.contains("beyond 0 to 1"), "{error}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let error = |bytes: &[u8]| error(bytes).to_string();
        assert!(error(b"a text, not an image").contains("not an image"));
        assert!(error(b"GIF89a and so on").contains("image/gif"));
        for tiff in [b"II*\0 and so on", b"II+\0 and so on"] {
            assert!(error(tiff).contains("truncated or damaged"));
        }
    }
}
