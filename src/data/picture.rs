//! One image file: decoded, upright, and with 8 bits for each of one or three channels.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::catch_unwind;
use std::path::Path;

use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::{DataError, Images};

/// Longest side of an image, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most pixels of an image. With the 8 bytes of 16-bit RGBA each, they stay below [`MAX_MEMORY`].
const MAX_PIXELS: u64 = 100_000_000;
/// Most bytes that a file may have, and that its decoder may take in one piece.
const MAX_MEMORY: u64 = 1 << 30;

/// For errors about files of another format.
const READ: &str = "PNG, JPEG, BMP and WebP are read";

/// A decoded image of any size.
///
/// # Shape
/// `[channels, height, width]`, planar, 0..=255, with 1 (grey) or 3 (RGB) channels. No side is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Exactly one.
    image: Images,
}

impl Picture {
    /// Decodes a PNG, JPEG, BMP or WebP file, whatever its name: the contents say which it is.
    ///
    /// - 16-bit and floating-point values are rounded to 8 bits.
    /// - Grey stays grey; palettes become RGB.
    /// - Transparency is composited over black: the colour below a transparent pixel is whatever
    ///   the program that wrote the file left there, and must not count.
    /// - The picture is turned upright as its EXIF orientation says.
    /// - Of an animation, the first picture is taken.
    ///
    /// # Errors
    /// [`DataError::Io`] when the file cannot be read; [`DataError::Empty`] when it has no byte;
    /// [`DataError::TooLarge`] when, before anything is decoded, it turns out to have a side above
    /// 16,384 pixels, more than 100 megapixels or more than 1 GiB; [`DataError::Format`] when it is
    /// another kind of file, truncated or damaged.
    pub fn decode(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        let length = file.metadata().map_err(DataError::io(path))?.len();
        let mut bytes = Vec::new();
        if length <= MAX_MEMORY {
            bytes.reserve(length as usize);
            // What is no plain file may have more bytes than it says.
            file.take(MAX_MEMORY + 1)
                .read_to_end(&mut bytes)
                .map_err(DataError::io(path))?;
        }
        if length.max(bytes.len() as u64) > MAX_MEMORY {
            return Err(DataError::too_large(
                path,
                "a file of more than 1 GiB, which no image of the permitted size needs",
            ));
        }
        Self::read(&bytes, path)
    }

    /// Decodes the contents of a file, as [`decode`](Self::decode) does; `name` is for errors.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), but for [`DataError::Io`].
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, DataError> {
        Self::read(bytes, Path::new(name))
    }

    /// Takes over an image that is decoded already. Its values are treated as those of a file, see
    /// [`decode`](Self::decode).
    ///
    /// # Errors
    /// [`DataError::Shape`] when it has no pixel.
    pub fn from_image(image: &DynamicImage) -> Result<Self, DataError> {
        let (channels, pixels) = match image {
            DynamicImage::ImageLuma8(image) => planes(image.as_raw(), 1),
            DynamicImage::ImageLumaA8(image) => planes(image.as_raw(), 2),
            DynamicImage::ImageRgb8(image) => planes(image.as_raw(), 3),
            DynamicImage::ImageRgba8(image) => planes(image.as_raw(), 4),
            DynamicImage::ImageLuma16(image) => planes(image.as_raw(), 1),
            DynamicImage::ImageLumaA16(image) => planes(image.as_raw(), 2),
            DynamicImage::ImageRgb16(image) => planes(image.as_raw(), 3),
            DynamicImage::ImageRgba16(image) => planes(image.as_raw(), 4),
            DynamicImage::ImageRgb32F(image) => planes(image.as_raw(), 3),
            DynamicImage::ImageRgba32F(image) => planes(image.as_raw(), 4),
            other => planes(other.to_rgba8().as_raw(), 4),
        };
        let shape = [channels, image.height() as usize, image.width() as usize];
        Ok(Self {
            image: Images::new(shape, pixels)?,
        })
    }

    /// 1 for grey, 3 for RGB.
    pub fn channels(&self) -> usize {
        self.image.shape()[0]
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.image.shape()[1]
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.image.shape()[2]
    }

    /// All bytes, `[channels, height, width]`.
    pub fn pixels(&self) -> &[u8] {
        self.image.as_bytes()
    }

