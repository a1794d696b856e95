//! Descriptions of an image from which its size can be taken out.
//!
//! In a description that scales with the image's contrast, images of low contrast lie near the mode of
//! any density of it, whatever they show. Divided by its norm, a description only says what an image
//! is like.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{ResNet, SqueezeNet};

/// Rings of equal ratio that the frequencies of an image are divided into.
const RINGS: usize = 8;
/// Energy, of pixels in `[0, 1]`, below which a band counts as empty.
const LEAST_ENERGY: f64 = 1e-6;
/// Norm below which a description counts as zero.
const LEAST_NORM: f64 = 1e-6;
/// Share of a block's sum below which an entry counts as zero.
const LEAST_SHARE: f64 = 1e-8;
/// Luminance and the two colour differences of ITU-R BT.601, by rows, from red, green and blue.
const YCBCR: [f32; 9] = [
    0.299, 0.587, 0.114, -0.168_736, -0.331_264, 0.5, 0.5, -0.418_688, -0.081_312,
];

/// What of an image is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// Its pixels, in `[0, 1]`.
    Pixels,
    /// Differences of neighbouring pixels of its luminance, to the right and below.
    Differences,
    /// Logarithm of its energy by ring and orientation of the frequency (discrete cosine transform),
    /// for luminance and colour, and the mean of every channel.
    Bands,
    /// Means of three maps of SqueezeNet, pretrained on ImageNet.
    #[serde(rename = "squeezenet")]
    SqueezeNet,
    /// Means and standard deviations of four of its maps.
    #[serde(rename = "squeezenet-moments")]
    SqueezeNetMoments,
    /// Features of a residual network that was trained without labels on the normal images.
    #[serde(rename = "simclr")]
    SimClr,
}

impl Look {
    /// True where the pretrained network looks.
    pub fn is_pretrained(self) -> bool {
        matches!(self, Self::SqueezeNet | Self::SqueezeNetMoments)
    }
}

/// The networks that descriptions may look through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Networks<'a> {
    /// The pretrained one.
    pub squeezenet: Option<&'a SqueezeNet>,
    /// The one that was trained without labels.
    pub simclr: Option<&'a ResNet>,
}

/// What is taken out of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Nothing.
    None,
    /// Its Euclidean norm.
    L2,
    /// Its mean, then its norm.
    Contrast,
    /// Of each block, the sum; what is left is brought to the root. (Blocks are the maps of the
    /// pretrained network; other descriptions are one.)
    Sqrt,
}

/// A description with its normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// What is described.
    pub of: Look,
    /// What is taken out of it.
    pub normalise: Normalisation,
}

impl View {
    /// Entries of the description of an image of `shape` = `[channels, height, width]`, where the network
    /// that was trained without labels has so many `features`.
    pub fn dim(&self, [channels, height, width]: [usize; 3], features: usize) -> usize {
        match self.of {
            Look::Pixels => channels * height * width,
            Look::Differences => height * (width - 1) + (height - 1) * width,
            Look::Bands => {
                let luminance = 2 * RINGS + 1;
                luminance + (channels - 1) * (RINGS + 1)
            }
            Look::SqueezeNet => SqueezeNet::LATENT,
            Look::SqueezeNetMoments => SqueezeNet::MOMENTS,
            Look::SimClr => features,
        }
    }

    /// Describes images; of the `networks` that one is asked whose features are the description.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to `[batch, dim]`.
    ///
    /// # Panics
    /// When the description is a network's and there is none.
    pub fn describe(&self, images: Tensor<4>, networks: Networks) -> Tensor<2> {
        let description = match self.of {
            Look::SqueezeNet | Look::SqueezeNetMoments => {
                let network = networks.squeezenet;
                let network = network.expect("a view of the pretrained network comes with it");
                return self.of_features(network.encode(images));
            }
            Look::SimClr => {
                let network = networks.simclr;
                let network = network.expect("a view of the trained network comes with it");
                network.encode(images)
            }
            Look::Pixels => unit(images).flatten(1, 3),
            Look::Differences => differences(luminance(unit(images))),
            Look::Bands => bands(unit(images)),
        };
        self.normalised(description)
    }

    /// The description that is part of the pretrained network's latents.
    ///
    /// # Shapes
    /// `[batch, 896]`, or with moments `[batch, 2560]`, to `[batch, dim]`.
    pub fn of_features(&self, features: Tensor<2>) -> Tensor<2> {
        let description = match (self.of, features.dims()[1]) {
            (Look::SqueezeNet, SqueezeNet::MOMENTS) => SqueezeNet::means_of(features),
            _ => features,
        };
        self.normalised(description)
    }

