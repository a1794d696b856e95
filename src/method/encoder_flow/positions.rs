//! The position-wise detector: a flow's likelihood of every position of an image.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::{Conversion, Images, Samples};
use crate::encoder::{MapSizes, POSITION_CONTEXT, PositionEncoder, position_contexts};
use crate::flow::{RealNvp, RealNvpConfig};
use crate::method::model_file::{check_shape, load_weights};
use crate::method::{DetectorError, HeatSource, Heatmap, Scorer, Scores, Stored};

/// Name of the scorer in a model file.
pub(super) const KIND: &str = "position-flow";

/// Images per forward pass: every image brings a few hundred positions.
const BATCH: usize = 16;
/// Share of an image's positions that its score is the mean of.
const TOP_SHARE: f64 = 0.01;

/// Scores images by the likelihood of each of their positions.
///
/// The paper's idea on feature maps instead of one latent, as CFLOW-AD (arXiv:2107.12571) and
/// FastFlow (arXiv:2111.07677) do on pretrained features: the encoder describes every position, and
/// one flow, conditioned on where the position lies, gives the description's log-likelihood. Small
/// defects then count as much as large ones, and the likelihood says where they are.
///
/// - `top_positions`: mean negative log-likelihood, in nats, of the least likely hundredth of the
///   positions;
/// - `mean_position`: mean negative log-likelihood of all positions.
pub struct PositionFlow {
    conversion: Conversion,
    sizes: PositionSizes,
    weights: PositionWeights,
    device: Device,
}

/// Sizes of a [`PositionFlow`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionSizes {
    /// Where the features come from.
    pub maps: MapSizes,
    /// Of the flow; its `dim` is also the projection's.
    pub flow: RealNvpConfig,
}

/// The trained parts.
#[derive(Module, Debug)]
pub struct PositionWeights {
    /// Features of positions.
    pub encoder: PositionEncoder,
    /// Their density.
    pub flow: RealNvp,
}

impl PositionSizes {
    /// The flow's sizes with the context of a position.
    pub fn new(maps: MapSizes, flow: RealNvpConfig) -> Self {
        Self {
            maps,
            flow: RealNvpConfig {
                dim: flow.dim.min(maps.features()),
                context: POSITION_CONTEXT,
                ..flow
            },
        }
    }
}

impl PositionSizes {
    /// What keeps these sizes from being built, if anything does.
    fn check(&self) -> Result<(), String> {
        self.flow.check()?;
        self.maps.check()?;
        match self.flow.context == POSITION_CONTEXT && self.flow.dim <= self.maps.features() {
            true => Ok(()),
            false => Err("the flow is not of the features' dimension".to_owned()),
        }
    }
}

impl PositionFlow {
    /// Puts the trained parts together, with frozen weights.
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
    pub(super) fn load(
        described: Value,
        conversion: Conversion,
        bytes: Vec<u8>,
        device: &Device,
    ) -> Result<Box<dyn Scorer>, String> {
        let sizes: PositionSizes =
            serde_json::from_value(described).map_err(|error| error.to_string())?;
        sizes.check()?;
        check_shape(conversion, sizes.maps.image_shape())?;
        // The initial weights are replaced; any seed will do.
        let rng = &mut StdRng::seed_from_u64(0);
        let mut weights = PositionWeights {
            encoder: sizes.maps.empty(sizes.flow.dim, rng, device),
            flow: sizes.flow.init(rng, device),
        };
        load_weights(&mut weights, bytes)?;
        Ok(Box::new(Self::new(conversion, sizes, weights, device)))
    }

    /// Negative log-likelihood of every position, in nats, of images that have been converted.
    ///
    /// # Shapes
    /// To `[len, grid, grid]`, row-major.
    pub fn nll(&self, images: &Images) -> Vec<f32> {
        let grid = self.sizes.maps.grid();
        let mut values = Vec::with_capacity(images.len() * grid * grid);
        let all: Vec<usize> = (0..images.len()).collect();
        for indices in all.chunks(BATCH) {
            let latents = self
                .weights
                .encoder
                .encode(images.batch(indices, &self.device));
            let context = position_contexts(indices.len(), grid, &self.device);
            let log_prob: Tensor<1> = self.weights.flow.log_prob(latents, Some(&context));
            values.extend(log_prob.neg().into_data().iter::<f32>());
        }
        values
    }
}

impl Scorer for PositionFlow {
    fn score_names(&self) -> &'static [&'static str] {
        &["top_positions", "mean_position"]
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

    fn score(&self, images: &Images) -> Result<Scores, DetectorError> {
        let images = self.conversion.apply(images.clone())?;
        let grid = self.sizes.maps.grid();
        let nll = self.nll(&images);
        let (mut tops, mut means) = (Vec::new(), Vec::new());
        for positions in nll.chunks_exact(grid * grid) {
            tops.push(mean_of_largest(positions));
            means.push(mean(positions));
        }
        Ok(Scores::new(self.score_names(), vec![tops, means]))
    }

    fn deciding(&self) -> &'static [&'static str] {
        self.score_names()
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        if source != HeatSource::Positions {
            return None;
        }
        let grid = self.sizes.maps.grid();
        let nll = self.nll(images);
        let maps = nll.chunks_exact(grid * grid);
        maps.map(|map| Heatmap::new(grid, grid, map.to_vec()))
            .collect()
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        &[HeatSource::Positions]
    }
}

/// Mean of the largest [`TOP_SHARE`] of the values, at least of one.
fn mean_of_largest(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let count = (values.len() as f64 * TOP_SHARE).ceil() as usize;
    mean(&sorted[..count.clamp(1, sorted.len())])
}

fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    (sum / values.len() as f64) as f32
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Framing;
    use crate::flow::transform_tests::randomised;
    use crate::flow::{BaseKind, Mixing};
    use crate::method::scorer::tests::{assert_score_of_image_alone, noise};

    pub fn detector() -> PositionFlow {
        let device = test_device();
        let maps = MapSizes::Patches {
            channels: 1,
            size: 32,
            components: 4,
        };
        let flow = RealNvpConfig {
            dim: 6,
            couplings: 3,
            hidden: 8,
            layers: 1,
            clamp: 2.0,
            mixing: Mixing::Permutation,
            actnorm: false,
            gaussians: 0,
            base: BaseKind::Trained,
            context: 0,
        };
        let sizes = PositionSizes::new(maps, flow);
        let rng = &mut StdRng::seed_from_u64(1);
        let weights = PositionWeights {
            encoder: randomised(maps.empty(sizes.flow.dim, rng, &device)),
            flow: randomised(sizes.flow.init(rng, &device)),
        };
        let conversion = Conversion {
            channels: 1,
            size: 32,
            fit: Framing::Resize,
        };
        PositionFlow::new(conversion, sizes, weights, &device)
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(40, 2));
    }

    #[test]
    fn the_score_is_that_of_the_least_likely_positions() {
        let values: Vec<f32> = (0..200).map(|index| index as f32).collect();
        assert_eq!(mean_of_largest(&values), 198.5);
        assert_eq!(mean_of_largest(&[3.0, 1.0]), 3.0);
    }
}
