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
mod fire;
mod weights;

use std::ops::RangeInclusive;
use std::path::Path;

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};

use self::fire::{Fire, conv, parameters};
use self::weights::{Weights, read};
use super::BackboneError;
use super::preparation::{normalise, resize, to_rgb};
use crate::ops::{self, Activation};

/// Mean of ImageNet's pixels in `[0, 1]`, per channel.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's pixels in `[0, 1]`, per channel.
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// Fire modules whose maps a latent has the means of: the last before each reduction of the side, and
/// the last of all.
const MEAN_LAYERS: [usize; 3] = [3, 5, 9];
/// Fire modules whose maps a latent with moments describes.
const MOMENT_LAYERS: [usize; 4] = [3, 5, 7, 9];
/// Added to the variance of a channel over the positions.
const LEAST_VARIANCE: f64 = 1e-8;
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

/// Pixels of the images that go through the network together.
const PART_PIXELS: usize = 1 << 16;

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
    moments: bool,
}

/// How a SqueezeNet looks at whole images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PretrainedLook {
    /// Side to which images are resized.
    pub input: usize,
    /// The latent is the means and the standard deviations of four maps, instead of the means of three.
    pub moments: bool,
}

impl SqueezeNet {
    /// Usual name of the weights file.
    pub const FILE: &'static str = "squeezenet1_1_features.safetensors";
    /// Entries of a latent: the channels of the three maps.
    pub const LATENT: usize = 128 + 256 + 512;
    /// Entries of a latent with [moments](PretrainedLook::moments): two for each channel of four maps.
    pub const MOMENTS: usize = 2 * (128 + 256 + 384 + 512);
    /// The fire modules, by their numbers in the paper's table 1.
    pub const LAYERS: RangeInclusive<usize> = 2..=9;
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
            moments: false,
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

    /// Side to which images are resized.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Sets how it looks at images.
    pub fn with(self, look: PretrainedLook) -> Self {
        let mut network = self.with_input(look.input);
        network.moments = look.moments;
        network
    }

    /// Entries of a latent.
    pub fn latent(&self) -> usize {
        match self.moments {
            true => Self::MOMENTS,
            false => Self::LATENT,
        }
    }

    /// Lengths of the parts of a latent that come of one map.
    pub fn blocks(moments: bool) -> Vec<usize> {
        match moments {
            false => MEAN_LAYERS.map(Self::channels).to_vec(),
            true => MOMENT_LAYERS.map(Self::channels).repeat(2),
        }
    }

    /// Channels of the map after a fire module.
    ///
    /// # Panics
    /// When there is no module of this number.
    pub fn channels(layer: usize) -> usize {
        let (_, [_, _, expanded]) = FIRES[layer - Self::LAYERS.start()];
        2 * expanded
    }

