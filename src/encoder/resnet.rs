//! A small residual network with pre-activation (He et al., arXiv:1603.05027).
//!
//! Sides are halved by 4x4 convolutions of stride 2, as in the autoencoder, and kept by 3x3 ones.
//! Width 64, two blocks and a first convolution of stride 1 make it a ResNet-18 for small images, of
//! the same layers but for the kernels that halve.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, PaddingConfig2d};
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::initialisation::he_initialised;
use crate::ops::{self, Activation};
use crate::safetensors_file::check_room;

/// Side of the last map.
const LAST_SIDE: usize = 4;

/// Sizes of a [`ResNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetConfig {
    /// Image channels: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Image side in pixels: a power of two, at least 16. The network takes its depth from it.
    pub size: usize,
    /// Channels after the first convolution; doubled at every halving of the side after it.
    pub width: usize,
    /// Residual blocks between two halvings.
    pub blocks: usize,
    /// Stride of the first convolution: 1, or 2 to save time.
    pub first_stride: usize,
}

impl ResNetConfig {
    /// Channels that the first convolution may have.
    pub(crate) const WIDTHS: std::ops::RangeInclusive<usize> = 1..=256;
    /// Residual blocks that there may be between two halvings.
    pub(crate) const BLOCKS: std::ops::RangeInclusive<usize> = 1..=8;
    /// Most features, that is, channels of the last map.
    const MOST_FEATURES: usize = 1024;

    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    /// What keeps these sizes from being built, if anything does: a damaged file must not ask for
    /// more memory than there is.
    pub(crate) fn check(&self) -> Result<(), String> {
        let possible = matches!(self.channels, 1 | 3)
            && (16..=1024).contains(&self.size)
            && self.size.is_power_of_two()
            && Self::WIDTHS.contains(&self.width)
            && Self::BLOCKS.contains(&self.blocks)
            && matches!(self.first_stride, 1 | 2)
            && self.features() <= Self::MOST_FEATURES;
        match possible {
            true => Ok(()),
            false => Err(format!(
                "a residual network of these sizes is not supported: {self:?}"
            )),
        }
    }

    /// What keeps a network of these sizes from being in so many bytes of a file, if anything does.
    pub(crate) fn fits(&self, bytes: usize) -> Result<(), String> {
        // Two convolutions of 3x3 in every block, of which the first may begin with half of the channels.
        let of_depth = |depth: u32| self.blocks * 13 * (self.width << depth).pow(2);
        check_room(bytes, (0..=self.halvings()).map(of_depth).sum(), "network")
    }

    /// What keeps images of `shape` from being trained on, if anything does.
    pub(crate) fn check_images(&self, shape: [usize; 3]) -> Result<(), String> {
        match shape == self.image_shape() && self.size.is_power_of_two() {
            true => self.check(),
            false => Err(format!(
                "{}x{} pixels, and a network that is trained without labels wants squares of 16, 32, 64 or another power of two: set data.size to one of these, and data.fit to resize or crop",
                shape[1], shape[2]
            )),
        }
    }

    /// Halvings of the side after the first convolution.
    fn halvings(&self) -> u32 {
        (self.size / self.first_stride / LAST_SIDE).ilog2()
    }

    /// Entries of what the network makes of an image: the channels of its last map.
    pub fn features(&self) -> usize {
        self.width << self.halvings()
    }

    /// Builds the network with initial weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> ResNet {
        let mut blocks = Vec::new();
        for depth in 0..=self.halvings() {
            let to = self.width << depth;
            for index in 0..self.blocks {
                blocks.push(match (depth, index) {
                    (1.., 0) => Block::new(to / 2, to, device),
                    _ => Block::new(to, to, device),
                });
            }
        }
        let network = ResNet {
            first: match self.first_stride {
                1 => convolution([self.channels, self.width], 3, device),
                _ => convolution([self.channels, self.width], 4, device),
            },
            blocks,
            norm: BatchNormConfig::new(self.features()).init(device),
        };
        he_initialised(network, rng)
    }
}

/// Maps images to features.
#[derive(Module, Debug)]
pub struct ResNet {
    first: Conv2d,
    blocks: Vec<Block>,
    norm: BatchNorm,
}

/// Two convolutions, each after a normalisation, beside a way around them.
#[derive(Module, Debug)]
struct Block {
    norms: [BatchNorm; 2],
    convolutions: [Conv2d; 2],
    /// Where the side is halved and the channels doubled: how the way around does.
    around: Option<Conv2d>,
}

