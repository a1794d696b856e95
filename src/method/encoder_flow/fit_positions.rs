//! Fitting the position-wise detector.

use rand::seq::index::sample;
use serde::Serialize;
use toml::Table;

use super::{PositionFlow, PositionSizes, PositionWeights};
use crate::data::{Images, Samples, Vectors};
use crate::encoder::{
    MapEncoder, MapSizes, POSITION_CONTEXT, PatchPca, PositionEncoder, Projection, SqueezeNet,
    position_context,
};
use crate::method::{
    AutoEncoderSettings, Context, EncoderKind, EncoderSettings, Fitted, FlowSettings, MethodError,
    Parts, Plan, as_table,
};
use crate::train::StageSummary;

/// Positions that the projection is fitted to, at most.
const PROJECTED: usize = 40_000;
/// Positions that the flow is trained on, at most: what a gigabyte holds.
const TRAINED: usize = 1_000_000;
/// Images per forward pass.
const BATCH: usize = 16;

/// What a fit reads.
#[derive(Debug)]
pub(super) struct Positions {
    maps: Maps,
    /// Components of a position's features that the flow sees.
    latent: usize,
    flow: FlowSettings,
}

/// Where the features of positions come from, with what that reads of the section `encoder`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Maps {
    Autoencoder(AutoEncoderSettings),
    #[serde(rename = "pca")]
    Patches {
        patch_components: usize,
    },
    #[serde(rename = "squeezenet")]
    SqueezeNet {
        input: usize,
    },
}

impl Maps {
    fn sizes(&self, shape: [usize; 3]) -> MapSizes {
        let [channels, size, _] = shape;
        match *self {
            Self::Autoencoder(ref settings) => MapSizes::Autoencoder(settings.sizes(shape)),
            Self::Patches { patch_components } => MapSizes::Patches {
                channels,
                size,
                components: patch_components,
            },
            Self::SqueezeNet { input } => MapSizes::SqueezeNet {
                channels,
                size,
                input,
            },
        }
    }
}

impl Positions {
    pub fn new(encoder: &EncoderSettings, flow: FlowSettings) -> Self {
        let maps = match encoder.kind {
            EncoderKind::Autoencoder => Maps::Autoencoder(encoder.autoencoder()),
            // The other two are refused before, see `EncoderSettings::fault`.
            EncoderKind::Pca | EncoderKind::SimClr | EncoderKind::Pixels => Maps::Patches {
                patch_components: encoder.patch_components,
            },
            EncoderKind::SqueezeNet => Maps::SqueezeNet {
                input: encoder.input,
            },
        };
        Self {
            maps,
            latent: encoder.latent,
            flow,
        }
    }

    fn map_encoder(
        &self,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(MapEncoder, Vec<StageSummary>), MethodError> {
        let train = &parts.train().images;
        match &self.maps {
            Maps::Autoencoder(settings) => {
                let (model, summary) = settings.fit(context, parts)?;
                Ok((MapEncoder::Autoencoder(model), vec![summary]))
            }
            &Maps::Patches { patch_components } => {
                let rng = &mut context.rng("patches");
                let patches = PatchPca::fit(train, patch_components, rng, context.device);
                context
                    .clock
                    .step("components of patches", Some(train.len()));
                Ok((MapEncoder::Patches(patches), Vec::new()))
            }
            &Maps::SqueezeNet { input } => {
                let network = SqueezeNet::load(context.weights, context.device)?;
                Ok((
                    MapEncoder::SqueezeNet(network.with_input(input)),
                    Vec::new(),
                ))
            }
        }
    }
}

impl Plan for Positions {
    fn settings(&self) -> Table {
        let mut encoder = as_table(&self.maps);
        encoder.insert("latent".to_owned(), (self.latent as i64).into());
        encoder.insert("positions".to_owned(), true.into());
        Table::from_iter([
            ("encoder".to_owned(), encoder.into()),
            ("flow".to_owned(), as_table(&self.flow).into()),
        ])
    }

    fn reads_weights(&self) -> bool {
        matches!(self.maps, Maps::SqueezeNet { .. })
    }

    fn trains_autoencoder(&self) -> bool {
        matches!(self.maps, Maps::Autoencoder(_))
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        context.stages[1] += usize::from(self.trains_autoencoder());
        let maps = self.maps.sizes(context.image_shape());
        let sizes = PositionSizes::new(maps, self.flow.sizes(self.latent, usize::MAX));
        let (maps, mut stages) = self.map_encoder(context, parts)?;
        let train = &parts.train().images;
        let encoder = projected(context, maps, sizes, train);
        let [train, valid] = [parts.train(), parts.validation()].map(|part| {
            context.say(&format!(
                "describing the positions of the {} images",
                part.name
            ));
            rows(context, &encoder, sizes, &part.images)
        });
        let count = Some(parts.train().images.len());
        context.clock.step("describe positions", count);
        let (flow, summary) = self.flow.fit(context, sizes.flow, train, valid)?;
        stages.push(summary);
        let weights = PositionWeights { encoder, flow };
        let scorer = PositionFlow::new(context.conversion, sizes, weights, context.device);
        let scores = context.score_images(&scorer, parts)?;
        Ok(Fitted {
            scorer: Box::new(scorer),
            scores,
            stages,
        })
    }
}

/// The maps with a projection fitted to a sample of the images.
fn projected(
    context: &mut Context,
    maps: MapEncoder,
    sizes: PositionSizes,
    train: &Images,
) -> PositionEncoder {
    let chosen = some_images(context, train, sizes, PROJECTED);
    let mut features = Vectors::new(sizes.maps.features());
    for indices in chosen.chunks(BATCH) {
        let rows = maps.features(train.batch(indices, context.device));
        features.extend(rows.into_data().iter::<f32>());
    }
    let rng = &mut context.rng("projection");
    let projection = Projection::fit(&features, sizes.flow.dim, rng, context.device);
    context.clock.step("projection", Some(chosen.len()));
    PositionEncoder { maps, projection }
}

/// Latent and context of every position of the images, side by side.
fn rows(
    context: &Context,
    encoder: &PositionEncoder,
    sizes: PositionSizes,
    images: &Images,
) -> Vectors {
    let places = position_context(sizes.maps.grid());
    let dim = sizes.flow.dim;
    let mut rows = Vectors::new(dim + POSITION_CONTEXT);
    for indices in some_images(context, images, sizes, TRAINED).chunks(BATCH) {
        let latents = encoder.encode(images.batch(indices, context.device));
        let latents: Vec<f32> = latents.into_data().iter::<f32>().collect();
        let places = places.chunks_exact(POSITION_CONTEXT).cycle();
        for (latent, place) in latents.chunks_exact(dim).zip(places) {
            rows.extend(latent.iter().chain(place).copied());
        }
    }
    rows
}

/// All images, or as many as have so many positions together.
fn some_images(
    context: &Context,
    images: &Images,
    sizes: PositionSizes,
    positions: usize,
) -> Vec<usize> {
    let grid = sizes.maps.grid();
    let count = (positions / (grid * grid)).max(1);
    if count >= images.len() {
        return (0..images.len()).collect();
    }
    sample(&mut context.rng("positions"), images.len(), count).into_vec()
}
