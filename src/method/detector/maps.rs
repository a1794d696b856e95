//! From a detector to maps on the pictures' own sizes, and to pictures of them.

use image::{DynamicImage, GrayImage, RgbImage};

use crate::data::{Framing, Images, Picture};
use crate::method::{Detector, DetectorError, HeatSource, Heatmap, MaskLevels};

/// Standard deviation of the blur of a heat map, as a share of the picture's shorter side. PaDiM and
/// PatchCore take 4 pixels of 224 to 256.
const SMOOTHING: f32 = 1.0 / 64.0;
/// No less of it than this, in pixels of what the detector sees: a map of small images is coarse.
const LEAST_SMOOTHING: f32 = 2.0;
/// Images that the colours are taken from, at most, and pixels of each of them, about.
const RANGE_IMAGES: usize = 1000;
const RANGE_PIXELS: usize = 2000;
/// Images that are mapped at a time.
const BATCH: usize = 64;

impl Detector {
    /// What a heat map is made of when `source` is asked for: that, and for `None` what the method is
    /// best at.
    ///
    /// # Errors
    /// [`DetectorError::NoHeat`] when the method has no such map.
    pub fn heat_source(&self, source: Option<HeatSource>) -> Result<HeatSource, DetectorError> {
        let known = self.scorer().heat_sources();
        source
            .or(known.first().copied())
            .filter(|chosen| known.contains(chosen))
            .ok_or(DetectorError::NoHeat {
                wanted: source,
                known,
            })
    }

    /// Where the picture departs from normal, on its own size and smoothed at its scale; larger is
    /// odder. `None` for the source that the method is best at, in the method's own units.
    ///
    /// # Errors
    /// [`DetectorError`] when the picture cannot be converted or the method has no such map.
    pub fn heatmap(
        &self,
        image: &DynamicImage,
        source: Option<HeatSource>,
    ) -> Result<Heatmap, DetectorError> {
        self.heatmap_of(&Picture::from_image(image)?, source)
    }

