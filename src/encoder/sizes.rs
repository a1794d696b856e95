//! The sizes of an encoder of whole images: what a model file says of it, and what of that can be built.

use burn::tensor::Device;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{
    AutoEncoderConfig, Encoder, Normalisation, OnnxEncoder, OnnxNetwork, OnnxSizes, Pca, Pixels,
    Projection, ResNetConfig, SimClrEncoder, SqueezeNet, SqueezeNetEncoder,
};
use crate::data::Conversion;
use crate::safetensors_file::check_room;

/// Which encoder, and its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
        /// What is taken out of an image before.
        #[serde(default, skip_serializing_if = "Normalisation::is_none")]
        normalise: Normalisation,
    },
    /// Principal components of a pretrained network's features.
    SqueezeNet {
        /// `[channels, height, width]` of an image.
        shape: [usize; 3],
        /// Side to which images are resized before.
        input: usize,
        /// Number of components.
        components: usize,
        /// Principal components of the image itself that stand beside them; 0 for none.
        #[serde(default)]
        pixels: usize,
        /// What is taken out of the features before.
        #[serde(default, skip_serializing_if = "Normalisation::is_none")]
        normalise: Normalisation,
    },
    /// Principal components of the features of a network that was trained without labels.
    #[serde(rename = "simclr")]
    SimClr {
        /// Sizes of the network.
        network: ResNetConfig,
        /// Number of components.
        components: usize,
    },
    /// Principal components of the features of a network from an ONNX file.
    Onnx {
        /// `[channels, height, width]` of an image.
        shape: [usize; 3],
        /// The network.
        network: OnnxSizes,
        /// Number of components.
        components: usize,
        /// What is taken out of the features before.
        #[serde(default, skip_serializing_if = "Normalisation::is_none")]
        normalise: Normalisation,
    },
    /// The image's own values.
    Pixels {
        /// `[channels, height, width]` of an image.
        shape: [usize; 3],
    },
}

impl EncoderSizes {
    /// Most entries that a latent may have.
    pub(crate) const LARGEST_LATENT: usize = 4096;
    /// Most principal components of the image that may stand beside a pretrained network's.
    pub(crate) const MOST_PIXEL_COMPONENTS: usize = 1024;

