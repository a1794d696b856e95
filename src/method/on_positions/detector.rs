//! The position-wise detector: how unlikely every position of an image is, at several scales.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use serde_json::Value;

use super::interpolation::between_positions;
use super::{Aggregation, PositionDensity, PositionSizes, ScaleSizes};
use crate::data::{Conversion, Images, Samples, batches};
use crate::encoder::{MapEncoder, PositionConfig, TextureEnergies};
use crate::evaluate::auroc;
use crate::method::detector::model_file::{check_shape, filled, onnx_in, parse_sizes};
use crate::method::{DetectorError, Findings, HeatSource, Heatmap, Scorer, Scores, Spread, Stored};

/// Name of the scorer in a model file.
pub(in crate::method) const KIND: &str = "positions";
/// Pixels of the images of one forward pass.
const BATCH_PIXELS: usize = 1 << 20;
/// Pixels of a side of a heat map's cells.
const CELL: usize = 4;
/// Scales of a detector, at most.
pub(super) const MOST_SCALES: usize = 4;
/// Names of the scores: the deciding one, then one for every scale.
pub(super) const NAMES: [&str; MOST_SCALES + 1] =
    ["positions", "scale_1", "scale_2", "scale_3", "scale_4"];
/// The same in words.
pub(in crate::method) const WORDS: &[(&str, &str)] = &[
    ("positions", "least likely positions"),
    ("scale_1", "of the largest scale"),
    ("scale_2", "of the second scale"),
    ("scale_3", "of the third scale"),
    ("scale_4", "of the fourth scale"),
];

/// Scores images by how unlikely each of their positions is.
///
/// The paper's idea on feature maps instead of one latent, as CFLOW-AD (arXiv:2107.12571) and
/// FastFlow (arXiv:2111.07677) do on pretrained features: the encoder describes every position, and a
/// density gives each description's likelihood. Small defects then count as much as large ones, and
/// the likelihood says where they are.
///
/// - `scale_1`, …: mean negative log-likelihood (or distance, where the method has no density) of the
///   least likely positions at one scale, less its mean on normal validation images, in deviations
///   there;
/// - `positions`: the mean of these, which decides.
pub struct OnPositions {
    conversion: Conversion,
    sizes: PositionSizes,
    weights: PositionWeights,
    device: Device,
}

/// The share of positions that makes a score, as made-up defects have chosen it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ChosenTop {
    pub top: f64,
    /// By which AUROC made-up defects are told with it.
    pub auroc: f64,
    /// The same by the scales that the encoder describes. Taking out the texture shows every edge of what is pasted, in
    /// photographs too, where it says little of defects that are none of pasting.
    pub by_encoder: f64,
}

/// The fitted parts.
#[derive(Module, Debug)]
pub struct PositionWeights {
    /// Where the features come from.
    pub encoder: MapEncoder,
    /// One for every scale.
    pub densities: Vec<PositionDensity>,
}