    /// A set of this one image, `[1, channels, height, width]`.
    pub fn to_images(&self) -> Images {
        self.image.clone()
    }

    /// As [`to_images`](Self::to_images), without a copy.
    pub fn into_images(self) -> Images {
        self.image
    }

    fn read(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        if bytes.is_empty() {
            return Err(DataError::Empty { path: path.into() });
        }
        let format = match image::guess_format(bytes) {
            Ok(
                format @ (ImageFormat::Png
                | ImageFormat::Jpeg
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
        let image = catch_unwind(|| decode(bytes, format, path))
            .unwrap_or_else(|_| Err(damaged(path, "its decoder gave up")))?;
        Self::from_image(&image)
    }
}

/// The upright image in a file of a known format.
fn decode(bytes: &[u8], format: ImageFormat, path: &Path) -> Result<DynamicImage, DataError> {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader
        .into_decoder()
        .map_err(|error| explain(path, &error))?;

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
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| explain(path, &error))?;
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(image)
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

/// Whether the end marker follows the first scan of a JPEG file.
///
/// Thumbnails have end markers of their own, so that the segments before the scan are passed over;
/// in a scan, the two bytes of the marker mean nothing else.
fn jpeg_ends(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4)
        && marker != START_OF_SCAN
    {
        // Any number of 0xff may stand before a marker.
        at += match marker {
            0xff => 1,
            _ => 2 + usize::from(u16::from_be_bytes([high, low])),
        };
    }
    let rest = bytes.get(at..).unwrap_or_default();
    // From the back, where it usually is.
    rest.windows(2)
        .rev()
        .any(|pair| pair == [0xff, END_OF_IMAGE])
}

/// Name and data of every chunk of a WebP file; none when the file ends before they do.
fn webp_chunks(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let length = |at: usize| {
        let length = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(length) as usize)
    };
    let end = 8 + length(4)?;
    // The padding of the last chunk to an even length may be missing.
    if end > bytes.len() + 1 {
        return None;
    }
    let mut chunks = Vec::new();
    let mut at = 12;
    while at + 8 <= end {
        let data = bytes.get(at + 8..at + 8 + length(at + 4)?)?;
        chunks.push((&bytes[at..at + 4], data));
        at += 8 + data.len().next_multiple_of(2);
    }
    Some(chunks)
}

/// The orientation in the EXIF chunk, where there is one.
fn webp_orientation(chunks: &[(&[u8], &[u8])]) -> Option<Orientation> {
    let &(_, exif) = chunks.iter().find(|(name, _)| *name == b"EXIF")?;
    // Some programs write the prefix that belongs in JPEG files.
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
}

/// Number of colour channels, and their planes one after the other, of pixels with `stored` samples
/// each, the last of two or four being the opacity.
fn planes<T: Sample>(samples: &[T], stored: usize) -> (usize, Vec<u8>) {
    let opaque = stored % 2 == 1;
    let channels = if opaque { stored } else { stored - 1 };
    let mut planes = Vec::with_capacity(samples.len() / stored * channels);
    for channel in 0..channels {
        let pixels = samples.chunks_exact(stored);
        planes.extend(pixels.map(|pixel| {
            if opaque {
                pixel[channel].to_byte()
            } else {
                pixel[channel].over_black(pixel[channels]).to_byte()
            }
        }));
    }
    (channels, planes)
}

/// What decoders give a channel's value as.
trait Sample: Copy {
    /// The nearest of 256 levels.
    fn to_byte(self) -> u8;

    /// This value at the given opacity before a black ground.
    fn over_black(self, opacity: Self) -> Self;
}

impl Sample for u8 {
    fn to_byte(self) -> u8 {
        self
    }

    fn over_black(self, opacity: Self) -> Self {
        ((u32::from(self) * u32::from(opacity) + 127) / 255) as u8
    }
}

impl Sample for u16 {
    fn to_byte(self) -> u8 {
        ((u32::from(self) + 128) / 257) as u8
    }

    fn over_black(self, opacity: Self) -> Self {
        ((u32::from(self) * u32::from(opacity) + 32_767) / 65_535) as u16
    }
}

impl Sample for f32 {
    fn to_byte(self) -> u8 {
        (self.clamp(0.0, 1.0) * 255.0).round() as u8
    }

