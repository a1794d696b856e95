//! EGBAD's three networks (Zenati et al., arXiv:1802.06222, appendix A; the layers are those of its
//! authors' code for MNIST, houssamzenati/Efficient-GAN-Anomaly-Detection).

use burn::module::Module;
use burn::nn::conv::{Conv2d, ConvTranspose2d};
use burn::nn::{BatchNorm, BatchNormConfig, Linear};
use burn::tensor::{Device, Tensor, activation};
use rand::Rng;

use super::config::BiGanConfig;
use super::discriminator::Discriminator;
use super::layers::{Half, bias, conv, conv_transpose, linear};
use crate::encoder::dcgan_initialised;
use crate::ops::{self, Activation};

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

impl BiGanConfig {
    /// Builds the networks with initial weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> BiGan {
        let networks = BiGan {
            encoder: Encoder::new(self, device),
            generator: Generator::new(self, device),
            discriminator: Discriminator::new(self, device),
        };
        dcgan_initialised(networks, rng)
    }
}

/// Maps images to latents.
#[derive(Module, Debug)]
pub struct Encoder {
    stem: Conv2d,
    second: Half,
    third: Half,
    head: Linear,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

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

    #[test]
    fn networks_fit_in_what_they_take_and_not_in_a_quarter_of_it() {
        for (size, width, hidden, latent) in [(32, 32, 64, 8), (64, 2, 128, 100)] {
            let config = BiGanConfig {
                channels: 3,
                size,
                width,
                hidden,
                latent,
            };
            let networks = config.init(&mut StdRng::seed_from_u64(1), &test_device());
            let bytes = networks.num_params() * size_of::<f32>();
            assert_eq!(config.fits(bytes), Ok(()));
            assert!(config.fits(bytes / 4).is_err());
        }
    }
}
