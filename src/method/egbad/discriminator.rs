//! EGBAD's discriminator, which sees pairs.

use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor, activation};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::config::BiGanConfig;
use super::dropout::drop_half;
use super::layers::{Half, LEAK, SLOPE, bias, conv, linear};
use crate::ops;

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
    pub(super) fn new(config: &BiGanConfig, device: &Device) -> Self {
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

    /// Features of pairs: what the last layer sees. With a seed for `dropout`, half of the values are
    /// dropped at four places, as in training.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` and `[batch, latent]` to `[batch, hidden]`.
    pub fn features(
        &self,
        images: Tensor<4>,
        latents: Tensor<2>,
        dropout: Option<u64>,
    ) -> Tensor<2> {
        let mut rng = dropout.map(StdRng::seed_from_u64);
        let x = ops::conv2d_4x4_s2(images, self.stem.weight.val()); // [n, 2w, s/2, s/2]
        let channels = x.dims()[1];
        let bias = bias(&self.stem.bias, channels, &x.device());
        let x = ops::activate(x + bias.reshape([1, channels, 1, 1]), LEAK);
        let x = drop_half(x, rng.as_mut());
        let x = self.second.forward(x); // [n, 2w, s/4, s/4]
        let x = drop_half(x, rng.as_mut());
        let z = activation::leaky_relu(self.latent.forward(latents), SLOPE); // [n, hidden/2]
        let z = drop_half(z, rng.as_mut());
        let pair = Tensor::cat(vec![x.flatten::<2>(1, 3), z], 1);
        let features = activation::leaky_relu(self.joint.forward(pair), SLOPE);
        drop_half(features, rng.as_mut())
    }

    /// # Shapes
    /// `[batch, channels, size, size]` and `[batch, latent]` to `[batch, 1]`: the logit of "an image and
    /// its latent".
    pub fn forward(
        &self,
        images: Tensor<4>,
        latents: Tensor<2>,
        dropout: Option<u64>,
    ) -> Tensor<2> {
        self.logits(self.features(images, latents, dropout))
    }

    /// # Shapes
    /// `[batch, hidden]` to `[batch, 1]`.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        self.head.forward(features)
    }
}
