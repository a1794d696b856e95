//! One feature vector for every position of an image.

use burn::module::Module;
use burn::tensor::module::{avg_pool2d, interpolate};
use burn::tensor::ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::patches::STRIDE;
use super::{AutoEncoder, AutoEncoderConfig, OnnxNetwork, OnnxSizes, PatchPca, SqueezeNet};
use crate::data::Conversion;

/// Maps of the autoencoder's encoder that are used: those after its first halvings.
const LEVELS: usize = 3;
/// Smallest standard deviation of an image's pixels in `[-1, 1]`: one that shows nothing stays flat.
const LEAST_CONTRAST: f64 = 0.04;
/// Standard deviation, in `[-1, 1]`, that images are brought to where their intensity is normalised:
/// near that of ImageNet's.
const CONTRAST: f64 = 0.4;
/// Grey of ImageNet's mean, in `[-1, 1]`.
const BRIGHTNESS: f64 = -0.1;

/// How positions are described, and the sizes that this takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionConfig {
    /// `[channels, height, width]` of an image.
    pub shape: [usize; 3],
    /// Where the features come from.
    pub source: MapSource,
    /// Every image is brought to the same mean and standard deviation of its pixels first.
    pub intensity: bool,
    /// Side of the square of neighbouring positions that a feature is the mean of, odd; 1 for none.
    pub pooling: usize,
}

/// Where the features of positions come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MapSource {
    /// The maps of an autoencoder's encoder.
    Autoencoder(AutoEncoderConfig),
    /// Principal components of patches.
    Patches {
        /// Components for each of the three scales.
        components: usize,
    },
    /// The maps of a pretrained SqueezeNet.
    #[serde(rename = "squeezenet")]
    SqueezeNet {
        /// Fire modules, by their number in the paper, in rising order.
        layers: Vec<usize>,
    },
    /// The maps of a network from an ONNX file.
    Onnx(OnnxSizes),
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
    /// The maps of a network from an ONNX file.
    Onnx(OnnxNetwork),
}

/// Where the positions of a grid lie in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// `[rows, columns]`.
    pub sides: [usize; 2],
    /// Pixels between neighbours, downwards and to the right.
    pub stride: [f64; 2],
    /// Place of the first position's centre, in pixels from the image's edges.
    pub first: [f64; 2],
}

impl MapSource {
    /// Features of a position of an image with so many channels.
    pub fn features(&self, channels: usize) -> usize {
        match self {
            Self::Autoencoder(config) => config.widths().iter().take(LEVELS).sum(),
            &Self::Patches { components } => PatchPca::channels(channels, components),
            Self::SqueezeNet { layers } => layers.iter().map(|&of| SqueezeNet::channels(of)).sum(),
            Self::Onnx(network) => network.features,
        }
    }

    /// The positions of an image of `[height, width]`.
    pub fn grid(&self, sides: [usize; 2]) -> Grid {
        match self {
            Self::Autoencoder(_) | Self::Patches { .. } => Grid {
                sides: sides.map(|side| side / STRIDE),
                stride: [STRIDE as f64; 2],
                first: [STRIDE as f64 / 2.0; 2],
            },
            Self::SqueezeNet { layers } => {
                let first = layers
                    .first()
                    .copied()
                    .unwrap_or(*SqueezeNet::LAYERS.start());
                let stride = SqueezeNet::stride(first);
                Grid {
                    sides: sides.map(|side| SqueezeNet::side(first, side)),
                    stride: [stride as f64; 2],
                    // Every layer's windows are centred, and begin at the edge.
                    first: [stride as f64 - 0.5; 2],
                }
            }
            Self::Onnx(network) => {
                // The image is resized to what the network takes, whose positions share it evenly.
                let positions = network.sides.unwrap_or([1, 1]);
                let stride = [0, 1].map(|axis| sides[axis] as f64 / positions[axis].max(1) as f64);
                Grid {
                    sides: positions,
                    stride,
                    first: stride.map(|stride| stride / 2.0),
                }
            }
        }
    }

    /// What keeps images of this shape from being described, if anything does: a damaged file must not
    /// ask for more memory than there is.
    fn check(&self, [_, height, width]: [usize; 3]) -> Result<(), String> {
        let possible = match self {
            Self::Autoencoder(config) => {
                config.check()?;
                config.image_shape()[1..] == [height, width]
            }
            Self::Patches { components } => {
                PatchPca::COMPONENTS.contains(components)
                    && height.is_multiple_of(STRIDE)
                    && width.is_multiple_of(STRIDE)
            }
            Self::SqueezeNet { layers } => {
                !layers.is_empty()
                    && layers.windows(2).all(|pair| pair[0] < pair[1])
                    && layers
                        .iter()
                        .all(|layer| SqueezeNet::LAYERS.contains(layer))
                    && height.min(width) >= SqueezeNet::SMALLEST_INPUT
            }
            Self::Onnx(network) => {
                network.check()?;
                network.sides.is_some()
            }
        };
        match possible {
            true => Ok(()),
            false => Err(format!(
                "features of these sizes are not supported: {self:?}"
            )),
        }
    }

