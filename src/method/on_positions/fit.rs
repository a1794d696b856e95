//! Fitting the position-wise detector.

use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::Table;

use super::detector::ChosenTop;
use super::room::check_places;
use super::rows::Scale;
use super::settings::{
    Components, DescribedScale, Description, Opened, PositionContext, PositionSettings, Source,
};
use super::{OnPositions, PositionSizes, PositionWeights, ScaleSizes};
use crate::data::{Images, with_defects};
use crate::encoder::{MapEncoder, PatchPca, SqueezeNet, TextureEnergies};
use crate::flow::MixtureConfig;
use crate::method::{
    Context, DetectorError, EncoderKind, EncoderSettings, Fitted, FlowSettings, MethodError, Parts,
    Plan, Spread, as_table,
};
use crate::study::Settings;
use crate::train::StageSummary;

/// Images with made-up defects that the share of positions is chosen on, at least.
const SPOILT: usize = 100;
/// Shares that are compared, the preferred one first.
const SHARES: [f64; 4] = [0.1, 0.03, 0.01, 0.0];

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
    /// The flow; without couplings its base distribution, trained where that is so.
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

impl PlaceSettings {
    /// That the Gaussians of all places fit into memory, as far as that is known without reading a network.
    fn check(&self, description: &Description, shape: [usize; 3]) -> Result<(), MethodError> {
        if matches!(description.source, Source::Onnx(_)) {
            return Ok(());
        }
        let (config, _) = description.config(shape)?;
        for DescribedScale { shrink, texture } in description.scales() {
            let config = match texture {
                true => &config.texture_residual(),
                false => &config,
            };
            check_places(self.dimensions, config, shrink)?;
        }
        Ok(())
    }
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
                let mut components = *components;
                if flow.couplings == 0 {
                    // There is nothing that a position could enter.
                    components.context = PositionContext::Off;
                }
                positions.extend(as_table(&components));
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

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        let [_, height, width] = shape;
        let poses = self.description.poses();
        poses.check([height, width]).map_err(DetectorError::Shape)?;
        self.description.check(shape)?;
        match &self.density {
            DensityPlan::Places(own) => own.check(&self.description, shape),
            _ => Ok(()),
        }
    }

    fn weights_file(&self, squeezenet: &Path) -> Option<PathBuf> {
        self.description.weights_file(squeezenet)
    }

    fn trains_autoencoder(&self) -> bool {
        self.description.autoencoder().is_some()
    }

    // By them the scales are standardised, and the share of the positions is chosen.
    fn is_chosen_by_validation(&self) -> bool {
        true
    }

    // To a density of hundreds of entries, images that it was fitted to are far likelier than others.
    fn skips_training_scores(&self) -> bool {
        true
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        let shape = context.image_shape();
        self.check(shape)?;
        let (config, source) = self.description.config(shape)?;
        let scales = self.description.scales();
        let flows = match &self.density {
            DensityPlan::Flow(components, flow) if flow.trains() => {
                components.tried(flow).len() * scales.len()
            }
            _ => 0,
        };
        context.expect_stages(flows + usize::from(self.trains_autoencoder()));
        let (encoder, mut stages) = map_encoder(source, context, parts)?;
        let texture_residual = config.texture_residual();
        let energies = MapEncoder::Texture(TextureEnergies::default());
        let (mut densities, mut sizes) = (Vec::new(), Vec::new());
        for (number, described) in (1..).zip(scales) {
            let DescribedScale { shrink, texture } = described;
            let (config, encoder) = match texture {
                true => (&texture_residual, &energies),
                false => (&config, &encoder),
            };
            let scale = Scale {
                config,
                encoder,
                shrink,
                number,
            };
            let (density, of, trained) = self.fit_scale(context, parts, scale)?;
            densities.push(density);
            sizes.push(ScaleSizes {
                shrink,
                texture,
                density: of,
                images: Spread::UNIT,
                positions: Spread::UNIT,
            });
            stages.extend(trained);
        }
        let sizes = PositionSizes {
            config,
            top: self.description.top,
            tiles: self.description.tiles,
            scales: sizes,
        };
        let weights = PositionWeights { encoder, densities };
        let mut scorer = OnPositions::new(context.conversion, sizes, weights, context.device);
        let valid = &parts.validation().images;
        let maps = scorer.standardise(valid);
        let made_up = match self.description.choose_top {
            true => Some(choose_top(context, &mut scorer, valid, &maps)?),
            false => None,
        };
        // By these maps the spreads and the share were chosen: they need not be computed again.
        let known = ("validation", scorer.scores(&maps));
        let scores = context.score_images(&scorer, parts, Some(known))?;
        Ok(Fitted {
            scorer: Box::new(scorer),
            scores,
            stages,
            made_up,
        })
    }
}

/// The encoder of positions, with the stage that trained it where there is one.
fn map_encoder(
    source: Opened,
    context: &mut Context,
    parts: &Parts,
) -> Result<(MapEncoder, Vec<StageSummary>), MethodError> {
    let train = &parts.train().images;
    match source {
        Opened::Autoencoder(settings) => {
            let (model, summary) = settings.fit(context, parts)?;
            Ok((MapEncoder::Autoencoder(model), vec![summary]))
        }
        Opened::Patches(sizes) => {
            let rng = &mut context.rng("patches");
            let patches = PatchPca::fit(train, sizes, rng, context.device);
            let count = Some(train.len());
            context.clock.step("components of patches", count);
            Ok((MapEncoder::Patches(patches), Vec::new()))
        }
        Opened::SqueezeNet => {
            let network = SqueezeNet::load(context.weights, context.device)?;
            Ok((MapEncoder::SqueezeNet(network), Vec::new()))
        }
        Opened::Onnx(network) => Ok((MapEncoder::Onnx(network), Vec::new())),
        Opened::Texture => Ok((MapEncoder::Texture(TextureEnergies::default()), Vec::new())),
    }
}

/// Takes the share of positions that tells validation images, which have these `maps`, best from the same with made-up
/// defects; returns by what AUROC [the encoder's scales](ChosenTop::by_encoder) tell them.
fn choose_top(
    context: &mut Context,
    scorer: &mut OnPositions,
    valid: &Images,
    maps: &[Vec<f32>],
) -> Result<f64, MethodError> {
    let rng = &mut context.rng("made-up defects");
    let copies = SPOILT.div_ceil(valid.len().max(1));
    let spoilt: Vec<Images> = (0..copies).map(|_| with_defects(valid, rng)).collect();
    let ChosenTop {
        top,
        auroc,
        by_encoder,
    } = scorer.choose_top(maps, &spoilt, &SHARES)?;
    context.clock.step("choice of the share", Some(valid.len()));
    context.say(&format!(
        "an image's score is the mean of the least likely {} of its positions, which tells made-up defects best (AUROC {auroc:.3}{})",
        match top {
            0.0 => "one".to_owned(),
            share => format!("{} %", 100.0 * share),
        },
        match by_encoder == auroc {
            true => String::new(),
            false => format!("; {by_encoder:.3} without the scale of the texture"),
        },
    ));
    Ok(by_encoder)
}
