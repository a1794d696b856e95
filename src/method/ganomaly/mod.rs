//! The method `ganomaly` (Akcay, Atapour-Abarghouei & Breckon, ACCV 2018).

pub(super) mod detector;
mod networks;

use serde::{Deserialize, Serialize};
use toml::Table;

pub use detector::GanomalyDetector;
pub use networks::{GANOMALY_STAGE, Ganomaly};

use super::fitting::context::input_digest;
use super::{Context, DetectorError, Entry, Fitted, MethodError, Parts, Plan, Section, as_table};
use crate::encoder::{AutoEncoderConfig, EncoderSizes};
use crate::study::{Check, Fault, Settings, first_fault, optimisation_fault};
use crate::train::Optimisation;

pub(super) static ENTRY: Entry = Entry {
    name: "ganomaly",
    summary: "GANomaly: how far the latent of the reconstruction is from that of the image",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| Ok(Box::new(settings.section::<GanomalySettings>("ganomaly")?)),
    words: &[&[
        ("encoding_distance", "encoding distance"),
        ("reconstruction", "reconstruction error"),
    ]],
    stages: &[&GANOMALY_STAGE],
    notes: &[
        "GANomaly's networks are in evaluation mode, and smaller and trained for fewer epochs than the authors' unless the settings say otherwise (theirs: width 64, 15 epochs).",
    ],
    loaders: &[("ganomaly", GanomalyDetector::load)],
};

/// The section `ganomaly`: a fit reads all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GanomalySettings {
    /// Channels after the first convolution.
    pub width: usize,
    /// Dimension of the latent.
    pub latent: usize,
    /// Its stage.
    pub training: Optimisation,
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let own: GanomalySettings = settings.section("ganomaly")?;
    let checks = [
        Check::within("width", own.width, AutoEncoderConfig::WIDTHS),
        Check::within("latent", own.latent, 2..=EncoderSizes::LARGEST_LATENT),
    ];
    let fault = first_fault("ganomaly", checks);
    Ok(fault.or_else(|| optimisation_fault("ganomaly", &own.training)))
}

impl GanomalySettings {
    /// Of the networks for images of this shape.
    fn sizes(&self, shape: [usize; 3]) -> AutoEncoderConfig {
        AutoEncoderConfig::for_images(shape, self.width, self.latent)
    }
}

impl Plan for GanomalySettings {
    fn settings(&self) -> Table {
        Table::from_iter([("ganomaly".to_owned(), as_table(self).into())])
    }

    // A discriminator that starts over keeps its moments.
    fn version(&self) -> u32 {
        2
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        let checked = self.sizes(shape).check_images(shape);
        Ok(checked.map_err(DetectorError::Shape)?)
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        self.check(context.image_shape())?;
        let sizes = self.sizes(context.image_shape());
        let model = Ganomaly::new(&sizes, &mut context.rng("ganomaly weights"), context.device);
        let images = (
            parts.train().images.clone(),
            parts.validation().images.clone(),
        );
        let input = format!("{} {}", self.version(), input_digest(parts));
        let trained = context.train(&GANOMALY_STAGE, &self.training, model, images, &input);
        let (model, summary) = trained?;
        let scorer = GanomalyDetector::new(context.conversion, model, context.device);
        context.finish_one_stage(scorer, summary, parts)
    }
}