    /// An encoder of these sizes, to be filled with stored weights; `onnx` is the file of its network,
    /// where it has one.
    ///
    /// # Errors
    /// What keeps the network from being read.
    pub fn empty(
        &self,
        channels: usize,
        onnx: Option<Vec<u8>>,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<MapEncoder, String> {
        Ok(match self {
            Self::Autoencoder(config) => MapEncoder::Autoencoder(config.init(rng, device)),
            &Self::Patches { components } => {
                MapEncoder::Patches(PatchPca::empty(channels, components, device))
            }
            Self::SqueezeNet { .. } => MapEncoder::SqueezeNet(SqueezeNet::new(device)),
            Self::Onnx(network) => MapEncoder::Onnx(OnnxNetwork::stored(onnx, network, channels)?),
        })
    }
}

impl MapEncoder {
    /// The ONNX file of its network, where it has one.
    pub(crate) fn onnx(&self) -> Option<&[u8]> {
        match self {
            Self::Onnx(network) => Some(network.file()),
            _ => None,
        }
    }
}

impl PositionConfig {
    /// Sides that images may have, in pixels.
    pub const SIDES: std::ops::RangeInclusive<usize> = Conversion::SIDES;

    /// What keeps images from being described so, if anything does.
    pub(crate) fn check(&self) -> Result<(), String> {
        let [channels, height, width] = self.shape;
        let sides = Self::SIDES.contains(&height) && Self::SIDES.contains(&width);
        let area = height.saturating_mul(width) <= Conversion::MOST_PIXELS;
        if !matches!(channels, 1 | 3) || !sides || !area {
            return Err(format!(
                "images of shape {:?} are not supported",
                self.shape
            ));
        }
        if self.pooling.is_multiple_of(2) || self.pooling > 15 {
            return Err(format!("a pooling of {} is not supported", self.pooling));
        }
        self.source.check(self.shape)
    }

    /// `[height, width]` of an image that was shrunk so many times.
    pub fn sides(&self, shrink: usize) -> [usize; 2] {
        let [_, height, width] = self.shape;
        [height / shrink, width / shrink]
    }

    /// What keeps images from being described at this scale, if anything does.
    pub(crate) fn check_scale(&self, shrink: usize) -> Result<(), String> {
        let [channels, height, width] = self.shape;
        let whole = matches!(shrink, 1 | 2 | 4 | 8)
            && height.is_multiple_of(shrink)
            && width.is_multiple_of(shrink);
        if !whole || (shrink > 1 && !matches!(self.source, MapSource::SqueezeNet { .. })) {
            return Err(format!(
                "images of {height}x{width} cannot be shrunk {shrink} times"
            ));
        }
        let [height, width] = self.sides(shrink);
        self.source.check([channels, height, width])
    }

    /// The positions of an image that was shrunk so many times, placed in the image itself.
    pub fn grid(&self, shrink: usize) -> Grid {
        let grid = self.source.grid(self.sides(shrink));
        Grid {
            sides: grid.sides,
            stride: grid.stride.map(|stride| stride * shrink as f64),
            first: grid.first.map(|first| first * shrink as f64),
        }
    }

    /// Features of a position.
    pub fn features(&self) -> usize {
        self.source.features(self.shape[0])
    }

    /// Images as every scale sees them.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to the same.
    pub fn prepared(&self, images: Tensor<4>) -> Tensor<4> {
        if !self.intensity {
            return images;
        }
        let [batch, channels, height, width] = images.dims();
        let rows = images.reshape([batch, channels * height * width]);
        let rows = rows.clone() - rows.mean_dim(1);
        let deviation = rows.clone().square().mean_dim(1).sqrt();
        let rows = rows / deviation.clamp_min(LEAST_CONTRAST) * CONTRAST + BRIGHTNESS;
        rows.reshape([batch, channels, height, width])
    }

    /// Features of every position, row by row of the image, of [prepared](Self::prepared) images.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` to `[batch * rows * columns, features]`.
    pub fn describe(&self, encoder: &MapEncoder, images: Tensor<4>, shrink: usize) -> Tensor<2> {
        let sides = self.grid(shrink).sides;
        let images = match shrink {
            1 => images,
            times => avg_pool2d(images, AvgPoolOptions::new([times; 2])),
        };
        let maps = match (encoder, &self.source) {
            (MapEncoder::SqueezeNet(network), MapSource::SqueezeNet { layers }) => {
                network.maps_of(images, layers)
            }
            (MapEncoder::SqueezeNet(network), _) => network.maps_of(images, &[]),
            (MapEncoder::Autoencoder(model), _) => {
                model.maps(images).into_iter().take(LEVELS).collect()
            }
            (MapEncoder::Patches(model), _) => vec![model.maps(images)],
            (MapEncoder::Onnx(network), _) => network.maps(images),
        };
        let maps = maps.into_iter().map(|map| on_grid(self.pooled(map), sides));
        let maps = Tensor::cat(maps.collect(), 1);
        let [batch, features, height, width] = maps.dims();
        let rows = maps.permute([0, 2, 3, 1]);
        rows.reshape([batch * height * width, features])
    }

