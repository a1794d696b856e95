//! The section `simclr`, and its stage: a network that is trained without labels on the normal images.

use std::sync::Arc;

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::context::input_digest;
use crate::data::{Augmentation, Pairs, Samples, Vectors};
use crate::encoder::{
    Encoder, Projection, ResNet, ResNetConfig, SIMCLR_STAGE, SimClr, SimClrEncoder,
};
use crate::method::{Context, DetectorError, MethodError, Parts, derive};
use crate::study::{Check, Fault, Settings, first_fault, optimisation_fault};
use crate::train::{Optimisation, StageSummary};

/// Images per forward pass.
const BATCH: usize = 256;
/// The keys of the section with their defaults.
pub(in crate::method) const SETTINGS: &str = include_str!("simclr.toml");
/// Name of the section.
pub(in crate::method) const SECTION: &str = "simclr";

/// The section `simclr`: a fit that trains the network reads all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimClrSettings {
    /// Channels after the first convolution.
    pub width: usize,
    /// Residual blocks between two halvings.
    pub blocks: usize,
    /// Stride of the first convolution.
    pub first_stride: usize,
    /// Entries of the projections that are compared.
    pub projection: usize,
    /// By which their cosines are divided.
    pub temperature: f64,
    /// The random views.
    pub augmentation: Augmentation,
    /// Its stage.
    pub training: Optimisation,
}

impl SimClrSettings {
    /// Reads the section.
    pub(in crate::method) fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        settings.section(SECTION)
    }

    /// The first key with which no run is possible.
    pub(in crate::method) fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
        let own = Self::read(settings)?;
        let [channels, size] = [settings.data.channels, settings.data.size];
        let sizes = own.sizes([channels, size, size]);
        let checks = [
            Check::within("width", own.width, ResNetConfig::WIDTHS),
            Check::within("blocks", own.blocks, ResNetConfig::BLOCKS),
            Check::within("first_stride", own.first_stride, 1..=2),
            Check::within("projection", own.projection, 2..=4096),
            Check::new(
                "temperature",
                (0.01..=10.0).contains(&own.temperature),
                "must be from 0.01 to 10",
            ),
            Check::new(
                "width",
                // Only a fit that trains the network minds whether it can be built for such images.
                !matches!(size, 32 | 64 | 128) || sizes.check().is_ok(),
                format!(
                    "must be smaller for images of {size} pixels: it is doubled at every halving"
                ),
            ),
        ];
        let fault = first_fault(SECTION, checks);
        Ok(fault.or_else(|| optimisation_fault(SECTION, &own.training)))
    }

    /// Sizes of the network for images of this shape.
    pub fn sizes(&self, [channels, size, _]: [usize; 3]) -> ResNetConfig {
        ResNetConfig {
            channels,
            size,
            width: self.width,
            blocks: self.blocks,
            first_stride: self.first_stride,
        }
    }

    /// Makes sure that the network can be trained on images of this shape.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] when it cannot.
    pub(in crate::method) fn check(&self, shape: [usize; 3]) -> Result<(), DetectorError> {
        let checked = self.sizes(shape).check_images(shape);
        checked.map_err(DetectorError::Shape)
    }

    /// Trains the network in its stage, and leaves the head behind.
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped.
    pub(in crate::method) fn fit(
        &self,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(ResNet, StageSummary), MethodError> {
        self.check(context.image_shape())?;
        if parts.validation().images.len() < 2 {
            return Err(DetectorError::Shape(
                "a network that learns without labels needs at least two validation images: take more images, or more \
                 groups"
                    .to_owned(),
            )
            .into());
        }
        let sizes = self.sizes(context.image_shape());
        let model = SimClr::new(
            sizes,
            self.projection,
            self.temperature,
            &mut context.rng("simclr weights"),
            context.device,
        );
        let seed = derive(context.seed, "simclr views");
        let views = [parts.train(), parts.validation()]
            .map(|part| Arc::new(Pairs::new(part.images.clone(), self.augmentation, seed)));
        let [train, valid] = views;
        let input = input_digest(parts);
        let samples = (train, valid);
        let (model, summary) =
            context.train(&SIMCLR_STAGE, &self.training, model, samples, &input)?;
        let network = model.network.valid().to_device(context.device);
        Ok((network, summary))
    }

    /// Trains the network, and takes the principal components of what it makes of training images.
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped.
    pub(in crate::method) fn fit_encoder(
        &self,
        components: usize,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(Encoder, StageSummary), MethodError> {
        let (network, summary) = self.fit(context, parts)?;
        let train = &parts.train().images;
        let dim = self.sizes(context.image_shape()).features();
        let features = Vectors::in_batches(dim, (train.len(), BATCH), |indices| {
            SimClrEncoder::features(&network, train.batch(indices, context.device))
        });
        let rng = &mut context.rng("principal components");
        let projection = Projection::fit(&features, components, rng, context.device);
        let count = train.len();
        context.clock.step("principal components", Some(count));
        context.note_components("principal components", count, components.min(dim));
        let encoder = SimClrEncoder {
            network,
            projection,
        };
        Ok((Encoder::SimClr(encoder), summary))
    }
}
