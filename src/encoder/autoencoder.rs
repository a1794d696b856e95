//! The autoencoder of the paper's first stage.

use std::ops::RangeInclusive;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::EncoderSizes;
use super::conv::{ConvDecoder, ConvEncoder};
use super::initialisation::dcgan_initialised;
use crate::safetensors_file::check_room;

/// Sizes of an [`AutoEncoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoEncoderConfig {
    /// Image channels: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Image side in pixels: a power of two, at least 16. The networks take their depth from it.
    pub size: usize,
    /// Channels after the first convolution; doubled at every halving of the side. DCGAN: 64.
    pub width: usize,
    /// Dimension of the latent. GANomaly: 100.
    pub latent: usize,
}

impl AutoEncoderConfig {
    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    /// Of the networks for images of this shape, whose height is their side.
    pub(crate) fn for_images([channels, size, _]: [usize; 3], width: usize, latent: usize) -> Self {
        Self {
            channels,
            size,
            width,
            latent,
        }
    }

    /// Channels that the first convolution may have.
    pub(crate) const WIDTHS: RangeInclusive<usize> = 1..=512;

    /// What keeps these sizes from being built, if anything does: a damaged file must not ask for
    /// more memory than there is.
    pub(crate) fn check(&self) -> Result<(), String> {
        let possible = matches!(self.channels, 1 | 3)
            && (16..=1024).contains(&self.size)
            && self.size.is_power_of_two()
            && Self::WIDTHS.contains(&self.width)
            && (1..=EncoderSizes::LARGEST_LATENT).contains(&self.latent);
        match possible {
            true => Ok(()),
            false => Err(format!(
                "an autoencoder of these sizes is not supported: {self:?}"
            )),
        }
    }

    /// What keeps networks of these sizes from being in so many bytes of a file, if anything does: a damaged one must not
    /// ask for more memory than there is.
    pub(crate) fn fits(&self, bytes: usize) -> Result<(), String> {
        let widths = self.widths();
        let convolutions = widths.windows(2).map(|pair| 16 * pair[0] * pair[1]);
        check_room(bytes, convolutions.sum(), "networks")
    }

    /// What keeps images of `shape` from being trained on, if anything does.
    pub(crate) fn check_images(&self, shape: [usize; 3]) -> Result<(), String> {
        match shape == self.image_shape() && matches!(self.size, 32 | 64 | 128) {
            true => self.check(),
            false => Err(format!(
                "{}x{} pixels, and an autoencoder wants squares of 32, 64 or 128: set data.size to one of these, and data.fit to resize or crop",
                shape[1], shape[2]
            )),
        }
    }

    /// Builds the autoencoder with initial weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> AutoEncoder {
        let model = AutoEncoder {
            encoder: ConvEncoder::new(self, device),
            decoder: ConvDecoder::new(self, device),
        };
        dcgan_initialised(model, rng)
    }

    /// Channels of the encoder's maps, from half the image side down to 4x4.
    pub(super) fn widths(&self) -> Vec<usize> {
        let halvings = (self.size / 4).ilog2() as usize;
        (0..halvings).map(|depth| self.width << depth).collect()
    }

    /// Channels of the 4x4 map between the two networks' last halving and the latent.
    pub(super) fn deepest_width(&self) -> usize {
        self.width << ((self.size / 8).ilog2())
    }
}

/// Encoder and decoder, trained to reproduce normal images.
#[derive(Module, Debug)]
pub struct AutoEncoder {
    encoder: ConvEncoder,
    decoder: ConvDecoder,
}

