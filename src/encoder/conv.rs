//! The convolutional halves of the autoencoder, after DCGAN.
//!
//! The encoder is DCGAN's discriminator with a latent in place of the single output, the decoder is
//! its generator (Radford et al., arXiv:1511.06434), in the 32-pixel form of GANomaly's code: 4x4
//! kernels, stride 2, no bias, batch normalisation everywhere but at the encoder's first and last
//! layer and the decoder's last.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use super::AutoEncoderConfig;
use crate::ops::{self, Activation};

/// Slope of the encoder's LeakyReLU for negative inputs (DCGAN's 0.2).
const LEAK: Activation = Activation::LeakyRelu(0.2);

/// Maps images to latents.
///
/// # Shapes
/// `[batch, channels, size, size]` in `[-1, 1]` to `[batch, latent]`.
#[derive(Module, Debug)]
pub struct ConvEncoder {
    stem: Conv2d,
    blocks: Vec<Down>,
    head: Conv2d,
}

/// Convolution that halves the side and doubles the width, then normalisation.
#[derive(Module, Debug)]
struct Down {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Down {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = ops::conv2d_4x4_s2(x, self.conv.weight.val());
        ops::batch_norm(&self.norm, x, LEAK)
    }
}

impl ConvEncoder {
    pub(crate) fn new(config: &AutoEncoderConfig, device: &Device) -> Self {
        let AutoEncoderConfig {
            channels, latent, ..
        } = *config;
        let widths = config.widths();
        Self {
            stem: conv(channels, widths[0], 2, device),
            blocks: widths
                .windows(2)
                .map(|pair| Down {
                    conv: conv(pair[0], pair[1], 2, device),
                    norm: BatchNormConfig::new(pair[1]).init(device),
                })
                .collect(),
            head: conv(config.deepest_width(), latent, 1, device),
        }
    }

    /// DCGAN's discriminator for images of these sizes: with a single output, the logit of "real".
    pub(crate) fn discriminator(config: &AutoEncoderConfig, device: &Device) -> Self {
        let single = AutoEncoderConfig {
            latent: 1,
            ..*config
        };
        Self::new(&single, device)
    }

    /// Encodes a batch of images.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` to `[batch, latent]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.project(self.features(images))
    }

    /// Everything before the last convolution.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` to `[batch, 4 width, 4, 4]` for images of 32 pixels.
    pub fn features(&self, images: Tensor<4>) -> Tensor<4> {
        let stem = self.stem(images); // [n, w, s/2, s/2]
        // [n, 2w, s/4, s/4], ... [n, 4w, 4, 4]
        self.blocks.iter().fold(stem, |x, block| block.forward(x))
    }

    /// The maps after every halving of the side, largest first.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` to `[batch, width, size / 2, size / 2]`,
    /// `[batch, 2 width, size / 4, size / 4]` and so on.
    pub fn maps(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = self.stem(images);
        let mut maps = vec![x.clone()];
        for block in &self.blocks {
            x = block.forward(x);
            maps.push(x.clone());
        }
        maps
    }

    fn stem(&self, images: Tensor<4>) -> Tensor<4> {
        ops::activate(ops::conv2d_4x4_s2(images, self.stem.weight.val()), LEAK)
    }

    /// The last convolution.
    ///
    /// # Shapes
    /// `[batch, 4 width, 4, 4]` to `[batch, latent]`.
    pub fn project(&self, features: Tensor<4>) -> Tensor<2> {
        // A 4x4 convolution of a 4x4 map is one matrix product.
        let weight = self.head.weight.val().flatten::<2>(1, 3); // [latent, 16 * 4w]
        features.flatten::<2>(1, 3).matmul(weight.transpose())
    }
}

/// Maps latents to images.
///
/// # Shapes
/// `[batch, latent]` to `[batch, channels, size, size]` in `[-1, 1]`.
#[derive(Module, Debug)]
pub struct ConvDecoder {
    blocks: Vec<Up>,
    head: ConvTranspose2d,
}

/// Transposed convolution that doubles the side and halves the width, then normalisation.
#[derive(Module, Debug)]
struct Up {
    conv: ConvTranspose2d,
    norm: BatchNorm,
}

impl ConvDecoder {
    pub(crate) fn new(config: &AutoEncoderConfig, device: &Device) -> Self {
        let mut widths = config.widths();
        widths.reverse();
        let project = Up {
            conv: conv_transpose(config.latent, widths[0], 1, device),
            norm: BatchNormConfig::new(widths[0]).init(device),
        };
        let doubled = widths.windows(2).map(|pair| Up {
            conv: conv_transpose(pair[0], pair[1], 2, device),
            norm: BatchNormConfig::new(pair[1]).init(device),
        });
        Self {
            blocks: std::iter::once(project).chain(doubled).collect(),
            head: conv_transpose(config.width, config.channels, 2, device),
        }
    }

    /// Decodes a batch of latents.
    ///
    /// # Shapes
    /// `[batch, latent]` to `[batch, channels, size, size]`.
    pub fn forward(&self, latents: Tensor<2>) -> Tensor<4> {
        let [batch, _] = latents.dims();
        let (first, blocks) = self.blocks.split_first().expect("`new` makes one at least");
        // The transposed convolution of a single position is one matrix product.
        let weight = first.conv.weight.val(); // [latent, 4w, 4, 4]
        let [_, channels, height, width] = weight.dims();
        let x = latents.matmul(weight.flatten::<2>(1, 3));
        let x = x.reshape([batch, channels, height, width]);
        let mut x = ops::batch_norm(&first.norm, x, Activation::Relu); // [n, 4w, 4, 4]
        for block in blocks {
            let doubled = ops::conv_transpose2d_4x4_s2(x, block.conv.weight.val());
            x = ops::batch_norm(&block.norm, doubled, Activation::Relu); // [n, 2w, 8, 8], ...
        }
        let image = ops::conv_transpose2d_4x4_s2(x, self.head.weight.val());
        ops::tanh(image) // [n, channels, size, size]
    }
}

/// 4x4 convolution: stride 2 halves the side, stride 1 without padding maps 4x4 to 1x1.
fn conv(from: usize, to: usize, stride: usize, device: &Device) -> Conv2d {
    let padding = stride - 1;
    Conv2dConfig::new([from, to], [4, 4])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(
            padding, padding, padding, padding,
        ))
        .with_bias(false)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

/// The transpose of [`conv`]: stride 2 doubles the side, stride 1 maps 1x1 to 4x4.
fn conv_transpose(from: usize, to: usize, stride: usize, device: &Device) -> ConvTranspose2d {
    let padding = stride - 1;
    ConvTranspose2dConfig::new([from, to], [4, 4])
        .with_stride([stride, stride])
        .with_padding([padding, padding])
        .with_bias(false)
        .with_initializer(Initializer::Zeros)
        .init(device)
}
