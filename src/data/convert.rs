//! How images are brought to the size and channels of an experiment: explicit, and recorded.

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Luma};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{DataError, Images};

/// How an image of another size is made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Zeros around the centred image; an odd pixel goes to the bottom and to the right.
    Pad,
    /// Bilinear interpolation, averaging over the source pixels when shrinking; a rectangle is
    /// stretched to the square.
    Resize,
}

/// What every image of an experiment is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversion {
    /// 1 for grey or 3 for RGB. RGB becomes grey by the Rec. 601 luma; grey is repeated to RGB.
    pub channels: usize,
    /// Height and width in pixels, 32 or 64.
    pub size: usize,
    /// How an image of another size is made to fit.
    pub fit: Fit,
}

impl Conversion {
    /// Converts `images` `[len, c, h, w]` to `[len, channels, size, size]`.
    ///
    /// Images that already have that shape are handed back unchanged.
    ///
    /// # Errors
    /// [`DataError::Format`] when `channels` or `size` is not one of the values above, when the
    /// images have neither 1 nor 3 channels, or when they are too large to be padded.
    pub fn apply(&self, images: Images) -> Result<Images, DataError> {
        let from = images.shape();
        self.check(from)?;
        if from == self.shape() {
            return Ok(images);
        }
        let mut pixels = vec![0; images.len() * self.shape().iter().product::<usize>()];
        pixels
            .par_chunks_exact_mut(self.shape().iter().product())
            .zip(images.as_bytes().par_chunks_exact(from.iter().product()))
            .for_each(|(to, image)| self.convert(image, from, to));
        Images::new(self.shape(), pixels)
    }

    /// One line for the record, such as `28x28 grey, zero-padded to 32x32`.
    ///
    /// `from` is `[channels, height, width]` of the images before the conversion.
    pub fn describe(&self, from: [usize; 3]) -> String {
        let [channels, height, width] = from;
        let colour = if channels == 1 { "grey" } else { "RGB" };
        let mut text = format!("{height}x{width} {colour}");
        if channels > self.channels {
            text += ", to grey by Rec. 601 luma";
        }
        if [height, width] != [self.size; 2] {
            let how = match self.fit {
                Fit::Pad => "zero-padded",
                Fit::Resize => "resized bilinearly",
            };
            text += &format!(", {how} to {0}x{0}", self.size);
        }
        if channels < self.channels {
            text += ", repeated to RGB";
        }
        text
    }

    fn shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    fn check(&self, [channels, height, width]: [usize; 3]) -> Result<(), DataError> {
        let wrong = |reason| Err(DataError::format("conversion", reason));
        if !matches!(self.channels, 1 | 3) {
            return wrong(format!("channels = {}, expected 1 or 3", self.channels));
        }
        if !matches!(self.size, 32 | 64) {
            return wrong(format!("size = {}, expected 32 or 64", self.size));
        }
        if !matches!(channels, 1 | 3) {
            return wrong(format!(
                "the images have {channels} channels, expected 1 (grey) or 3 (RGB)"
            ));
        }
        if self.fit == Fit::Pad && height.max(width) > self.size {
            return wrong(format!(
                "{height}x{width} images cannot be padded to {0}x{0}: set fit = \"resize\" or a larger size",
                self.size
            ));
        }
        Ok(())
    }

    /// One image: to grey first, which spares work, and to RGB last.
    fn convert(&self, image: &[u8], [channels, height, width]: [usize; 3], to: &mut [u8]) {
        let luma;
        let planes = if channels > self.channels {
            luma = rec601(image);
            &luma[..]
        } else {
            image
        };
        let area = self.size * self.size;
        for (to, plane) in to
            .chunks_exact_mut(area)
            .zip(planes.chunks_exact(height * width))
        {
            match self.fit {
                _ if [height, width] == [self.size; 2] => to.copy_from_slice(plane),
                Fit::Pad => pad(plane, [height, width], self.size, to),
                Fit::Resize => stretch(plane, [height, width], self.size, to),
            }
        }
        if channels < self.channels {
            to.copy_within(..area, area);
            to.copy_within(..area, 2 * area);
        }
    }
}

/// Luma of ITU-R BT.601, `0.299 R + 0.587 G + 0.114 B`, rounded, from three planes.
fn rec601(image: &[u8]) -> Vec<u8> {
    let (red, rest) = image.split_at(image.len() / 3);
    let (green, blue) = rest.split_at(rest.len() / 2);
    red.iter()
        .zip(green)
        .zip(blue)
        .map(|((&r, &g), &b)| {
            ((299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) + 500) / 1000) as u8
        })
        .collect()
}

/// Copies `plane` to the centre of `to`, which is zero and `size` x `size`.
fn pad(plane: &[u8], [height, width]: [usize; 2], size: usize, to: &mut [u8]) {
    let (top, left) = ((size - height) / 2, (size - width) / 2);
    for (row, line) in plane.chunks_exact(width).enumerate() {
        let start = (top + row) * size + left;
        to[start..start + width].copy_from_slice(line);
    }
}

