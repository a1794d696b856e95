//! What held-out normal images are like: their scores, and the values of their heat maps.

use rayon::prelude::*;

use super::findings::{Findings, PictureMaps};
use crate::data::{Images, batches};
use crate::method::{DetectorError, Heatmap, MaskLevels, Scorer, Scores};

/// Images that the colours and levels of heat maps are taken from, at most.
const RANGE_IMAGES: usize = 1000;
/// Pixels of each of them that the colours are taken from, about.
const RANGE_PIXELS: usize = 2000;
/// Images that are looked at together.
const BATCH: usize = 64;

/// Scores of held-out normal images, which p-values rest on, and what their heat maps are like.
pub struct HeldOut {
    /// Of every image.
    pub scores: Scores,
    /// Of the first thousand; of none where the method has no heat maps.
    pub maps: NormalMaps,
}

impl HeldOut {
    /// Looks once for both at images that have been converted from pictures of `sides` = `[height, width]`; without its
    /// sides, an image has a score and no map.
    ///
    /// # Errors
    /// [`DetectorError`] when an image cannot be scored or a heat map not be made.
    pub fn of(
        scorer: &dyn Scorer,
        images: &Images,
        sides: &[[usize; 2]],
    ) -> Result<Self, DetectorError> {
        let mut scores = Scores::none(scorer.score_names());
        let mut maps = NormalMaps::default();
        look(scorer, (images, sides), images.len(), |findings, sides| {
            scores.append(findings.scores()?);
            maps.add(scorer, findings, sides)
        })?;
        Ok(Self { scores, maps })
    }
}

/// Hands over what is found in each batch of the first `count` images, and the sides of its pictures and of those after
/// them.
fn look(
    scorer: &dyn Scorer,
    (images, sides): (&Images, &[[usize; 2]]),
    count: usize,
    mut each: impl FnMut(&dyn Findings, &[[usize; 2]]) -> Result<(), DetectorError>,
) -> Result<(), DetectorError> {
    for indices in batches(images.len().min(count), BATCH) {
        let batch = images.select(&indices);
        let sides = sides.get(indices[0]..).unwrap_or_default();
        each(scorer.inspect(&batch).as_ref(), sides)?;
    }
    Ok(())
}

/// What the heat maps of normal images are like.
#[derive(Default)]
pub struct NormalMaps {
    /// Some of their values, finite.
    sample: Vec<f32>,
    /// The largest of all finite ones.
    largest: Option<f32>,
    /// The edge of each, for masks.
    edges: Vec<f32>,
}

impl NormalMaps {
    /// Of the first thousand of some images that have been converted from pictures of `sides` = `[height, width]`;
    /// of none where the method has no heat maps.
    ///
    /// # Errors
    /// [`DetectorError`] when a heat map cannot be made.
    pub fn of(
        scorer: &dyn Scorer,
        images: &Images,
        sides: &[[usize; 2]],
    ) -> Result<Self, DetectorError> {
        let mut maps = Self::default();
        look(scorer, (images, sides), RANGE_IMAGES, |findings, sides| {
            maps.add(scorer, findings, sides)
        })?;
        Ok(maps)
    }

    /// Between which values the colours of heat maps run (see [`Heatmap::colour_range`]): the value that a
    /// hundredth of the pixels exceeds, and what is as far above the largest as that is above the median.
    pub(super) fn colours(&mut self) -> Option<[f32; 2]> {
        let largest = self.largest?;
        self.sample.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| self.sample[(share * (self.sample.len() - 1) as f64) as usize];
        Some([at(0.99), largest + (largest - at(0.5))])
    }

    /// Which values are marked in masks; none without a map, and with one whose edge is not finite, which would be
    /// no level.
    pub(super) fn levels(self) -> Option<MaskLevels> {
        MaskLevels::new(self.edges).ok()
    }

    /// Adds the maps of a batch until there are enough; of `sides` the first are those of the batch.
    fn add(
        &mut self,
        scorer: &dyn Scorer,
        findings: &dyn Findings,
        sides: &[[usize; 2]],
    ) -> Result<(), DetectorError> {
        let wanted = RANGE_IMAGES - self.edges.len();
        let Some(&source) = scorer.heat_sources().first().filter(|_| wanted > 0) else {
            return Ok(());
        };
        let maps = PictureMaps::of(findings, source, scorer.conversion())?;
        let wanted = &sides[..sides.len().min(wanted).min(maps.len())];
        // A map of a large picture is large: there are never more than cores of them.
        let values: Vec<MapValues> = wanted
            .par_iter()
            .enumerate()
            .filter_map(|(index, &original)| maps.on_picture(index, original))
            .map(|map| MapValues::of(&map))
            .collect();
        for one in values {
            self.add_values(one);
        }
        Ok(())
    }

    fn add_values(&mut self, values: MapValues) {
        self.sample.extend(values.sample);
        self.largest = self
            .largest
            .into_iter()
            .chain(values.largest)
            .reduce(f32::max);
        self.edges.push(values.edge);
    }
}

/// What is kept of a heat map.
struct MapValues {
    sample: Vec<f32>,
    largest: Option<f32>,
    edge: f32,
}

impl MapValues {
    fn of(map: &Heatmap) -> Self {
        let finite = || {
            map.values()
                .iter()
                .copied()
                .filter(|value| value.is_finite())
        };
        // Odd, so that it comes through all columns of a map whose width is even.
        let step = (map.values().len() / RANGE_PIXELS) | 1;
        Self {
            sample: finite().step_by(step).collect(),
            largest: finite().reduce(f32::max),
            edge: MaskLevels::edge(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_from_the_maps_of_all_images() {
        let mut normal = NormalMaps::default();
        assert_eq!(normal.colours(), None);
        let of = |values: Vec<f32>| MapValues::of(&Heatmap::new(1, values.len(), values).unwrap());
        normal.add_values(of((0..=100_u8).map(f32::from).collect()));
        normal.add_values(of(vec![f32::NAN, f32::INFINITY]));
        assert_eq!(normal.colours(), Some([99.0, 150.0]));
        // The largest value counts although few of a large map are looked at.
        let mut large = vec![0.0; 100_000];
        large[1] = 7.0;
        let mut normal = NormalMaps::default();
        normal.add_values(of(large));
        assert_eq!(normal.colours(), Some([0.0, 14.0]));
        assert!(normal.sample.len() < 3 * RANGE_PIXELS);
    }
}
