//! Any function that maps an image to a latent: the choice of encoder.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{AutoEncoder, AutoEncoderConfig, Pca};

/// Which encoder, and its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderSizes {
    /// The encoder of an autoencoder.
    Autoencoder(AutoEncoderConfig),
    /// Principal components.
    Pca {
        /// `[channels, height, width]` of an image.
        shape: [usize; 3],
        /// Number of components.
        components: usize,
    },
    /// The image's own values.
    Pixels {
        /// `[channels, height, width]` of an image.
        shape: [usize; 3],
    },
}

/// A fitted encoder with its way back.
// There is one per detector: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Encoder {
    /// Both halves of an autoencoder.
    Autoencoder(AutoEncoder),
    /// Principal components.
    Pca(Pca),
    /// The image's own values, of this `[channels, height, width]`.
    Pixels([usize; 3]),
}

impl EncoderSizes {
    /// Entries of a latent.
    pub fn latent(&self) -> usize {
        match *self {
            Self::Autoencoder(config) => config.latent,
            Self::Pca { shape, components } => components.min(shape.iter().product()),
            Self::Pixels { shape } => shape.iter().product(),
        }
    }

    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        match *self {
            Self::Autoencoder(AutoEncoderConfig { channels, size, .. }) => [channels, size, size],
            Self::Pca { shape, .. } | Self::Pixels { shape } => shape,
        }
    }

    /// An encoder of these sizes, with weights drawn from `rng` or still empty.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> Encoder {
        match *self {
            Self::Autoencoder(config) => Encoder::Autoencoder(config.init(rng, device)),
            Self::Pca { shape, components } => Encoder::Pca(Pca::empty(shape, components, device)),
            Self::Pixels { shape } => Encoder::Pixels(shape),
        }
    }
}

impl Encoder {
    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to `[batch, latent]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Autoencoder(model) => model.encode(images),
            Self::Pca(model) => model.encode(images),
            Self::Pixels(_) => images.flatten(1, 3),
        }
    }

    /// # Shapes
    /// `[batch, latent]` to `[batch, channels, height, width]`.
    pub fn decode(&self, latents: Tensor<2>) -> Tensor<4> {
        match self {
            Self::Autoencoder(model) => model.decode(latents),
            Self::Pca(model) => model.decode(latents),
            Self::Pixels([channels, height, width]) => {
                let [batch, _] = latents.dims();
                latents.reshape([batch, *channels, *height, *width])
            }
        }
    }

    /// There and back.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` to the same.
    pub fn reconstruct(&self, images: Tensor<4>) -> Tensor<4> {
        self.decode(self.encode(images))
    }

    /// The encoder in evaluation mode on `device`: frozen.
    pub fn frozen(self, device: &Device) -> Self {
        match self {
            Self::Autoencoder(model) => Self::Autoencoder(model.valid().to_device(device)),
            Self::Pca(model) => Self::Pca(model.valid().to_device(device)),
            Self::Pixels(shape) => Self::Pixels(shape),
        }
    }
}
