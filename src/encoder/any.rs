//! Any fitted function that maps an image to a latent.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::normalisation::by_norm;
use super::{AutoEncoder, OnnxNetwork, Pca, Projection, ResNet, SqueezeNet};
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
    /// Whitened principal components of its features.
    pub projection: Projection,
}

/// A pretrained network and the components of its features.
#[derive(Module, Debug)]
pub struct SqueezeNetEncoder {
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

impl OnnxEncoder {
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
    let mut latents: Option<Vectors> = None;
    for indices in batches(features.len(), PROJECTION_BATCH) {
        let batch = projection.forward(features.batch(&indices, device));
        let batch = complete(&indices, batch);
        let [_, dim] = batch.dims();
        let values = batch.into_data();
        latents
            .get_or_insert_with(|| Vectors::new(dim))
            .extend(values.iter::<f32>());
    }
    latents.unwrap_or_else(|| Vectors::new(projection.dim()))
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
                let features = SimClrEncoder::features(&model.network, images);
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
