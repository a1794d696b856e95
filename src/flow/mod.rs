//! Normalizing flows on vectors: invertible transforms with exact log-determinants, RealNVP, and
//! its training step.

mod actnorm;
mod base;
mod conditioner;
mod coupling;
mod full_mixture;
mod permutation;
mod realnvp;
mod standardize;
mod training;
#[cfg(test)]
pub(crate) mod transform_tests;
mod whitening;

use burn::tensor::Tensor;

pub use actnorm::ActNorm;
pub use base::GaussianMixture;
pub use conditioner::Conditioner;
pub use coupling::AffineCoupling;
pub use full_mixture::{FullMixture, MixtureConfig};
pub use permutation::Permutation;
pub use realnvp::{Mixing, RealNvp, RealNvpConfig};
pub use standardize::Standardizer;
pub use training::FLOW_STAGE;
pub(crate) use whitening::whitening;

/// An invertible map of vectors that knows the logarithm of its volume change.
///
/// `forward` goes from data to noise (the normalizing direction), `inverse` from noise to data, and
/// `inverse(forward(x))` is `x`. Both return `ln |det J|` of the direction taken, one per sample.
/// A context, where there is one, is what the density is conditioned on: the map depends on it, and
/// it passes unchanged.
pub trait Transform {
    /// Data to noise.
    ///
    /// # Shapes
    /// `x`: `[batch, dim]`, `context`: `[batch, context]`; to `[batch, dim]` and `[batch]`.
    fn forward(&self, x: Tensor<2>, context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>);

    /// Noise to data.
    ///
    /// # Shapes
    /// `z`: `[batch, dim]`, `context`: `[batch, context]`; to `[batch, dim]` and `[batch]`.
    fn inverse(&self, z: Tensor<2>, context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>);
}