impl OnPositions {
    /// Puts the fitted parts together, with frozen weights.
    pub fn new(
        conversion: Conversion,
        sizes: PositionSizes,
        weights: PositionWeights,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            sizes,
            weights: weights.valid().to_device(device),
            device: device.clone(),
        }
    }

    /// From a model file.
    ///
    /// # Errors
    /// What keeps the file from being such a model.
    pub(in crate::method) fn load(
        described: Value,
        conversion: Conversion,
        bytes: Vec<u8>,
        device: &Device,
    ) -> Result<Box<dyn Scorer>, String> {
        let sizes: PositionSizes = parse_sizes(described)?;
        sizes.check(bytes.len())?;
        let config = &sizes.config;
        check_shape(conversion, config.shape)?;
        let densities = sizes.scales.iter().map(|scale| {
            let config = sizes.config_of(scale);
            let places = config.grid(scale.shrink).len();
            scale.density.empty(config.features(), places, device)
        });
        let onnx = onnx_in(&bytes)?;
        let weights = filled(bytes, |rng| {
            Ok(PositionWeights {
                densities: densities.collect(),
                encoder: config.source.empty(config.shape[0], onnx, rng, device)?,
            })
        })?;
        Ok(Box::new(Self::new(conversion, sizes, weights, device)))
    }

    /// The score of every position of images that have been converted, for one scale after the other.
    ///
    /// # Shapes
    /// To `[scales][len * rows * columns]`.
    pub(super) fn maps(&self, images: &Images) -> Vec<Vec<f32>> {
        let PositionSizes { config, scales, .. } = &self.sizes;
        let mut maps = vec![Vec::new(); scales.len()];
        let texture = MapEncoder::Texture(TextureEnergies::default());
        for indices in batches(images.len(), images_per_pass(config)) {
            let batch: Tensor<4> = images.batch(&indices, &self.device);
            let prepared = config.prepared(batch.clone());
            let densities = scales.iter().zip(&self.weights.densities);
            for (map, (scale, density)) in maps.iter_mut().zip(densities) {
                let (encoder, batch) = match scale.texture {
                    true => (&texture, &batch),
                    false => (&self.weights.encoder, &prepared),
                };
                let config = self.sizes.config_of(scale);
                let features = config.describe(encoder, batch.clone(), scale.shrink);
                let scores = density.score(features, config.grid(scale.shrink).sides);
                map.extend(scores.into_data().iter::<f32>());
            }
        }
        maps
    }

    /// Takes the spreads of all scores from normal validation images; returns their [maps](Self::maps).
    pub(super) fn standardise(&mut self, images: &Images) -> Vec<Vec<f32>> {
        let maps = self.maps(images);
        for (scale, map) in self.sizes.scales.iter_mut().zip(&maps) {
            scale.positions = Spread::of(map);
        }
        self.standardise_images(&maps);
        maps
    }

    fn standardise_images(&mut self, maps: &[Vec<f32>]) {
        for (index, map) in maps.iter().enumerate() {
            self.sizes.scales[index].images = Spread::of(&self.at_scale(index, map));
        }
    }

    /// Takes that of `shares` as share of the positions that tells normal images, by their [maps](Self::maps), best from
    /// `spoilt` ones, the first of equals.
    pub(super) fn choose_top(
        &mut self,
        normal: &[Vec<f32>],
        spoilt: &[Images],
        shares: &[f64],
    ) -> Result<ChosenTop, DetectorError> {
        let spoilt: Vec<_> = spoilt.iter().map(|images| self.maps(images)).collect();
        self.choose_top_by(normal, &spoilt, shares)
    }

    /// [`choose_top`](Self::choose_top) by the maps of the images.
    fn choose_top_by(
        &mut self,
        normal: &[Vec<f32>],
        spoilt: &[Vec<Vec<f32>>],
        shares: &[f64],
    ) -> Result<ChosenTop, DetectorError> {
        let mut best = (self.sizes.top, f64::NEG_INFINITY);
        for &top in shares {
            self.sizes.top = top;
            self.standardise_images(normal);
            let auroc = self.told_by(normal, spoilt, |_| true)?;
            if auroc > best.1 {
                best = (top, auroc);
            }
        }
        let (top, auroc) = best;
        self.sizes.top = top;
        self.standardise_images(normal);
        Ok(ChosenTop {
            top,
            auroc,
            by_encoder: self.told_by(normal, spoilt, |scale| !scale.texture)?,
        })
    }

    /// AUROC of the mean score at these scales, of spoilt images among normal ones by their maps.
    fn told_by(
        &self,
        normal: &[Vec<f32>],
        spoilt: &[Vec<Vec<f32>>],
        counts: impl Fn(&ScaleSizes) -> bool,
    ) -> Result<f64, DetectorError> {
        let of = |maps: &[Vec<f32>]| {
            let scales = self.sizes.scales.iter().zip(self.scale_scores(maps));
            let counted = scales.filter_map(|(scale, scores)| counts(scale).then_some(scores));
            mean_of_each(&counted.collect::<Vec<_>>())
        };
        let anomalous: Vec<f32> = spoilt.iter().flat_map(|maps| of(maps)).collect();
        Ok(auroc(&of(normal), &anomalous)?)
    }

    /// Every image's score at one scale, as it is.
    fn at_scale(&self, scale: usize, map: &[f32]) -> Vec<f32> {
        let grid = self.sizes.grid_of(&self.sizes.scales[scale]);
        let aggregation = Aggregation {
            top: self.sizes.top,
            tiles: self.sizes.tiles,
        };
        map.chunks_exact(grid.len())
            .map(|positions| aggregation.score(positions, &grid))
            .collect()
    }

    /// The scores of images with these [maps](Self::maps).
    pub(super) fn scores(&self, maps: &[Vec<f32>]) -> Scores {
        Scores::new(self.score_names(), self.image_scores(maps))
    }

    /// The deciding score of every image with these maps, then those of the scales.
    fn image_scores(&self, maps: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let scales = self.scale_scores(maps);
        let all = mean_of_each(&scales);
        std::iter::once(all).chain(scales).collect()
    }

    /// The standardised scores of every image with these maps, one scale after the other.
    fn scale_scores(&self, maps: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let scales = maps.iter().enumerate().map(|(index, map)| {
            let spread = self.sizes.scales[index].images;
            let scores = self.at_scale(index, map).into_iter();
            scores.map(|score| spread.standard(score)).collect()
        });
        scales.collect()
    }
}

