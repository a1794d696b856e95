//! Normalizing flows on images: what RealNVP and Glow are made of, and the two as lists of it.
//!
//! Every part is a [`Transform<4>`](super::Transform) of `[batch, channels, height, width]`, the whole
//! flow too: from pixels in `[0, 1]` to a standard normal of the same shape.

mod bottleneck;
mod channel_coupling;
mod domain;
mod glow;
mod glow_network;
mod invertible_conv;
mod mask;
mod masked_coupling;
mod multi_scale;
mod predictions;
mod realnvp;
mod residual_network;
mod split_prior;
mod squeeze;
#[cfg(test)]
pub(crate) mod tests;
mod training;

pub use channel_coupling::ChannelCoupling;
pub use domain::Domain;
pub use glow::GlowConfig;
pub use glow_network::{GlowNetwork, ZeroConv};
pub use invertible_conv::InvertibleConv;
pub use mask::Mask;
pub use masked_coupling::MaskedCoupling;
pub use multi_scale::{ImageFlow, Layer, Level};
pub use realnvp::{ImageRealNvpConfig, Masking};
pub use residual_network::{ResidualNetwork, ResidualSizes};
pub use split_prior::SplitPrior;
pub use squeeze::{Order, Squeeze};
pub use training::pixel_stage;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, Normal};

/// Sum over everything but the batch.
///
/// # Shapes
/// `[batch, channels, height, width]` to `[batch]`.
fn sum_per_image(x: Tensor<4>) -> Tensor<1> {
    let batch = x.dims()[0];
    x.reshape([batch as i32, -1]).sum_dim(1).squeeze_dim::<1>(1)
}

/// A value for each channel, beside maps.
///
/// # Shapes
/// `[channels]` to `[1, channels, 1, 1]`.
pub(super) fn per_channel(values: Tensor<1>) -> Tensor<4> {
    let channels = values.dims()[0];
    values.reshape([1, channels, 1, 1])
}

/// A parameter from N(0, `deviation`²), drawn from `rng` so that a seed gives the same weights on every
/// backend.
fn normal_parameter<const D: usize>(
    shape: [usize; D],
    deviation: f32,
    rng: &mut impl Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    let normal = Normal::new(0.0, deviation).expect("a positive standard deviation");
    let count = shape.iter().product();
    let values: Vec<f32> = normal.sample_iter(rng).take(count).collect();
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

/// A parameter that starts at the same value everywhere.
fn constant_parameter<const D: usize>(
    shape: [usize; D],
    value: f32,
    device: &Device,
) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, value, device))
}

/// What keeps images of this shape from being halved so often, if anything does: `scales` is the setting that says how
/// often.
fn check_shape(
    [channels, height, width]: [usize; 3],
    halvings: usize,
    scales: &str,
) -> Result<(), String> {
    let divisor = 1 << halvings;
    let fits = |side: usize| (1..=1024).contains(&side) && side.is_multiple_of(divisor);
    match (1..=4).contains(&channels) && fits(height) && fits(width) {
        true => Ok(()),
        false => Err(format!(
            "{width}x{height} pixels (width x height) of {channels} channels, and sides of at most 1024 are wanted that {divisor} divides: set data.size, or {scales}"
        )),
    }
}