/// Resizes `plane` into `to`, which is `size` x `size`. The filter treats channels apart, so a
/// plane at a time gives what a whole RGB image would.
fn stretch(plane: &[u8], [height, width]: [usize; 2], size: usize, to: &mut [u8]) {
    let source = ImageBuffer::<Luma<u8>, _>::from_raw(width as u32, height as u32, plane);
    if let Some(source) = source {
        let resized = resize(&source, size as u32, size as u32, FilterType::Triangle);
        to.copy_from_slice(resized.as_raw());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn to(channels: usize, size: usize, fit: Fit) -> Conversion {
        Conversion {
            channels,
            size,
            fit,
        }
    }

    fn ramp(shape: [usize; 3], len: usize) -> Images {
        let bytes = len * shape.iter().product::<usize>();
        Images::new(shape, (0..bytes).map(|i| (i % 256) as u8).collect()).unwrap()
    }

    #[test]
    fn same_shape_is_unchanged() {
        let images = ramp([3, 32, 32], 2);
        for fit in [Fit::Pad, Fit::Resize] {
            assert_eq!(to(3, 32, fit).apply(images.clone()).unwrap(), images);
        }
    }

    #[test]
    fn padding_is_centred_with_the_odd_pixel_last() {
        let images = Images::new([1, 27, 28], vec![7; 2 * 27 * 28]).unwrap();
        let padded = to(1, 32, Fit::Pad).apply(images.clone()).unwrap();
        assert_eq!(padded.shape(), [1, 32, 32]);
        assert_eq!(padded.len(), 2);
        let inside = |r: usize, c: usize| (2..29).contains(&r) && (2..30).contains(&c);
        for (at, &pixel) in padded.get(1).iter().enumerate() {
            assert_eq!(pixel, if inside(at / 32, at % 32) { 7 } else { 0 });
        }
    }

    #[test]
    fn resizing_keeps_flat_images_flat_and_ramps_rising() {
        let flat = Images::new([3, 28, 20], vec![90; 3 * 28 * 20]).unwrap();
        let resized = to(3, 64, Fit::Resize).apply(flat).unwrap();
        assert!(resized.as_bytes().iter().all(|&pixel| pixel == 90));

        let rising: Vec<u8> = (0..64 * 64).map(|i| (i % 64 * 4) as u8).collect();
        let rising = Images::new([1, 64, 64], rising).unwrap();
        let half = to(1, 32, Fit::Resize).apply(rising).unwrap();
        assert!(half.get(0)[..32].is_sorted());
        assert!(half.get(0)[16].abs_diff(130) <= 1);
    }

    #[test]
    fn luma_and_repetition() {
        let mut bytes = vec![0; 3 * 1024];
        bytes[0] = 255; // red at pixel 0, green at 1, blue at 2, white at 3
        bytes[1024 + 1] = 255;
        bytes[2048 + 2] = 255;
        for plane in 0..3 {
            bytes[1024 * plane + 3] = 255;
        }
        let rgb = Images::new([3, 32, 32], bytes).unwrap();
        let grey = to(1, 32, Fit::Pad).apply(rgb).unwrap();
        assert_eq!(grey.get(0)[..5], [76, 150, 29, 255, 0]);

        let small = ramp([1, 28, 28], 3);
        let padded = to(1, 32, Fit::Pad).apply(small.clone()).unwrap();
        let repeated = to(3, 32, Fit::Pad).apply(small).unwrap();
        for plane in repeated.get(2).chunks_exact(1024) {
            assert_eq!(plane, padded.get(2));
        }
    }

    #[test]
    fn says_what_it_cannot_do() {
        let error = |conversion: Conversion, shape| {
            let images = ramp(shape, 1);
            conversion.apply(images.clone()).unwrap_err().to_string()
        };
        assert!(error(to(1, 32, Fit::Pad), [1, 33, 20]).contains("cannot be padded"));
        assert!(error(to(2, 32, Fit::Pad), [1, 28, 28]).contains("channels = 2"));
        assert!(error(to(1, 0, Fit::Resize), [1, 28, 28]).contains("size = 0"));
        assert!(error(to(1, 32, Fit::Resize), [4, 28, 28]).contains("4 channels"));
    }

    #[test]
    fn describes_itself() {
        let pad = to(1, 32, Fit::Pad);
        assert_eq!(
            pad.describe([1, 28, 28]),
            "28x28 grey, zero-padded to 32x32"
        );
        assert_eq!(
            pad.describe([3, 32, 32]),
            "32x32 RGB, to grey by Rec. 601 luma"
        );
        assert_eq!(
            to(3, 64, Fit::Resize).describe([1, 28, 28]),
            "28x28 grey, resized bilinearly to 64x64, repeated to RGB"
        );
        assert_eq!(to(3, 32, Fit::Pad).describe([3, 32, 32]), "32x32 RGB");
    }

    #[test]
    fn refuses_unknown_keys() {
        let good = r#"{"channels":1,"size":32,"fit":"pad"}"#;
        let parsed: Conversion = serde_json::from_str(good).unwrap();
        assert_eq!(parsed, to(1, 32, Fit::Pad));
        let bad = r#"{"channels":1,"size":32,"fit":"pad","crop":1}"#;
        assert!(serde_json::from_str::<Conversion>(bad).is_err());
    }
}
