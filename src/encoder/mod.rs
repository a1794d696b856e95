//! Networks that map an image to a latent vector, and their training step.

mod autoencoder;
mod conv;
mod training;

pub use autoencoder::{AutoEncoder, AutoEncoderConfig};
pub use conv::{ConvDecoder, ConvEncoder};
