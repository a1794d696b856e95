//! Fitting the position-wise detector.

use burn::tensor::Tensor;
use rand::seq::index::sample;
use serde::Serialize;
use toml::Table;

use super::detector::images_per_pass;
use super::settings::{Components, Description, PositionSettings, Source};
use super::{
    ComponentFlow, DensitySizes, KernelDensity, OnPositions, PatchBank, PlaceGaussians,
    PositionDensity, PositionSizes, PositionWeights, ScaleSizes, Spread,
};
use crate::data::{Images, Samples, Vectors};
use crate::encoder::{
    MapEncoder, POSITION_CONTEXT, PatchPca, PositionConfig, Projection, SqueezeNet,
    position_context,
};
use crate::flow::{BaseKind, Mixing, MixtureConfig, RealNvpConfig};
use crate::method::{
    Context, DetectorError, EncoderKind, EncoderSettings, Fitted, FlowSettings, MethodError, Parts,
    Plan, as_table,
};
use crate::study::Settings;
use crate::train::StageSummary;

/// Positions that a density is fitted to, at most.
const TRAINED: usize = 100_000;
/// Positions that it is validated on, at most.
const VALIDATED: usize = 25_000;
/// Positions that a coreset is taken from, at most.
const REMEMBERED: usize = 40_000;

/// What a fit reads.
#[derive(Debug)]
pub struct PositionPlan {
    /// How positions are described.
    pub description: Description,
    /// What is put on them.
    pub density: DensityPlan,
}

/// A density of positions with what it reads of the settings.
#[derive(Clone, Debug)]
pub enum DensityPlan {
    /// The flow; without couplings its base distribution.
    Flow(Components, FlowSettings),
    /// A single Gaussian of so many whitened components; 0 for all.
    Gaussian(usize),
    /// A mixture of Gaussians of so many whitened components; 0 for all.
    Mixture(usize, MixtureConfig),
    /// Kernels.
    Kernel(KernelSettings),
    /// PatchCore.
    Bank(BankSettings),
    /// PaDiM.
    Places(PlaceSettings),
}

/// What a kernel density reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KernelSettings {
    /// Centres.
    pub centres: usize,
}

/// What PatchCore reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BankSettings {
    /// Share of the positions that are remembered.
    pub coreset: f64,
}

/// What PaDiM reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlaceSettings {
    /// Features that are looked at, drawn at random.
    pub dimensions: usize,
}

/// Positions that were looked at.
struct Rows {
    /// `[len, features]`.
    features: Vectors,
    /// Where in the grid each of them lies.
    places: Vec<usize>,
}

impl PositionPlan {
    /// What a method with an encoder of this kind and this density reads.
    pub fn read(
        settings: &Settings,
        kind: EncoderKind,
        density: impl FnOnce(&PositionSettings) -> DensityPlan,
    ) -> Result<Self, toml::de::Error> {
        let positions = PositionSettings::read(settings)?;
        let encoder = EncoderSettings::read(settings)?;
        Ok(Self {
            description: positions.description(kind, &encoder),
            density: density(&positions),
        })
    }
}

impl Plan for PositionPlan {
    fn settings(&self) -> Table {
        let mut encoder = as_table(&self.description.source);
        encoder.insert("positions".to_owned(), true.into());
        let mut positions = as_table(&self.description);
        let own = match &self.density {
            DensityPlan::Flow(components, flow) => {
                positions.extend(as_table(components));
                Some(("flow", as_table(flow)))
            }
            DensityPlan::Gaussian(components) => {
                positions.insert("components".to_owned(), (*components as i64).into());
                None
            }
            DensityPlan::Mixture(components, own) => {
                positions.insert("components".to_owned(), (*components as i64).into());
                Some(("gmm", as_table(own)))
            }
            DensityPlan::Kernel(own) => Some(("kernel", as_table(own))),
            DensityPlan::Bank(own) => Some(("patchcore", as_table(own))),
            DensityPlan::Places(own) => Some(("padim", as_table(own))),
        };
        let sections = [("encoder", encoder), ("positions", positions)];
        let sections = sections.into_iter().chain(own);
        sections
            .map(|(name, section)| (name.to_owned(), section.into()))
            .collect()
    }

    fn reads_weights(&self) -> bool {
        self.description.reads_weights()
    }

    fn trains_autoencoder(&self) -> bool {
        self.description.autoencoder().is_some()
    }

