//! Any fitted function that maps an image to a latent.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::normalisation::by_norm;
use super::{AutoEncoder, Normalisation, OnnxNetwork, Pca, Projection, ResNet, SqueezeNet};
use crate::data::{Images, Samples, Vectors, batches};

/// Vectors that are projected at a time.
const PROJECTION_BATCH: usize = 1024;

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
    SqueezeNet(SqueezeNetEncoder),
    /// Principal components of the features of a network that was trained without labels.
    SimClr(SimClrEncoder),
    /// Principal components of the features of a network from an ONNX file.
    Onnx(OnnxEncoder),
    /// The image's own values.
    Pixels(Pixels),
}

/// A network from an ONNX file, and the components of its features.
#[derive(Module, Debug)]
pub struct OnnxEncoder {
    /// The network.
    pub network: OnnxNetwork,
    /// What is taken out of its features.
    #[module(skip)]
    pub normalise: Normalisation,
    /// Whitened principal components of what is left.
    pub projection: Projection,
}

/// A pretrained network and the components of its features.
#[derive(Module, Debug)]
pub struct SqueezeNetEncoder {
    /// The network.
    pub network: SqueezeNet,
    /// What is taken out of its features.
    #[module(skip)]
    pub normalise: Normalisation,
    /// Whitened principal components of what is left.
    pub projection: Projection,
    /// Principal components of the image itself, to stand beside them: what the network has
    /// learnt not to see, such as the shape of a stroke, is there.
    pub pixels: Option<Pca>,
}

/// A network that was trained without labels, and the components of its features.
#[derive(Module, Debug)]
pub struct SimClrEncoder {
    /// The network.
    pub network: ResNet,
    /// Whitened principal components of its features, divided by their norm.
    pub projection: Projection,
}

impl SimClrEncoder {
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

impl SqueezeNetEncoder {
    /// Latents of images whose features have been computed before.
    pub fn latents(&self, features: &Vectors, images: &Images, device: &Device) -> Vectors {
        let dim = self.projection.dim();
        projected((features, dim), device, |indices, features| {
            self.beside_pixels(self.components(features), images.batch(indices, device))
        })
    }

    /// Components of features.
    ///
    /// # Shapes
    /// `[batch, features]` to `[batch, components]`.
    fn components(&self, features: Tensor<2>) -> Tensor<2> {
        let blocks = SqueezeNet::blocks(false);
        self.projection
            .forward(self.normalise.apply(features, blocks))
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

impl OnnxEncoder {
    /// Latents of images whose features have been computed before.
    pub fn latents(&self, features: &Vectors, device: &Device) -> Vectors {
        let dim = self.projection.dim();
        projected((features, dim), device, |_, features| {
            self.components(features)
        })
    }

    /// Components of features.
    ///
    /// # Shapes
    /// `[batch, features]` to `[batch, components]`.
    fn components(&self, features: Tensor<2>) -> Tensor<2> {
        let blocks = self.network.blocks();
        self.projection
            .forward(self.normalise.apply(features, blocks))
    }
}

/// What `latents_of` makes of the features of the images of these indices; of none, no latents of `dim` entries.
fn projected(
    (features, dim): (&Vectors, usize),
    device: &Device,
    latents_of: impl Fn(&[usize], Tensor<2>) -> Tensor<2>,
) -> Vectors {
    let mut latents: Option<Vectors> = None;
    for indices in batches(features.len(), PROJECTION_BATCH) {
        let batch = latents_of(&indices, features.batch(&indices, device));
        let [_, dim] = batch.dims();
        let values = batch.into_data();
        latents
            .get_or_insert_with(|| Vectors::new(dim))
            .extend(values.iter::<f32>());
    }
    latents.unwrap_or_else(|| Vectors::new(dim))
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
                model.beside_pixels(model.components(features), images)
            }
            Self::SimClr(model) => {
                let features = SimClrEncoder::features(&model.network, images);
                model.projection.forward(features)
            }
            Self::Onnx(model) => model.components(model.network.encode(images)),
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
            Self::Pca(model) => model.decodes().then(|| model.decode(latents)),
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
        match self {
            Self::Autoencoder(_) | Self::Pixels(_) => true,
            Self::Pca(model) => model.decodes(),
            Self::SqueezeNet(_) | Self::SimClr(_) | Self::Onnx(_) => false,
        }
    }

    /// The encoder in evaluation mode on `device`: frozen.
    pub fn frozen(self, device: &Device) -> Self {
        self.valid().to_device(device)
    }
}