    /// Takes out of a description what the view is not to see.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch, dim]`.
    pub fn normalised(&self, description: Tensor<2>) -> Tensor<2> {
        match self.normalise {
            Normalisation::None => description,
            Normalisation::L2 => by_norm(description),
            Normalisation::Contrast => {
                let mean = description.clone().mean_dim(1);
                by_norm(description - mean)
            }
            Normalisation::Sqrt => {
                let [_, dim] = description.dims();
                let blocks = match self.of {
                    Look::SqueezeNet => SqueezeNet::blocks(false),
                    Look::SqueezeNetMoments => SqueezeNet::blocks(true),
                    _ => vec![dim],
                };
                let mut start = 0;
                let roots = blocks.into_iter().map(|length| {
                    let block = description.clone().narrow(1, start, length);
                    start += length;
                    let block = block.clamp_min(0.0);
                    let sum = block.clone().sum_dim(1).clamp_min(LEAST_NORM);
                    // The root of zero has no slope, and heat maps want one.
                    (block / sum + LEAST_SHARE).sqrt()
                });
                Tensor::cat(roots.collect(), 1)
            }
        }
    }
}

/// From `[-1, 1]` to `[0, 1]`.
fn unit(images: Tensor<4>) -> Tensor<4> {
    (images + 1.0) * 0.5
}

/// Divides every row by its Euclidean norm.
pub(super) fn by_norm(rows: Tensor<2>) -> Tensor<2> {
    let norm = rows.clone().square().sum_dim(1).sqrt();
    rows / norm.clamp_min(LEAST_NORM)
}

/// `[batch, channels, height, width]` to `[batch, 1 or 3, height, width]`: luminance, and where there
/// are colours the two colour differences.
fn ycbcr(images: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = images.dims();
    if channels != 3 {
        return images.mean_dim(1);
    }
    let device = images.device();
    let mixing = Tensor::<2>::from_data(TensorData::new(YCBCR.to_vec(), [3, 3]), &device);
    let mixed = mixing.unsqueeze::<3>().expand([batch, 3, 3]);
    let mixed = mixed.matmul(images.reshape([batch, 3, height * width]));
    mixed.reshape([batch, 3, height, width])
}

/// `[batch, channels, height, width]` to `[batch, 1, height, width]`.
fn luminance(images: Tensor<4>) -> Tensor<4> {
    ycbcr(images).narrow(1, 0, 1)
}

/// Differences to the right and below, side by side.
fn differences(images: Tensor<4>) -> Tensor<2> {
    let [_, _, height, width] = images.dims();
    let right = images.clone().narrow(3, 1, width - 1) - images.clone().narrow(3, 0, width - 1);
    let below = images.clone().narrow(2, 1, height - 1) - images.narrow(2, 0, height - 1);
    Tensor::cat(vec![right.flatten::<2>(1, 3), below.flatten(1, 3)], 1)
}

/// Log-energies by ring, of luminance by orientation as well, and the mean of every channel.
fn bands(images: Tensor<4>) -> Tensor<2> {
    let images = ycbcr(images);
    let [batch, channels, height, width] = images.dims();
    let device = images.device();
    let (down, across) = (cosines(height, &device), cosines(width, &device));
    let means = images.clone().mean_dim(3).mean_dim(2).flatten::<2>(1, 3);
    let spectrum = down
        .unsqueeze::<4>()
        .matmul(images)
        .matmul(across.transpose().unsqueeze::<4>());
    let energy = spectrum.square().reshape([batch, channels, height * width]);
    let mut parts = vec![means];
    for channel in 0..channels {
        let rings = rings([height, width], channel == 0, &device);
        let energy = energy.clone().narrow(1, channel, 1).squeeze_dim::<2>(1);
        parts.push((energy.matmul(rings) + LEAST_ENERGY).log());
    }
    Tensor::cat(parts, 1)
}

/// Orthonormal discrete cosine transform (type II) of `size` values, `[frequency, position]`.
fn cosines(size: usize, device: &Device) -> Tensor<2> {
    let value = |frequency: usize, position: usize| {
        let angle = std::f64::consts::PI * (position as f64 + 0.5) * frequency as f64 / size as f64;
        let scale = if frequency == 0 { 1.0 } else { 2.0 };
        ((scale / size as f64).sqrt() * angle.cos()) as f32
    };
    let values = (0..size).flat_map(|frequency| (0..size).map(move |at| value(frequency, at)));
    Tensor::from_data(
        TensorData::new(values.collect::<Vec<_>>(), [size, size]),
        device,
    )
}

