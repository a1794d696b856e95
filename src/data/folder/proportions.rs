//! The proportions of a folder's images.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::data::{Conversion, Framing, Picture};

/// Sides are multiples of so many pixels: what networks halve four times.
const STEP: usize = 16;
/// Smallest side, unless a smaller square is asked for: at half the size networks have nothing to see in less.
const SMALLEST: usize = 64;
/// Files that are asked for their sides, at most: each is read for it.
const LOOKED_AT: usize = 256;

/// With [`Framing::Keep`], the conversion to the proportions that most of `files` have, of many by some of them, and to the area
/// of the square that `conversion` asks for; otherwise `conversion` itself. Files whose sides cannot be
/// read do not count.
pub fn in_proportion(conversion: Conversion, files: &[PathBuf]) -> Conversion {
    if conversion.fit != Framing::Keep {
        return conversion;
    }
    let step = files.len().div_ceil(LOOKED_AT).max(1);
    let looked_at: Vec<&PathBuf> = files.iter().step_by(step).collect();
    let mut ratios: Vec<f64> = looked_at
        .into_par_iter()
        .filter_map(|path| Picture::sides(path).ok())
        .map(|[height, width]| width as f64 / height as f64)
        .collect();
    ratios.sort_by(f64::total_cmp);
    match ratios.get(ratios.len() / 2) {
        Some(&ratio) => conversion.with_sides(sides(conversion.height, ratio)),
        None => conversion,
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
        assert_eq!(in_proportion(keep, &files).sides(), [176, 96]);
        assert_eq!(in_proportion(keep, &[]).sides(), [128, 128]);
        let resize = Conversion {
            fit: Framing::Resize,
            ..keep
        };
        assert_eq!(in_proportion(resize, &files), resize);
    }
}