/// Mean over the scales of the scores of every image.
fn mean_of_each(scales: &[Vec<f32>]) -> Vec<f32> {
    let images = scales.first().map_or(0, Vec::len);
    let all = (0..images).map(|image| {
        let sum: f32 = scales.iter().map(|scores| scores[image]).sum();
        sum / scales.len() as f32
    });
    all.collect()
}

/// Images in one forward pass.
pub(super) fn images_per_pass(config: &PositionConfig) -> usize {
    let [_, height, width] = config.shape;
    let [height, width] = config.source.seen([height, width]);
    (BATCH_PIXELS / (height * width)).clamp(1, 64)
}

impl Scorer for OnPositions {
    fn score_names(&self) -> &'static [&'static str] {
        &NAMES[..=self.sizes.scales.len()]
    }

    fn summands(&self) -> &'static [&'static str] {
        match self.sizes.scales.len() {
            1 => &[],
            scales => &NAMES[1..=scales],
        }
    }

    fn words(&self, score: &str) -> Option<String> {
        let number = self.summands().iter().position(|name| *name == score)?;
        let scale = self.sizes.scales[number];
        let [height, width] = self.sizes.config.sides(scale.shrink);
        let what = match scale.texture {
            true => ", what is no part of the texture",
            false => "",
        };
        Some(format!(
            "scale {} ({width}x{height} pixels{what})",
            number + 1
        ))
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        Stored::new(KIND, &self.sizes)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        self.weights.save_into(store)
    }

    fn onnx(&self) -> Option<&[u8]> {
        self.weights.encoder.onnx()
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        self.inspect(images).scores()
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.inspect(images).heat(source)
    }

    fn inspect<'a>(&'a self, images: &'a Images) -> Box<dyn Findings + 'a> {
        Box::new(OfPositions {
            scorer: self,
            maps: self.maps(images),
        })
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        &[HeatSource::Positions]
    }
}

/// What the scores of the positions say of their images.
struct OfPositions<'a> {
    scorer: &'a OnPositions,
    /// See [`OnPositions::maps`].
    maps: Vec<Vec<f32>>,
}

impl Findings for OfPositions<'_> {
    fn scores(&self) -> Result<Scores, DetectorError> {
        Ok(self.scorer.scores(&self.maps))
    }

    fn heat(&self, source: HeatSource) -> Option<Vec<Heatmap>> {
        if source != HeatSource::Positions {
            return None;
        }
        let PositionSizes { config, scales, .. } = &self.scorer.sizes;
        let sides = config.sides(1).map(|side| side.div_ceil(CELL));
        let of_image = |image: usize| {
            let mut heat = vec![0.0; sides[0] * sides[1]];
            for (scale, map) in scales.iter().zip(&self.maps) {
                let grid = self.scorer.sizes.grid_of(scale);
                let map = &map[image * grid.len()..][..grid.len()];
                let values = between_positions(map, &grid, sides, CELL);
                for (heat, value) in heat.iter_mut().zip(values) {
                    *heat += scale.positions.standard(value) / scales.len() as f32;
                }
            }
            Heatmap::new(sides[0], sides[1], heat)
        };
        let images = 0..self.images();
        images.into_par_iter().map(of_image).collect()
    }
}

impl OfPositions<'_> {
    fn images(&self) -> usize {
        let sizes = &self.scorer.sizes;
        let first = sizes.scales.first().zip(self.maps.first());
        first.map_or(0, |(scale, map)| map.len() / sizes.grid_of(scale).len())
    }
}

#[cfg(test)]
pub(in crate::method) mod tests;
