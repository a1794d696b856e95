//! The method `realnvp`: the likelihood of pixels under RealNVP (Dinh et al., arXiv:1605.08803), with the
//! controls of Kirichenko et al. (arXiv:2006.08545) as settings.
//!
//! It is one of the flows that the paper argues against.

use burn::tensor::Device;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::pixel_flow::{self, FlowSizes, PixelFlow, Use};
use super::{Context, Entry, Fitted, MethodError, Parts, Plan, Section, as_table};
use crate::flow::image::{ImageFlow, ImageRealNvpConfig, Masking, pixel_stage};
use crate::study::{Fault, Settings};
use crate::train::{Kind, Optimisation};

static STAGE: Kind = pixel_stage("realnvp");

pub(super) static ENTRY: Entry = Entry {
    name: "realnvp",
    summary: "RealNVP on the pixels: their negative log-likelihood in bits/dim",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| Ok(Box::new(settings.section::<RealNvpSettings>("realnvp")?)),
    words: &[pixel_flow::WORDS],
    stages: &[&STAGE],
    notes: &[
        "RealNVP's networks are smaller and trained for fewer epochs than the published ones unless the settings say otherwise (the variant `realnvp-paper`).",
        "Bits per dimension are those of the image as the networks see it: a padded border is easy to predict and lowers them.",
    ],
    loaders: &[("realnvp", PixelFlow::<ImageRealNvpConfig>::load)],
};

/// The section `realnvp`: a fit reads all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RealNvpSettings {
    /// Which pixels a coupling sees.
    masks: Masking,
    /// Scales, where the masks are of several.
    scales: usize,
    /// Channels of the residual blocks.
    width: usize,
    /// Residual blocks of a coupling's network.
    blocks: usize,
    /// Numbers through which a coupling's network goes; 0 for no bottleneck.
    bottleneck: usize,
    /// Dequantisations of a score.
    draws: usize,
    /// Standard deviation of the noise of samples.
    temperature: f64,
    /// Its stage.
    training: Optimisation,
}

impl RealNvpSettings {
    /// Of the flow on images of this shape.
    fn sizes(&self, shape: [usize; 3]) -> ImageRealNvpConfig {
        ImageRealNvpConfig {
            shape,
            masks: self.masks,
            scales: self.scales,
            width: self.width,
            blocks: self.blocks,
            bottleneck: self.bottleneck,
        }
    }

    fn usage(&self) -> Use {
        Use {
            draws: self.draws,
            temperature: self.temperature,
        }
    }
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let own: RealNvpSettings = settings.section("realnvp")?;
    let limits = own.sizes(pixel_flow::ANY_SHAPE).limits();
    Ok(pixel_flow::fault(
        "realnvp",
        limits,
        own.usage(),
        &own.training,
    ))
}

impl Plan for RealNvpSettings {
    fn settings(&self) -> Table {
        Table::from_iter([("realnvp".to_owned(), as_table(self).into())])
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        Ok(PixelFlow::check(&self.sizes(shape))?)
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        let sizes = self.sizes(context.image_shape());
        PixelFlow::fit((sizes, self.usage()), &self.training, context, parts)
    }
}

impl FlowSizes for ImageRealNvpConfig {
    const METHOD: &'static str = "realnvp";
    const STAGE: &'static Kind = &STAGE;

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn check(&self) -> Result<(), String> {
        ImageRealNvpConfig::check(self)
    }

    fn least_numbers(&self) -> usize {
        ImageRealNvpConfig::least_numbers(self)
    }

    fn init(&self, rng: &mut StdRng, device: &Device) -> ImageFlow {
        ImageRealNvpConfig::init(self, rng, device)
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::method::pixel_flow::tests::{assert_scores, of_sizes};

    fn sizes(masks: Masking) -> ImageRealNvpConfig {
        ImageRealNvpConfig {
            shape: [1, 32, 32],
            masks,
            scales: 2,
            width: 3,
            blocks: 1,
            bottleneck: 0,
        }
    }

    pub fn detector() -> PixelFlow<ImageRealNvpConfig> {
        of_sizes(sizes(Masking::MultiScale))
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        for masks in [Masking::MultiScale, Masking::Cycle] {
            assert_scores(sizes(masks));
        }
    }
}
