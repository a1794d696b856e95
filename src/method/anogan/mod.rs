//! The method `anogan` (Schlegl et al., IPMI 2017, arXiv:1703.05921), which the paper names.

pub(super) mod detector;
mod networks;
mod search;

use serde::{Deserialize, Serialize};
use toml::Table;

pub use detector::AnoganDetector;
pub use networks::{ANOGAN_STAGE, Anogan};
pub use search::SearchRule;

use super::fitting::adversarial;
use super::fitting::context::input_digest;
use super::{Context, DetectorError, Entry, Fitted, MethodError, Parts, Plan, Section, as_table};
use crate::encoder::{AutoEncoderConfig, EncoderSizes};
use crate::study::{Check, Fault, Settings, first_fault, optimisation_fault};
use crate::train::Optimisation;

pub(super) static ENTRY: Entry = Entry {
    name: "anogan",
    summary: "AnoGAN: how near to an image its generator comes, by a search",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| Ok(Box::new(settings.section::<AnoganSettings>("anogan")?)),
    words: &[&[
        ("search_loss", "loss of the search"),
        ("residual", "residual of the pixels"),
        ("feature_distance", "distance of the features"),
    ]],
    stages: &[&ANOGAN_STAGE],
    notes: &[
        "AnoGAN's networks are in evaluation mode and of the epoch whose samples are nearest to the normal validation images; they are smaller than DCGAN's unless the settings say otherwise (width 64). Every search starts from the nearest of the same noises, and ends when it makes no progress: a score depends on its image alone. Training images are not searched for.",
    ],
    loaders: &[("anogan", AnoganDetector::load)],
};

/// The section `anogan`: a fit reads all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnoganSettings {
    /// Channels after the discriminator's first convolution.
    width: usize,
    /// Dimension of the noise.
    latent: usize,
    /// Noises that a search may start from.
    starts: usize,
    /// Adam's first step size in the search.
    search_rate: f64,
    /// Steps of the search, at most.
    steps: usize,
    /// Steps without progress after which it ends.
    patience: usize,
    /// Share of the features in its loss.
    feature_weight: f64,
    /// Its stage.
    training: Optimisation,
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let own: AnoganSettings = settings.section("anogan")?;
    let checks = [
        Check::within("width", own.width, AutoEncoderConfig::WIDTHS),
        Check::within("latent", own.latent, 2..=EncoderSizes::LARGEST_LATENT),
        Check::within("starts", own.starts, SearchRule::STARTS),
        Check::new(
            "search_rate",
            own.search_rate > 0.0 && own.search_rate.is_finite(),
            "must be positive",
        ),
        Check::within("steps", own.steps, 1..=SearchRule::MOST_STEPS),
        Check::new(
            "feature_weight",
            (0.0..=1.0).contains(&own.feature_weight),
            "must be from 0 to 1",
        ),
    ];
    let fault = first_fault("anogan", checks);
    Ok(fault.or_else(|| optimisation_fault("anogan", &own.training)))
}

impl AnoganSettings {
    /// Of the networks for images of this shape.
    fn sizes(&self, shape: [usize; 3]) -> AutoEncoderConfig {
        AutoEncoderConfig::for_images(shape, self.width, self.latent)
    }
}

impl Plan for AnoganSettings {
    fn settings(&self) -> Table {
        Table::from_iter([("anogan".to_owned(), as_table(self).into())])
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        let checked = self.sizes(shape).check_images(shape);
        Ok(checked.map_err(DetectorError::Shape)?)
    }

    /// They could be searched for, in hours.
    fn skips_training_scores(&self) -> bool {
        true
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        self.check(context.image_shape())?;
        let sizes = self.sizes(context.image_shape());
        let rule = SearchRule {
            starts: self.starts,
            learning_rate: self.search_rate,
            steps: self.steps,
            patience: self.patience,
            feature_weight: self.feature_weight,
        };
        let rng = &mut context.rng("anogan weights");
        let model = Anogan::new(&sizes, self.starts, rng, context.device);
        let rounds = adversarial::rounds(parts, self.latent, context.seed);
        let input = input_digest(parts);
        let trained = context.train(&ANOGAN_STAGE, &self.training, model, rounds, &input);
        let (model, summary) = trained?;
        let scorer = AnoganDetector::new(context.conversion, model, rule, context.device);
        context.finish_one_stage(scorer, summary, parts)
    }
}
