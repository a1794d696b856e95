//! Glow: Kingma & Dhariwal, arXiv:1807.03039.

use burn::tensor::Device;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{
    ChannelCoupling, Domain, ImageFlow, InvertibleConv, Layer, Level, Order, SplitPrior, Squeeze,
};
use crate::flow::ActNorm;
use crate::flow::limits::{Limit, within};

/// Sizes of a Glow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlowConfig {
    /// `[channels, height, width]` of an image.
    pub shape: [usize; 3],
    /// Scales.
    pub levels: usize,
    /// Steps of a scale: activation normalisation, invertible convolution, coupling.
    pub steps: usize,
    /// Channels of the hidden layers of a coupling's network.
    pub width: usize,
}

impl GlowConfig {
    /// What keeps these sizes from being built, if anything does.
    pub(crate) fn check(&self) -> Result<(), String> {
        within(self.limits())?;
        super::check_shape(self.shape, self.levels, "glow.levels")
    }

    /// What its sizes can be.
    pub(crate) fn limits(&self) -> [Limit; 3] {
        [
            ("levels", self.levels, 1..=5),
            ("steps", self.steps, 1..=256),
            ("width", self.width, 1..=4096),
        ]
    }

    /// Fewest numbers that a flow of these sizes holds: the hidden layers of its couplings' networks.
    pub(crate) fn least_numbers(&self) -> usize {
        self.levels * self.steps * self.width.pow(2)
    }

    /// Builds the flow with weights drawn from `rng`; its scales have yet to be set from data.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> ImageFlow {
        let [mut channels, ..] = self.shape;
        let mut levels = Vec::new();
        for level in 1..=self.levels {
            channels *= 4;
            let mut layers = vec![Layer::Squeeze(Squeeze::new(Order::Channels))];
            for _ in 0..self.steps {
                let coupling = ChannelCoupling::new(channels, self.width, rng, device);
                layers.extend([
                    Layer::ActNorm(ActNorm::new(channels, device)),
                    Layer::InvertibleConv(InvertibleConv::new(channels, rng, device)),
                    Layer::ChannelCoupling(coupling),
                ]);
            }
            levels.push(if level < self.levels {
                channels /= 2;
                Level::splitting(layers, Some(SplitPrior::new(channels, device)))
            } else {
                // The trained mean and deviation of the last prior.
                layers.push(Layer::ActNorm(ActNorm::new(channels, device)));
                Level::last(layers)
            });
        }
        ImageFlow::new(self.shape, Domain::Centred, levels)
    }
}
