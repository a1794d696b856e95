//! A map in colour over its picture.

use image::RgbImage;

use super::Heatmap;
use crate::data::luma;

/// Opacity of the highest values, so that the picture shows through everywhere.
const MAX_OPACITY: f32 = 0.8;

impl Heatmap {
    /// The picture in grey with the map over it in colour: values up to the first of `range` leave
    /// it as it is, and the nearer they come to the second, the brighter and the more opaque is the
    /// colour. NaN is drawn as the highest: what cannot be scored is not shown as normal.
    ///
    /// `picture` is `[channels, height, width]` with 1 (grey) or 3 (RGB) channels and the map's
    /// height and width; `None` when it is not.
    pub fn overlay(&self, picture: &[u8], channels: usize, range: (f32, f32)) -> Option<RgbImage> {
        let area = self.values.len();
        if !matches!(channels, 1 | 3) || picture.len() != channels * area {
            return None;
        }
        let mut pixels = Vec::with_capacity(3 * area);
        for (at, &value) in self.values.iter().enumerate() {
            let grey = if channels == 1 {
                picture[at]
            } else {
                luma([picture[at], picture[area + at], picture[2 * area + at]])
            };
            let grey = f32::from(grey);
            let level = level(value, range);
            let blend = |colour: f32| grey + MAX_OPACITY * level * (colour - grey);
            pixels.extend(inferno(level).map(|colour| blend(colour).round() as u8));
        }
        let [width, height] = [self.width, self.height].map(|side| u32::try_from(side).ok());
        RgbImage::from_raw(width?, height?, pixels)
    }
}

/// Where `value` lies in the range, 0..=1.
fn level(value: f32, (low, high): (f32, f32)) -> f32 {
    if value <= low {
        return 0.0;
    }
    let level = (value - low) / (high - low);
    // NaN fails the comparison, and an empty range has only its ends.
    if value < high && level < 1.0 {
        level
    } else {
        1.0
    }
}

/// The colour at `level` 0..=1, each part 0..=255: "inferno" of matplotlib, perceptually uniform.
fn inferno(level: f32) -> [f32; 3] {
    let colour = colorous::INFERNO.eval_continuous(f64::from(level));
    colour.into_array().map(f32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<const W: usize>(rows: &[[f32; W]]) -> Heatmap {
        Heatmap::new(rows.len(), W, rows.concat()).unwrap()
    }

    #[test]
    fn normal_parts_show_the_picture_and_others_the_colours() {
        let values = map(&[[-1.0, 0.0, 1.0, 9.0, f32::NAN]]);
        let image = values.overlay(&[10, 20, 100, 100, 100], 1, (0.0, 1.0));
        let image = image.unwrap();
        assert_eq!(image.dimensions(), (5, 1));
        assert_eq!(image[(0, 0)].0, [10; 3]);
        assert_eq!(image[(1, 0)].0, [20; 3]);
        // 100 + 0.8 * ([252, 255, 164] - 100)
        for x in 2..5 {
            assert_eq!(image[(x, 0)].0, [222, 224, 151]);
        }

        let red_and_white = [255, 255, 0, 255, 0, 255];
        let grey = map(&[[0.0], [0.0]]).overlay(&red_and_white, 3, (0.0, 1.0));
        let grey = grey.unwrap();
        assert_eq!(grey.dimensions(), (1, 2));
        assert_eq!((grey[(0, 0)].0, grey[(0, 1)].0), ([76; 3], [255; 3]));
    }

    #[test]
    fn an_overlay_that_cannot_be_drawn_is_none_and_odd_ranges_are_drawn() {
        let values = map(&[[4.0, 5.0, 6.0]]);
        assert!(values.overlay(&[0; 4], 1, (0.0, 1.0)).is_none());
        assert!(values.overlay(&[0; 6], 2, (0.0, 1.0)).is_none());
        let image = values.overlay(&[100; 3], 1, (5.0, 5.0)).unwrap();
        assert_eq!((image[(0, 0)].0, image[(1, 0)].0), ([100; 3], [100; 3]));
        assert_eq!(image[(2, 0)].0, [222, 224, 151]);
        assert!(values.overlay(&[100; 3], 1, (f32::NAN, 1.0)).is_some());
    }

    #[test]
    fn colours_run_from_dark_to_bright() {
        // matplotlib.colormaps['inferno']([0, 255]) * 255
        assert_eq!(inferno(0.0), [0.0, 0.0, 4.0]);
        assert_eq!(inferno(1.0), [252.0, 255.0, 164.0]);
        let brightness = |step: u16| inferno(f32::from(step) / 255.0).iter().sum::<f32>();
        assert!((0..255).all(|step| brightness(step) <= brightness(step + 1)));
    }
}
