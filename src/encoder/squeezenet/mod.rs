//! A pretrained encoder: the convolutional trunk of SqueezeNet 1.1, with frozen ImageNet weights.
//!
//! SqueezeNet (Iandola et al., arXiv:1602.07360) in its version 1.1, layer for layer as in
//! torchvision, whose names the weights file keeps (`features.0.weight`, ...). Nothing is trained
//! here, and a result that rests on these weights is not "from scratch": they have seen ImageNet-1k,
//! whose images are for non-commercial research.
//!
//! [`SqueezeNet::convert`] writes the weights file from torchvision's PyTorch checkpoint. In Python,
//! the same is
//!
//! ```python
//! from safetensors.torch import save_file
//! from torchvision.models import squeezenet1_1
//!
//! weights = squeezenet1_1(weights="IMAGENET1K_V1").state_dict()
//! save_file(weights, "squeezenet1_1_features.safetensors")
//! ```
//!
//! The classifier's tensors may be left out: they are not read.

mod convert;
mod weights;

pub use weights::BackboneError;

use std::ops::RangeInclusive;
use std::path::Path;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::module::{interpolate, max_pool2d};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData, activation};

use self::weights::{Weights, read};

/// Mean of ImageNet's pixels in `[0, 1]`, per channel.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's pixels in `[0, 1]`, per channel.
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// Channels after the first convolution.
const STEM: usize = 64;
/// The fire modules: number among torchvision's `features`, and
/// `[channels in, squeezed channels, channels of each expansion]`.
const FIRES: [(usize, [usize; 3]); 8] = [
    (3, [64, 16, 64]),
    (4, [128, 16, 64]),
    (6, [128, 32, 128]),
    (7, [256, 32, 128]),
    (9, [256, 48, 192]),
    (10, [384, 48, 192]),
    (11, [384, 64, 256]),
    (12, [512, 64, 256]),
];

/// The convolutional trunk of SqueezeNet 1.1, for frozen weights.
///
/// It has no way back from a latent to an image: detectors on top of it have neither
/// reconstructions nor samples.
///
/// # Shapes
/// `[batch, 1 or 3, height, width]` in `[-1, 1]` to `[batch, 896]`.
#[derive(Module, Debug)]
pub struct SqueezeNet {
    stem: Conv2d,
    first: Vec<Fire>,
    second: Vec<Fire>,
    third: Vec<Fire>,
    input: usize,
}

/// Fire module: few channels first ("squeeze"), then 1x1 and 3x3 convolutions side by side.
#[derive(Module, Debug)]
struct Fire {
    squeeze: Conv2d,
    expand1x1: Conv2d,
    expand3x3: Conv2d,
}

impl SqueezeNet {
    /// Usual name of the weights file.
    pub const FILE: &'static str = "squeezenet1_1_features.safetensors";
    /// Entries of a latent: the channels of the three maps.
    pub const LATENT: usize = 128 + 256 + 512;
    /// Smallest side that leaves a whole 3x3 window to every pooling.
    pub const SMALLEST_INPUT: usize = 25;
    /// Sides to which images may be resized.
    pub(crate) const INPUTS: RangeInclusive<usize> = Self::SMALLEST_INPUT..=512;
    /// Side to which images are resized unless [`with_input`](Self::with_input) says otherwise: the
    /// network reduces a side 16 times, and would leave a single pixel of CIFAR's 32.
    pub const INPUT: usize = 128;

    /// The network with zero weights, to be filled from a store.
    pub fn new(device: &Device) -> Self {
        let mut fires = FIRES.iter().map(|&(_, sizes)| Fire::new(sizes, device));
        Self {
            stem: conv([3, STEM], 3, [2, 2], PaddingConfig2d::Valid, device),
            first: fires.by_ref().take(2).collect(),
            second: fires.by_ref().take(2).collect(),
            third: fires.collect(),
            input: Self::INPUT,
        }
        .no_grad()
    }

    /// The network with torchvision's weights from a safetensors file; other tensors in the file
    /// are ignored.
    ///
    /// # Errors
    /// [`BackboneError`] when the file is missing or damaged, or when a tensor is missing or has
    /// another type or shape.
    pub fn load(path: &Path, device: &Device) -> Result<Self, BackboneError> {
        let bytes = read(path)?;
        let weights = Weights::new(path, &bytes)?;
        let mut network = Self::new(device);
        network.fill(&weights)?;
        Ok(network)
    }

    /// Sets the side to which images are resized, at least
    /// [`SMALLEST_INPUT`](Self::SMALLEST_INPUT).
    pub fn with_input(mut self, input: usize) -> Self {
        self.input = input.max(Self::SMALLEST_INPUT);
        self
    }

