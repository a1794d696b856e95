//! From the values of a decoded image to planes of bytes: 8 bits, and no opacity.

/// Number of colour channels, and their planes one after the other, of pixels with `stored` samples
/// each, the last of two or four being the opacity.
pub(super) fn planes<T: Sample>(samples: &[T], stored: usize) -> (usize, Vec<u8>) {
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
pub(super) trait Sample: Copy {
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
    use super::super::Picture;
    use super::super::test_files::{encode, picture, png};
    use image::{
        DynamicImage, GrayAlphaImage, ImageBuffer, ImageFormat, Luma, Rgb32FImage, Rgba, RgbaImage,
    };

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
}
