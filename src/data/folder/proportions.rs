//! The size and proportions that a folder's images are brought to.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::data::{Conversion, Framing, Picture};

/// Sides are multiples of so many pixels: what networks halve four times.
const STEP: usize = 16;
/// Smallest side, unless a smaller square is asked for: at half the size networks have nothing to see in less.
const SMALLEST: usize = 64;
/// Files that are asked for their sides, at most: each is read for it.
const LOOKED_AT: usize = 256;

/// What the images of a folder are to be brought to, some of which depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// For images that are large enough, in the square.
    pub conversion: Conversion,
    /// Smaller images are enlarged.
    pub enlarge: bool,
}

impl Sizing {
    /// What most of `files`, of many some of them, are brought to: with [`Framing::Keep`] their proportions, with the area of
    /// the square that is asked for; where they are not enlarged at most their own area (to
    /// multiples of 16, and no less than 64x64 pixels).
    /// Files whose sides cannot be read do not count.
    pub fn of(self, files: &[PathBuf]) -> Conversion {
        let Self {
            conversion,
            enlarge,
        } = self;
        let keep = conversion.fit == Framing::Keep;
        if enlarge && !keep {
            return conversion;
        }
        let step = files.len().div_ceil(LOOKED_AT).max(1);
        let looked_at: Vec<&PathBuf> = files.iter().step_by(step).collect();
        let sides_of: Vec<[f64; 2]> = looked_at
            .into_par_iter()
            .filter_map(|path| Picture::sides(path).ok())
            .map(|sides| sides.map(|side| side as f64))
            .collect();
        let median = |of: fn(&[f64; 2]) -> f64| {
            let mut values: Vec<f64> = sides_of.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let of_pictures = median(|[height, width]| width / height)
            .zip(median(|[height, width]| (height * width).sqrt()));
        let Some((ratio, own)) = of_pictures else {
            return conversion;
        };
        let asked = conversion.height;
        let side = match enlarge {
            true => asked,
            // Rounded down: interpolation is what is to be avoided.
            false => asked.min((own as usize / STEP * STEP).max(SMALLEST)),
        };
        if side == asked && !keep {
            return conversion;
        }
        conversion.with_sides(sides(side, if keep { ratio } else { 1.0 }))
    }
}

/// `[height, width]` of about the area of a square of `side`, with this ratio of width to height.
fn sides(side: usize, ratio: f64) -> [usize; 2] {
    let smallest = SMALLEST.min((side + STEP / 2) / STEP * STEP);
    let rounded = |pixels: f64| {
        let steps = (pixels / STEP as f64).round() as usize;
        (steps * STEP).clamp(smallest, *Conversion::SIDES.end())
    };
    let side = side as f64;
    [rounded(side / ratio.sqrt()), rounded(side * ratio.sqrt())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GrayImage;

    #[test]
    fn the_area_stays_and_the_proportions_are_those_of_most_images() {
        assert_eq!(sides(128, 1.0), [128, 128]);
        assert_eq!(sides(128, 250.0 / 630.0), [208, 80]);
        assert_eq!(sides(256, 16.0), [64, 1024]);
        assert_eq!(sides(32, 100.0), [32, 320]);
        assert_eq!(sides(1024, 16.0), [256, 4096]);
        assert_eq!(sides(1024, 1000.0), [64, 4096]);
        assert_eq!(sides(128, 6.0), [64, 320]);
        assert_eq!(sides(36, 1.0), [32, 32]);
        assert_eq!(sides(16, 1.0), [16, 16]);

        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = [(20, 40), (20, 40), (50, 10)]
            .into_iter()
            .enumerate()
            .map(|(index, (width, height))| {
                let path = folder.path().join(format!("{index}.png"));
                GrayImage::new(width, height).save(&path).unwrap();
                path
            })
            .chain([folder.path().join("none.png")])
            .collect();
        let keep = Conversion {
            channels: 1,
            height: 128,
            width: 128,
            fit: Framing::Keep,
        };
        let sizing = |conversion, enlarge| Sizing {
            conversion,
            enlarge,
        };
        assert_eq!(sizing(keep, true).of(&files).sides(), [176, 96]);
        assert_eq!(sizing(keep, true).of(&[]).sides(), [128, 128]);
        let resize = Conversion {
            fit: Framing::Resize,
            ..keep
        };
        assert_eq!(sizing(resize, true).of(&files), resize);
        // These are smaller than what is worth looking at.
        assert_eq!(sizing(keep, false).of(&files).sides(), [96, 64]);
        assert_eq!(sizing(resize, false).of(&files).sides(), [64, 64]);
        assert_eq!(sizing(resize, false).of(&[]), resize);
    }

    #[test]
    fn pictures_smaller_than_asked_for_keep_their_size_where_they_are_not_enlarged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("0.png");
        GrayImage::new(96, 100).save(&file).unwrap();
        let of = |side: usize, fit: Framing| {
            let conversion = Conversion {
                channels: 1,
                height: side,
                width: side,
                fit,
            };
            let sizing = Sizing {
                conversion,
                enlarge: false,
            };
            sizing.of(std::slice::from_ref(&file)).sides()
        };
        assert_eq!(of(256, Framing::Resize), [96, 96]);
        assert_eq!(of(256, Framing::Keep), [96, 96]);
        // What is asked for stays as it is.
        assert_eq!(of(80, Framing::Resize), [80, 80]);
        assert_eq!(of(40, Framing::Resize), [40, 40]);
        GrayImage::new(104, 104).save(&file).unwrap();
        assert_eq!(of(256, Framing::Resize), [96, 96]);
        GrayImage::new(60, 160).save(&file).unwrap();
        assert_eq!(of(256, Framing::Resize), [96, 96]);
    }
}
