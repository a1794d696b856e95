//! One feature vector for every position of an image.

use burn::module::Module;
use burn::tensor::module::{avg_pool2d, interpolate};
use burn::tensor::ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::patches::STRIDE;
use super::{AutoEncoder, AutoEncoderConfig, PatchPca, Projection, SqueezeNet};

/// Frequencies of the encoding of a position, in periods of twice the image's side.
const FREQUENCIES: [f32; 4] = [1.0, 2.0, 4.0, 8.0];
/// Entries of the encoding of a position: sine and cosine of both coordinates.
pub const POSITION_CONTEXT: usize = 4 * FREQUENCIES.len();
/// Maps of the autoencoder's encoder that are used: those after its first halvings.
const LEVELS: usize = 3;

/// Where the features of positions come from, and their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapSizes {
    /// The maps of an autoencoder's encoder.
    Autoencoder(AutoEncoderConfig),
    /// Principal components of patches.
    Patches {
        /// Channels of an image.
        channels: usize,
        /// Side of an image, in pixels.
        size: usize,
        /// Components for each of the three scales.
        components: usize,
    },
    /// The maps of a pretrained SqueezeNet.
    SqueezeNet {
        /// Channels of an image.
        channels: usize,
        /// Side of an image, in pixels.
        size: usize,
        /// Side to which images are resized before.
        input: usize,
    },
}

/// A fitted source of features.
// There is one per detector: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum MapEncoder {
    /// The maps of an autoencoder's encoder.
    Autoencoder(AutoEncoder),
    /// Principal components of patches.
    Patches(PatchPca),
    /// The maps of a pretrained SqueezeNet.
    SqueezeNet(SqueezeNet),
}

/// Features of every position, whitened: what the position-wise flow sees.
#[derive(Module, Debug)]
pub struct PositionEncoder {
    /// Where the features come from.
    pub maps: MapEncoder,
    /// From all features to the latent.
    pub projection: Projection,
}

impl MapSizes {
    /// Positions along a side: one every 4 pixels.
    pub fn grid(&self) -> usize {
        match *self {
            Self::Autoencoder(AutoEncoderConfig { size, .. })
            | Self::Patches { size, .. }
            | Self::SqueezeNet { size, .. } => size / STRIDE,
        }
    }

    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        match *self {
            Self::Autoencoder(config) => config.image_shape(),
            Self::Patches { channels, size, .. } | Self::SqueezeNet { channels, size, .. } => {
                [channels, size, size]
            }
        }
    }

    /// Features of a position.
    pub fn features(&self) -> usize {
        match *self {
            Self::Autoencoder(config) => config.widths().iter().take(LEVELS).sum(),
            Self::Patches {
                channels,
                components,
                ..
            } => PatchPca::channels(channels, components),
            Self::SqueezeNet { .. } => SqueezeNet::LATENT,
        }
    }

    /// What keeps these sizes from being built, if anything does: a damaged file must not ask for
    /// more memory than there is.
    pub(crate) fn check(&self) -> Result<(), String> {
        let possible = match *self {
            Self::Autoencoder(config) => return config.check(),
            Self::Patches {
                channels,
                size,
                components,
            } => {
                matches!(channels, 1 | 3)
                    && (16..=1024).contains(&size)
                    && PatchPca::COMPONENTS.contains(&components)
            }
            Self::SqueezeNet {
                channels,
                size,
                input,
            } => {
                matches!(channels, 1 | 3)
                    && (16..=1024).contains(&size)
                    && SqueezeNet::INPUTS.contains(&input)
            }
        };
        match possible {
            true => Ok(()),
            false => Err(format!(
                "features of these sizes are not supported: {self:?}"
            )),
        }
    }

    /// An encoder of these sizes with a projection to `latent` entries, to be filled with stored
    /// weights.
    pub fn empty(&self, latent: usize, rng: &mut impl Rng, device: &Device) -> PositionEncoder {
        let maps = match *self {
            Self::Autoencoder(config) => MapEncoder::Autoencoder(config.init(rng, device)),
            Self::Patches {
                channels,
                components,
                ..
            } => MapEncoder::Patches(PatchPca::empty(channels, components, device)),
            Self::SqueezeNet { input, .. } => {
                MapEncoder::SqueezeNet(SqueezeNet::new(device).with_input(input))
            }
        };
        PositionEncoder {
            maps,
            projection: Projection::empty(self.features(), latent, device),
        }
    }
}

