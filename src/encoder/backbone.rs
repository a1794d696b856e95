//! Networks with frozen weights from a file that describe whole images.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};

use super::{OnnxError, OnnxFile, OnnxNetwork, PretrainedLook, SqueezeNet};
use crate::files::FileError;

/// Pretrained weights that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// There is no such file.
    #[error(
        "the pretrained weights {} are missing: `encoder-flow data fetch squeezenet` brings torchvision's into the data folder (name the same --data-dir, if any), or put a safetensors file of them there by hand",
        path.display()
    )]
    Missing {
        /// The file expected.
        path: PathBuf,
    },
    /// The file is cut short or is something else.
    #[error("{} is damaged or not a safetensors file ({reason}): delete it and fetch it again (`encoder-flow data fetch squeezenet`), or name another", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file to be converted is cut short or is something else.
    #[error("{} is damaged or not a PyTorch checkpoint: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file has no such tensor.
    #[error("{} has no tensor {name}: it is not a SqueezeNet 1.1 of torchvision", path.display())]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor is not of the expected type and shape.
    #[error(
        "{}: tensor {name} is {found}, expected {expected}: it is not a SqueezeNet 1.1 of torchvision",
        path.display()
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// Its type and shape.
        found: String,
        /// What they should be.
        expected: String,
    },
    /// From a network in an ONNX file.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The file cannot be read.
    #[error(transparent)]
    Files(#[from] FileError),
}

/// Which network, and how it looks at whole images.
#[derive(Clone, Debug, PartialEq)]
pub enum BackboneLook {
    /// SqueezeNet.
    SqueezeNet(PretrainedLook),
    /// One from an ONNX file.
    Onnx(OnnxFile),
}

/// A frozen network.
// There is one per run: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Backbone {
    /// SqueezeNet.
    SqueezeNet(SqueezeNet),
    /// One from an ONNX file.
    Onnx(OnnxNetwork),
}

impl BackboneLook {
    /// The file of its weights, where those of SqueezeNet are in `squeezenet`.
    pub fn file(&self, squeezenet: &Path) -> PathBuf {
        match self {
            Self::SqueezeNet(_) => squeezenet.to_owned(),
            Self::Onnx(onnx) => onnx.file.clone(),
        }
    }

    /// Reads the network for images of so many `channels`.
    ///
    /// # Errors
    /// [`BackboneError`] when its file is missing or damaged.
    pub fn load(
        &self,
        squeezenet: &Path,
        channels: usize,
        device: &Device,
    ) -> Result<Backbone, BackboneError> {
        Ok(match self {
            &Self::SqueezeNet(look) => {
                Backbone::SqueezeNet(SqueezeNet::load(squeezenet, device)?.with(look))
            }
            Self::Onnx(onnx) => Backbone::Onnx(onnx.load(channels)?),
        })
    }
}

impl Backbone {
    /// Entries of a description.
    pub fn features(&self) -> usize {
        match self {
            Self::SqueezeNet(network) => network.latent(),
            Self::Onnx(network) => network.features(),
        }
    }

    /// Which network it is and what images are resized to, as part of a file's name.
    pub fn name(&self) -> String {
        match self {
            Self::SqueezeNet(network) => format!("squeezenet-{}", network.input()),
            Self::Onnx(network) => {
                let [height, width] = network.input();
                format!("onnx-{height}x{width}")
            }
        }
    }

    /// # Shapes
    /// `[batch, 1 or 3, height, width]` in `[-1, 1]` to `[batch, features]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::SqueezeNet(network) => network.encode(images),
            Self::Onnx(network) => network.encode(images),
        }
    }
}
