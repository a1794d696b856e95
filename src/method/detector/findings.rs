//! What a scorer finds in images, and a detector on the pictures that they were.

use crate::data::{Conversion, Framing, Images};
use crate::method::{Detector, DetectorError, HeatSource, Heatmap, Scorer, Scores, Verdict};

/// Standard deviation of the blur of a heat map, as a share of the picture's shorter side. PaDiM and
/// PatchCore take 4 pixels of 224 to 256.
const SMOOTHING: f32 = 1.0 / 64.0;
/// No less of it than this, in pixels of what the detector sees: a map of small images is coarse.
const LEAST_SMOOTHING: f32 = 2.0;

/// Scores and heat maps of some images, which have been converted: of one description of them, where the
/// scorer can share it.
pub trait Findings {
    /// As of [`Scorer::score`].
    ///
    /// # Errors
    /// Those of [`Scorer::score`].
    fn scores(&self) -> Result<Scores, DetectorError>;

    /// As of [`Scorer::heat`].
    fn heat(&self, source: HeatSource) -> Option<Vec<Heatmap>>;
}

/// Looks at the images again for everything that is asked.
pub(in crate::method) struct Anew<'a, S: ?Sized> {
    pub scorer: &'a S,
    pub images: &'a Images,
}

impl<S: Scorer + ?Sized> Findings for Anew<'_, S> {
    fn scores(&self) -> Result<Scores, DetectorError> {
        self.scorer.score_converted(self.images)
    }

    fn heat(&self, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.scorer.heat(self.images, source)
    }
}

/// What a detector finds in some images: their verdicts, and where in the pictures that they were these come
/// from.
pub struct Inspection<'a> {
    detector: &'a Detector,
    findings: Box<dyn Findings + 'a>,
}

impl<'a> Inspection<'a> {
    pub(super) fn new(detector: &'a Detector, images: &'a Images) -> Self {
        Self {
            detector,
            findings: detector.scorer().inspect(images),
        }
    }

    /// A verdict for each image.
    ///
    /// # Errors
    /// Those of [`Scorer::score`].
    pub fn verdicts(&self) -> Result<Vec<Verdict>, DetectorError> {
        Ok(self.detector.verdicts(&self.findings.scores()?))
    }

    /// A heat map for each image, from `source`, or for `None` from what the method is best at.
    ///
    /// # Errors
    /// [`DetectorError::NoHeat`] when the method has no such map.
    pub fn maps(&self, source: Option<HeatSource>) -> Result<PictureMaps, DetectorError> {
        let source = self.detector.heat_source(source)?;
        PictureMaps::of(self.findings.as_ref(), source, self.detector.conversion())
    }
}

/// Heat maps of some images, each of which can be had on the size of the picture that the image was: one at a
/// time, as those of large pictures are large.
#[derive(Clone, Debug)]
pub struct PictureMaps {
    maps: Vec<Heatmap>,
    conversion: Conversion,
}

impl PictureMaps {
    /// From the findings in images to which `conversion` has brought pictures.
    pub(super) fn of(
        findings: &dyn Findings,
        source: HeatSource,
        conversion: Conversion,
    ) -> Result<Self, DetectorError> {
        let maps = findings.heat(source);
        let maps = maps.ok_or(DetectorError::NoAnswer { what: "heat map" })?;
        Ok(Self { maps, conversion })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.maps.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// The map of one image on its picture, whose sides were `original` = `[height, width]`, smoothed at the
    /// picture's scale; none when there is no such image.
    pub fn on_picture(&self, index: usize, original: [usize; 2]) -> Option<Heatmap> {
        let Conversion {
            height, width, fit, ..
        } = self.conversion;
        let map = self.maps.get(index)?.resized(height, width);
        let smooth = map.smoothed(smoothing(fit, original, [height, width]));
        Some(smooth.onto_original(fit, original))
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
    use crate::data::Picture;
    use crate::method::detector::tests::{detector, picture};

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
        let images = images.unwrap();
        let inspection = detector.inspect(&images);
        assert_eq!(
            inspection.verdicts().unwrap(),
            detector.score_images(&images).unwrap()
        );
        let maps = inspection.maps(None).unwrap();
        for (index, picture) in pictures.iter().enumerate() {
            let map = maps.on_picture(index, sides[index]).unwrap();
            let alone = detector.heatmap(picture, None).unwrap();
            assert_eq!((map.height(), map.width()), (alone.height(), alone.width()));
            for (left, right) in map.values().iter().zip(alone.values()) {
                assert!((left - right).abs() < 1e-3 * (1.0 + right.abs()));
            }
        }
        assert_eq!(maps.on_picture(3, [32, 32]), None);
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
