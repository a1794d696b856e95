//! Functions that map an image to a latent vector, or every position of it, and their training
//! steps.

mod any;
mod autoencoder;
mod autoencoder_training;
mod backbone;
mod conv;
mod directions;
mod frequency;
mod gradients;
mod initialisation;
mod normalisation;
mod onnx;
mod patches;
mod pca;
mod positions;
mod preparation;
mod projection;
mod resnet;
mod simclr;
mod sizes;
mod squeezenet;
mod texture;
mod view;
mod visual_words;

pub use any::{Encoder, OnnxEncoder, Pixels, SimClrEncoder, SqueezeNetEncoder};
pub use autoencoder::{AutoEncoder, AutoEncoderConfig};
pub use autoencoder_training::ENCODER_STAGE;
pub use backbone::{Backbone, BackboneError, BackboneLook};
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
pub use simclr::{SIMCLR_STAGE, SimClr};
pub use sizes::EncoderSizes;
pub(crate) use sizes::check_image;
pub use squeezenet::{PretrainedLook, SqueezeNet};
pub use texture::TextureEnergies;
pub use view::{Batch, Look, NetworkSizes, Networks, View};
pub use visual_words::{VisualWords, VisualWordsConfig};
