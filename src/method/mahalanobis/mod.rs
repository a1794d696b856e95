//! The method `mahalanobis`: distance from the mean in units of the covariance.

pub(super) mod gaussian;

use serde::{Deserialize, Serialize};
use toml::Table;

pub use gaussian::Mahalanobis;

use super::on_latents::{Looks, OnLatents};
use super::on_positions::{DensityPlan, PositionPlan, WORDS};
use super::{Context, EncoderKind, Encoding, Entry, Fitted, MethodError, Parts, Plan, Section};
use crate::encoder::{ENCODER_STAGE, EncoderSizes, SIMCLR_STAGE};
use crate::study::{Check, Fault, Settings, first_fault};

pub(super) static ENTRY: Entry = Entry {
    name: "mahalanobis",
    summary: "distance from the mean in units of the covariance",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| {
        let own: MahalanobisSettings = settings.section("mahalanobis")?;
        Ok(match own.positions {
            true => Box::new(PositionPlan::read(settings, own.encoder, |positions| {
                DensityPlan::Gaussian(positions.components().components)
            })?),
            false => Box::new(Distance::read(settings)?) as Box<dyn Plan>,
        })
    },
    words: &[&[("mahalanobis", "Mahalanobis distance")], WORDS],
    stages: &[&ENCODER_STAGE, &SIMCLR_STAGE],
    notes: &[],
    loaders: &[("mahalanobis", OnLatents::<Mahalanobis>::load)],
};

/// The section `mahalanobis`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MahalanobisSettings {
    /// What it looks at.
    encoder: EncoderKind,
    /// Number of principal components.
    components: usize,
    /// Looks at every position instead of the whole image.
    positions: bool,
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let own: MahalanobisSettings = settings.section("mahalanobis")?;
    let most = EncoderSizes::LARGEST_LATENT;
    let checks = [Check::within("components", own.components, 2..=most)];
    let of_encoder = own.encoder.checks("encoder", own.positions);
    Ok(first_fault(
        "mahalanobis",
        of_encoder.into_iter().chain(checks),
    ))
}

/// What a fit reads.
#[derive(Debug)]
struct Distance {
    looks: Looks,
}

impl Distance {
    fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        let own: MahalanobisSettings = settings.section("mahalanobis")?;
        let through = (own.encoder, own.components);
        let looks = Looks::new("mahalanobis", through, Table::new(), settings)?;
        Ok(Self { looks })
    }
}

impl Plan for Distance {
    fn settings(&self) -> Table {
        self.looks.settings()
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        Ok(self.looks.check::<Mahalanobis>(shape)?)
    }

    fn encoding(&self) -> Option<&Encoding> {
        Some(&self.looks.encoding)
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        self.looks.fit(context, parts, |context, latents| {
            (Mahalanobis::fit(latents, context.device), None)
        })
    }
}