impl Block {
    /// With as many channels as before, or with more on half the side.
    fn new(from: usize, to: usize, device: &Device) -> Self {
        let halves = from != to;
        let kernel = if halves { 4 } else { 3 };
        Self {
            norms: [from, to].map(|channels| BatchNormConfig::new(channels).init(device)),
            convolutions: [
                convolution([from, to], kernel, device),
                convolution([to, to], 3, device),
            ],
            around: halves.then(|| convolution([from, to], 1, device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let active = ops::batch_norm(&self.norms[0], x.clone(), Activation::Relu);
        let around = match &self.around {
            Some(convolution) => {
                let halved = avg_pool2d(active.clone(), AvgPoolOptions::new([2, 2]));
                convolution.forward(halved)
            }
            None => x,
        };
        let y = convolve(&self.convolutions[0], active);
        let y = ops::batch_norm(&self.norms[1], y, Activation::Relu);
        around + convolve(&self.convolutions[1], y)
    }
}

impl ResNet {
    /// The mean of the last map over all positions.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` in `[-1, 1]` to `[batch, features]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        let first = convolve(&self.first, images); // [n, w, s, s] or [n, w, s/2, s/2]
        let last = self.blocks.iter().fold(first, |x, block| block.forward(x)); // [n, features, 4, 4]
        let last = ops::batch_norm(&self.norm, last, Activation::Relu);
        last.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2)
    }
}

/// 3x3 keeps the side, 4x4 halves it, 1x1 mixes channels.
fn convolution(channels: [usize; 2], kernel: usize, device: &Device) -> Conv2d {
    let padding = kernel.min(2) - 1;
    let stride = if kernel == 4 { 2 } else { 1 };
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(
            padding, padding, padding, padding,
        ))
        .with_bias(false)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

/// A convolution by the kernels of its size.
fn convolve(convolution: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let weight = convolution.weight.val();
    match weight.dims()[3] {
        4 => ops::conv2d_4x4_s2(x, weight),
        _ => {
            let bias = Tensor::zeros([weight.dims()[0]], &x.device());
            ops::conv2d_same(x, weight, bias)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use burn::tensor::TensorData;
    use rand::{SeedableRng, rngs::StdRng};
    use rand_distr::Distribution;

    fn config(size: usize, first_stride: usize) -> ResNetConfig {
        ResNetConfig {
            channels: 1,
            size,
            width: 3,
            blocks: 1,
            first_stride,
        }
    }

    #[test]
    fn features_follow_the_image_size() {
        let device = test_device();
        for (size, stride, features) in [(16, 2, 6), (32, 2, 12), (32, 1, 24), (64, 2, 24)] {
            let config = config(size, stride);
            assert_eq!(config.features(), features);
            let network = config.init(&mut StdRng::seed_from_u64(0), &device);
            let images = Tensor::<4>::ones([2, 1, size, size], &device);
            assert_eq!(network.encode(images).dims(), [2, features]);
        }
    }

    #[test]
    fn a_resnet_18_has_its_layers() {
        let sizes = ResNetConfig {
            channels: 3,
            size: 32,
            width: 64,
            blocks: 2,
            first_stride: 1,
        };
        let network = sizes.init(&mut StdRng::seed_from_u64(0), &test_device());
        // By hand: the stem 3*64*9; per width w the 3x3 convolutions of w channels (four at 64, three
        // after each halving), the 4x4 one and the 1x1 one around it. Burn counts gain, shift, mean
        // and variance of every normalisation.
        let convolutions: usize = 3 * 64 * 9
            + 4 * 64 * 64 * 9
            + [128, 256, 512]
                .map(|w| 3 * w * w * 9 + (w / 2) * w * (16 + 1))
                .iter()
                .sum::<usize>();
        let normalised: usize =
            4 * 64 + [128, 256, 512].map(|w| w / 2 + 3 * w).iter().sum::<usize>() + 512;
        assert_eq!(network.num_params(), convolutions + 4 * normalised);
        let bytes = network.num_params() * size_of::<f32>();
        assert_eq!(sizes.fits(bytes), Ok(()));
        assert!(sizes.fits(bytes / 2).is_err());
        // Stem, two convolutions in each of eight blocks; the classifier of the original is the
        // eighteenth layer.
        assert_eq!(1 + 2 * network.blocks.len(), 17);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert_eq!(config(32, 2).check(), Ok(()));
        for change in [
            |config: &mut ResNetConfig| config.size = 24,
            |config: &mut ResNetConfig| config.size = 8,
            |config: &mut ResNetConfig| config.width = 0,
            |config: &mut ResNetConfig| config.blocks = 0,
            |config: &mut ResNetConfig| config.first_stride = 3,
            |config: &mut ResNetConfig| (config.width, config.size) = (256, 1024),
        ] {
            let mut sizes = config(32, 2);
            change(&mut sizes);
            assert!(sizes.check().is_err(), "{sizes:?}");
        }
    }

    #[test]
    fn initial_weights_depend_on_the_seed_alone() {
        let device = test_device();
        let images = Tensor::<4>::ones([1, 1, 32, 32], &device);
        let encode = |seed| {
            let network = config(32, 2).init(&mut StdRng::seed_from_u64(seed), &device);
            network.encode(images.clone()).into_data()
        };
        assert_eq!(encode(1), encode(1));
        assert_ne!(encode(1), encode(2));
    }

    #[test]
    fn activations_keep_their_scale_through_the_blocks() {
        let device = test_device();
        let network = config(32, 2).init(&mut StdRng::seed_from_u64(3), &device);
        let rng = &mut StdRng::seed_from_u64(4);
        let values: Vec<f32> = rand_distr::StandardNormal
            .sample_iter(rng)
            .take(8 * 1024)
            .collect();
        let images = Tensor::from_data(TensorData::new(values, [8, 1, 32, 32]), &device);
        let features = network.encode(images);
        let mean = features.square().mean().into_scalar::<f32>();
        assert!((1e-3..1e3).contains(&mean), "{mean}");
    }
}