    /// The latent: the means of the three [`maps`](Self::maps) over all positions, side by side.
    ///
    /// The entries are strongly correlated, and more than a density method wants: reduce them with
    /// principal components first.
    ///
    /// # Shapes
    /// `[batch, 1 or 3, height, width]` in `[-1, 1]` to `[batch, 896]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        let means = self
            .maps(images)
            .map(|map| map.mean_dim(3).mean_dim(2).flatten::<2>(1, 3)); // [n, c, h, w] -> [n, c]
        Tensor::cat(means.into(), 1)
    }

    /// The maps after `features.4`, `features.7` and `features.12`: the last one before each
    /// reduction of the side, and the last of all.
    ///
    /// # Shapes
    /// `[batch, 1 or 3, height, width]` in `[-1, 1]` to `[batch, 128, s, s]`,
    /// `[batch, 256, s/2, s/2]` and `[batch, 512, s/4, s/4]`: sides 31, 15 and 7 for an input of
    /// 128.
    pub fn maps(&self, images: Tensor<4>) -> [Tensor<4>; 3] {
        // Bilinear interpolation keeps constants, so it may come after the normalisation: images
        // are mostly smaller before it.
        self.forward(resize(normalise(to_rgb(images)), self.input))
    }

    /// The layers alone.
    ///
    /// # Shapes
    /// `[batch, 3, height, width]`, normalised, to the three maps.
    fn forward(&self, x: Tensor<4>) -> [Tensor<4>; 3] {
        let x = activation::relu(self.stem.forward(x)); // [n, 64, h/2, w/2]
        let first = run(&self.first, pool(x)); // [n, 128, h/4, w/4]
        let second = run(&self.second, pool(first.clone())); // [n, 256, h/8, w/8]
        let third = run(&self.third, pool(second.clone())); // [n, 512, h/16, w/16]
        [first, second, third]
    }

    /// Replaces all weights.
    fn fill(&mut self, weights: &Weights) -> Result<(), BackboneError> {
        weights.fill(&mut self.stem, "features.0")?;
        let fires = self.first.iter_mut();
        let fires = fires.chain(&mut self.second).chain(&mut self.third);
        for ((layer, _), fire) in FIRES.iter().zip(fires) {
            weights.fill(&mut fire.squeeze, &format!("features.{layer}.squeeze"))?;
            weights.fill(&mut fire.expand1x1, &format!("features.{layer}.expand1x1"))?;
            weights.fill(&mut fire.expand3x3, &format!("features.{layer}.expand3x3"))?;
        }
        Ok(())
    }
}

impl Fire {
    fn new([from, squeezed, expanded]: [usize; 3], device: &Device) -> Self {
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
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = activation::relu(self.squeeze.forward(x)); // [n, squeezed, h, w]
        let narrow = self.expand1x1.forward(x.clone());
        let wide = self.expand3x3.forward(x);
        activation::relu(Tensor::cat(vec![narrow, wide], 1))
    }
}

/// One fire module after the other.
fn run(fires: &[Fire], x: Tensor<4>) -> Tensor<4> {
    fires.iter().fold(x, |x, fire| fire.forward(x))
}

/// Convolution with a square kernel and zero weights.
fn conv(
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

/// 3x3 maximum at every second position. The windows that reach over the right and the bottom edge
/// count ("ceil mode"): without them an even side would lose its last row.
///
/// # Shapes
/// `[batch, channels, h, w]` to `[batch, channels, ceil((h - 1) / 2), ceil((w - 1) / 2)]`.
fn pool(x: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([3, 3])
        .with_stride([2, 2])
        .with_ceil_mode(true);
    max_pool2d(x, options)
}

/// Repeats the channel of grey images.
///
/// # Shapes
/// `[batch, 1 or 3, h, w]` to `[batch, 3, h, w]`.
fn to_rgb(images: Tensor<4>) -> Tensor<4> {
    match images.dims() {
        [_, 1, _, _] => images.repeat_dim(1, 3),
        _ => images,
    }
}

/// From `[-1, 1]` to deviations from ImageNet's mean.
///
/// # Shapes
/// `[batch, 3, h, w]` to the same.
fn normalise(images: Tensor<4>) -> Tensor<4> {
    let device = images.device();
    let per_channel = |values: [f32; 3]| {
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &device)
    };
    let unit = (images + 1.0) / 2.0;
    (unit - per_channel(MEAN)) / per_channel(DEVIATION)
}

