//! One image file: decoded, upright, and with 8 bits for each of one or three channels.

mod container;
mod decode;
mod samples;
#[cfg(test)]
mod test_files;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use image::DynamicImage;

pub use self::decode::silence_decoders;
use self::decode::{MAX_MEMORY, decode, sides};
use self::samples::planes;
use super::{DataError, Images};

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
    /// Decodes a PNG, JPEG, TIFF, BMP or WebP file, whatever its name: the contents say which it is.
    ///
    /// - 16-bit and floating-point values are rounded to 8 bits.
    /// - Grey stays grey; palettes become RGB (a TIFF file with one is refused).
    /// - Transparency is composited over black: the colour below a transparent pixel is whatever
    ///   the program that wrote the file left there, and must not count.
    /// - The picture is turned upright as its EXIF orientation says.
    ///
    /// # Errors
    /// [`DataError::Io`] when the file cannot be read; [`DataError::Empty`] when it has no byte;
    /// [`DataError::TooLarge`] when, before anything is decoded, it turns out to have a side above
    /// 16,384 pixels, more than 100 megapixels or more than 1 GiB; [`DataError::Format`] when it is
    /// another kind of file (a camera's raw file too), truncated or damaged, holds several pictures (pages of TIFF but for
    /// thumbnails, animations), or has floating-point values beyond 0 to 1.
    pub fn decode(path: &Path) -> Result<Self, DataError> {
        Self::from_image(&decode(&read(path)?, path)?)
    }

    /// `[height, width]` of the upright picture in a file, of which no pixel is decoded.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn sides(path: &Path) -> Result<[usize; 2], DataError> {
        let sides = sides(&read(path)?, path)?;
        Ok(sides.map(|side| side as usize))
    }

    /// Decodes the contents of a file, as [`decode`](Self::decode) does; `name` is for errors.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), but for [`DataError::Io`].
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, DataError> {
        Self::from_image(&decode(bytes, Path::new(name))?)
    }

    /// Takes over an image that is decoded already. Its values are treated as those of a file, see
    /// [`decode`](Self::decode); floating-point values beyond 0 to 1 become black or white.
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
        self.image.get(0)
    }

    /// A set of this one image, `[1, channels, height, width]`.
    pub fn to_images(&self) -> Images {
        self.image.clone()
    }

    /// As [`to_images`](Self::to_images), without a copy.
    pub fn into_images(self) -> Images {
        self.image
    }
}

/// The bytes of a file, unless they are too many for a picture.
fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(|error| match path.is_symlink() {
        true if !path.exists() => DataError::format(path, "a link to a file that is not there"),
        _ => DataError::io(path)(error),
    })?;
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
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::test_files::{encode, error, halves, noise, picture};
    use super::*;
    use image::ImageFormat;

    #[test]
    fn lossless_formats_agree_and_the_name_does_not_matter() {
        let expected = Picture::from_image(&noise()).unwrap();
        assert_eq!(
            [expected.channels(), expected.height(), expected.width()],
            [3, 18, 24]
        );
        let folder = tempfile::tempdir().unwrap();
        for format in [
            ImageFormat::Png,
            ImageFormat::Tiff,
            ImageFormat::Bmp,
            ImageFormat::WebP,
        ] {
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
}
