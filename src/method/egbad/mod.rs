//! The method `egbad` (Zenati, Foo, Lecouat, Manek & Chandrasekhar, arXiv:1802.06222), which the paper
//! names.

mod config;
pub(super) mod detector;
mod discriminator;
mod dropout;
mod layers;
mod networks;
mod training;

use serde::{Deserialize, Serialize};
use toml::Table;

pub use config::BiGanConfig;
pub use detector::EgbadDetector;
pub use discriminator::Discriminator;
pub use networks::BiGan;
pub use training::{EGBAD_STAGE, Egbad};

use super::fitting::adversarial;
use super::fitting::context::input_digest;
use super::{Context, DetectorError, Entry, Fitted, MethodError, Parts, Plan, Section, as_table};
use crate::study::{Check, Fault, Settings, first_fault, optimisation_fault};
use crate::train::Optimisation;

pub(super) static ENTRY: Entry = Entry {
    name: "egbad",
    summary: "EGBAD: a BiGAN's reconstruction and what its discriminator says of it",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| Ok(Box::new(settings.section::<EgbadSettings>("egbad")?)),
    words: &[&[
        ("feature_matching", "reconstruction and features"),
        ("cross_entropy", "reconstruction and cross-entropy"),
        ("residual", "reconstruction error"),
    ]],
    stages: &[&EGBAD_STAGE],
    notes: &[
        "EGBAD's networks are the averaged ones in evaluation mode, of the epoch that brings the normal validation images back best; they are smaller and trained for fewer epochs with a larger step size than the authors' unless the settings say otherwise (theirs: width 32, hidden 1024, 100 epochs, 0.00001). Batch normalisation remembers a tenth of every batch and adds 0.00001 to variances (theirs: a hundredth, 0.001). Its authors publish AUPRC.",
    ],
    loaders: &[("egbad", EgbadDetector::load)],
};

/// The section `egbad`: a fit reads all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EgbadSettings {
    /// Channels after the encoder's first convolution.
    width: usize,
    /// Outputs of the fully connected layers.
    hidden: usize,
    /// Dimension of the latent.
    latent: usize,
    /// Share of the discriminator in the scores.
    weight: f64,
    /// Its stage.
    training: Optimisation,
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let own: EgbadSettings = settings.section("egbad")?;
    let checks = [
        Check::within("width", own.width, BiGanConfig::WIDTHS),
        Check::within("hidden", own.hidden, BiGanConfig::HIDDEN),
        Check::within("latent", own.latent, BiGanConfig::LATENTS),
        Check::new(
            "weight",
            (0.0..=1.0).contains(&own.weight),
            "must be from 0 to 1",
        ),
    ];
    let fault = first_fault("egbad", checks);
    Ok(fault.or_else(|| optimisation_fault("egbad", &own.training)))
}

impl EgbadSettings {
    /// Of the networks for images of this shape.
    fn sizes(&self, [channels, size, _]: [usize; 3]) -> BiGanConfig {
        BiGanConfig {
            channels,
            size,
            width: self.width,
            hidden: self.hidden,
            latent: self.latent,
        }
    }
}

impl Plan for EgbadSettings {
    fn settings(&self) -> Table {
        Table::from_iter([("egbad".to_owned(), as_table(self).into())])
    }

    // The averages are of trained weights alone.
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
        let model = Egbad::new(&sizes, &mut context.rng("egbad weights"), context.device);
        let rounds = adversarial::rounds(parts, self.latent, context.seed);
        let input = format!("{} {}", self.version(), input_digest(parts));
        let trained = context.train(&EGBAD_STAGE, &self.training, model, rounds, &input);
        let (model, summary) = trained?;
        let networks = model.into_average();
        let (conversion, device) = (context.conversion, context.device);
        let scorer = EgbadDetector::new(conversion, sizes, self.weight, networks, device);
        context.finish_one_stage(scorer, summary, parts)
    }
}
