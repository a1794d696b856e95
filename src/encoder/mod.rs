//! Functions that map an image to a latent vector, or every position of it, and their training
//! steps.

mod any;
mod autoencoder;
mod backbone;
mod contrast;
mod conv;
mod directions;
mod frequency;
mod initialisation;
mod normalisation;
mod onnx;
mod patches;
mod pca;
mod positions;
mod preparation;
mod projection;
mod resnet;
mod sizes;
mod squeezenet;
mod texture;
mod training;
mod view;
mod visual_words;

pub use any::{Encoder, Exported, Pixels, Pretrained, SelfSupervised};
pub use autoencoder::{AutoEncoder, AutoEncoderConfig};
pub use backbone::{Backbone, BackboneError, BackboneLook};
pub use contrast::{SIMCLR_STAGE, SimClr};
pub use conv::{ConvDecoder, ConvEncoder};
pub(crate) use initialisation::dcgan_initialised;
pub use normalisation::Normalisation;
#[cfg(all(test, feature = "onnx"))]
pub(crate) use onnx::tests as onnx_tests;
pub use onnx::{OnnxError, OnnxFile, OnnxLook, OnnxNetwork, OnnxSizes};
pub use patches::{PatchPca, PatchSizes};
pub use pca::Pca;
pub use positions::{
    Grid, MapEncoder, MapSource, POSITION_CONTEXT, PositionConfig, position_context,
    position_contexts,
};
pub use projection::{ComponentOrder, Projection};
pub use resnet::{ResNet, ResNetConfig};
pub use sizes::EncoderSizes;
pub(crate) use sizes::check_image;
pub use squeezenet::{PretrainedLook, SqueezeNet};
pub use texture::TextureEnergies;
pub use training::ENCODER_STAGE;
pub use view::{Batch, Look, NetworkSizes, Networks, View};
pub use visual_words::{VisualWords, VisualWordsConfig};
