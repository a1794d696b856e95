//! The method `gmm`: likelihood under a mixture of Gaussians.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::fitting::flow_settings::averaged;
use super::fitting::representation::standardized;
use super::on_latents::{Density, LARGEST_COVARIANCE, Looks, OnLatents};
use super::on_positions::{DensityPlan, PositionPlan, WORDS};
use super::{
    Context, EncoderKind, Encoding, Entry, Fitted, MethodError, Parts, Plan, Section, as_table,
};
use crate::data::Vectors;
use crate::encoder::{ENCODER_STAGE, SIMCLR_STAGE};
use crate::flow::{BaseKind, FullMixture, MixtureConfig, Standardizer};
use crate::study::{Check, Fault, Settings, first_fault};

pub(super) static ENTRY: Entry = Entry {
    name: "gmm",
    summary: "likelihood under a mixture of Gaussians with full covariances",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| {
        let own: GmmSettings = settings.section("gmm")?;
        Ok(match own.positions {
            true => Box::new(PositionPlan::read(settings, own.encoder, |positions| {
                DensityPlan::Mixture(positions.components().components, own.config())
            })?),
            false => Box::new(Mixture::read(settings)?) as Box<dyn Plan>,
        })
    },
    words: &[&[("nll", "mixture NLL")], WORDS],
    stages: &[&ENCODER_STAGE, &SIMCLR_STAGE],
    notes: &["Log-likelihoods are those of the standardised latent, in nats."],
    loaders: &[("gmm", OnLatents::<FullMixture>::load)],
};

/// The section `gmm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GmmSettings {
    /// What it looks at.
    encoder: EncoderKind,
    /// Number of principal components.
    components: usize,
    /// Number of Gaussians.
    gaussians: usize,
    /// Runs of expectation maximisation, whose mixtures are averaged.
    starts: usize,
    /// Training latents used, at most.
    samples: usize,
    /// Looks at every position instead of the whole image.
    positions: bool,
}

impl GmmSettings {
    fn config(&self) -> MixtureConfig {
        MixtureConfig {
            gaussians: self.gaussians,
            starts: self.starts,
            samples: self.samples,
        }
    }
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let gmm: GmmSettings = settings.section("gmm")?;
    let checks = [
        Check::within("components", gmm.components, 2..=256),
        Check::within("gaussians", gmm.gaussians, 1..=1000),
        Check::within("starts", gmm.starts, 1..=100),
        averaged(
            "starts",
            gmm.gaussians,
            if gmm.positions { gmm.starts } else { 1 },
            BaseKind::Fitted.most_gaussians(),
        ),
        Check::new("samples", gmm.samples >= 2, "must be at least 2"),
    ];
    let of_encoder = gmm.encoder.checks("encoder", gmm.positions);
    Ok(first_fault("gmm", of_encoder.into_iter().chain(checks)))
}

/// What a fit reads.
#[derive(Debug)]
struct Mixture {
    looks: Looks,
    config: MixtureConfig,
}

impl Mixture {
    fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        let own: GmmSettings = settings.section("gmm")?;
        let config = own.config();
        let read = as_table(&config);
        Ok(Self {
            looks: Looks::new("gmm", (own.encoder, own.components), read, settings)?,
            config,
        })
    }
}

impl Plan for Mixture {
    fn settings(&self) -> Table {
        self.looks.settings()
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        Ok(self.looks.check::<FullMixture>(shape)?)
    }

    fn encoding(&self) -> Option<&Encoding> {
        Some(&self.looks.encoding)
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        let encoding = &self.looks.encoding;
        self.looks.fit(context, parts, |context, latents| {
            let whitened = encoding.whitened(latents.dim());
            let standardizer = Standardizer::fit(latents.values(), latents.dim(), whitened);
            let latents = standardized(&standardizer, latents, context.device);
            let rng = &mut context.rng("mixture");
            let mixture = FullMixture::fit(&latents, self.config, rng, context.device);
            (mixture, Some(standardizer))
        })
    }
}

/// Sizes of a stored mixture.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GmmSizes {
    /// Number of Gaussians.
    gaussians: usize,
}

impl Density for FullMixture {
    type Sizes = GmmSizes;
    const METHOD: &'static str = "gmm";
    const SCORES: &'static [&'static str] = &["nll"];
    const MOST_ENTRIES: Option<usize> = Some(LARGEST_COVARIANCE);

    fn score(&self, latents: &Vectors) -> Vec<f32> {
        self.nll(latents)
    }

    fn sizes(&self) -> GmmSizes {
        GmmSizes {
            gaussians: self.gaussians(),
        }
    }

    fn empty(sizes: GmmSizes, dim: usize, device: &Device) -> Self {
        Self::empty(dim, sizes.gaussians, device)
    }

    fn numbers(sizes: GmmSizes, dim: usize) -> Option<usize> {
        dim.checked_mul(dim)?.checked_mul(sizes.gaussians)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::method::detector::scorer::tests::{assert_score_of_image_alone, noise};
    use crate::method::on_latents::tests::on_noise;

    pub fn detector() -> OnLatents<FullMixture> {
        let config = MixtureConfig {
            gaussians: 3,
            starts: 1,
            samples: 300,
        };
        on_noise(true, |latents, rng, device| {
            FullMixture::fit(latents, config, rng, device)
        })
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(300, 4));
    }
}
