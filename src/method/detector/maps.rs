//! From a detector to maps on the pictures' own sizes, and to pictures of them.

use image::{DynamicImage, GrayImage, RgbImage};

use super::findings::Inspection;
use super::held_out::NormalMaps;
use crate::data::{Images, Picture};
use crate::method::{Detector, DetectorError, HeatSource, Heatmap, MaskLevels};

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

    /// Looks at images that have been converted to what the detector [wants](Self::conversion): verdicts and heat
    /// maps of one description of them.
    pub fn inspect<'a>(&'a self, images: &'a Images) -> Inspection<'a> {
        Inspection::new(self, images)
    }

    /// Takes from the maps of held-out normal images between which values the colours of heat maps run, and which
    /// values are marked in masks. Without heat maps, there are neither.
    pub fn with_normal_maps(mut self, mut normal: NormalMaps) -> Self {
        self.description.heat_range = normal.colours();
        self.description.masks = normal.levels();
        self
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
        let maps = self.inspect(&images).maps(source)?;
        let map = maps.on_picture(0, [picture.height(), picture.width()]);
        map.ok_or(DetectorError::NoAnswer { what: "heat map" })
    }
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

    /// The detector with the colours and levels of the maps of normal images of 32x32 pixels.
    fn with_maps_of(detector: Detector, normal: &Images) -> Detector {
        let sides = vec![[32; 2]; normal.len()];
        let maps = NormalMaps::of(detector.scorer(), normal, &sides).unwrap();
        detector.with_normal_maps(maps)
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
        let detector = with_maps_of(detector(), &normal);
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
        let detector = with_maps_of(without, &noise(19, 6));
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
}
