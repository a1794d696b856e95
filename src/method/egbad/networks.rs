//! EGBAD's three networks (Zenati et al., arXiv:1802.06222, appendix A; the layers are those of its
//! authors' code for MNIST, houssamzenati/Efficient-GAN-Anomaly-Detection).
//!
//! A bias before a batch normalisation has no effect, so there is none.

use std::ops::RangeInclusive;

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::dropout::Masks;
use crate::encoder::{EncoderSizes, initialise};
use crate::ops::{self, Activation};

/// Slope of every LeakyReLU for negative inputs.
const SLOPE: f64 = 0.1;
const LEAK: Activation = Activation::LeakyRelu(SLOPE as f32);

/// Sizes of a [`BiGan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BiGanConfig {
    /// Image channels: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Image side in pixels: 32 or 64.
    pub size: usize,
    /// Channels after the encoder's first convolution. The authors': 32.
    pub width: usize,
    /// Outputs of the generator's first layer and of the discriminator's last but one; half of them for
    /// the discriminator's look at the latent. The authors': 1024.
    pub hidden: usize,
    /// Dimension of the latent. The authors': 200.
    pub latent: usize,
}

impl BiGanConfig {
    /// Channels that the encoder's first convolution may have.
    pub const WIDTHS: RangeInclusive<usize> = 1..=256;
    /// Outputs that a fully connected layer may have.
    pub const HIDDEN: RangeInclusive<usize> = 2..=4096;
    /// Dimensions that the latent may have.
    pub const LATENTS: RangeInclusive<usize> = 2..=EncoderSizes::LARGEST_LATENT;

    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    /// What keeps these sizes from being built, if anything does: a damaged file must not ask for more
    /// memory than there is.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<(), String> {
        let possible = matches!(self.channels, 1 | 3)
            && matches!(self.size, 32 | 64)
            && Self::WIDTHS.contains(&self.width)
            && Self::HIDDEN.contains(&self.hidden)
            && Self::LATENTS.contains(&self.latent);
        match possible {
            true => Ok(()),
            false => Err(format!(
                "networks of these sizes are not supported: {self:?}"
            )),
        }
    }

    /// What keeps images of `shape` from being trained on, if anything does.
    ///
    /// # Errors
    /// That.
    pub fn check_images(&self, shape: [usize; 3]) -> Result<(), String> {
        match shape == self.image_shape() && matches!(self.size, 32 | 64) {
            true => self.check(),
            false => Err(format!(
                "{}x{} pixels, and EGBAD wants squares of 32 or 64",
                shape[1], shape[2]
            )),
        }
    }

    /// Builds the networks with initial weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> BiGan {
        let networks = BiGan {
            encoder: Encoder::new(self, device),
            generator: Generator::new(self, device),
            discriminator: Discriminator::new(self, device),
        };
        initialise(networks, rng)
    }
}

/// Encoder, generator, and a discriminator that sees pairs of an image and its latent.
#[derive(Module, Debug)]
pub struct BiGan {
    /// Images to latents.
    pub encoder: Encoder,
    /// Latents to images.
    pub generator: Generator,
    /// Pairs to logits.
    pub discriminator: Discriminator,
}

/// Maps images to latents.
#[derive(Module, Debug)]
pub struct Encoder {
    stem: Conv2d,
    second: Half,
    third: Half,
    head: Linear,
}

/// A convolution that halves the side, then normalisation.
#[derive(Module, Debug)]
struct Half {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Half {
    fn new(from: usize, to: usize, kernel: usize, device: &Device) -> Self {
        Self {
            conv: conv(from, to, kernel, false, device),
            norm: BatchNormConfig::new(to).init(device),
        }
    }

    /// `[batch, from, height, width]` to `[batch, to, height / 2, width / 2]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
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

impl Encoder {
    fn new(config: &BiGanConfig, device: &Device) -> Self {
        let BiGanConfig {
            channels,
            size,
            width,
            latent,
            ..
        } = *config;
        Self {
            stem: conv(channels, width, 3, true, device),
            second: Half::new(width, 2 * width, 3, device),
            third: Half::new(2 * width, 4 * width, 3, device),
            head: linear(4 * width * (size / 4).pow(2), latent, true, device),
        }
    }

