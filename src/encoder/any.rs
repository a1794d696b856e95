//! Any function that maps an image to a latent: the choice of encoder.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::normalisation::by_norm;
use super::{
    AutoEncoder, AutoEncoderConfig, OnnxNetwork, OnnxSizes, Pca, Projection, ResNet, ResNetConfig,
    SqueezeNet,
};
use crate::data::{Conversion, Images, Samples, Vectors};

/// Vectors that are projected at a time.
const PROJECTION_BATCH: usize = 1024;

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
    },
    /// The image's own values.
    Pixels {
        /// `[channels, height, width]` of an image.
        shape: [usize; 3],
    },
}

/// A fitted encoder, with its way back where there is one.
// There is one per detector: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Encoder {
    /// Both halves of an autoencoder.
    Autoencoder(AutoEncoder),
    /// Principal components.
    Pca(Pca),
    /// Principal components of a pretrained network's features.
    SqueezeNet(Pretrained),
    /// Principal components of the features of a network that was trained without labels.
    SimClr(SelfSupervised),
    /// Principal components of the features of a network from an ONNX file.
    Onnx(Exported),
    /// The image's own values.
    Pixels(Pixels),
}

/// A network from an ONNX file, and the components of its features.
#[derive(Module, Debug)]
pub struct Exported {
    /// The network.
    pub network: OnnxNetwork,
    /// Whitened principal components of its features.
    pub projection: Projection,
}

/// A pretrained network and the components of its features.
#[derive(Module, Debug)]
pub struct Pretrained {
    /// The network.
    pub network: SqueezeNet,
    /// Whitened principal components of its features.
    pub projection: Projection,
    /// Principal components of the image itself, to stand beside them: what the network has
    /// learnt not to see, such as the shape of a stroke, is there.
    pub pixels: Option<Pca>,
}

/// A network that was trained without labels, and the components of its features.
#[derive(Module, Debug)]
pub struct SelfSupervised {
    /// The network.
    pub network: ResNet,
    /// Whitened principal components of its features, divided by their norm.
    pub projection: Projection,
}

impl SelfSupervised {
    /// What the network makes of images, by cosines as it was trained: without their norm.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to `[batch, features]`.
    pub fn features(network: &ResNet, images: Tensor<4>) -> Tensor<2> {
        by_norm(network.encode(images))
    }
}

/// Images of one shape as vectors.
#[derive(Module, Debug)]
pub struct Pixels {
    shape: [usize; 3],
}

impl Pixels {
    /// Images of `shape` = `[channels, height, width]`.
    pub fn new(shape: [usize; 3]) -> Self {
        Self { shape }
    }
}

impl Pretrained {
    /// Latents of images whose features have been computed before.
    pub fn latents(&self, features: &Vectors, images: &Images, device: &Device) -> Vectors {
        projected(&self.projection, features, device, |indices, projected| {
            self.beside_pixels(projected, images.batch(indices, device))
        })
    }

    /// # Shapes
    /// `[batch, components]` and `[batch, channels, height, width]` to `[batch, latent]`.
    fn beside_pixels(&self, projected: Tensor<2>, images: Tensor<4>) -> Tensor<2> {
        match &self.pixels {
            Some(pca) => Tensor::cat(vec![projected, pca.encode(images)], 1),
            None => projected,
        }
    }
}

impl Exported {
    /// Latents of images whose features have been computed before.
    pub fn latents(&self, features: &Vectors, device: &Device) -> Vectors {
        projected(&self.projection, features, device, |_, latents| latents)
    }
}