/// Bilinear interpolation between pixel centres, without antialiasing (PyTorch's default).
///
/// # Shapes
/// `[batch, channels, h, w]` to `[batch, channels, side, side]`.
fn resize(images: Tensor<4>, side: usize) -> Tensor<4> {
    let [_, _, height, width] = images.dims();
    if [height, width] == [side, side] {
        return images;
    }
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size([side, side]);
    interpolate(images, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use std::path::PathBuf;

    fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), &test_device())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn layers_have_the_published_sizes() {
        let network = SqueezeNet::new(&test_device());
        // in * out * kernel + out, for the three convolutions of each module.
        assert_eq!(network.stem.num_params(), 1_792);
        let count = |fires: &[Fire]| -> Vec<usize> { fires.iter().map(Fire::num_params).collect() };
        assert_eq!(count(&network.first), [11_408, 12_432]);
        assert_eq!(count(&network.second), [45_344, 49_440]);
        assert_eq!(count(&network.third), [104_880, 111_024, 188_992, 197_184]);
        assert_eq!(network.num_params(), 722_496);
    }

    #[test]
    fn maps_and_latents_have_the_documented_shapes() {
        let network = SqueezeNet::new(&test_device());
        let images = tensor(vec![0.5; 2 * 32 * 32], [2, 1, 32, 32]);
        let shapes = network.maps(images.clone()).map(|map| map.dims());
        assert_eq!(shapes, [[2, 128, 31, 31], [2, 256, 15, 15], [2, 512, 7, 7]]);
        assert_eq!(network.encode(images).dims(), [2, SqueezeNet::LATENT]);
    }

    #[test]
    fn even_sides_keep_their_last_row() {
        let network = SqueezeNet::new(&test_device());
        // 66 -> 32 by the first convolution, then three poolings; 15, 7 and 3 without ceil mode.
        let images = tensor(vec![0.5; 3 * 66 * 66], [1, 3, 66, 66]);
        let sides = network.forward(images).map(|map| map.dims()[3]);
        assert_eq!(sides, [16, 8, 4]);
    }

    #[test]
    fn the_smallest_input_leaves_one_position() {
        let network = SqueezeNet::new(&test_device()).with_input(0);
        let images = tensor(vec![0.5; 3 * 8 * 8], [1, 3, 8, 8]);
        let sides = network.maps(images).map(|map| map.dims()[3]);
        assert_eq!(sides, [6, 3, 1]);
    }

    #[test]
    fn pooling_counts_windows_over_the_edge() {
        #[rustfmt::skip]
        let even = tensor(vec![
            -9.0, -2.0, -5.0, -4.0,
            -3.0, -8.0, -7.0, -6.0,
            -7.0, -5.0, -8.0, -7.0,
            -1.0, -6.0, -9.0, -3.0,
        ], [1, 1, 4, 4]);
        assert_eq!(values(pool(even)), [-2.0, -4.0, -1.0, -3.0]);
        let odd = tensor((0..25).map(|value| value as f32).collect(), [1, 1, 5, 5]);
        assert_eq!(values(pool(odd)), [12.0, 14.0, 22.0, 24.0]);
    }

    #[test]
    fn grey_images_become_normalised_colours() {
        let images = tensor(vec![-1.0, 1.0], [1, 1, 1, 2]);
        let found = normalise(to_rgb(images));
        assert_eq!(found.dims(), [1, 3, 1, 2]);
        // (0 - 0.485) / 0.229, (1 - 0.485) / 0.229, ...
        let expected = [
            -2.117_904, 2.248_908, -2.035_714, 2.428_571, -1.804_444, 2.64,
        ];
        assert_close(&values(found), &expected);
    }

    #[test]
    fn resizing_interpolates_between_pixel_centres() {
        let images = tensor(vec![0.0, 1.0, 0.0, 1.0], [1, 1, 2, 2]);
        let found = resize(images.clone(), 4);
        assert_close(&values(found), &[0.0f32, 0.25, 0.75, 1.0].repeat(4));
        assert_eq!(values(resize(images, 2)), [0.0, 1.0, 0.0, 1.0]);
    }

    /// Where the weights lie: `ENCODER_FLOW_BACKBONES` (the file or its folder), or beside the
    /// repository.
    fn weights_file() -> PathBuf {
        let path = std::env::var_os("ENCODER_FLOW_BACKBONES").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/backbones"),
            PathBuf::from,
        );
        if path.is_dir() {
            path.join(SqueezeNet::FILE)
        } else {
            path
        }
    }

    /// The reference values were delivered with the weights.
    #[test]
    fn pretrained_weights_give_the_reference_outputs() {
        let path = weights_file();
        if !path.is_file() {
            println!("skipped: no pretrained weights at {}", path.display());
            return;
        }
        let network = SqueezeNet::load(&path, &test_device()).unwrap();
        let input = (0..3 * 64 * 64).map(|index| (index % 97) as f32 / 97.0);
        let [_, _, output] = network.forward(tensor(input.collect(), [1, 3, 64, 64]));
        assert_eq!(output.dims(), [1, 512, 3, 3]);
        let output = values(output);
        assert_close(
            &output[..6],
            &[0.0, 12.589_659, 9.546_684, 2.828_797, 0.0, 0.0],
        );
        let max = output.iter().copied().fold(0.0, f32::max);
        assert_close(&[output.iter().sum::<f32>(), max], &[4139.217, 76.851_08]);

        let zeros = tensor(vec![0.0; 3 * 64 * 64], [1, 3, 64, 64]);
        let [_, _, output] = network.forward(zeros);
        assert_close(&[values(output).iter().sum::<f32>()], &[3401.61]);
    }
}