    fn skips_training_scores(&self) -> bool {
        // Remembered positions lie at no distance from themselves.
        matches!(self.density, DensityPlan::Bank(_) | DensityPlan::Kernel(_))
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        let shape = context.image_shape();
        let config = self.description.config(shape);
        let config = config.map_err(DetectorError::Shape)?;
        let scales = self.description.scales.clone();
        let flows = match &self.density {
            DensityPlan::Flow(_, flow) if flow.couplings > 0 => scales.len(),
            _ => 0,
        };
        context.stages[1] = flows + usize::from(self.trains_autoencoder());
        let (encoder, mut stages) = self.map_encoder(context, parts)?;
        let (mut densities, mut sizes) = (Vec::new(), Vec::new());
        for (number, &shrink) in (1..).zip(&scales) {
            let scale = Scale {
                config: &config,
                encoder: &encoder,
                shrink,
                number,
            };
            let (density, of, stage) = self.fit_scale(context, parts, scale)?;
            densities.push(density);
            sizes.push(ScaleSizes {
                shrink,
                density: of,
                images: Spread::UNIT,
                positions: Spread::UNIT,
            });
            stages.extend(stage);
        }
        let sizes = PositionSizes {
            config,
            top: self.description.top,
            scales: sizes,
        };
        let weights = PositionWeights { encoder, densities };
        let mut scorer = OnPositions::new(context.conversion, sizes, weights, context.device);
        scorer.standardise(&parts.validation().images);
        let scores = context.score_images(&scorer, parts)?;
        Ok(Fitted {
            scorer: Box::new(scorer),
            scores,
            stages,
        })
    }
}

/// What a density is fitted through.
#[derive(Clone, Copy)]
struct Scale<'a> {
    config: &'a PositionConfig,
    encoder: &'a MapEncoder,
    shrink: usize,
    number: usize,
}