    /// # Shapes
    /// `[batch, channels, size, size]` in `[-1, 1]` to `[batch, latent]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let weight = self.stem.weight.val();
        let bias = bias(&self.stem.bias, weight.dims()[0], &images.device());
        // Without an activation, as in the authors' code.
        let x = ops::conv2d_same(images, weight, bias); // [n, w, s, s]
        let x = self.second.forward(x); // [n, 2w, s/2, s/2]
        let x = self.third.forward(x); // [n, 4w, s/4, s/4]
        self.head.forward(x.flatten::<2>(1, 3))
    }
}

/// Maps latents to images.
#[derive(Module, Debug)]
pub struct Generator {
    first: Dense,
    second: Dense,
    third: Double,
    head: ConvTranspose2d,
    size: usize,
}

/// A fully connected layer, then normalisation and ReLU.
#[derive(Module, Debug)]
struct Dense {
    linear: Linear,
    norm: BatchNorm,
}

impl Dense {
    fn new(from: usize, to: usize, device: &Device) -> Self {
        Self {
            linear: linear(from, to, false, device),
            norm: BatchNormConfig::new(to).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        activation::relu(self.norm.forward(self.linear.forward(x)))
    }
}

/// A transposed convolution that doubles the side, then normalisation.
#[derive(Module, Debug)]
struct Double {
    conv: ConvTranspose2d,
    norm: BatchNorm,
}

impl Generator {
    fn new(config: &BiGanConfig, device: &Device) -> Self {
        let BiGanConfig {
            channels,
            size,
            width,
            hidden,
            latent,
        } = *config;
        Self {
            first: Dense::new(latent, hidden, device),
            second: Dense::new(hidden, 4 * width * (size / 4).pow(2), device),
            third: Double {
                conv: conv_transpose(4 * width, 2 * width, false, device),
                norm: BatchNormConfig::new(2 * width).init(device),
            },
            head: conv_transpose(2 * width, channels, true, device),
            size,
        }
    }

    /// # Shapes
    /// `[batch, latent]` to `[batch, channels, size, size]` in `[-1, 1]`.
    pub fn forward(&self, latents: Tensor<2>) -> Tensor<4> {
        let x = self.second.forward(self.first.forward(latents));
        let [batch, values] = x.dims();
        let side = self.size / 4;
        let x = x.reshape([batch, values / (side * side), side, side]); // [n, 4w, s/4, s/4]
        let x = ops::conv_transpose2d_4x4_s2(x, self.third.conv.weight.val());
        let x = ops::batch_norm(&self.third.norm, x, Activation::Relu); // [n, 2w, s/2, s/2]
        let image = ops::conv_transpose2d_4x4_s2(x, self.head.weight.val()); // [n, c, s, s]
        let [_, channels, _, _] = image.dims();
        let bias = bias(&self.head.bias, channels, &image.device());
        ops::tanh(image + bias.reshape([1, channels, 1, 1]))
    }
}

/// Tells pairs of an image and what the encoder makes of it from pairs of noise and what the generator
/// makes of it.
#[derive(Module, Debug)]
pub struct Discriminator {
    stem: Conv2d,
    second: Half,
    latent: Linear,
    joint: Linear,
    head: Linear,
}

impl Discriminator {
    fn new(config: &BiGanConfig, device: &Device) -> Self {
        let BiGanConfig {
            channels,
            size,
            width,
            hidden,
            latent,
        } = *config;
        let image = 2 * width * (size / 4).pow(2);
        Self {
            stem: conv(channels, 2 * width, 4, true, device),
            second: Half::new(2 * width, 2 * width, 4, device),
            latent: linear(latent, hidden / 2, true, device),
            joint: linear(image + hidden / 2, hidden, true, device),
            head: linear(hidden, 1, true, device),
        }
    }

