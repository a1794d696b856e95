//! The position-wise detector: how unlikely every position of an image is, at several scales.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::Device;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::interpolation::between_positions;
use super::{Aggregation, DensitySizes, PositionDensity};
use crate::data::{Conversion, Images, Samples};
use crate::encoder::{MapEncoder, PositionConfig};
use crate::evaluate::auroc;
use crate::method::model_file::{check_shape, load_weights, onnx_in};
use crate::method::{DetectorError, HeatSource, Heatmap, Scorer, Scores, Spread, Stored};

/// Name of the scorer in a model file.
pub(in crate::method) const KIND: &str = "positions";
/// Pixels of the images of one forward pass.
const BATCH_PIXELS: usize = 1 << 20;
/// Pixels of a side of a heat map's cells.
const CELL: usize = 4;
/// Names of the scores: the deciding one, then one for every scale.
const NAMES: [&str; 5] = ["positions", "scale_1", "scale_2", "scale_3", "scale_4"];
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

/// What a model file says beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionSizes {
    /// How positions are described.
    pub config: PositionConfig,
    /// Share of the positions that the image's score is the mean of; 0 for the least likely one.
    pub top: f64,
    /// Side in pixels of the tiles, the least likely of which gives the image's score; 0 for none.
    #[serde(default)]
    pub tiles: usize,
    /// The scales.
    pub scales: Vec<ScaleSizes>,
}

/// One scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSizes {
    /// How often the image is shrunk.
    pub shrink: usize,
    /// Sizes of its density.
    pub density: DensitySizes,
    /// Of the images' scores.
    pub images: Spread,
    /// Of the positions' scores.
    pub positions: Spread,
}

/// The fitted parts.
#[derive(Module, Debug)]
pub struct PositionWeights {
    /// Where the features come from.
    pub encoder: MapEncoder,
    /// One for every scale.
    pub densities: Vec<PositionDensity>,
}

impl PositionSizes {
    /// What keeps these sizes from being built out of a file of so many `bytes`, if anything does.
    fn check(&self, bytes: usize) -> Result<(), String> {
        self.config.check()?;
        if !(1..NAMES.len()).contains(&self.scales.len()) || !(0.0..=1.0).contains(&self.top) {
            return Err("its scales are not supported".to_owned());
        }
        if self.tiles != 0 && !PositionConfig::SIDES.contains(&self.tiles) {
            return Err(format!("tiles of {} pixels are not supported", self.tiles));
        }
        for scale in &self.scales {
            self.config.check_scale(scale.shrink)?;
            let places = self.config.grid(scale.shrink).len();
            scale.density.check(self.config.features(), places, bytes)?;
            if !scale.images.is_sound() || !scale.positions.is_sound() {
                return Err("the spread of a scale's score is damaged".to_owned());
            }
        }
        Ok(())
    }
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
        let sizes: PositionSizes =
            serde_json::from_value(described).map_err(|error| error.to_string())?;
        sizes.check(bytes.len())?;
        let config = &sizes.config;
        check_shape(conversion, config.shape)?;
        // The initial weights are replaced; any seed will do.
        let rng = &mut StdRng::seed_from_u64(0);
        let densities = sizes.scales.iter().map(|scale| {
            let places = config.grid(scale.shrink).len();
            scale.density.empty(config.features(), places, device)
        });
        let mut weights = PositionWeights {
            densities: densities.collect(),
            encoder: config
                .source
                .empty(config.shape[0], onnx_in(&bytes)?, rng, device)?,
        };
        load_weights(&mut weights, bytes)?;
        Ok(Box::new(Self::new(conversion, sizes, weights, device)))
    }

    /// The score of every position of images that have been converted, for one scale after the other.
    ///
    /// # Shapes
    /// To `[scales][len * rows * columns]`.
    pub(super) fn maps(&self, images: &Images) -> Vec<Vec<f32>> {
        let PositionSizes { config, scales, .. } = &self.sizes;
        let mut maps = vec![Vec::new(); scales.len()];
        let all: Vec<usize> = (0..images.len()).collect();
        for indices in all.chunks(images_per_pass(config.shape)) {
            let batch = config.prepared(images.batch(indices, &self.device));
            let densities = scales.iter().zip(&self.weights.densities);
            for (map, (scale, density)) in maps.iter_mut().zip(densities) {
                let encoder = &self.weights.encoder;
                let features = config.describe(encoder, batch.clone(), scale.shrink);
                let scores = density.score(features, config.grid(scale.shrink).sides);
                map.extend(scores.into_data().iter::<f32>());
            }
        }
        maps
    }

    /// Takes the spreads of all scores from normal validation images.
    pub(super) fn standardise(&mut self, images: &Images) {
        let maps = self.maps(images);
        for (scale, map) in self.sizes.scales.iter_mut().zip(&maps) {
            scale.positions = Spread::of(map);
        }
        self.standardise_images(&maps);
    }

    fn standardise_images(&mut self, maps: &[Vec<f32>]) {
        for (index, map) in maps.iter().enumerate() {
            self.sizes.scales[index].images = Spread::of(&self.at_scale(index, map));
        }
    }

    /// Takes that of `shares` as share of the positions that tells normal images best from `spoilt`
    /// ones, the first of equals; returns it with its AUROC.
    pub(super) fn choose_top(
        &mut self,
        normal: &Images,
        spoilt: &[Images],
        shares: &[f64],
    ) -> Result<(f64, f64), DetectorError> {
        let normal = self.maps(normal);
        let spoilt: Vec<_> = spoilt.iter().map(|images| self.maps(images)).collect();
        self.choose_top_by(&normal, &spoilt, shares)
    }

    /// [`choose_top`](Self::choose_top) by the maps of the images.
    fn choose_top_by(
        &mut self,
        normal: &[Vec<f32>],
        spoilt: &[Vec<Vec<f32>>],
        shares: &[f64],
    ) -> Result<(f64, f64), DetectorError> {
        let mut best = (self.sizes.top, f64::NEG_INFINITY);
        for &top in shares {
            self.sizes.top = top;
            self.standardise_images(normal);
            let of = |maps: &[Vec<f32>]| self.image_scores(maps).swap_remove(0);
            let anomalous: Vec<f32> = spoilt.iter().flat_map(|maps| of(maps)).collect();
            let auroc = auroc(&of(normal), &anomalous)?;
            if auroc > best.1 {
                best = (top, auroc);
            }
        }
        self.sizes.top = best.0;
        self.standardise_images(normal);
        Ok(best)
    }

    /// Every image's score at one scale, as it is.
    fn at_scale(&self, scale: usize, map: &[f32]) -> Vec<f32> {
        let PositionSizes { config, scales, .. } = &self.sizes;
        let grid = config.grid(scales[scale].shrink);
        let aggregation = Aggregation {
            top: self.sizes.top,
            tiles: self.sizes.tiles,
        };
        map.chunks_exact(grid.len())
            .map(|positions| aggregation.score(positions, &grid))
            .collect()
    }

    /// The scores of images with these maps: the deciding one, then those of the scales.
    fn image_scores(&self, maps: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let scales = maps.iter().enumerate().map(|(index, map)| {
            let spread = self.sizes.scales[index].images;
            let scores = self.at_scale(index, map).into_iter();
            scores.map(|score| spread.standard(score)).collect()
        });
        let scales: Vec<Vec<f32>> = scales.collect();
        let images = scales.first().map_or(0, Vec::len);
        let all = (0..images).map(|image| {
            let sum: f32 = scales.iter().map(|scores| scores[image]).sum();
            sum / scales.len() as f32
        });
        std::iter::once(all.collect())
            .chain(scales.iter().cloned())
            .collect()
    }
}

