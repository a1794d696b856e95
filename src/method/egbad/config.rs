//! Sizes of EGBAD's networks.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::encoder::EncoderSizes;
use crate::safetensors_file::check_room;

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

    /// Checks that networks of these sizes can be built.
    ///
    /// # Errors
    /// In words, that they cannot.
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

    /// Refuses a file of so many bytes that is too short for networks of these sizes, which have been checked: a
    /// damaged one must not ask for more memory than there is.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), String> {
        let places = (self.size / 4).pow(2);
        let convolutions = [3 * 3 * 2, 3 * 3 * 8, 4 * 4 * 8, 4 * 4 * 4];
        let maps = convolutions.iter().sum::<usize>() * self.width.pow(2);
        let dense = places * self.width * (4 * self.latent + 6 * self.hidden);
        check_room(bytes, maps + dense, "networks")
    }

    /// Checks that networks of these sizes can be trained on images of `shape`.
    ///
    /// # Errors
    /// In words, what the images would have to be.
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