    /// Features of pairs: what the last layer sees.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` and `[batch, latent]` to `[batch, hidden]`.
    pub fn features(
        &self,
        images: Tensor<4>,
        latents: Tensor<2>,
        masks: Option<&Masks>,
    ) -> Tensor<2> {
        let x = ops::conv2d_4x4_s2(images, self.stem.weight.val()); // [n, 2w, s/2, s/2]
        let channels = x.dims()[1];
        let bias = bias(&self.stem.bias, channels, &x.device());
        let x = ops::activate(x + bias.reshape([1, channels, 1, 1]), LEAK);
        let x = Masks::drop(x, masks.map(|masks| &masks.stem));
        let x = self.second.forward(x); // [n, 2w, s/4, s/4]
        let x = Masks::drop(x, masks.map(|masks| &masks.second));
        let z = activation::leaky_relu(self.latent.forward(latents), SLOPE); // [n, hidden/2]
        let z = Masks::drop(z, masks.map(|masks| &masks.latent));
        let pair = Tensor::cat(vec![x.flatten::<2>(1, 3), z], 1);
        let features = activation::leaky_relu(self.joint.forward(pair), SLOPE);
        Masks::drop(features, masks.map(|masks| &masks.joint))
    }

    /// # Shapes
    /// `[batch, channels, size, size]` and `[batch, latent]` to `[batch, 1]`: the logit of "an image and
    /// its latent".
    pub fn forward(
        &self,
        images: Tensor<4>,
        latents: Tensor<2>,
        masks: Option<&Masks>,
    ) -> Tensor<2> {
        self.logits(self.features(images, latents, masks))
    }

    /// # Shapes
    /// `[batch, hidden]` to `[batch, 1]`.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        self.head.forward(features)
    }

    /// Values of one image at the four places where some are dropped.
    pub(super) fn dropped(config: &BiGanConfig) -> [usize; 4] {
        let channels = 2 * config.width;
        [
            channels * (config.size / 2).pow(2),
            channels * (config.size / 4).pow(2),
            config.hidden / 2,
            config.hidden,
        ]
    }
}

fn conv(from: usize, to: usize, kernel: usize, bias: bool, device: &Device) -> Conv2d {
    Conv2dConfig::new([from, to], [kernel, kernel])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(bias)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

fn conv_transpose(from: usize, to: usize, bias: bool, device: &Device) -> ConvTranspose2d {
    ConvTranspose2dConfig::new([from, to], [4, 4])
        .with_stride([2, 2])
        .with_padding([1, 1])
        .with_bias(bias)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

fn linear(from: usize, to: usize, bias: bool, device: &Device) -> Linear {
    LinearConfig::new(from, to)
        .with_bias(bias)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

/// The bias of a convolution.
fn bias(bias: &Option<Param<Tensor<1>>>, channels: usize, device: &Device) -> Tensor<1> {
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
    use rand::SeedableRng;
    use rand::rngs::StdRng;

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

    #[test]
    fn the_numbers_of_parameters_are_those_of_the_authors_layers() {
        let config = BiGanConfig {
            channels: 1,
            size: 32,
            width: 32,
            hidden: 1024,
            latent: 200,
        };
        config.check().unwrap();
        let networks = config.init(&mut StdRng::seed_from_u64(1), &test_device());
        // Weights, biases, and two numbers per normalised channel (Burn counts the running statistics
        // as well, two more), for images of 32 pixels in place of 28.
        let encoder = (9 * 32 + 32) + (9 * 32 * 64) + 4 * 64 + (9 * 64 * 128) + 4 * 128;
        let encoder = encoder + 8 * 8 * 128 * 200 + 200;
        assert_eq!(networks.encoder.num_params(), encoder);
        let generator = 200 * 1024 + 4 * 1024 + 1024 * 8192 + 4 * 8192;
        let generator = generator + 16 * 128 * 64 + 4 * 64 + 16 * 64 + 1;
        assert_eq!(networks.generator.num_params(), generator);
        let discriminator = (16 * 64 + 64) + 16 * 64 * 64 + 4 * 64 + (200 * 512 + 512);
        let discriminator = discriminator + (4096 + 512) * 1024 + 1024 + 1024 + 1;
        assert_eq!(networks.discriminator.num_params(), discriminator);
    }
}
