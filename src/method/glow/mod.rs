//! The method `glow`: the likelihood of pixels under Glow (Kingma & Dhariwal, arXiv:1807.03039).
//!
//! It is one of the flows that the paper argues against.

use burn::tensor::Device;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::pixel_flow::{self, FlowSizes, PixelFlow, Use};
use super::{Context, Entry, Fitted, MethodError, Parts, Plan, Section, as_table};
use crate::flow::image::{GlowConfig, ImageFlow, pixel_stage};
use crate::study::{Fault, Settings};
use crate::train::{Kind, Optimisation};

static STAGE: Kind = pixel_stage("glow");

pub(super) static ENTRY: Entry = Entry {
    name: "glow",
    summary: "Glow on the pixels: their negative log-likelihood in bits/dim",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| Ok(Box::new(settings.section::<GlowSettings>("glow")?)),
    words: &[pixel_flow::WORDS],
    stages: &[&STAGE],
    notes: &[
        "Glow is narrower, has fewer steps and is trained for fewer epochs than the published one unless the settings say otherwise (the variant `glow-paper`).",
        "Bits per dimension are those of the image as the networks see it: a padded border is easy to predict and lowers them.",
    ],
    loaders: &[("glow", PixelFlow::<GlowConfig>::load)],
};

/// The section `glow`: a fit reads all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GlowSettings {
    /// Scales.
    levels: usize,
    /// Steps of a scale.
    steps: usize,
    /// Channels of the hidden layers.
    width: usize,
    /// Dequantisations of a score.
    draws: usize,
    /// Standard deviation of the noise of samples.
    temperature: f64,
    /// Its stage.
    training: Optimisation,
}

impl GlowSettings {
    /// Of the flow on images of this shape.
    fn sizes(&self, shape: [usize; 3]) -> GlowConfig {
        GlowConfig {
            shape,
            levels: self.levels,
            steps: self.steps,
            width: self.width,
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
    let own: GlowSettings = settings.section("glow")?;
    let limits = own.sizes(pixel_flow::ANY_SHAPE).limits();
    Ok(pixel_flow::fault(
        "glow",
        limits,
        own.usage(),
        &own.training,
    ))
}

impl Plan for GlowSettings {
    fn settings(&self) -> Table {
        Table::from_iter([("glow".to_owned(), as_table(self).into())])
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        Ok(PixelFlow::check(&self.sizes(shape))?)
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        let sizes = self.sizes(context.image_shape());
        PixelFlow::fit((sizes, self.usage()), &self.training, context, parts)
    }
}

impl FlowSizes for GlowConfig {
    const METHOD: &'static str = "glow";
    const STAGE: &'static Kind = &STAGE;

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn check(&self) -> Result<(), String> {
        GlowConfig::check(self)
    }

    fn least_numbers(&self) -> usize {
        GlowConfig::least_numbers(self)
    }

    fn init(&self, rng: &mut StdRng, device: &Device) -> ImageFlow {
        GlowConfig::init(self, rng, device)
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::method::pixel_flow::tests::{assert_scores, of_sizes};

    const SIZES: GlowConfig = GlowConfig {
        shape: [1, 32, 32],
        levels: 2,
        steps: 2,
        width: 4,
    };

    pub fn detector() -> PixelFlow<GlowConfig> {
        of_sizes(SIZES)
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_scores(SIZES);
    }
}
