//! Fitting the position-wise detector.

use rand::seq::index::sample;

use super::ExperimentError;
use super::fit::{Fitted, Fitter};
use super::prepare::Prepared;
use crate::data::{Images, Samples, Vectors};
use crate::detector::{Model, PositionFlow, PositionSizes, PositionWeights};
use crate::encoder::{
    MapEncoder, MapSizes, POSITION_CONTEXT, PatchPca, PositionEncoder, Projection, SqueezeNet,
    position_context,
};
use crate::train::StageSummary;

/// Positions that the projection is fitted to, at most.
const PROJECTED: usize = 40_000;
/// Positions that the flow is trained on, at most: what a gigabyte holds.
const TRAINED: usize = 1_000_000;
/// Images per forward pass.
const BATCH: usize = 16;

impl Fitter<'_> {
    /// Maps, projection and flow, and the scores of every part.
    pub(super) fn fit_positions(&mut self, prepared: &Prepared) -> Result<Fitted, ExperimentError> {
        let config = &self.experiment.config;
        let sizes = PositionSizes::new(config.maps(), config.flow(config.encoder.latent));
        let (maps, mut stages) = self.map_encoder(sizes.maps, prepared)?;
        let train = &prepared.part("train").images;
        let encoder = self.projected(maps, sizes, train);
        let [train, valid] = ["train", "validation"].map(|name| {
            self.say(&format!("describing the positions of the {name} images"));
            self.rows(&encoder, sizes, &prepared.part(name).images)
        });
        self.clock.step("describe positions", Some(train.len()));
        let (flow, summary) = self.flow(sizes.flow, train, valid)?;
        stages.push(summary);
        let weights = PositionWeights { encoder, flow };
        let conversion = config.conversion();
        let detector = PositionFlow::new(conversion, sizes, weights, self.device);
        let table = self.score_images(&detector, prepared)?;
        Ok(Fitted {
            model: Model::PositionFlow(detector),
            table,
            stages,
        })
    }

    fn map_encoder(
        &mut self,
        sizes: MapSizes,
        prepared: &Prepared,
    ) -> Result<(MapEncoder, Vec<StageSummary>), ExperimentError> {
        let train = &prepared.part("train").images;
        match sizes {
            MapSizes::Autoencoder(config) => {
                let (model, summary) = self.autoencoder(config, prepared)?;
                Ok((MapEncoder::Autoencoder(model), vec![summary]))
            }
            MapSizes::Patches { components, .. } => {
                let rng = &mut self.rng("patches");
                let patches = PatchPca::fit(train, components, rng, self.device);
                self.clock.step("components of patches", Some(train.len()));
                Ok((MapEncoder::Patches(patches), Vec::new()))
            }
            MapSizes::SqueezeNet { input, .. } => {
                let network = SqueezeNet::load(self.backbone, self.device)?.with_input(input);
                Ok((MapEncoder::SqueezeNet(network), Vec::new()))
            }
        }
    }

    /// The maps with a projection fitted to a sample of the images.
    fn projected(
        &mut self,
        maps: MapEncoder,
        sizes: PositionSizes,
        train: &Images,
    ) -> PositionEncoder {
        let chosen = self.some_images(train, sizes, PROJECTED);
        let mut features = Vectors::new(sizes.maps.features());
        for indices in chosen.chunks(BATCH) {
            let rows = maps.features(train.batch(indices, self.device));
            features.extend(rows.into_data().iter::<f32>());
        }
        let rng = &mut self.rng("projection");
        let projection = Projection::fit(&features, sizes.flow.dim, rng, self.device);
        self.clock.step("projection", Some(chosen.len()));
        PositionEncoder { maps, projection }
    }

    /// Latent and context of every position of the images, side by side.
    fn rows(&self, encoder: &PositionEncoder, sizes: PositionSizes, images: &Images) -> Vectors {
        let context = position_context(sizes.maps.grid());
        let dim = sizes.flow.dim;
        let mut rows = Vectors::new(dim + POSITION_CONTEXT);
        for indices in self.some_images(images, sizes, TRAINED).chunks(BATCH) {
            let latents = encoder.encode(images.batch(indices, self.device));
            let latents: Vec<f32> = latents.into_data().iter::<f32>().collect();
            let contexts = context.chunks_exact(POSITION_CONTEXT).cycle();
            for (latent, context) in latents.chunks_exact(dim).zip(contexts) {
                rows.extend(latent.iter().chain(context).copied());
            }
        }
        rows
    }

    /// All images, or as many as have so many positions together.
    fn some_images(&self, images: &Images, sizes: PositionSizes, positions: usize) -> Vec<usize> {
        let grid = sizes.maps.grid();
        let count = (positions / (grid * grid)).max(1);
        if count >= images.len() {
            return (0..images.len()).collect();
        }
        sample(&mut self.rng("positions"), images.len(), count).into_vec()
    }
}