    /// Heat maps of images that have been converted, each on the size of the picture that it was, which
    /// `sides` = `[height, width]` says: one after the other, as maps of large pictures are large.
    ///
    /// # Errors
    /// [`DetectorError::NoHeat`] when the method has no such map.
    pub fn heatmaps<'a>(
        &self,
        images: &Images,
        sides: &'a [[usize; 2]],
        source: Option<HeatSource>,
    ) -> Result<impl Iterator<Item = Heatmap> + use<'a>, DetectorError> {
        let source = self.heat_source(source)?;
        let maps = self.scorer().heat(images, source);
        let maps = maps.ok_or(DetectorError::NoAnswer { what: "heat map" })?;
        let [_, height, width] = images.shape();
        let fit = self.conversion().fit;
        let on_pictures = maps.into_iter().zip(sides).map(move |(map, &original)| {
            let map = map.resized(height, width);
            map.smoothed(smoothing(fit, original, [height, width]))
                .onto_original(fit, original)
        });
        Ok(on_pictures)
    }

    /// Takes from held-out normal images, which have been converted from pictures of `sides`, between
    /// which values the colours of heat maps run (see [`Heatmap::colour_range`]), and which values are
    /// marked in masks (see [`MaskLevels`]). Without heat maps, there are neither.
    ///
    /// # Errors
    /// [`DetectorError`] when a heat map cannot be made.
    pub fn with_normal_maps(
        mut self,
        normal: &Images,
        sides: &[[usize; 2]],
    ) -> Result<Self, DetectorError> {
        if self.scorer().heat_sources().is_empty() {
            return Ok(self);
        }
        let mut found = NormalMaps::default();
        let all: Vec<usize> = (0..normal.len().min(sides.len()).min(RANGE_IMAGES)).collect();
        for indices in all.chunks(BATCH) {
            let sides = &sides[indices[0]..];
            for map in self.heatmaps(&normal.select(indices), sides, None)? {
                found.add(&map);
            }
        }
        self.description.heat_range = found.colours();
        // An edge that is not finite would be no level.
        self.description.masks = MaskLevels::new(found.edges).ok();
        Ok(self)
    }

    /// At which values of the method's own heat maps masks are drawn.
    ///
    /// # Errors
    /// [`DetectorError::NoMasks`] when the model does not know; [`DetectorError::Level`] when too few
    /// images were held out for the level `alpha`, or it is no level.
    pub fn mask_levels(&self, alpha: f64) -> Result<&MaskLevels, DetectorError> {
        let levels = self.description.masks.as_ref();
        let levels = levels.ok_or(DetectorError::NoMasks)?;
        levels.check(alpha)?;
        Ok(levels)
    }

    /// What is defective at the level `alpha`: white where one of the method's own heat maps departs from
    /// normal, and black elsewhere. [`MaskLevels`] says how rarely that is so of normal images.
    ///
    /// # Errors
    /// As [`mask_levels`](Self::mask_levels).
    pub fn mask(&self, map: &Heatmap, alpha: f64) -> Result<GrayImage, DetectorError> {
        let marked = self.mask_levels(alpha)?.mask(map, alpha);
        let pixels = marked
            .into_iter()
            .map(|marked| if marked { 255 } else { 0 });
        let [width, height] = [map.width(), map.height()].map(|side| side as u32);
        let mask = GrayImage::from_raw(width, height, pixels.collect());
        mask.ok_or(DetectorError::NoAnswer { what: "mask" })
    }

    /// The picture in grey with its heat map in colour, which says more of an image that is called
    /// `anomalous` than of another: see [`Heatmap::colour_range`].
    ///
    /// # Errors
    /// [`DetectorError`] as for [`heatmap`](Self::heatmap).
    pub fn overlay(
        &self,
        picture: &Picture,
        source: Option<HeatSource>,
        anomalous: bool,
    ) -> Result<RgbImage, DetectorError> {
        self.draw(
            &self.heatmap_of(picture, source)?,
            picture,
            source,
            anomalous,
        )
    }

    /// As [`overlay`](Self::overlay), with a heat map of the picture that is there already, from
    /// `source`.
    ///
    /// # Errors
    /// [`DetectorError::Overlay`] when it has not the picture's size.
    pub fn draw(
        &self,
        map: &Heatmap,
        picture: &Picture,
        source: Option<HeatSource>,
        anomalous: bool,
    ) -> Result<RgbImage, DetectorError> {
        // The stored range is that of the method's own map.
        let own = source.is_none_or(|source| self.scorer().heat_sources().first() == Some(&source));
        let normal = self.description.heat_range.filter(|_| own);
        let range = map.colour_range(normal, anomalous);
        let overlay = map.overlay(picture.pixels(), picture.channels(), range);
        overlay.ok_or(DetectorError::Overlay {
            map: [map.height(), map.width()],
            picture: [picture.height(), picture.width()],
        })
    }

    /// [`heatmap`](Self::heatmap) of a picture that is decoded already.
    pub(crate) fn heatmap_of(
        &self,
        picture: &Picture,
        source: Option<HeatSource>,
    ) -> Result<Heatmap, DetectorError> {
        let images = self.conversion().apply(picture.to_images())?;
        let sides = [[picture.height(), picture.width()]];
        let first = self.heatmaps(&images, &sides, source)?.next();
        first.ok_or(DetectorError::NoAnswer { what: "heat map" })
    }
}

/// What the heat maps of normal images are like.
#[derive(Default)]
struct NormalMaps {
    /// Some of their values, finite.
    sample: Vec<f32>,
    /// The largest of all finite ones.
    largest: Option<f32>,
    /// The edge of each, for masks.
    edges: Vec<f32>,
}