    fn over_black(self, opacity: Self) -> Self {
        self * opacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, Crc, write::ZlibEncoder};
    use image::codecs::webp::WebPEncoder;
    use image::{
        GrayAlphaImage, GrayImage, ImageBuffer, ImageEncoder, Luma, Rgb32FImage, RgbImage, Rgba,
        RgbaImage,
    };
    use std::io::Write;

    /// EXIF, little-endian, with one entry: orientation 6, turn by 90 degrees clockwise.
    const TURNED: [u8; 26] = [
        b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
    ];

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// An RGB image without any regularity, 24 wide and 18 high.
    fn noise() -> DynamicImage {
        let bytes = (0..24 * 18 * 3).map(|i: usize| (i * i * 7919 % 251) as u8);
        RgbImage::from_raw(24, 18, bytes.collect()).unwrap().into()
    }

    /// 16 wide and 8 high, the left half black, the right half white.
    fn halves() -> DynamicImage {
        GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }])).into()
    }

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(data);
        let length = (data.len() as u32).to_be_bytes();
        [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
    }

    /// An 8-bit PNG with the given claims and rows, which need not fit each other.
    fn png(sides: [u32; 2], colour: u8, palette: &[u8], rows: &[u8]) -> Vec<u8> {
        let [width, height] = sides.map(u32::to_be_bytes);
        let header = [&width[..], &height, &[8, colour, 0, 0, 0]].concat();
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(rows).unwrap();
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.extend(chunk(b"IHDR", &header));
        if !palette.is_empty() {
            bytes.extend(chunk(b"PLTE", palette));
        }
        bytes.extend(chunk(b"IDAT", &encoder.finish().unwrap()));
        bytes.extend(chunk(b"IEND", &[]));
        bytes
    }

    fn picture(bytes: &[u8]) -> Picture {
        Picture::from_bytes(bytes, "a file").unwrap()
    }

    fn error(bytes: &[u8]) -> DataError {
        Picture::from_bytes(bytes, "a file").unwrap_err()
    }

    #[test]
    fn lossless_formats_agree_and_the_name_does_not_matter() {
        let expected = Picture::from_image(&noise()).unwrap();
        assert_eq!(
            [expected.channels(), expected.height(), expected.width()],
            [3, 18, 24]
        );
        let folder = tempfile::tempdir().unwrap();
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            let bytes = encode(&noise(), format);
            assert_eq!(picture(&bytes), expected, "{format:?}");
            let path = folder.path().join("photo.jpg");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Picture::decode(&path).unwrap(), expected, "{format:?}");
        }
        let images = expected.to_images();
        assert_eq!((images.len(), images.shape()), (1, [3, 18, 24]));
        // Planar: the second byte is the red of the second pixel.
        let rgb = noise().to_rgb8();
        assert_eq!(images.get(0)[1], rgb.get_pixel(1, 0).0[0]);
        assert_eq!(images.get(0)[18 * 24], rgb.get_pixel(0, 0).0[1]);
        assert_eq!(expected.into_images(), images);
    }

    #[test]
    fn jpeg_is_read() {
        let picture = picture(&encode(&halves(), ImageFormat::Jpeg));
        assert_eq!(picture.to_images().shape(), [1, 8, 16]);
        assert!(picture.pixels()[0] < 10 && picture.pixels()[15] > 245);
    }

    #[test]
    fn deep_values_are_rounded() {
        let values: Vec<u16> = vec![0, 128, 129, 32_896, 65_535];
        let deep = ImageBuffer::<Luma<u16>, _>::from_raw(5, 1, values).unwrap();
        let picture = picture(&encode(&DynamicImage::from(deep), ImageFormat::Png));
        assert_eq!(picture.to_images().shape(), [1, 1, 5]);
        assert_eq!(picture.pixels(), [0, 0, 1, 128, 255]);

        let floats = Rgb32FImage::from_raw(2, 1, vec![0.5, 2.0, -1.0, 1.0, f32::NAN, 0.0]);
        let picture = Picture::from_image(&DynamicImage::from(floats.unwrap())).unwrap();
        assert_eq!(picture.pixels(), [128, 255, 255, 0, 0, 0]);
    }

    #[test]
    fn what_is_transparent_is_black() {
        let grey = GrayAlphaImage::from_raw(3, 1, vec![200, 255, 200, 0, 200, 128]).unwrap();
        let grey = picture(&encode(&DynamicImage::from(grey), ImageFormat::Png));
        assert_eq!(grey.channels(), 1);
        assert_eq!(grey.pixels(), [200, 0, 100]);

        let rgba = RgbaImage::from_raw(2, 1, vec![1, 2, 3, 255, 4, 5, 6, 0]).unwrap();
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            let rgba = picture(&encode(&DynamicImage::from(rgba.clone()), format));
            assert_eq!(rgba.pixels(), [1, 0, 2, 0, 3, 0], "{format:?}");
        }

        let values: Vec<u16> = vec![65_535, 32_896, 0, 32_896];
        let deep = ImageBuffer::<Rgba<u16>, _>::from_raw(1, 1, values).unwrap();
        let deep = picture(&encode(&DynamicImage::from(deep), ImageFormat::Png));
        assert_eq!(deep.pixels(), [128, 64, 0]);
    }

    #[test]
    fn a_palette_becomes_rgb() {
        let palette = [255, 0, 0, 0, 0, 255];
        let picture = picture(&png([2, 1], 3, &palette, &[0, 1, 0]));
        assert_eq!(picture.to_images().shape(), [3, 1, 2]);
        assert_eq!(picture.pixels(), [0, 255, 0, 0, 255, 0]);
    }

    #[test]
    fn exif_turns_the_picture() {
        let mut jpeg = encode(&halves(), ImageFormat::Jpeg);
        let segment = [&[0xff, 0xe1, 0, 34][..], b"Exif\0\0", &TURNED].concat();
        jpeg.splice(2..2, segment);

        let mut webp = Vec::new();
        let mut encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
        halves().write_with_encoder(encoder).unwrap();

        for (bytes, channels) in [(jpeg, 1), (webp, 3)] {
            let turned = picture(&bytes);
            assert_eq!(turned.to_images().shape(), [channels, 16, 8]);
            // The left half is above now.
            let (above, below) = turned.pixels()[..128].split_at(64);
            assert!(above.iter().all(|&pixel| pixel < 10));
            assert!(below.iter().all(|&pixel| pixel > 245));
        }
    }

    #[test]
    fn an_empty_file_is_an_error_of_its_own() {
        assert!(matches!(error(&[]), DataError::Empty { .. }));
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Picture::decode(file.path()).unwrap_err();
        assert!(matches!(error, DataError::Empty { .. }));
        assert!(error.to_string().contains("0 bytes"), "{error}");

        let missing = Picture::decode(Path::new("no/such/file.png")).unwrap_err();
        assert!(matches!(missing, DataError::Io { .. }));
        let none = Picture::from_image(&DynamicImage::new_rgb8(0, 3)).unwrap_err();
        assert!(matches!(none, DataError::Shape { .. }));
    }

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
    fn half_a_file_is_an_error() {
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Bmp,
            ImageFormat::WebP,
        ] {
            let bytes = encode(&noise(), format);
            for length in [20, bytes.len() / 2, bytes.len() * 3 / 4] {
                let error = error(&bytes[..length]).to_string();
                assert!(
                    error.contains("truncated or damaged"),
                    "{format:?}: {error}"
                );
            }
        }
        // The end marker of a thumbnail does not count.
        let mut jpeg = encode(&noise(), ImageFormat::Jpeg);
        jpeg.splice(2..2, [0xff, 0xe5, 0, 6, 0xff, 0xda, 0xff, 0xd9]);
        picture(&jpeg);
        let last = jpeg.len() - 2;
        assert!(error(&jpeg[..last]).to_string().contains("ends before"));
    }

    #[test]
    fn a_webp_file_cannot_ask_for_memory() {
        let mut webp = Vec::new();
        let mut encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
        noise().write_with_encoder(encoder).unwrap();
        let exif = webp.windows(4).rposition(|name| name == b"EXIF").unwrap();
        webp[exif + 4..exif + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xf0]);
        assert!(error(&webp).to_string().contains("ends before"));
    }

    #[test]
    fn other_files_are_told_apart() {
        let error = |bytes: &[u8]| error(bytes).to_string();
        assert!(error(b"a text, not an image").contains("not an image"));
        assert!(error(b"GIF89a and so on").contains("image/gif"));
        assert!(error(b"II*\0 and so on").contains("image/tiff"));
    }
}
