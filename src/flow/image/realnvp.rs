//! RealNVP on images: Dinh et al., arXiv:1605.08803; its controls: Kirichenko et al., arXiv:2006.08545.

use burn::tensor::Device;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Domain, ImageFlow, Layer, Level, Mask, MaskedCoupling, Order, ResidualSizes, Squeeze};
use crate::flow::limits::{Limit, within};

/// Couplings of a flow with one scale (Kirichenko et al.'s code).
const SINGLE_SCALE_COUPLINGS: usize = 8;

/// Which pixels a coupling sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Masking {
    /// Dinh et al.'s: checkerboards, then channels after a squeeze, scale by scale.
    MultiScale,
    /// Eight checkerboards in turn, one scale (Kirichenko et al.'s baseline for the two below).
    Checkerboard,
    /// Upper and lower half in turn, eight couplings (Kirichenko et al.).
    Horizontal,
    /// Every quarter decides about the next one, twice around (Kirichenko et al.).
    Cycle,
}

/// Sizes of a RealNVP on images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRealNvpConfig {
    /// `[channels, height, width]` of an image.
    pub shape: [usize; 3],
    /// Which pixels a coupling sees.
    pub masks: Masking,
    /// Scales; one, unless the masks are of several.
    pub scales: usize,
    /// Channels of the residual blocks of the first scale, doubled at every halving of the side.
    pub width: usize,
    /// Residual blocks of a coupling's network.
    pub blocks: usize,
    /// Numbers through which a coupling's network goes before its last layer; 0 for no bottleneck.
    pub bottleneck: usize,
}

impl ImageRealNvpConfig {
    /// What keeps these sizes from being built, if anything does.
    pub(crate) fn check(&self) -> Result<(), String> {
        within(self.limits())?;
        let (halvings, setting) = match self.masks {
            Masking::MultiScale => (self.scales - 1, "realnvp.scales"),
            // Upper and lower half, quarters, or every other pixel of each.
            Masking::Checkerboard | Masking::Horizontal | Masking::Cycle => (1, "realnvp.masks"),
        };
        super::check_shape(self.shape, halvings, setting)
    }

    /// What its sizes can be.
    pub(crate) fn limits(&self) -> [Limit; 4] {
        [
            ("scales", self.scales, 1..=5),
            ("width", self.width, 1..=1024),
            ("blocks", self.blocks, 0..=64),
            ("bottleneck", self.bottleneck, 0..=4096),
        ]
    }

    /// Fewest numbers that a flow of these sizes holds: the residual blocks of its couplings' networks.
    pub(crate) fn least_numbers(&self) -> usize {
        let of = |couplings: usize, halvings: usize| {
            couplings * self.blocks * 2 * 9 * (self.width << halvings).pow(2)
        };
        match self.masks {
            Masking::MultiScale => {
                let scales = 1..self.scales;
                let split: usize = scales.map(|scale| of(3, scale - 1) + of(3, scale)).sum();
                split + of(4, self.scales - 1)
            }
            Masking::Checkerboard | Masking::Horizontal | Masking::Cycle => {
                of(SINGLE_SCALE_COUPLINGS, 0)
            }
        }
    }

    /// Builds the flow, the identity but for the order, with weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> ImageFlow {
        let levels = match self.masks {
            Masking::MultiScale => self.scales(rng, device),
            masks => {
                let mask = |index: usize| match masks {
                    Masking::Horizontal => Mask::Horizontal(index.is_multiple_of(2)),
                    Masking::Cycle => Mask::Quadrant(index),
                    Masking::Checkerboard | Masking::MultiScale => {
                        Mask::Checkerboard(index.is_multiple_of(2))
                    }
                };
                let masks = (0..SINGLE_SCALE_COUPLINGS).map(mask);
                vec![Level::last(
                    self.couplings(self.shape, self.width, masks, rng, device),
                )]
            }
        };
        ImageFlow::new(self.shape, Domain::Logit, levels)
    }

    fn couplings(
        &self,
        shape: [usize; 3],
        width: usize,
        masks: impl Iterator<Item = Mask>,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Vec<Layer> {
        let sizes = ResidualSizes {
            width,
            blocks: self.blocks,
            bottleneck: self.bottleneck,
        };
        masks
            .map(|mask| Layer::MaskedCoupling(MaskedCoupling::new(shape, mask, sizes, rng, device)))
            .collect()
    }

    /// Three checkerboards, squeeze, three couplings of channels and split, scale by scale; four
    /// checkerboards in the end.
    fn scales(&self, rng: &mut impl Rng, device: &Device) -> Vec<Level> {
        let [mut channels, mut height, mut across] = self.shape;
        let mut width = self.width;
        let mut levels = Vec::new();
        for scale in 1..=self.scales {
            let shape = [channels, height, across];
            let count = if scale < self.scales { 3 } else { 4 };
            let checkerboards = (0..count).map(|index| Mask::Checkerboard(index % 2 == 0));
            let mut layers = self.couplings(shape, width, checkerboards, rng, device);
            if scale == self.scales {
                levels.push(Level::last(layers));
                break;
            }
            (height, across, width) = (height / 2, across / 2, 2 * width);
            let shape = [4 * channels, height, across];
            let rows = (0..3).map(|index| Mask::Channels(index % 2 == 0));
            layers.push(Layer::Squeeze(Squeeze::new(Order::Checkerboard)));
            layers.extend(self.couplings(shape, width, rows, rng, device));
            levels.push(Level::splitting(layers, None));
            channels *= 2;
        }
        levels
    }
}