    /// The latent: the means of three [`maps`](Self::maps) over all positions, side by side; with
    /// [moments](PretrainedLook::moments) the means of four and then their standard deviations.
    ///
    /// The entries are strongly correlated, and more than a density method wants: reduce them with
    /// principal components first.
    ///
    /// # Shapes
    /// `[batch, 1 or 3, height, width]` in `[-1, 1]` to `[batch, 896]`, with moments `[batch, 2560]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        let parts = ops::by_parts(images, part(self.sides()), |part| self.encode_part(part));
        Tensor::cat(parts, 0)
    }

    fn encode_part(&self, images: Tensor<4>) -> Tensor<2> {
        let layers = match self.moments {
            true => MOMENT_LAYERS.as_slice(),
            false => &MEAN_LAYERS,
        };
        let maps = self.maps_of_part(images, self.sides(), layers);
        let mut entries = Vec::new();
        let mut deviations = Vec::new();
        for map in maps {
            let rows = map.flatten::<3>(2, 3); // [n, c, h, w] -> [n, c, h * w]
            let means = rows.clone().mean_dim(2);
            if self.moments {
                let variances = (rows - means.clone()).square().mean_dim(2);
                // The root of zero has no slope, and heat maps want one.
                let deviation = (variances + LEAST_VARIANCE).sqrt();
                deviations.push(deviation.squeeze_dim::<2>(2));
            }
            entries.push(means.squeeze_dim::<2>(2));
        }
        entries.append(&mut deviations);
        Tensor::cat(entries, 1)
    }

    /// The means of a latent with moments that [`encode`](Self::encode) gives without.
    ///
    /// # Shapes
    /// `[batch, 2560]` to `[batch, 896]`.
    pub fn means_of(moments: Tensor<2>) -> Tensor<2> {
        let mut start = 0;
        let mut kept = Vec::new();
        for layer in MOMENT_LAYERS {
            let channels = Self::channels(layer);
            if MEAN_LAYERS.contains(&layer) {
                kept.push(moments.clone().narrow(1, start, channels));
            }
            start += channels;
        }
        Tensor::cat(kept, 1)
    }

    /// The maps after the fire modules `layers`, in rising order.
    ///
    /// # Shapes
    /// `[batch, 1 or 3, height, width]` in `[-1, 1]` to `[batch, channels, s, s]` each: sides of 31
    /// after fire 2 and 3, 15 after 4 and 5 and 7 after 6 to 9 for an input of 128.
    pub fn maps(&self, images: Tensor<4>, layers: &[usize]) -> Vec<Tensor<4>> {
        self.maps_at(images, self.sides(), layers)
    }

    /// The maps of images as they are, not resized.
    ///
    /// # Shapes
    /// As [`maps`](Self::maps).
    pub fn maps_of(&self, images: Tensor<4>, layers: &[usize]) -> Vec<Tensor<4>> {
        let [_, _, height, width] = images.dims();
        self.maps_at(images, [height, width], layers)
    }

    /// Sides to which images are resized.
    fn sides(&self) -> [usize; 2] {
        [self.input; 2]
    }

    fn maps_at(&self, images: Tensor<4>, sides: [usize; 2], layers: &[usize]) -> Vec<Tensor<4>> {
        let parts = ops::by_parts(images, part(sides), |part| {
            self.maps_of_part(part, sides, layers)
        });
        let count = parts.first().map_or(0, Vec::len);
        let of_all = |layer: usize| parts.iter().map(|maps| maps[layer].clone()).collect();
        (0..count)
            .map(|layer| Tensor::cat(of_all(layer), 0))
            .collect()
    }

    fn maps_of_part(
        &self,
        images: Tensor<4>,
        sides: [usize; 2],
        layers: &[usize],
    ) -> Vec<Tensor<4>> {
        // Bilinear interpolation keeps constants, so it may come after the normalisation: images
        // are mostly smaller before it.
        let images = normalise(to_rgb(images), &MEAN, &DEVIATION);
        self.forward(resize(images, sides), layers)
    }

    /// Pixels between neighbouring positions of the map after a fire module.
    pub fn stride(layer: usize) -> usize {
        match layer {
            ..4 => 4,
            4..6 => 8,
            6.. => 16,
        }
    }

    /// Positions along a side of so many pixels in the map after a fire module.
    pub fn side(layer: usize, pixels: usize) -> usize {
        // The first convolution, then the poolings, whose windows of three lie two apart.
        let mut side = pixels.saturating_sub(3) / 2 + 1;
        for _ in 0..Self::stride(layer).ilog2() - 1 {
            side = side.saturating_sub(1).div_ceil(2);
        }
        side
    }

    /// The layers alone, as far as they are asked for.
    ///
    /// # Shapes
    /// `[batch, 3, height, width]`, normalised, to the maps.
    pub(super) fn forward(&self, x: Tensor<4>, layers: &[usize]) -> Vec<Tensor<4>> {
        let (weight, bias) = parameters(&self.stem);
        let stem = ops::conv2d_3x3_s2(x, weight, bias);
        let mut x = ops::activate(stem, Activation::Relu); // [n, 64, h/2, w/2]
        let mut maps = Vec::new();
        let mut layer = *Self::LAYERS.start();
        for fires in [&self.first, &self.second, &self.third] {
            if layers.iter().all(|&wanted| wanted < layer) {
                break;
            }
            x = ops::max_pool2d_3x3_s2(x); // half the side
            for fire in fires {
                x = fire.forward(x);
                if layers.contains(&layer) {
                    maps.push(x.clone());
                }
                layer += 1;
            }
        }
        maps
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

/// Images of these sides whose largest maps fit the cache of a core, about.
fn part([height, width]: [usize; 2]) -> usize {
    PART_PIXELS / (height * width).max(1)
}

#[cfg(test)]
mod tests;