/// Mean over the frequencies of each ring, `[height * width, rings]`; with `oriented`, those that vary
/// more from left to right apart from the others.
fn rings([height, width]: [usize; 2], oriented: bool, device: &Device) -> Tensor<2> {
    let columns = if oriented { 2 * RINGS } else { RINGS };
    let mut members = vec![Vec::new(); columns];
    // The frequencies of the longest side, in rings of equal ratio.
    let highest = (height.max(width) as f64).ln();
    for (down, across) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
        let radius = ((down * down + across * across) as f64).sqrt();
        // The constant part is the mean, which has an entry of its own.
        if radius == 0.0 {
            continue;
        }
        let ring = (radius.ln() / highest * RINGS as f64) as usize;
        let half = usize::from(oriented && across > down) * RINGS;
        members[half + ring.min(RINGS - 1)].push(down * width + across);
    }
    let mut values = vec![0.0f32; height * width * columns];
    for (column, members) in members.iter().enumerate() {
        for &member in members {
            values[member * columns + column] = 1.0 / members.len() as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [height * width, columns]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn images(channels: usize) -> Tensor<4> {
        let rng = &mut StdRng::seed_from_u64(1);
        let values: Vec<f32> = (0..3 * channels * 64)
            .map(|_| rng.random_range(-0.5..0.5))
            .collect();
        let shape = [3, channels, 8, 8];
        Tensor::from_data(TensorData::new(values, shape), &test_device())
    }

    fn largest_difference(left: Tensor<2>, right: Tensor<2>) -> f32 {
        (left - right).abs().max().into_scalar::<f32>()
    }

    const LOOKS: [Look; 3] = [Look::Pixels, Look::Differences, Look::Bands];

    #[test]
    fn descriptions_have_the_entries_that_they_say() {
        for of in LOOKS {
            for channels in [1, 3] {
                let view = View {
                    of,
                    normalise: Normalisation::L2,
                };
                let found = view.describe(images(channels), Networks::default());
                assert_eq!(found.dims(), [3, view.dim([channels, 8, 8], 0)], "{of:?}");
            }
        }
    }

    #[test]
    fn what_is_taken_out_does_not_matter_any_more() {
        let grey = (images(1) + 1.0) * 0.5; // in [0.25, 0.75]
        let back = |unit: Tensor<4>| unit * 2.0 - 1.0;
        for (of, normalise, changed) in [
            // Half the light.
            (Look::Pixels, Normalisation::L2, grey.clone() * 0.5),
            (Look::Differences, Normalisation::L2, grey.clone() * 0.5),
            (Look::Pixels, Normalisation::Sqrt, grey.clone() * 0.5),
            // Less contrast around another mean.
            (
                Look::Pixels,
                Normalisation::Contrast,
                grey.clone() * 0.5 + 0.3,
            ),
            (
                Look::Differences,
                Normalisation::L2,
                grey.clone() * 0.5 + 0.3,
            ),
        ] {
            let view = View { of, normalise };
            let before = view.describe(back(grey.clone()), Networks::default());
            let after = view.describe(back(changed), Networks::default());
            let difference = largest_difference(before, after);
            assert!(difference < 1e-5, "{view:?}: {difference}");
        }
        let raw = View {
            of: Look::Pixels,
            normalise: Normalisation::None,
        };
        let before = raw.describe(back(grey.clone()), Networks::default());
        let after = raw.describe(back(grey * 0.5), Networks::default());
        assert!(largest_difference(before, after) > 0.1);
    }

    #[test]
    fn the_cosine_transform_is_that_of_scipy() {
        // The definition in plain Python, which is scipy.fft.dct([1, 2, 4, 8], norm="ortho"):
        // [sqrt((1 if k == 0 else 2) / 4) * sum(x * cos(pi * (i + 0.5) * k / 4)
        //     for i, x in enumerate([1, 2, 4, 8])) for k in range(4)]
        let rows = Tensor::<2>::from_data([[1.0], [2.0], [4.0], [8.0]], &test_device());
        let found = cosines(4, &test_device()).matmul(rows);
        let expected = [[7.5], [-5.11417], [1.5], [-0.587623]];
        let expected = Tensor::from_data(expected, &test_device());
        let difference = largest_difference(found, expected);
        assert!(difference < 1e-4, "{difference}");
    }

    #[test]
    fn a_wave_has_its_energy_in_its_own_band() {
        // The fifth cosine from left to right, and the same from top to bottom.
        let wave: Vec<f32> = (0..8)
            .map(|at| (std::f32::consts::PI * (at as f32 + 0.5) * 5.0 / 8.0).cos())
            .collect();
        let across: Vec<f32> = (0..64).map(|at| wave[at % 8]).collect();
        let down: Vec<f32> = (0..64).map(|at| wave[at / 8]).collect();
        let bands = |values: Vec<f32>| -> Vec<f32> {
            let data = TensorData::new(values, [1, 1, 8, 8]);
            let view = View {
                of: Look::Bands,
                normalise: Normalisation::None,
            };
            let image = Tensor::from_data(data, &test_device());
            view.describe(image, Networks::default())
                .into_data()
                .iter()
                .collect()
        };
        let strongest = |values: Vec<f32>| {
            let bands = values[1..].iter().enumerate();
            bands.max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
        };
        let ring = (5f64.ln() / 8f64.ln() * RINGS as f64) as usize;
        assert_eq!(strongest(bands(across)), RINGS + ring);
        assert_eq!(strongest(bands(down)), ring);
    }
}