/// Components of features, and what `complete` makes of them for the images of these indices.
fn projected(
    projection: &Projection,
    features: &Vectors,
    device: &Device,
    complete: impl Fn(&[usize], Tensor<2>) -> Tensor<2>,
) -> Vectors {
    let all: Vec<usize> = (0..features.len()).collect();
    let mut latents: Option<Vectors> = None;
    for indices in all.chunks(PROJECTION_BATCH) {
        let batch = projection.forward(features.batch(indices, device));
        let batch = complete(indices, batch);
        let [_, dim] = batch.dims();
        let values = batch.into_data();
        latents
            .get_or_insert_with(|| Vectors::new(dim))
            .extend(values.iter::<f32>());
    }
    latents.unwrap_or_else(|| Vectors::new(projection.dim()))
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
            Self::Pca { shape, components } => components.min(shape.iter().product()),
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
            Self::Pca { shape, components } => {
                check_image(shape)?;
                check_latent(components)
            }
            Self::SqueezeNet {
                shape,
                input,
                components,
                pixels,
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
            // Of the image itself; a network's features are few.
            &Self::Pca {
                shape,
                components: of_image,
            }
            | &Self::SqueezeNet {
                shape,
                pixels: of_image,
                ..
            } => {
                let values: usize = shape.iter().product();
                match values * of_image.min(values) <= bytes / size_of::<f32>() {
                    true => Ok(()),
                    false => Err("it is too short for the components that it describes".to_owned()),
                }
            }
            Self::SimClr { .. } | Self::Onnx { .. } | Self::Pixels { .. } => Ok(()),
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
            } => {
                let projection = Projection::empty(network.features, *components, device);
                Ok(Encoder::Onnx(Exported {
                    network: OnnxNetwork::stored(onnx, network, shape[0])?,
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
            Self::Pca { shape, components } => Encoder::Pca(Pca::empty(shape, components, device)),
            Self::SqueezeNet {
                shape,
                input,
                components,
                pixels,
            } => Encoder::SqueezeNet(Pretrained {
                network: SqueezeNet::new(device).with_input(input),
                projection: Projection::empty(SqueezeNet::LATENT, components, device),
                pixels: (pixels > 0).then(|| Pca::empty(shape, pixels, device)),
            }),
            Self::SimClr {
                network,
                components,
            } => Encoder::SimClr(SelfSupervised {
                network: network.init(rng, device),
                projection: Projection::empty(network.features(), components, device),
            }),
            Self::Onnx { .. } => return None,
            Self::Pixels { shape } => Encoder::Pixels(Pixels { shape }),
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

impl Encoder {
    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to `[batch, latent]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Autoencoder(model) => model.encode(images),
            Self::Pca(model) => model.encode(images),
            Self::SqueezeNet(model) => {
                let features = model.network.encode(images.clone());
                model.beside_pixels(model.projection.forward(features), images)
            }
            Self::SimClr(model) => {
                let features = SelfSupervised::features(&model.network, images);
                model.projection.forward(features)
            }
            Self::Onnx(model) => model.projection.forward(model.network.encode(images)),
            Self::Pixels(_) => images.flatten(1, 3),
        }
    }

    /// The ONNX file of its network, where it has one.
    pub(crate) fn onnx(&self) -> Option<&[u8]> {
        match self {
            Self::Onnx(model) => Some(model.network.file()),
            _ => None,
        }
    }

    /// The way back; a network that was not trained with one has none.
    ///
    /// # Shapes
    /// `[batch, latent]` to `[batch, channels, height, width]`.
    pub fn decode(&self, latents: Tensor<2>) -> Option<Tensor<4>> {
        match self {
            Self::Autoencoder(model) => Some(model.decode(latents)),
            Self::Pca(model) => Some(model.decode(latents)),
            Self::SqueezeNet(_) | Self::SimClr(_) | Self::Onnx(_) => None,
            Self::Pixels(Pixels {
                shape: [channels, height, width],
            }) => {
                let [batch, _] = latents.dims();
                Some(latents.reshape([batch, *channels, *height, *width]))
            }
        }
    }

    /// True when there is a way back.
    pub fn decodes(&self) -> bool {
        !matches!(self, Self::SqueezeNet(_) | Self::SimClr(_) | Self::Onnx(_))
    }

    /// The encoder in evaluation mode on `device`: frozen.
    pub fn frozen(self, device: &Device) -> Self {
        self.valid().to_device(device)
    }
}