    /// Entries of a latent.
    pub fn latent(&self) -> usize {
        match *self {
            Self::Autoencoder(config) => config.latent,
            Self::Pca {
                shape, components, ..
            } => components.min(shape.iter().product()),
            Self::SqueezeNet {
                shape,
                components,
                pixels,
                ..
            } => components.min(SqueezeNet::LATENT) + pixels.min(shape.iter().product()),
            Self::SimClr {
                network,
                components,
            } => components.min(network.features()),
            Self::Onnx {
                ref network,
                components,
                ..
            } => components.min(network.features),
            Self::Pixels { shape } => shape.iter().product(),
        }
    }

    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        match *self {
            Self::Autoencoder(config) => config.image_shape(),
            Self::SimClr { network, .. } => network.image_shape(),
            Self::Pca { shape, .. }
            | Self::SqueezeNet { shape, .. }
            | Self::Onnx { shape, .. }
            | Self::Pixels { shape } => shape,
        }
    }

    /// What keeps these sizes from being built, if anything does: a damaged file must not ask for
    /// more memory than there is.
    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {
            Self::Autoencoder(config) => config.check(),
            Self::Pca {
                shape, components, ..
            } => {
                check_image(shape)?;
                check_latent(components)
            }
            Self::SqueezeNet {
                shape,
                input,
                components,
                pixels,
                ..
            } => {
                check_image(shape)?;
                check_latent(components)?;
                match SqueezeNet::INPUTS.contains(&input) && pixels <= Self::MOST_PIXEL_COMPONENTS {
                    true => Ok(()),
                    false => Err(format!(
                        "images brought to {input} pixels, beside {pixels} components of them, are not supported"
                    )),
                }
            }
            Self::SimClr {
                network,
                components,
            } => {
                network.check()?;
                check_latent(components)
            }
            Self::Onnx {
                shape,
                ref network,
                components,
                ..
            } => {
                check_image(shape)?;
                check_latent(components)?;
                network.check()
            }
            Self::Pixels { shape } => check_image(shape),
        }
    }

    /// What keeps an encoder of these sizes from being in so many bytes of a file, if anything does: a damaged one must not
    /// ask for more memory than there is.
    pub(crate) fn fits(&self, bytes: usize) -> Result<(), String> {
        match self {
            Self::Autoencoder(config) => config.fits(bytes),
            // Of the image itself; SqueezeNet's features are few.
            &Self::Pca {
                shape,
                components: of_image,
                ..
            }
            | &Self::SqueezeNet {
                shape,
                pixels: of_image,
                ..
            } => {
                let values: usize = shape.iter().product();
                check_room(bytes, values * of_image.min(values), "components")
            }
            Self::SimClr { network, .. } => network.fits(bytes),
            &Self::Onnx {
                ref network,
                components,
                ..
            } => {
                let components = components.min(network.features);
                let numbers = network.features.saturating_mul(components);
                check_room(bytes, numbers, "components")
            }
            Self::Pixels { .. } => Ok(()),
        }
    }

    /// An encoder of these sizes, to be filled with stored weights; `onnx` is the file of its network,
    /// where it has one.
    ///
    /// # Errors
    /// What keeps the network from being read.
    pub(crate) fn empty(
        &self,
        onnx: Option<Vec<u8>>,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<Encoder, String> {
        match self {
            Self::Onnx {
                shape,
                network,
                components,
                normalise,
            } => {
                let projection = Projection::empty(network.features, *components, device);
                Ok(Encoder::Onnx(OnnxEncoder {
                    network: OnnxNetwork::stored(onnx, network, shape[0])?,
                    normalise: *normalise,
                    projection,
                }))
            }
            others => others
                .init(rng, device)
                .ok_or_else(|| format!("an encoder of these sizes is not supported: {self:?}")),
        }
    }

    /// An encoder of these sizes, with weights drawn from `rng` or still empty; none for a network from
    /// an ONNX file, which comes with its weights.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> Option<Encoder> {
        Some(match *self {
            Self::Autoencoder(config) => Encoder::Autoencoder(config.init(rng, device)),
            Self::Pca {
                shape,
                components,
                normalise,
            } => Encoder::Pca(Pca::empty(shape, (components, normalise), device)),
            Self::SqueezeNet {
                shape,
                input,
                components,
                pixels,
                normalise,
            } => Encoder::SqueezeNet(SqueezeNetEncoder {
                network: SqueezeNet::new(device).with_input(input),
                normalise,
                projection: Projection::empty(SqueezeNet::LATENT, components, device),
                pixels: (pixels > 0)
                    .then(|| Pca::empty(shape, (pixels, Normalisation::None), device)),
            }),
            Self::SimClr {
                network,
                components,
            } => Encoder::SimClr(SimClrEncoder {
                network: network.init(rng, device),
                projection: Projection::empty(network.features(), components, device),
            }),
            Self::Onnx { .. } => return None,
            Self::Pixels { shape } => Encoder::Pixels(Pixels::new(shape)),
        })
    }
}

/// What keeps images of this `[channels, height, width]` from being described at all: more values than the program
/// brings any image to.
pub(crate) fn check_image(shape: [usize; 3]) -> Result<(), String> {
    let [channels, height, width] = shape;
    let largest = *Conversion::SIDES.end();
    let sides = [height, width]
        .iter()
        .all(|side| (4..=largest).contains(side));
    match (1..=3).contains(&channels) && sides && height * width <= Conversion::MOST_PIXELS {
        true => Ok(()),
        false => Err(format!(
            "images of shape {shape:?} are not supported: set data.size"
        )),
    }
}

fn check_latent(latent: usize) -> Result<(), String> {
    match (1..=EncoderSizes::LARGEST_LATENT).contains(&latent) {
        true => Ok(()),
        false => Err(format!("a latent of {latent} entries is not supported")),
    }
}
