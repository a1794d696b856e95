//! Sizes of EGBAD's networks.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::encoder::EncoderSizes;

/// Sizes of a [`BiGan`](super::BiGan).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BiGanConfig {
    /// Image channels: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Image side in pixels: 32 or 64.
    pub size: usize,
    /// Channels after the encoder's first convolution. The authors': 32.
    pub width: usize,
    /// Outputs of the generator's first layer and of the discriminator's last but one; half of them for
    /// the discriminator's look at the latent. The authors': 1024.
    pub hidden: usize,
    /// Dimension of the latent. The authors': 200.
    pub latent: usize,
}

impl BiGanConfig {
    /// Channels that the encoder's first convolution may have.
    pub const WIDTHS: RangeInclusive<usize> = 1..=256;
    /// Outputs that a fully connected layer may have.
    pub const HIDDEN: RangeInclusive<usize> = 2..=4096;
    /// Dimensions that the latent may have.
    pub const LATENTS: RangeInclusive<usize> = 2..=EncoderSizes::LARGEST_LATENT;

    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    /// What keeps these sizes from being built, if anything does: a damaged file must not ask for more
    /// memory than there is.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<(), String> {
        let possible = matches!(self.channels, 1 | 3)
            && matches!(self.size, 32 | 64)
            && Self::WIDTHS.contains(&self.width)
            && Self::HIDDEN.contains(&self.hidden)
            && Self::LATENTS.contains(&self.latent);
        match possible {
            true => Ok(()),
            false => Err(format!(
                "networks of these sizes are not supported: {self:?}"
            )),
        }
    }

    /// What keeps images of `shape` from being trained on, if anything does.
    ///
    /// # Errors
    /// That.
    pub fn check_images(&self, shape: [usize; 3]) -> Result<(), String> {
        match shape == self.image_shape() && matches!(self.size, 32 | 64) {
            true => self.check(),
            false => Err(format!(
                "{}x{} pixels, and EGBAD wants squares of 32 or 64: set data.size to one of these, and data.fit to resize or crop",
                shape[1], shape[2]
            )),
        }
    }
}