impl PositionPlan {
    fn map_encoder(
        &self,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(MapEncoder, Vec<StageSummary>), MethodError> {
        let train = &parts.train().images;
        match &self.description.source {
            Source::Autoencoder(settings) => {
                let (model, summary) = settings.fit(context, parts)?;
                Ok((MapEncoder::Autoencoder(model), vec![summary]))
            }
            &Source::Patches { patch_components } => {
                let rng = &mut context.rng("patches");
                let patches = PatchPca::fit(train, patch_components, rng, context.device);
                let count = Some(train.len());
                context.clock.step("components of patches", count);
                Ok((MapEncoder::Patches(patches), Vec::new()))
            }
            Source::SqueezeNet { .. } => {
                let network = SqueezeNet::load(context.weights, context.device)?;
                Ok((MapEncoder::SqueezeNet(network), Vec::new()))
            }
        }
    }

    fn fit_scale(
        &self,
        context: &mut Context,
        parts: &Parts,
        scale: Scale,
    ) -> Result<(PositionDensity, DensitySizes, Option<StageSummary>), MethodError> {
        let name = format!("scale {}", scale.number);
        let (train, valid) = (&parts.train().images, &parts.validation().images);
        let count = Some(train.len());
        context.say(&format!(
            "{name}: describing the positions of {} images",
            train.len()
        ));
        let device = context.device;
        let features = scale.config.features();
        let rows = |images, most| self.rows(context, scale, images, most);
        let purpose = format!("density of {name}");
        let rng = &mut context.rng(&purpose);
        let fitted = match &self.density {
            DensityPlan::Gaussian(components) | DensityPlan::Mixture(components, _) => {
                let train = rows(train, TRAINED);
                let kept = kept(*components, features);
                let projection = Projection::fit(&train.features, kept, rng, device);
                let mixture = match &self.density {
                    DensityPlan::Mixture(_, mixture) => Some(*mixture),
                    _ => None,
                };
                let starts = mixture.map_or(1, |mixture| mixture.starts);
                let flow = gaussians(kept, mixture.map_or(0, |one| one.gaussians * starts));
                let density = flow.init(rng, device);
                let flowing = match mixture {
                    None => density,
                    Some(mixture) => {
                        let latents = latents(&projection, train, kept, None, context);
                        let count = latents.len().min(mixture.samples);
                        let chosen = sample(rng, latents.len(), count).into_vec();
                        density.initialised_from(latents.batch(&chosen, device), starts, rng)
                    }
                };
                let density = ComponentFlow {
                    projection,
                    flow: flowing,
                };
                let sizes = DensitySizes::Flow {
                    components: kept,
                    flow,
                };
                (PositionDensity::Flow(density), sizes, None)
            }
            DensityPlan::Flow(components, flow) => {
                let (train, valid) = (rows(train, TRAINED), rows(valid, VALIDATED));
                let kept = kept(components.components, features);
                let projection = Projection::fit(&train.features, kept, rng, device);
                let head = if components.head == 0 {
                    kept
                } else {
                    components.head.min(kept)
                };
                let sides = components
                    .context
                    .then(|| scale.config.grid(scale.shrink).sides);
                let [train, valid] =
                    [train, valid].map(|rows| latents(&projection, rows, head, sides, context));
                context.clock.step(&format!("components of {name}"), count);
                let sizes = RealNvpConfig {
                    context: if components.context {
                        POSITION_CONTEXT
                    } else {
                        0
                    },
                    ..flow.sizes(head, train.len())
                };
                let (flow, stage) = match flow.couplings {
                    0 => (flow.start(context, sizes, &train), None),
                    _ => {
                        let folder = format!("scale-{}", scale.number);
                        let trained = context
                            .within(&folder, |context| flow.fit(context, sizes, train, valid));
                        let (flow, mut stage) = trained?;
                        stage.name = format!("{folder}/{}", stage.name);
                        (flow, Some(stage))
                    }
                };
                let sizes = DensitySizes::Flow {
                    components: kept,
                    flow: sizes,
                };
                let density = ComponentFlow { projection, flow };
                (PositionDensity::Flow(density), sizes, stage)
            }
            DensityPlan::Kernel(own) => {
                let (train, valid) = (rows(train, REMEMBERED), rows(valid, VALIDATED));
                let (train, valid) = (&train.features, &valid.features);
                let density = KernelDensity::fit(train, valid, own.centres, rng, device);
                let sizes = DensitySizes::Kernel {
                    centres: density.centres(),
                };
                (PositionDensity::Kernel(density), sizes, None)
            }
            DensityPlan::Bank(own) => {
                let train = rows(train, REMEMBERED).features;
                let patches = (train.len() as f64 * own.coreset).ceil() as usize;
                let bank = PatchBank::fit(&train, patches.max(1), rng, device);
                let sizes = DensitySizes::Bank {
                    patches: bank.patches(),
                };
                (PositionDensity::Bank(bank), sizes, None)
            }
            DensityPlan::Places(own) => {
                let train = rows(train, usize::MAX).features;
                let places = scale.config.grid(scale.shrink).len();
                let dimensions = own.dimensions.min(features);
                let chosen = sample(rng, features, dimensions).into_vec();
                let gaussians = PlaceGaussians::fit(&train, places, &chosen, device);
                (
                    PositionDensity::Places(gaussians),
                    DensitySizes::Places { dimensions },
                    None,
                )
            }
        };
        context.clock.step(&purpose, count);
        Ok(fitted)
    }

    /// The features of the positions of `images`, mirrored as well where that is asked for: of all, or
    /// of equally many in every image, drawn at random, where there are more than `most`.
    fn rows(&self, context: &Context, scale: Scale, images: &Images, most: usize) -> Rows {
        let places = scale.config.grid(scale.shrink).len();
        let flips: &[[bool; 2]] = match self.description.flips {
            true => &[[false, false], [true, false], [false, true], [true, true]],
            false => &[[false, false]],
        };
        let per_image = (most / (images.len() * flips.len()).max(1)).clamp(1, places);
        let rng = &mut context.rng(&format!("positions of scale {}", scale.number));
        let mut rows = Rows {
            features: Vectors::new(scale.config.features()),
            places: Vec::new(),
        };
        let all: Vec<usize> = (0..images.len()).collect();
        for indices in all.chunks(images_per_pass(scale.config.shape)) {
            let batch = images.batch(indices, context.device);
            let batch: Tensor<4> = scale.config.prepared(batch);
            for flip in flips {
                let batch = mirrored(batch.clone(), *flip);
                let features = scale.config.describe(scale.encoder, batch, scale.shrink);
                let features: Vec<f32> = features.into_data().iter().collect();
                for image in features.chunks_exact(places * rows.features.dim()) {
                    let mut chosen = match per_image == places {
                        true => (0..places).collect(),
                        false => sample(rng, places, per_image).into_vec(),
                    };
                    chosen.sort_unstable();
                    for place in chosen {
                        let width = rows.features.dim();
                        let row = &image[place * width..][..width];
                        rows.features.extend(row.iter().copied());
                        rows.places.push(place);
                    }
                }
            }
        }
        rows
    }
}

/// Images upside down, or left to right, or both.
fn mirrored(images: Tensor<4>, [rows, columns]: [bool; 2]) -> Tensor<4> {
    let images = if rows { images.flip([2]) } else { images };
    if columns { images.flip([3]) } else { images }
}

/// Components that are kept of so many features.
fn kept(components: usize, features: usize) -> usize {
    match components {
        0 => features,
        some => some.min(features),
    }
}

/// A fitted mixture of whitened components; with none, a standard normal, which is their Gaussian.
fn gaussians(components: usize, gaussians: usize) -> RealNvpConfig {
    RealNvpConfig {
        dim: components,
        couplings: 0,
        hidden: 1,
        layers: 0,
        clamp: 1.0,
        mixing: Mixing::Permutation,
        actnorm: false,
        gaussians,
        base: BaseKind::Fitted,
        context: 0,
    }
}

/// The first `head` components of every row, followed by its place in a grid of these sides where the
/// flow is to know it.
fn latents(
    projection: &Projection,
    rows: Rows,
    head: usize,
    sides: Option<[usize; 2]>,
    context: &Context,
) -> Vectors {
    const BATCH: usize = 4096;
    let places = sides.map(position_context);
    let width = head + places.as_ref().map_or(0, |_| POSITION_CONTEXT);
    let mut latents = Vectors::new(width);
    let all: Vec<usize> = (0..rows.features.len()).collect();
    for indices in all.chunks(BATCH) {
        let batch = projection.forward(rows.features.batch(indices, context.device));
        let batch: Vec<f32> = batch.narrow(1, 0, head).into_data().iter::<f32>().collect();
        for (row, &index) in batch.chunks_exact(head).zip(indices) {
            latents.extend(row.iter().copied());
            if let Some(places) = &places {
                let place = rows.places[index] * POSITION_CONTEXT;
                latents.extend(places[place..][..POSITION_CONTEXT].iter().copied());
            }
        }
    }
    latents
}
