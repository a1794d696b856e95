//! The texture residual of an image, what is left of it when its own texture is taken out, and its energy at every position.

mod fourier;
mod spectra;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use self::fourier::on_last;
use self::spectra::{WINDOW, without_spectrum};
use super::patches::STRIDE;
use crate::ops;

/// Standard deviations of the Gaussians by which energies are weighted, in pixels.
const SPREADS: [f64; 2] = [2.0, 4.0];
/// Pixels of the images whose windows, which overlap, are in memory together.
const PART_PIXELS: usize = 1 << 17;
/// Least energy, of noise that has one.
const FLOOR: f64 = 0.05;
/// Two differences of colour and, last, brightness: the others explain what they can of it. They are orthogonal.
const OPPONENT: [[f32; 3]; 3] = [[1.0, -1.0, 0.0], [1.0, 1.0, -2.0], [1.0, 1.0, 1.0]];

/// Describes every position by the energy of the texture residual around it: the logarithms of what is left when [the
/// image's own spectrum is taken out](without_spectrum), near and less near, of brightness and of colour. (Energies of filtered texture: Laws, *Textured image segmentation*, 1980.)
///
/// Nothing is learnt. For surfaces whose grain differs from one picture to the next more than a defect changes it.
#[derive(Module, Debug, Default)]
pub struct TextureEnergies {}

impl TextureEnergies {
    /// Smallest side of an image, in pixels.
    pub const SMALLEST: usize = WINDOW;

    /// Entries of a position's description.
    pub fn features(channels: usize) -> usize {
        SPREADS.len() * channels
    }

    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to `[batch, features, height / 4, width / 4]`.
    pub fn maps(&self, images: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = images.dims();
        let part = PART_PIXELS / (height * width).max(1);
        let maps = ops::by_parts(images, part, |part| self.maps_of_part(part));
        Tensor::cat(maps, 0)
    }

    fn maps_of_part(&self, images: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = images.dims();
        let device = &images.device();
        let white = without_spectrum(opponent(images));
        let energy = white.square().reshape([batch * channels, height, width]);
        let maps = SPREADS.map(|spread| {
            let along = on_last(energy.clone(), weights(width, spread, device));
            let both = on_last(along.swap_dims(1, 2), weights(height, spread, device));
            let map = (both.swap_dims(1, 2) + FLOOR).log();
            map.reshape([batch, channels, height / STRIDE, width / STRIDE])
        });
        Tensor::cat(maps.into(), 1)
    }
}

/// [Differences of colour and brightness](OPPONENT), of RGB, in a basis of unit length; grey as it is.
fn opponent(images: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = images.dims();
    if channels == 1 {
        return images;
    }
    let basis = OPPONENT.map(|direction| {
        let norm = direction.iter().map(|part| part * part).sum::<f32>().sqrt();
        direction.map(|part| part / norm)
    });
    let matrix = Tensor::<2>::from_floats(basis, &images.device()).unsqueeze_dim(0);
    let mixed = matrix.matmul(images.reshape([batch, channels, height * width]));
    mixed.reshape([batch, channels, height, width])
}

/// Gaussian weights of the pixels of a line around the positions on it, which add up to one for each.
///
/// # Shapes
/// `[side, side / 4]`.
fn weights(side: usize, spread: f64, device: &Device) -> Tensor<2> {
    let positions = side / STRIDE;
    let centre = |position: usize| (position * STRIDE) as f64 + (STRIDE as f64 - 1.0) / 2.0;
    let weight =
        |pixel: usize, centre: f64| (-0.5 * ((pixel as f64 - centre) / spread).powi(2)).exp();
    let sums = (0..positions).map(|at| {
        let weights = (0..side).map(|pixel| weight(pixel, centre(at)));
        weights.sum::<f64>()
    });
    let sums: Vec<f64> = sums.collect();
    let values = (0..side).flat_map(|pixel| {
        let sums = &sums;
        (0..positions).map(move |at| (weight(pixel, centre(at)) / sums[at]) as f32)
    });
    let data = TensorData::new(values.collect::<Vec<_>>(), [side, positions]);
    Tensor::from_data(data, device)
}

#[cfg(test)]
mod tests;
