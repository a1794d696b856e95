//! Normalizing flows: invertible transforms with exact log-determinants, RealNVP on vectors and its
//! training step; flows on images in a module of their own.

mod actnorm;
mod conditioner;
mod coupling;
mod distribution;
pub mod image;
mod limits;
mod permutation;
mod realnvp;
mod standardize;
mod training;
#[cfg(test)]
pub(crate) mod transform_tests;

use burn::tensor::Tensor;

pub use actnorm::ActNorm;
pub use conditioner::Conditioner;
use conditioner::linear;
pub use coupling::AffineCoupling;
pub(crate) use distribution::whitening;
pub use distribution::{
    Base, BaseKind, Distribution, FullMixture, GaussianMixture, KernelMixture, MixtureConfig,
    StandardNormal, TiedMixture, WhiteMixture,
};
pub(crate) use limits::Limit;
pub use permutation::Permutation;
pub use realnvp::{Mixing, RealNvp, RealNvpConfig};
pub use standardize::Standardizer;
pub use training::FLOW_STAGE;

/// An invertible map that knows the logarithm of its volume change.
///
/// `forward` goes from data to noise (the normalizing direction), `inverse` from noise to data, and
/// `inverse(forward(x))` is `x`. Both return `ln |det J|` of the direction taken, one per sample.
/// A context, where there is one, is what the density is conditioned on: the map depends on it, and
/// it passes unchanged.
///
/// `RANK` is that of a batch: 2 for vectors `[batch, dim]`, 4 for images
/// `[batch, channels, height, width]`.
pub trait Transform<const RANK: usize> {
    /// Data to noise.
    ///
    /// # Shapes
    /// `x`: `[batch, ..]`, `context`: `[batch, context]`; to `[batch, ..]` and `[batch]`.
    fn forward(&self, x: Tensor<RANK>, context: Option<&Tensor<2>>) -> (Tensor<RANK>, Tensor<1>);

    /// Noise to data.
    ///
    /// # Shapes
    /// `z`: `[batch, ..]`, `context`: `[batch, context]`; to `[batch, ..]` and `[batch]`.
    fn inverse(&self, z: Tensor<RANK>, context: Option<&Tensor<2>>) -> (Tensor<RANK>, Tensor<1>);
}
