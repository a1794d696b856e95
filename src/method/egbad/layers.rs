//! The layers that EGBAD's networks are made of, with zero weights until they are drawn.
//!
//! A bias before a batch normalisation has no effect, so there is none.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use crate::ops::{self, Activation};

/// Slope of every LeakyReLU for negative inputs.
pub(super) const SLOPE: f64 = 0.1;
pub(super) const LEAK: Activation = Activation::LeakyRelu(SLOPE as f32);

/// A convolution that halves the side, then normalisation.
#[derive(Module, Debug)]
pub(super) struct Half {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Half {
    pub(super) fn new(from: usize, to: usize, kernel: usize, device: &Device) -> Self {
        Self {
            conv: conv(from, to, kernel, false, device),
            norm: BatchNormConfig::new(to).init(device),
        }
    }

    /// `[batch, from, height, width]` to `[batch, to, height / 2, width / 2]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = ops::conv2d_4x4_s2(x, four_by_four(self.conv.weight.val()));
        ops::batch_norm(&self.norm, x, LEAK)
    }
}

/// A 3x3 kernel with a row above and a column to the left of zeros: with stride 2 it sees, of a side
/// that is even, what TensorFlow's padding "same" shows to the 3x3 one. Others stay as they are.
fn four_by_four(weight: Tensor<4>) -> Tensor<4> {
    let [to, from, height, width] = weight.dims();
    if [height, width] != [3, 3] {
        return weight;
    }
    let device = weight.device();
    let row = Tensor::zeros([to, from, 1, 3], &device);
    let column = Tensor::zeros([to, from, 4, 1], &device);
    Tensor::cat(vec![column, Tensor::cat(vec![row, weight], 2)], 3)
}

pub(super) fn conv(from: usize, to: usize, kernel: usize, bias: bool, device: &Device) -> Conv2d {
    Conv2dConfig::new([from, to], [kernel, kernel])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(bias)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

pub(super) fn conv_transpose(
    from: usize,
    to: usize,
    bias: bool,
    device: &Device,
) -> ConvTranspose2d {
    ConvTranspose2dConfig::new([from, to], [4, 4])
        .with_stride([2, 2])
        .with_padding([1, 1])
        .with_bias(bias)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

pub(super) fn linear(from: usize, to: usize, bias: bool, device: &Device) -> Linear {
    LinearConfig::new(from, to)
        .with_bias(bias)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

/// The bias of a convolution, a number per channel.
pub(super) fn bias(bias: &Option<Param<Tensor<1>>>, channels: usize, device: &Device) -> Tensor<1> {
    match bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([channels], device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use burn::tensor::TensorData;

    #[test]
    fn a_3x3_kernel_sees_what_tensorflow_shows_it() {
        // TensorFlow pads a side of 4 for a kernel of 3 and stride 2 with nothing before and one zero
        // after (its documentation of "same"): the first output is the sum of the first 3x3 pixels.
        let device = test_device();
        let pixels: Vec<f32> = (1..=16u8).map(f32::from).collect();
        let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 4, 4]), &device);
        let ones = Tensor::<4>::ones([1, 1, 3, 3], &device);
        let found = ops::conv2d_4x4_s2(image, four_by_four(ones));
        let found: Vec<f32> = found.into_data().iter::<f32>().collect();
        // By hand: 1+2+3+5+6+7+9+10+11, 3+4+7+8+11+12, 9+10+11+13+14+15, 11+12+15+16.
        assert_eq!(found, [54.0, 45.0, 72.0, 54.0]);
    }
}