/// Images of this shape in one forward pass.
pub(super) fn images_per_pass([_, height, width]: [usize; 3]) -> usize {
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
        let [height, width] = self.sizes.config.sides(self.sizes.scales[number].shrink);
        Some(format!("scale {} ({width}x{height} pixels)", number + 1))
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        Stored::new(KIND, &self.sizes)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), String> {
        let saved = self.weights.save_into(store);
        saved.map_err(|error| error.to_string())
    }

    fn onnx(&self) -> Option<&[u8]> {
        self.weights.encoder.onnx()
    }

    fn score(&self, images: &Images) -> Result<Scores, DetectorError> {
        let images = self.conversion.apply(images.clone())?;
        let maps = self.maps(&images);
        Ok(Scores::new(self.score_names(), self.image_scores(&maps)))
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        if source != HeatSource::Positions {
            return None;
        }
        let PositionSizes { config, scales, .. } = &self.sizes;
        let sides = config.sides(1).map(|side| side.div_ceil(CELL));
        let mut heat = vec![0.0; images.len() * sides[0] * sides[1]];
        let share = 1.0 / scales.len() as f32;
        for (scale, map) in scales.iter().zip(self.maps(images)) {
            let grid = config.grid(scale.shrink);
            let maps = map.chunks_exact(grid.len());
            for (heat, map) in heat.chunks_exact_mut(sides[0] * sides[1]).zip(maps) {
                let values = between_positions(map, &grid, sides, CELL);
                for (heat, value) in heat.iter_mut().zip(values) {
                    *heat += share * scale.positions.standard(value);
                }
            }
        }
        let maps = heat.chunks_exact(sides[0] * sides[1]);
        maps.map(|map| Heatmap::new(sides[0], sides[1], map.to_vec()))
            .collect()
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        &[HeatSource::Positions]
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Framing;
    use crate::encoder::MapSource;
    use crate::flow::transform_tests::randomised;
    use crate::flow::{BaseKind, Mixing, RealNvpConfig};
    use crate::method::scorer::tests::{assert_score_of_image_alone, noise};

    /// A detector of 32x32 grey images with random weights.
    fn of(config: PositionConfig, densities: &[(usize, DensitySizes)]) -> OnPositions {
        with_network(config, None, densities)
    }

    /// The same, with the ONNX file of its network where it has one.
    fn with_network(
        config: PositionConfig,
        onnx: Option<&[u8]>,
        densities: &[(usize, DensitySizes)],
    ) -> OnPositions {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(1);
        let features = config.features();
        let parts = densities.iter().map(|(shrink, density)| {
            let places = config.grid(*shrink).len();
            randomised(density.empty(features, places, &device))
        });
        let weights = PositionWeights {
            densities: parts.collect(),
            encoder: randomised(
                config
                    .source
                    .empty(config.shape[0], onnx.map(<[u8]>::to_vec), rng, &device)
                    .unwrap(),
            ),
        };
        let scales = densities.iter().map(|&(shrink, density)| ScaleSizes {
            shrink,
            density,
            images: Spread::UNIT,
            positions: Spread::UNIT,
        });
        let sizes = PositionSizes {
            config,
            top: 0.1,
            tiles: 0,
            scales: scales.collect(),
        };
        let conversion = Conversion {
            channels: 1,
            height: 32,
            width: 32,
            fit: Framing::Resize,
        };
        let mut detector = OnPositions::new(conversion, sizes, weights, &device);
        detector.standardise(&noise(40, 9));
        detector
    }

    const FLOW: RealNvpConfig = RealNvpConfig {
        dim: 6,
        couplings: 3,
        hidden: 8,
        layers: 1,
        clamp: 2.0,
        mixing: Mixing::Permutation,
        actnorm: false,
        gaussians: 0,
        base: BaseKind::Trained,
        context: 16,
    };

    fn patches(density: DensitySizes) -> OnPositions {
        let config = PositionConfig {
            shape: [1, 32, 32],
            source: MapSource::Patches { components: 4 },
            intensity: true,
            pooling: 3,
        };
        of(config, &[(1, density)])
    }

    /// One of every kind, and one of two scales.
    pub fn detectors() -> Vec<OnPositions> {
        let network = PositionConfig {
            shape: [1, 64, 64],
            source: MapSource::SqueezeNet { layers: vec![2, 3] },
            intensity: true,
            pooling: 3,
        };
        let bank = DensitySizes::Bank { patches: 30 };
        let flow = DensitySizes::Flow {
            components: 8,
            flow: FLOW,
        };
        let mut two = of(
            PositionConfig {
                shape: [1, 32, 32],
                ..network
            },
            &[(1, flow)],
        );
        two.sizes.top = 0.0;
        two.sizes.tiles = 16;
        two.standardise(&noise(40, 9));
        vec![
            patches(flow),
            patches(DensitySizes::Kernel { centres: 30 }),
            patches(bank),
            patches(DensitySizes::Places { dimensions: 5 }),
            two,
            #[cfg(feature = "onnx")]
            exported(bank),
        ]
    }

    /// Looking through the tiny network of `tests/fixtures/onnx`.
    #[cfg(feature = "onnx")]
    fn exported(density: DensitySizes) -> OnPositions {
        use crate::encoder::onnx_tests::{CONVOLUTIONS, tiny};
        let config = PositionConfig {
            shape: [1, 32, 32],
            source: MapSource::Onnx(tiny(&["early", "late"], 1).sizes().clone()),
            intensity: true,
            pooling: 3,
        };
        with_network(config, Some(CONVOLUTIONS), &[(1, density)])
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        for detector in detectors() {
            assert_score_of_image_alone(&detector, &noise(20, 2));
        }
    }

    #[test]
    fn scores_are_standard_on_what_they_were_standardised_on() {
        for detector in detectors() {
            let scores = detector.score(&noise(40, 9)).unwrap();
            let column = &scores.columns()[1];
            let spread = Spread::of(column);
            assert!(spread.mean.abs() < 1e-3, "{spread:?}");
            assert!((spread.deviation - 1.0).abs() < 1e-2, "{spread:?}");
        }
    }
    #[test]
    fn the_share_is_chosen_that_tells_the_defects() {
        const SHARES: [f64; 2] = [0.0, 0.5];
        let mut detector = patches(DensitySizes::Bank { patches: 30 });
        let positions = detector.sizes.config.grid(1).len();
        // Images of one map each: so many positions of a value, one of another, and nothing elsewhere.
        let image = |(many, one): (f32, f32)| {
            let mut map = vec![0.0; positions];
            map[..positions / 2].fill(many);
            map[positions - 1] = one;
            map
        };
        let images =
            |of: fn(usize) -> (f32, f32)| -> Vec<f32> { (0..8).map(of).flat_map(image).collect() };
        // Large and faint, where every image has a speck that is odder.
        let normal = images(|index| (index as f32 / 8.0, 9.0 + index as f32));
        let faint = images(|index| (2.0 + index as f32 / 8.0, 9.0 + index as f32));
        let chosen = detector.choose_top_by(&[normal], &[vec![faint]], &SHARES);
        assert_eq!(chosen.unwrap(), (0.5, 1.0));
        assert_eq!(detector.sizes.top, 0.5);
        // A speck, where images differ in what is large and faint.
        let normal = images(|index| (index as f32, 8.0));
        let speck = images(|index| (index as f32, 8.5));
        let chosen = detector.choose_top_by(&[normal], &[vec![speck]], &SHARES);
        assert_eq!(chosen.unwrap(), (0.0, 1.0));
        assert_eq!(detector.sizes.top, 0.0);
    }
}