impl MapEncoder {
    /// Features of every position, row by row of the image.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` in `[-1, 1]` to `[batch * grid * grid, features]`.
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let grid = images.dims()[2] / STRIDE;
        let maps = match self {
            Self::Autoencoder(model) => {
                let levels = model.maps(images).into_iter().take(LEVELS);
                Tensor::cat(levels.map(|map| on_grid(map, grid)).collect(), 1)
            }
            Self::Patches(model) => model.maps(images),
            Self::SqueezeNet(model) => {
                let maps = model.maps(images, &[3, 5, 9]).into_iter();
                Tensor::cat(maps.map(|map| on_grid(map, grid)).collect(), 1)
            }
        };
        let [batch, features, height, width] = maps.dims();
        let rows = maps.permute([0, 2, 3, 1]);
        rows.reshape([batch * height * width, features])
    }
}

impl PositionEncoder {
    /// Latents of every position, row by row of the image.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` in `[-1, 1]` to `[batch * grid * grid, latent]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        self.projection.forward(self.maps.features(images))
    }
}

/// A map brought to `grid` x `grid` positions: averaged when it is a multiple of that, interpolated
/// otherwise.
fn on_grid(map: Tensor<4>, grid: usize) -> Tensor<4> {
    let [_, _, side, _] = map.dims();
    if side == grid {
        map
    } else if side > grid && side.is_multiple_of(grid) {
        avg_pool2d(map, AvgPoolOptions::new([side / grid; 2]))
    } else {
        let options = InterpolateOptions::new(InterpolateMode::Bilinear)
            .with_align_corners(false)
            .with_output_size([grid, grid]);
        interpolate(map, options)
    }
}

/// Sines and cosines of the coordinates of every position, row by row (CFLOW-AD, arXiv:2107.12571,
/// section 4.2): what the density of a position is conditioned on.
///
/// # Shapes
/// To `[grid * grid, 16]`, row-major.
pub fn position_context(grid: usize) -> Vec<f32> {
    let angle = |index: usize, frequency: f32| {
        std::f32::consts::PI * frequency * (index as f32 + 0.5) / grid as f32
    };
    let mut values = Vec::with_capacity(grid * grid * POSITION_CONTEXT);
    for position in 0..grid * grid {
        for index in [position / grid, position % grid] {
            for frequency in FREQUENCIES {
                let angle = angle(index, frequency);
                values.extend([angle.sin(), angle.cos()]);
            }
        }
    }
    values
}

/// [`position_context`] of a batch of images.
///
/// # Shapes
/// To `[batch * grid * grid, 16]`.
pub fn position_contexts(batch: usize, grid: usize, device: &Device) -> Tensor<2> {
    let one = TensorData::new(position_context(grid), [grid * grid, POSITION_CONTEXT]);
    Tensor::<2>::from_data(one, device).repeat_dim(0, batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn every_source_describes_every_position() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(0);
        let autoencoder = AutoEncoderConfig {
            channels: 3,
            size: 32,
            width: 4,
            latent: 6,
        };
        let (channels, size) = (3, 32);
        for sizes in [
            MapSizes::Autoencoder(autoencoder),
            MapSizes::Patches {
                channels,
                size,
                components: 5,
            },
            MapSizes::SqueezeNet {
                channels,
                size,
                input: 64,
            },
        ] {
            let encoder = sizes.empty(7, rng, &device);
            let images = Tensor::<4>::ones([2, 3, 32, 32], &device);
            let features = encoder.maps.features(images.clone());
            assert_eq!(features.dims(), [2 * 64, sizes.features()], "{sizes:?}");
            assert_eq!(encoder.encode(images).dims(), [2 * 64, 7], "{sizes:?}");
            assert_eq!(sizes.grid(), 8);
        }
    }

    #[test]
    fn rows_follow_the_image() {
        // A bright spot at (row 3, column 6) of the grid is at row 3 * 8 + 6 of the features.
        let device = test_device();
        let mut pixels = vec![-1.0f32; 1024];
        pixels[14 * 32 + 26] = 1.0;
        let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 32, 32]), &device);
        let map = on_grid(image, 8).permute([0, 2, 3, 1]).reshape([64, 1]);
        let values: Vec<f32> = map.into_data().iter::<f32>().collect();
        let brightest = (0..64).max_by(|&a, &b| values[a].total_cmp(&values[b]));
        assert_eq!(brightest, Some(3 * 8 + 6));
    }

    #[test]
    fn no_two_positions_have_the_same_context() {
        let context = position_context(24);
        let rows: Vec<&[f32]> = context.chunks(POSITION_CONTEXT).collect();
        for (index, row) in rows.iter().enumerate() {
            for other in &rows[..index] {
                let distance: f32 = row.iter().zip(*other).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(distance > 1e-3);
            }
        }
    }
}