impl AutoEncoder {
    /// Encodes a batch of images.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` in `[-1, 1]` to `[batch, latent]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        self.encoder.forward(images)
    }

    /// The encoder's maps after every halving of the side, largest first.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` to `[batch, width, size / 2, size / 2]`,
    /// `[batch, 2 width, size / 4, size / 4]` and so on.
    pub fn maps(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        self.encoder.maps(images)
    }

    /// Decodes a batch of latents.
    ///
    /// # Shapes
    /// `[batch, latent]` to `[batch, channels, size, size]` in `[-1, 1]`.
    pub fn decode(&self, latents: Tensor<2>) -> Tensor<4> {
        self.decoder.forward(latents)
    }

    /// Mean absolute difference of each image and its reconstruction: the paper's L1 loss, and the
    /// reconstruction score.
    ///
    /// # Shapes
    /// Two times `[batch, channels, size, size]` to `[batch]`.
    pub fn reconstruction_error(images: Tensor<4>, reconstructions: Tensor<4>) -> Tensor<1> {
        (images - reconstructions)
            .abs()
            .flatten::<2>(1, 3)
            .mean_dim(1)
            .squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::{SeedableRng, rngs::StdRng};

    fn config(size: usize, channels: usize) -> AutoEncoderConfig {
        AutoEncoderConfig {
            channels,
            size,
            width: 4,
            latent: 6,
        }
    }

    #[test]
    fn shapes_follow_the_image_size() {
        let device = test_device();
        for (size, channels) in [(16, 1), (32, 1), (32, 3), (64, 3)] {
            let model = config(size, channels).init(&mut StdRng::seed_from_u64(0), &device);
            let images = Tensor::<4>::zeros([2, channels, size, size], &device);
            let latents = model.encode(images);
            assert_eq!(latents.dims(), [2, 6]);
            assert_eq!(model.decode(latents).dims(), [2, channels, size, size]);
        }
    }

    #[test]
    fn networks_fit_in_what_they_take_and_not_in_a_quarter_of_it() {
        for size in [32, 64] {
            let config = config(size, 1);
            let model = config.init(&mut StdRng::seed_from_u64(0), &test_device());
            let bytes = burn::module::Module::num_params(&model) * size_of::<f32>();
            assert_eq!(config.fits(bytes), Ok(()));
            assert!(config.fits(bytes / 4).is_err());
        }
    }

    #[test]
    fn parameter_count_is_that_of_the_layer_table() {
        // GANomaly's 32-pixel networks with nc=1, ngf=64, nz=100, counted by hand from the layer
        // table: encoder 1*64*16 + 64*128*16 + 2*128 + 128*256*16 + 2*256 + 256*100*16, and the
        // decoder 100*256*16 + 2*256 + 256*128*16 + 2*128 + 128*64*16 + 2*64 + 64*1*16. Burn counts
        // the running mean and variance of every normalisation as well: 2 * (128+256+256+128+64).
        let encoder = 1_024 + 131_072 + 256 + 524_288 + 512 + 409_600;
        let decoder = 409_600 + 512 + 524_288 + 256 + 131_072 + 128 + 1_024;
        let expected = encoder + decoder + 1_664;
        let model = AutoEncoderConfig {
            channels: 1,
            size: 32,
            width: 64,
            latent: 100,
        }
        .init(&mut StdRng::seed_from_u64(0), &test_device());
        assert_eq!(model.num_params(), expected);
    }

    #[test]
    fn initial_weights_depend_on_the_seed_alone() {
        let device = test_device();
        let images = Tensor::<4>::ones([2, 1, 32, 32], &device);
        let encode = |seed| {
            config(32, 1)
                .init(&mut StdRng::seed_from_u64(seed), &device)
                .encode(images.clone())
                .into_data()
        };
        assert_eq!(encode(1), encode(1));
        assert_ne!(encode(1), encode(2));
    }

    #[test]
    fn reconstruction_error_is_the_mean_absolute_difference() {
        let device = test_device();
        let images = Tensor::<4>::ones([2, 1, 2, 2], &device);
        let other =
            Tensor::<4>::from_data([[[[1., 1.], [1., 0.]]], [[[0., 0.], [0., 0.]]]], &device);
        let error = AutoEncoder::reconstruction_error(images, other);
        assert_eq!(error.into_data().try_to_vec::<f32>().unwrap(), [0.25, 1.0]);
    }
}
