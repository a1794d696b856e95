//! The module that SqueezeNet is made of, and its convolutions.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use crate::ops::{self, Activation};

/// Fire module: few channels first ("squeeze"), then 1x1 and 3x3 convolutions side by side.
#[derive(Module, Debug)]
pub(super) struct Fire {
    pub(super) squeeze: Conv2d,
    pub(super) expand1x1: Conv2d,
    pub(super) expand3x3: Conv2d,
}

impl Fire {
    pub(super) fn new([from, squeezed, expanded]: [usize; 3], device: &Device) -> Self {
        let conv = |channels, kernel, padding| conv(channels, kernel, [1, 1], padding, device);
        Self {
            squeeze: conv([from, squeezed], 1, PaddingConfig2d::Valid),
            expand1x1: conv([squeezed, expanded], 1, PaddingConfig2d::Valid),
            expand3x3: conv(
                [squeezed, expanded],
                3,
                PaddingConfig2d::Explicit(1, 1, 1, 1),
            ),
        }
    }

    /// # Shapes
    /// `[batch, from, h, w]` to `[batch, 2 expanded, h, w]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = ops::activate(convolve(&self.squeeze, x), Activation::Relu); // [n, squeezed, h, w]
        let narrow = convolve(&self.expand1x1, x.clone());
        let wide = convolve(&self.expand3x3, x);
        ops::activate(Tensor::cat(vec![narrow, wide], 1), Activation::Relu)
    }
}

/// A convolution that keeps the side, by the kernels for it.
fn convolve(convolution: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let (weight, bias) = parameters(convolution);
    ops::conv2d_same(x, weight, bias)
}

/// Weight `[to, from, kernel, kernel]` and bias `[to]`.
pub(super) fn parameters(convolution: &Conv2d) -> (Tensor<4>, Tensor<1>) {
    let weight = convolution.weight.val();
    let bias = match &convolution.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([weight.dims()[0]], &weight.device()),
    };
    (weight, bias)
}

/// Convolution with a square kernel and zero weights.
pub(super) fn conv(
    channels: [usize; 2],
    kernel: usize,
    stride: [usize; 2],
    padding: PaddingConfig2d,
    device: &Device,
) -> Conv2d {
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride(stride)
        .with_padding(padding)
        .with_initializer(Initializer::Zeros)
        .init(device)
}
