//! Where the features of positions come from.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Grid;
use crate::data::Conversion;
use crate::encoder::patches::STRIDE;
use crate::encoder::{
    AutoEncoder, AutoEncoderConfig, OnnxNetwork, OnnxSizes, PatchPca, PatchSizes, SqueezeNet,
    TextureEnergies,
};

/// Maps of the autoencoder's encoder that are used: those after its first halvings.
const LEVELS: usize = 3;

/// Where the features of positions come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MapSource {
    /// The maps of an autoencoder's encoder.
    Autoencoder(AutoEncoderConfig),
    /// Principal components of patches.
    Patches(PatchSizes),
    /// The maps of a pretrained SqueezeNet.
    #[serde(rename = "squeezenet")]
    SqueezeNet {
        /// Fire modules, by their number in the paper, in rising order.
        layers: Vec<usize>,
    },
    /// The maps of a network from an ONNX file.
    Onnx(OnnxSizes),
    /// The texture residual.
    Texture,
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
    /// The texture residual.
    Texture(TextureEnergies),
}

impl MapSource {
    /// Features of a position of an image with so many channels.
    pub fn features(&self, channels: usize) -> usize {
        match self {
            Self::Autoencoder(config) => config.widths().iter().take(LEVELS).sum(),
            Self::Patches(sizes) => sizes.features(channels),
            Self::SqueezeNet { layers } => layers.iter().map(|&of| SqueezeNet::channels(of)).sum(),
            Self::Onnx(network) => network.features,
            Self::Texture => TextureEnergies::features(channels),
        }
    }

    /// `[height, width]` in which an image of these sides is looked at: small ones may be enlarged.
    pub fn seen(&self, sides: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Patches(patches) => patches.seen(sides),
            _ => sides,
        }
    }

    /// The positions of an image of `[height, width]`.
    pub fn grid(&self, sides: [usize; 2]) -> Grid {
        match self {
            Self::Patches(patches) => patches.grid(sides),
            Self::Autoencoder(_) | Self::Texture => Grid {
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
    pub(crate) fn check(&self, [_, height, width]: [usize; 3]) -> Result<(), String> {
        let smallest = SqueezeNet::SMALLEST_INPUT;
        if matches!(self, Self::SqueezeNet { .. }) && height.min(width) < smallest {
            return Err(format!(
                "SqueezeNet sees nothing in {width}x{height} pixels (width x height), it needs {smallest} each way"
            ));
        }
        if matches!(self, Self::Texture) && height.min(width) < TextureEnergies::SMALLEST {
            let least = TextureEnergies::SMALLEST;
            return Err(format!(
                "the texture of {width}x{height} pixels (width x height) is not seen, it needs {least} each way"
            ));
        }
        let [rows, columns] = self.seen([height, width]);
        if rows.saturating_mul(columns) > Conversion::MOST_PIXELS {
            return Err(format!(
                "{width}x{height} pixels (width x height) enlarged to {columns}x{rows} are too many: lower encoder.patch_side"
            ));
        }
        let possible = match self {
            Self::Autoencoder(config) => {
                config.check()?;
                config.image_shape()[1..] == [height, width]
            }
            Self::Patches(sizes) => {
                sizes.are_possible()
                    && height.is_multiple_of(STRIDE)
                    && width.is_multiple_of(STRIDE)
            }
            Self::SqueezeNet { layers } => {
                !layers.is_empty()
                    && layers.windows(2).all(|pair| pair[0] < pair[1])
                    && layers
                        .iter()
                        .all(|layer| SqueezeNet::LAYERS.contains(layer))
            }
            Self::Onnx(network) => {
                network.check()?;
                network.sides.is_some()
            }
            Self::Texture => height.is_multiple_of(STRIDE) && width.is_multiple_of(STRIDE),
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
            &Self::Patches(sizes) => MapEncoder::Patches(PatchPca::empty(channels, sizes, device)),
            Self::SqueezeNet { .. } => MapEncoder::SqueezeNet(SqueezeNet::new(device)),
            Self::Onnx(network) => MapEncoder::Onnx(OnnxNetwork::stored(onnx, network, channels)?),
            Self::Texture => MapEncoder::Texture(TextureEnergies::default()),
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

    /// The maps whose positions are described, by a source of the same kind.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` to maps of `[batch, features, rows, columns]`, each of sides
    /// of its own.
    pub(super) fn maps(&self, source: &MapSource, images: Tensor<4>) -> Vec<Tensor<4>> {
        match (self, source) {
            (Self::SqueezeNet(network), MapSource::SqueezeNet { layers }) => {
                network.maps_of(images, layers)
            }
            (Self::SqueezeNet(network), _) => network.maps_of(images, &[]),
            (Self::Autoencoder(model), _) => model.maps(images).into_iter().take(LEVELS).collect(),
            (Self::Patches(model), _) => vec![model.maps(images)],
            (Self::Onnx(network), _) => network.maps(images),
            (Self::Texture(energies), _) => vec![energies.maps(images)],
        }
    }
}