    /// Means of neighbouring positions; at the edges of those that there are.
    fn pooled(&self, map: Tensor<4>) -> Tensor<4> {
        if self.pooling == 1 {
            return map;
        }
        let options = AvgPoolOptions::new([self.pooling; 2])
            .with_stride([1, 1])
            .with_padding([self.pooling / 2; 2])
            .with_count_include_pad(false);
        avg_pool2d(map, options)
    }
}

impl Grid {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

    /// Without positions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A map brought to other sides: averaged when they divide its own, interpolated otherwise.
fn on_grid(map: Tensor<4>, sides: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = map.dims();
    if [height, width] == sides {
        return map;
    }
    let factor = height / sides[0].max(1);
    if factor > 1 && [sides[0] * factor, sides[1] * factor] == [height, width] {
        return avg_pool2d(map, AvgPoolOptions::new([factor; 2]));
    }
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size(sides);
    interpolate(map, options)
}

/// Frequencies of the encoding of a position, in periods of twice the image's side.
const FREQUENCIES: [f32; 4] = [1.0, 2.0, 4.0, 8.0];
/// Entries of the encoding of a position: sine and cosine of both coordinates.
pub const POSITION_CONTEXT: usize = 4 * FREQUENCIES.len();

/// Sines and cosines of the coordinates of every position, row by row (CFLOW-AD, arXiv:2107.12571,
/// section 4.2): what the density of a position is conditioned on.
///
/// # Shapes
/// To `[rows * columns, 16]`, row-major.
pub fn position_context([rows, columns]: [usize; 2]) -> Vec<f32> {
    let angle = |index: usize, side: usize, frequency: f32| {
        std::f32::consts::PI * frequency * (index as f32 + 0.5) / side as f32
    };
    let mut values = Vec::with_capacity(rows * columns * POSITION_CONTEXT);
    for position in 0..rows * columns {
        for (index, side) in [(position / columns, rows), (position % columns, columns)] {
            for frequency in FREQUENCIES {
                let angle = angle(index, side, frequency);
                values.extend([angle.sin(), angle.cos()]);
            }
        }
    }
    values
}

/// [`position_context`] of a batch of images.
///
/// # Shapes
/// To `[batch * rows * columns, 16]`.
pub fn position_contexts(batch: usize, sides: [usize; 2], device: &Device) -> Tensor<2> {
    let one = TensorData::new(
        position_context(sides),
        [sides[0] * sides[1], POSITION_CONTEXT],
    );
    Tensor::<2>::from_data(one, device).repeat_dim(0, batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn config(source: MapSource) -> PositionConfig {
        PositionConfig {
            shape: [3, 32, 64],
            source,
            intensity: true,
            pooling: 3,
        }
    }

    #[test]
    fn every_source_describes_every_position() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(0);
        let layers = |layers: &[usize]| MapSource::SqueezeNet {
            layers: layers.to_vec(),
        };
        for (source, shrink, sides) in [
            (MapSource::Patches { components: 5 }, 1, [8, 16]),
            (layers(&[3]), 1, [7, 15]),
            (layers(&[5, 7]), 1, [3, 7]),
            (layers(&[2]), 2, [7, 15]),
        ] {
            let config = PositionConfig {
                shape: [3, 32 * shrink, 64 * shrink],
                ..config(source)
            };
            config.check().unwrap();
            config.check_scale(shrink).unwrap();
            let encoder = config.source.empty(3, None, rng, &device).unwrap();
            let [_, height, width] = config.shape;
            let images = config.prepared(Tensor::ones([2, 3, height, width], &device));
            let grid = config.grid(shrink);
            assert_eq!(grid.sides, sides, "{config:?}");
            let rows = config.describe(&encoder, images, shrink);
            assert_eq!(
                rows.dims(),
                [2 * grid.len(), config.features()],
                "{config:?}"
            );
        }
        let autoencoder = AutoEncoderConfig {
            channels: 3,
            size: 32,
            width: 4,
            latent: 6,
        };
        let config = PositionConfig {
            shape: [3, 32, 32],
            ..config(MapSource::Autoencoder(autoencoder))
        };
        config.check().unwrap();
        let encoder = config.source.empty(3, None, rng, &device).unwrap();
        let rows = config.describe(&encoder, Tensor::ones([2, 3, 32, 32], &device), 1);
        assert_eq!(rows.dims(), [2 * 64, config.features()]);
    }

    #[test]
    fn what_cannot_be_described_is_refused() {
        let layers = |layers: &[usize]| MapSource::SqueezeNet {
            layers: layers.to_vec(),
        };
        for source in [layers(&[]), layers(&[1]), layers(&[10]), layers(&[7, 5])] {
            assert!(config(source.clone()).check().is_err(), "{source:?}");
        }
        let patches = config(MapSource::Patches { components: 5 });
        assert!(patches.check_scale(2).is_err());
        assert!(
            config(layers(&[7])).check_scale(2).is_err(),
            "16 pixels are too few"
        );
        let even = PositionConfig {
            pooling: 2,
            ..config(layers(&[7]))
        };
        assert!(even.check().is_err());
    }

    #[test]
    fn brightness_and_contrast_do_not_matter_where_they_are_taken_out() {
        let device = test_device();
        let pixels: Vec<f32> = (0..2048)
            .map(|at| ((at * 37) % 101) as f32 / 101.0 - 0.5)
            .collect();
        let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 32, 64]), &device);
        let config = config(MapSource::Patches { components: 5 });
        let dark = config.prepared(image.clone() * 0.5 - 0.3);
        let difference = (dark.clone() - config.prepared(image)).abs().max();
        assert!(difference.into_scalar::<f32>() < 1e-4);
        let deviation = (dark.clone() - dark.mean().reshape([1, 1, 1, 1]))
            .square()
            .mean()
            .sqrt();
        assert!((deviation.into_scalar::<f32>() - 0.4).abs() < 1e-3);
        // Nothing but noise stays near nothing.
        let flat = config.prepared(Tensor::<4>::ones([1, 1, 32, 64], &device) * 0.7);
        assert!((flat + 0.1).abs().max().into_scalar::<f32>() < 1e-3);
    }

    #[test]
    fn a_position_lies_where_the_network_looks() {
        // One bright spot: the position with the largest response is the one whose centre is nearest,
        // in each of the layers, for a network whose kernels all add up.
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(0);
        let at = [63, 79];
        for layer in [3, 5, 7] {
            let mut pixels = vec![0.0f32; 128 * 128];
            pixels[at[0] * 128 + at[1]] = 1.0;
            let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 128, 128]), &device);
            let config = PositionConfig {
                shape: [1, 128, 128],
                source: MapSource::SqueezeNet {
                    layers: vec![layer],
                },
                intensity: false,
                pooling: 1,
            };
            let encoder = summing(config.source.empty(1, None, rng, &device).unwrap());
            let response = config.describe(&encoder, image, 1).sum_dim(1);
            let response: Vec<f32> = response.into_data().iter().collect();
            let brightest =
                (0..response.len()).max_by(|&a, &b| response[a].total_cmp(&response[b]));
            let grid = config.grid(1);
            let place =
                |at: usize| ((at as f64 + 0.5 - grid.first[0]) / grid.stride[0]).round() as usize;
            let expected = place(at[0]) * grid.sides[1] + place(at[1]);
            assert_eq!(brightest, Some(expected), "layer {layer}");
        }
    }

    /// With small positive weights everywhere.
    fn summing(encoder: MapEncoder) -> MapEncoder {
        struct Fill;
        impl burn::module::ModuleMapper for Fill {
            fn map_float<const D: usize>(
                &mut self,
                param: burn::module::Param<Tensor<D>>,
            ) -> burn::module::Param<Tensor<D>> {
                param.map(|tensor| Tensor::ones_like(&tensor) * 0.01)
            }
        }
        encoder.map(&mut Fill)
    }

    #[test]
    fn rows_follow_the_image() {
        // A bright spot at (row 3, column 6) of the grid is at row 3 * 8 + 6 of the features.
        let device = test_device();
        let mut pixels = vec![-1.0f32; 1024];
        pixels[14 * 32 + 26] = 1.0;
        let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 32, 32]), &device);
        let map = on_grid(image, [8, 8])
            .permute([0, 2, 3, 1])
            .reshape([64, 1]);
        let values: Vec<f32> = map.into_data().iter::<f32>().collect();
        let brightest = (0..64).max_by(|&a, &b| values[a].total_cmp(&values[b]));
        assert_eq!(brightest, Some(3 * 8 + 6));
    }

    #[test]
    fn no_two_positions_have_the_same_context() {
        let context = position_context([12, 24]);
        let rows: Vec<&[f32]> = context.chunks(POSITION_CONTEXT).collect();
        for (index, row) in rows.iter().enumerate() {
            for other in &rows[..index] {
                let distance: f32 = row.iter().zip(*other).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(distance > 1e-3);
            }
        }
    }
}
