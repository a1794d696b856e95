//! Functions that map an image to a latent vector, and their training steps.

mod any;
mod autoencoder;
mod conv;
mod ganomaly;
mod pca;
mod training;

pub use any::{Encoder, EncoderSizes};
pub use autoencoder::{AutoEncoder, AutoEncoderConfig};
pub use conv::{ConvDecoder, ConvEncoder};
pub use ganomaly::{GANOMALY_STAGE, Ganomaly};
pub use pca::Pca;
pub use training::ENCODER_STAGE;
