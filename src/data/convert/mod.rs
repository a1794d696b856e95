//! How images are brought to the size and channels of an experiment: explicit, and recorded.

mod framing;

pub use framing::Framing;

use std::ops::RangeInclusive;

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Luma};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use framing::Rect;

use super::{DataError, Images};

/// What every image of an experiment is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversion {
    /// 1 for grey or 3 for RGB. RGB becomes grey by the Rec. 601 luma; grey is repeated to RGB.
    pub channels: usize,
    /// Height in pixels, from 16 to 4096.
    pub height: usize,
    /// Width in pixels, from 16 to 4096.
    pub width: usize,
    /// How an image of another size is made to fit.
    pub fit: Framing,
}

impl Conversion {
    /// Sides that an image may be brought to, in pixels.
    pub const SIDES: RangeInclusive<usize> = 16..=4096;
    /// Pixels that an image may be brought to, at most: a square of 1024 and what rounding adds to a
    /// strip of its area.
    pub const MOST_PIXELS: usize = 1_100_000;

    /// Converts `images` `[len, c, h, w]` to `[len, channels, height, width]`.
    ///
    /// Images that already have that shape are handed back unchanged.
    ///
    /// # Errors
    /// [`DataError::Format`] when `channels`, `height` or `width` is not one of the values above, when the
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
            .enumerate()
            .for_each(|(index, to)| self.convert(images.get(index), from, to));
        Images::new(self.shape(), pixels)
    }

    /// True where images of these sides, `[height, width]`, are to keep their proportions, and these are others by a quarter
    /// than those of what they are brought to: much of that is repeated edges then.
    pub fn reshapes(&self, [height, width]: [usize; 2]) -> bool {
        let ratio = |height: usize, width: usize| width as f64 / height.max(1) as f64;
        let off = ratio(height, width) / ratio(self.height, self.width);
        self.fit == Framing::Keep && !(0.8..=1.25).contains(&off)
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
        if [height, width] != self.sides() {
            let how = match self.fit {
                Framing::Pad => "zero-padded",
                Framing::Resize => "resized bilinearly",
                Framing::Crop => "resized to cover and centre-cropped",
                Framing::Keep => "resized to fit, edges repeated,",
            };
            text += &format!(", {how} to {}x{}", self.height, self.width);
        }
        if channels < self.channels {
            text += ", repeated to RGB";
        }
        text
    }

    /// `[channels, height, width]` of a converted image.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// The same to other `[height, width]`.
    pub fn with_sides(self, [height, width]: [usize; 2]) -> Self {
        Self {
            height,
            width,
            ..self
        }
    }

    /// `[height, width]` of a converted image.
    pub fn sides(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Whether there is such a conversion at all, whatever the images.
    ///
    /// # Errors
    /// [`DataError::Format`] when `channels`, `height` or `width` has another value than described there, or
    /// the image has more than [`MOST_PIXELS`](Self::MOST_PIXELS).
    pub(super) fn check_target(&self) -> Result<(), DataError> {
        let wrong = |reason| Err(DataError::format("conversion", reason));
        if !matches!(self.channels, 1 | 3) {
            return wrong(format!("channels = {}, expected 1 or 3", self.channels));
        }
        for (name, side) in [("height", self.height), ("width", self.width)] {
            if !Self::SIDES.contains(&side) {
                return wrong(format!("{name} = {side}, expected 16 to 4096"));
            }
        }
        if self.height * self.width > Self::MOST_PIXELS {
            return wrong(format!(
                "{}x{} are more than {} pixels",
                self.height,
                self.width,
                Self::MOST_PIXELS
            ));
        }
        Ok(())
    }

    fn check(&self, [channels, height, width]: [usize; 3]) -> Result<(), DataError> {
        self.check_target()?;
        let wrong = |reason| Err(DataError::format("conversion", reason));
        if !matches!(channels, 1 | 3) {
            return wrong(format!(
                "the images have {channels} channels, expected 1 (grey) or 3 (RGB)"
            ));
        }
        if self.fit == Framing::Pad && (height > self.height || width > self.width) {
            return wrong(format!(
                "{height}x{width} images cannot be padded to {}x{}: set fit = \"resize\" or \"crop\", or a larger size",
                self.height, self.width
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
        let area = self.height * self.width;
        let (seen, lands) = self.fit.place([height, width], self.sides());
        for (to, plane) in to
            .chunks_exact_mut(area)
            .zip(planes.chunks_exact(height * width))
        {
            if seen.sides() == lands.sides() {
                for (from, place) in seen.rows(width).zip(lands.rows(self.width)) {
                    to[place].copy_from_slice(&plane[from]);
                }
            } else {
                let mut part = Vec::with_capacity(seen.height * seen.width);
                for row in seen.rows(width) {
                    part.extend_from_slice(&plane[row]);
                }
                let resized = stretched(&part, seen.sides(), lands.sides());
                let rows = resized.chunks_exact(lands.width);
                for (from, place) in rows.zip(lands.rows(self.width)) {
                    to[place].copy_from_slice(from);
                }
            }
            if self.fit == Framing::Keep {
                repeat_edges(to, lands, self.width);
            }
        }
        if channels < self.channels {
            to.copy_within(..area, area);
            to.copy_within(..area, 2 * area);
        }
    }
}

/// The [`luma`] of every pixel, from three planes.
fn rec601(image: &[u8]) -> Vec<u8> {
    let (red, rest) = image.split_at(image.len() / 3);
    let (green, blue) = rest.split_at(rest.len() / 2);
    let pixels = red.iter().zip(green).zip(blue);
    pixels.map(|((&r, &g), &b)| luma([r, g, b])).collect()
}

/// Luma of ITU-R BT.601, `0.299 R + 0.587 G + 0.114 B`, rounded.
pub(crate) fn luma(rgb: [u8; 3]) -> u8 {
    let [red, green, blue] = rgb.map(u32::from);
    ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
}

/// `plane` resized. The filter treats channels apart, so a plane at a time gives what a whole RGB
/// image would.
fn stretched(plane: &[u8], [height, width]: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    let source = ImageBuffer::<Luma<u8>, _>::from_raw(width as u32, height as u32, plane);
    match source {
        Some(source) => {
            resize(&source, to[1] as u32, to[0] as u32, FilterType::Triangle).into_raw()
        }
        // A plane has as many values as its sides say.
        None => vec![0; to[0] * to[1]],
    }
}

/// Fills what lies around the rectangle `inner` of a plane that is `width` wide with the rectangle's
/// nearest pixels.
fn repeat_edges(plane: &mut [u8], inner: Rect, width: usize) {
    for row in inner.rows(width) {
        let line = row.start - inner.left..row.start - inner.left + width;
        let (first, last) = (plane[row.start], plane[row.end - 1]);
        plane[line.start..row.start].fill(first);
        plane[row.end..line.end].fill(last);
    }
    let lines = plane.len() / width;
    let (first, last) = (inner.top, inner.top + inner.height - 1);
    for line in (0..first).chain(last + 1..lines) {
        let from = if line < first { first } else { last };
        plane.copy_within(from * width..(from + 1) * width, line * width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn to(channels: usize, size: usize, fit: Framing) -> Conversion {
        Conversion {
            channels,
            height: size,
            width: size,
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
        for fit in [Framing::Pad, Framing::Resize, Framing::Crop] {
            assert_eq!(to(3, 32, fit).apply(images.clone()).unwrap(), images);
        }
    }

    #[test]
    fn padding_is_centred_with_the_odd_pixel_last() {
        let images = Images::new([1, 27, 28], vec![7; 2 * 27 * 28]).unwrap();
        let padded = to(1, 32, Framing::Pad).apply(images.clone()).unwrap();
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
        let resized = to(3, 64, Framing::Resize).apply(flat).unwrap();
        assert!(resized.to_bytes().iter().all(|&pixel| pixel == 90));

        let rising: Vec<u8> = (0..64 * 64).map(|i| (i % 64 * 4) as u8).collect();
        let rising = Images::new([1, 64, 64], rising).unwrap();
        let half = to(1, 32, Framing::Resize).apply(rising).unwrap();
        assert!(half.get(0)[..32].is_sorted());
        assert!(half.get(0)[16].abs_diff(130) <= 1);
    }

    /// Columns of a 64x128 image: black, then white in the middle half, then grey.
    fn stripes() -> Vec<u8> {
        let column = |i: usize| match i % 128 {
            0..32 => 0,
            32..96 => 255,
            _ => 90,
        };
        (0..64 * 128).map(column).collect()
    }

    #[test]
    fn cropping_keeps_the_centre_in_proportion() {
        let wide = Images::new([1, 64, 128], stripes()).unwrap();
        let cropped = to(1, 64, Framing::Crop).apply(wide.clone()).unwrap();
        assert!(cropped.to_bytes().iter().all(|&pixel| pixel == 255));
        let smaller = to(1, 32, Framing::Crop).apply(wide).unwrap();
        assert!(smaller.to_bytes().iter().all(|&pixel| pixel == 255));

        // As high as it is wide, it is the whole image, resized.
        let square = ramp([3, 100, 100], 2);
        assert_eq!(
            to(3, 128, Framing::Crop).apply(square.clone()).unwrap(),
            to(3, 128, Framing::Resize).apply(square).unwrap()
        );

        // Of 35 rows, rows 1 to 32 are kept: the odd one goes from the bottom.
        let rows: Vec<u8> = (0..35 * 32).map(|i| (i / 32) as u8).collect();
        let high = Images::new([1, 35, 32], rows).unwrap();
        let cropped = to(1, 32, Framing::Crop).apply(high).unwrap();
        assert_eq!((cropped.get(0)[0], cropped.get(0)[31 * 32]), (1, 32));

        // A strip is enlarged where it is seen only.
        let strip = Images::new([1, 1, 16_384], vec![7; 16_384]).unwrap();
        let cropped = to(1, 128, Framing::Crop).apply(strip).unwrap();
        assert!(cropped.to_bytes().iter().all(|&pixel| pixel == 7));
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
        let grey = to(1, 32, Framing::Pad).apply(rgb).unwrap();
        assert_eq!(grey.get(0)[..5], [76, 150, 29, 255, 0]);

        let small = ramp([1, 28, 28], 3);
        let padded = to(1, 32, Framing::Pad).apply(small.clone()).unwrap();
        let repeated = to(3, 32, Framing::Pad).apply(small).unwrap();
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
        assert!(error(to(1, 32, Framing::Pad), [1, 33, 20]).contains("cannot be padded"));
        assert!(error(to(2, 32, Framing::Pad), [1, 28, 28]).contains("channels = 2"));
        assert!(error(to(1, 0, Framing::Resize), [1, 28, 28]).contains("height = 0"));
        assert!(error(to(1, 8192, Framing::Crop), [1, 28, 28]).contains("16 to 4096"));
        assert!(error(to(1, 32, Framing::Resize), [4, 28, 28]).contains("4 channels"));
    }

    #[test]
    fn other_proportions_are_those_that_are_off_by_a_quarter() {
        let keep = Conversion {
            height: 112,
            width: 624,
            ..to(1, 16, Framing::Keep)
        };
        assert!(!keep.reshapes([100, 600]) && !keep.reshapes([50, 260]));
        assert!(keep.reshapes([600, 100]) && keep.reshapes([160, 600]));
        let resized = Conversion {
            fit: Framing::Resize,
            ..keep
        };
        assert!(!resized.reshapes([600, 100]));
    }

    #[test]
    fn what_is_kept_has_its_edges_repeated_around_it() {
        // 2x4 pixels into 16x16: 8 rows of 16 in the middle.
        let image = Images::new([1, 2, 4], vec![10, 20, 30, 40, 50, 60, 70, 80]).unwrap();
        let kept = to(1, 16, Framing::Keep).apply(image).unwrap();
        let rows: Vec<&[u8]> = kept.get(0).chunks(16).collect();
        assert!(rows[..4].iter().all(|row| *row == rows[4]));
        assert!(rows[12..].iter().all(|row| *row == rows[11]));
        assert_eq!((rows[4][0], rows[4][15], rows[11][0]), (10, 40, 50));
        // 4x2 pixels: 8 columns in the middle.
        let image = Images::new([1, 4, 2], vec![10, 20, 30, 40, 50, 60, 70, 80]).unwrap();
        let kept = to(1, 16, Framing::Keep).apply(image).unwrap();
        for row in kept.to_bytes().chunks(16) {
            assert!(row[..4].iter().all(|value| *value == row[4]));
            assert!(row[12..].iter().all(|value| *value == row[11]));
        }
        assert_eq!(
            to(1, 16, Framing::Keep).describe([1, 2, 4]),
            "2x4 grey, resized to fit, edges repeated, to 16x16"
        );
    }

    #[test]
    fn describes_itself() {
        let pad = to(1, 32, Framing::Pad);
        assert_eq!(
            pad.describe([1, 28, 28]),
            "28x28 grey, zero-padded to 32x32"
        );
        assert_eq!(
            pad.describe([3, 32, 32]),
            "32x32 RGB, to grey by Rec. 601 luma"
        );
        assert_eq!(
            to(3, 64, Framing::Resize).describe([1, 28, 28]),
            "28x28 grey, resized bilinearly to 64x64, repeated to RGB"
        );
        assert_eq!(
            to(3, 128, Framing::Crop).describe([3, 480, 640]),
            "480x640 RGB, resized to cover and centre-cropped to 128x128"
        );
        assert_eq!(to(3, 32, Framing::Pad).describe([3, 32, 32]), "32x32 RGB");
    }

    #[test]
    fn refuses_unknown_keys() {
        let good = r#"{"channels":1,"height":32,"width":32,"fit":"pad"}"#;
        let parsed: Conversion = serde_json::from_str(good).unwrap();
        assert_eq!(parsed, to(1, 32, Framing::Pad));
        let crop = good.replace("pad", "crop");
        let parsed: Conversion = serde_json::from_str(&crop).unwrap();
        assert_eq!(parsed.fit, Framing::Crop);
        let bad = r#"{"channels":1,"size":32,"fit":"pad","crop":1}"#;
        assert!(serde_json::from_str::<Conversion>(bad).is_err());
    }
}