impl NormalMaps {
    fn add(&mut self, map: &Heatmap) {
        let finite = || {
            map.values()
                .iter()
                .copied()
                .filter(|value| value.is_finite())
        };
        // Odd, so that it comes through all columns of a map whose width is even.
        let step = (map.values().len() / RANGE_PIXELS) | 1;
        self.sample.extend(finite().step_by(step));
        self.largest = finite().chain(self.largest).reduce(f32::max);
        self.edges.push(MaskLevels::edge(map));
    }

    /// The value that a hundredth of the pixels exceeds, and what is as far above the largest as that
    /// is above the median.
    fn colours(&mut self) -> Option<[f32; 2]> {
        let largest = self.largest?;
        self.sample.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| self.sample[(share * (self.sample.len() - 1) as f64) as usize];
        Some([at(0.99), largest + (largest - at(0.5))])
    }
}

/// Standard deviations of the blur, down and across, in pixels of a map of `map` = `[height, width]`, so
/// that on the `original` it is the same in all directions.
fn smoothing(fit: Framing, original: [usize; 2], map: [usize; 2]) -> [f32; 2] {
    let (seen, lands) = fit.place(original, map);
    // Pixels of the map for one of the original.
    let scale = [
        lands.height as f32 / seen.height.max(1) as f32,
        lands.width as f32 / seen.width.max(1) as f32,
    ];
    let shorter = original[0].min(original[1]) as f32;
    let sigma = (SMOOTHING * shorter).max(LEAST_SMOOTHING / scale[0].max(scale[1]));
    scale.map(|scale| scale * sigma)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::detector::scorer::tests::noise;
    use crate::method::detector::tests::{detector, picture};

    #[test]
    fn a_heat_map_has_the_picture_s_size() {
        let wide = picture(3).resize_exact(90, 40, image::imageops::FilterType::Nearest);
        let map = detector().heatmap(&wide, None).unwrap();
        assert_eq!((map.height(), map.width()), (40, 90));
        let error = detector()
            .heatmap(&wide, Some(HeatSource::Gradient))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("gradient") && error.contains("positions"),
            "{error}"
        );
    }

    /// Pixels of an overlay that have a colour.
    fn coloured(overlay: &RgbImage) -> usize {
        let coloured = overlay
            .pixels()
            .filter(|pixel| pixel.0[0] != pixel.0[1] || pixel.0[1] != pixel.0[2]);
        coloured.count()
    }

    #[test]
    fn an_overlay_is_calm_unless_its_image_is_called_anomalous() {
        let normal = noise(20, 6);
        let detector = detector()
            .with_normal_maps(&normal, &[[32; 2]; 20])
            .unwrap();
        let [low, high] = detector.description().heat_range.unwrap();
        assert!(low < high);
        for index in 0..20 {
            let picture = GrayImage::from_raw(32, 32, normal.get(index).to_vec());
            let picture = DynamicImage::ImageLuma8(picture.unwrap());
            let picture = Picture::from_image(&picture).unwrap();
            let [calm, shown] =
                [false, true].map(|anomalous| detector.overlay(&picture, None, anomalous).unwrap());
            assert_eq!(coloured(&calm), 0, "{index}");
            // The least likely hundredth of 1,024 pixels, but for what is too faint to see.
            assert!(coloured(&shown) >= 8, "{index}: {}", coloured(&shown));
        }
        // Of another source there is no common scale.
        let mut unscaled = detector;
        unscaled.description.heat_range = None;
        let picture = Picture::from_image(&picture(5)).unwrap();
        let overlay = |anomalous| unscaled.overlay(&picture, None, anomalous).unwrap();
        assert_eq!(coloured(&overlay(false)), 0);
        assert!(coloured(&overlay(true)) >= 8);
    }

    #[test]
    fn a_mask_is_there_where_its_level_is() {
        let without = detector();
        let map = without.heatmap(&picture(5), None).unwrap();
        let error = without.mask(&map, 0.1).unwrap_err().to_string();
        assert!(error.contains("no levels for masks"), "{error}");
        let detector = without
            .with_normal_maps(&noise(19, 6), &[[32; 2]; 19])
            .unwrap();
        let error = detector.mask(&map, 0.04).unwrap_err().to_string();
        assert!(
            error.contains("needs at least 24 calibration images"),
            "{error}"
        );
        // A picture with a place that is odder than any of a normal one.
        let mut values = map.values().to_vec();
        values[500..510].iter_mut().for_each(|value| *value += 1e3);
        let map = Heatmap::new(32, 32, values).unwrap();
        let mut before = 0;
        for alpha in [0.05, 0.3, 0.6, 0.9, 0.99] {
            let mask = detector.mask(&map, alpha).unwrap();
            assert_eq!(mask.dimensions(), (32, 32));
            // Marked is what is largest.
            let values = map.values().iter().zip(mask.as_raw());
            let marked = values.clone().filter(|pixel| *pixel.1 == 255);
            let least = marked.map(|pixel| *pixel.0).fold(f32::INFINITY, f32::min);
            let others = values.filter(|pixel| *pixel.1 == 0);
            assert!(others.map(|pixel| *pixel.0).all(|value| value < least));
            let area = mask.as_raw().iter().filter(|&&pixel| pixel == 255).count();
            assert!(area >= before, "{alpha}");
            before = area;
        }
        assert!(before >= 10);
    }

    #[test]
    fn colours_are_taken_from_the_maps_of_all_images() {
        let mut normal = NormalMaps::default();
        assert_eq!(normal.colours(), None);
        let map = |values: Vec<f32>| Heatmap::new(1, values.len(), values).unwrap();
        normal.add(&map((0..=100_u8).map(f32::from).collect()));
        normal.add(&map(vec![f32::NAN, f32::INFINITY]));
        assert_eq!(normal.colours(), Some([99.0, 150.0]));
        // The largest value counts although few of a large map are looked at.
        let mut large = vec![0.0; 100_000];
        large[1] = 7.0;
        let mut normal = NormalMaps::default();
        normal.add(&map(large));
        assert_eq!(normal.colours(), Some([0.0, 14.0]));
        assert!(normal.sample.len() < 3 * RANGE_PIXELS);
    }

    #[test]
    fn maps_of_a_batch_are_those_of_its_pictures() {
        let detector = detector();
        let pictures = [(40, 90), (32, 32), (200, 30)].map(|(width, height)| {
            let filter = image::imageops::FilterType::Nearest;
            picture(4).resize_exact(width, height, filter)
        });
        let (mut images, mut sides) = (None::<Images>, Vec::new());
        for picture in &pictures {
            let picture = Picture::from_image(picture).unwrap();
            sides.push([picture.height(), picture.width()]);
            let one = detector.conversion().apply(picture.into_images()).unwrap();
            images = Some(match images {
                Some(before) => before.concat(&one).unwrap(),
                None => one,
            });
        }
        let maps = detector.heatmaps(&images.unwrap(), &sides, None).unwrap();
        for (map, picture) in maps.zip(&pictures) {
            let alone = detector.heatmap(picture, None).unwrap();
            assert_eq!((map.height(), map.width()), (alone.height(), alone.width()));
            for (left, right) in map.values().iter().zip(alone.values()) {
                assert!((left - right).abs() < 1e-3 * (1.0 + right.abs()));
            }
        }
    }

    #[test]
    fn the_blur_is_round_on_the_picture() {
        // Two pixels of what is seen of a small image; on the long side of a stretched one fewer.
        assert_eq!(smoothing(Framing::Pad, [28, 28], [32, 32]), [2.0; 2]);
        assert_eq!(smoothing(Framing::Resize, [512, 512], [128, 128]), [2.0; 2]);
        assert_eq!(
            smoothing(Framing::Resize, [512, 1024], [128, 128]),
            [2.0, 1.0]
        );
        assert_eq!(smoothing(Framing::Crop, [512, 1024], [128, 128]), [2.0; 2]);
        // A 64th of the shorter side where more is seen.
        assert_eq!(
            smoothing(Framing::Resize, [512, 1024], [256, 512]),
            [4.0; 2]
        );
    }
}
