//! Any network as an encoder: one ONNX file, whose tensors describe an image as a whole or position by
//! position.
//!
//! The engine is tract, behind the cargo feature `onnx`; it runs on the CPU whatever the backend is. The
//! network is frozen and gives no gradients. A detector's model file holds the ONNX file itself, so
//! that nothing else is needed to score with it.

#[cfg(feature = "onnx")]
mod engine;
#[cfg(not(feature = "onnx"))]
#[path = "no_engine.rs"]
mod engine;
mod error;
#[cfg(feature = "onnx")]
mod graph;
mod layout;

pub use error::OnnxError;

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::engine::Engine;
use self::layout::Layout;
use super::preparation::{normalise, resize, to_rgb};
use crate::files::{FileError, hex};

/// Images for each thread that are brought to the network's input at a time.
const PARTS: usize = 4;

/// What of a network's tensors is used, and how images are brought to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnnxLook {
    /// Names of the tensors, side by side in the description; none for the network's first output.
    pub output: Vec<String>,
    /// Side in pixels to which images are resized, where the file does not fix it.
    pub input: usize,
    /// Mean of pixels in `[0, 1]`, per channel or one for all.
    pub mean: Vec<f64>,
    /// Standard deviation of pixels in `[0, 1]`, per channel or one for all.
    pub std: Vec<f64>,
}

/// An ONNX file, and how it is looked through.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnnxFile {
    /// The file.
    pub file: PathBuf,
    /// How.
    #[serde(flatten)]
    pub look: OnnxLook,
}

/// What a model file says of the ONNX network that it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnnxSizes {
    /// How it is looked through.
    pub look: OnnxLook,
    /// SHA-256 of the ONNX file.
    pub sha256: String,
    /// Entries of a description: the channels of all tensors that are used.
    pub features: usize,
    /// `[rows, columns]` of the first tensor, where all of them have positions.
    pub sides: Option<[usize; 2]>,
}

/// A frozen network from an ONNX file.
#[derive(Module, Debug)]
pub struct OnnxNetwork {
    #[module(skip)]
    inner: Arc<Inner>,
}

struct Inner {
    file: Vec<u8>,
    sizes: OnnxSizes,
    layouts: Vec<Layout>,
    engine: Engine,
}

impl OnnxSizes {
    /// Most entries of a description.
    const MOST_FEATURES: usize = 1 << 16;
    /// Most positions along a side.
    const MOST_POSITIONS: usize = 1024;

    /// What keeps a file from holding such a network, if anything does: a damaged one must not ask for
    /// more memory than there is.
    pub(crate) fn check(&self) -> Result<(), String> {
        let allowed = 1..=Self::MOST_POSITIONS;
        let sides = self.sides.unwrap_or([1, 1]);
        match (1..=Self::MOST_FEATURES).contains(&self.features)
            && sides.iter().all(|side| allowed.contains(side))
        {
            true => Ok(()),
            false => Err(format!(
                "an ONNX network that gives {} features at {sides:?} positions is not supported",
                self.features
            )),
        }
    }
}

impl OnnxFile {
    /// Reads the network for images of so many `channels`.
    ///
    /// # Errors
    /// [`OnnxError`] when the file is missing or damaged, or the network cannot be used so.
    pub fn load(&self, channels: usize) -> Result<OnnxNetwork, OnnxError> {
        if self.file.as_os_str().is_empty() {
            return Err(OnnxError::NoName);
        }
        let place = self.file.display().to_string();
        if !OnnxNetwork::COMPILED {
            return Err(OnnxError::NotBuilt { place });
        }
        let bytes = read(&self.file)?;
        OnnxNetwork::new(bytes, &place, &self.look, channels)
    }
}

/// The contents of an ONNX file.
fn read(path: &Path) -> Result<Vec<u8>, OnnxError> {
    std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => OnnxError::Missing {
            path: path.to_owned(),
        },
        _ => FileError::io("read", path)(error).into(),
    })
}

impl OnnxNetwork {
    /// True when this program was built with the engine.
    pub const COMPILED: bool = cfg!(feature = "onnx");

    /// The network of a file's bytes, for images of so many `channels`; `place` says in errors which
    /// one it is.
    fn new(
        file: Vec<u8>,
        place: &str,
        look: &OnnxLook,
        channels: usize,
    ) -> Result<Self, OnnxError> {
        let unusable = |reason: String| OnnxError::Unusable {
            place: place.to_owned(),
            reason,
        };
        let engine = Engine::new(&file, look, channels).map_err(unusable)?;
        let [.., height, width] = engine.input();
        let outputs = engine.outputs();
        let layouts = outputs.iter().map(|(name, shape)| {
            Layout::of(shape, [height, width])
                .map_err(|reason| unusable(format!("the tensor `{name}` {reason}")))
        });
        let layouts = layouts.collect::<Result<Vec<_>, _>>()?;
        let positions = layouts.iter().map(Layout::sides);
        let positions = positions.collect::<Option<Vec<[usize; 2]>>>();
        let sizes = OnnxSizes {
            look: look.clone(),
            sha256: hex(&Sha256::digest(&file)),
            features: layouts.iter().map(Layout::channels).sum(),
            sides: positions.and_then(|sides| sides.first().copied()),
        };
        sizes.check().map_err(unusable)?;
        Ok(Self {
            inner: Arc::new(Inner {
                file,
                sizes,
                layouts,
                engine,
            }),
        })
    }

    /// The network that a model file holds.
    ///
    /// # Errors
    /// What keeps `file` from being the one that was described as `sizes`.
    pub fn stored(
        file: Option<Vec<u8>>,
        sizes: &OnnxSizes,
        channels: usize,
    ) -> Result<Self, String> {
        let place = "its encoder";
        let missing = "its ONNX network is missing: the file is damaged, fit it again";
        let file = file.ok_or(missing)?;
        if hex(&Sha256::digest(&file)) != sizes.sha256 {
            return Err("its ONNX network is damaged: fit it again".to_owned());
        }
        let network = Self::new(file, place, &sizes.look, channels);
        let network = network.map_err(|error| error.to_string())?;
        match network.sizes() == sizes {
            true => Ok(network),
            false => Err("its ONNX network is not the one that it describes".to_owned()),
        }
    }

    /// What a model file says of it.
    pub fn sizes(&self) -> &OnnxSizes {
        &self.inner.sizes
    }

    /// Entries of a description.
    pub fn features(&self) -> usize {
        self.inner.sizes.features
    }

    /// Entries of a description by tensor.
    pub fn blocks(&self) -> Vec<usize> {
        self.inner.layouts.iter().map(Layout::channels).collect()
    }

    /// The ONNX file.
    pub fn file(&self) -> &[u8] {
        &self.inner.file
    }

    /// `[height, width]` to which images are resized.
    pub fn input(&self) -> [usize; 2] {
        let [_, _, height, width] = self.inner.engine.input();
        [height, width]
    }

    /// What keeps every position from being described, if anything does.
    pub fn positions(&self) -> Result<[usize; 2], OnnxError> {
        let (layouts, outputs) = (&self.inner.layouts, self.inner.engine.outputs());
        let without = layouts.iter().zip(outputs);
        let mut without = without.filter(|(layout, _)| layout.sides().is_none());
        self.inner.sizes.sides.ok_or_else(|| OnnxError::Unusable {
            place: "`encoder.output`".to_owned(),
            reason: match without.next() {
                Some((_, (name, shape))) => format!(
                    "the tensor `{name}` of shape {shape:?} has no positions: name maps [n, channels, height, width], or tokens [n, tokens, channels] of a grid of patches of the input's proportions behind at most one class token and four registers, or set encoder.positions=false"
                ),
                None => "names no tensor".to_owned(),
            },
        })
    }

    /// The description of whole images: means over positions or tokens, vectors as they are.
    ///
    /// # Shapes
    /// `[batch, 1 or 3, height, width]` in `[-1, 1]` to `[batch, features]`.
    ///
    /// All of it is NaN where the engine fails on an image, although it did not on a black one; the log says why.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        let [batch, ..] = images.dims();
        let device = images.device();
        let pooled = self.run(images, |layout, values| layout.pooled(values));
        let mut rows = Vec::with_capacity(batch * self.features());
        for image in pooled {
            rows.extend(image.into_iter().flatten());
        }
        Tensor::from_data(TensorData::new(rows, [batch, self.features()]), &device)
    }

    /// The description of every position, one map for each tensor.
    ///
    /// # Shapes
    /// `[batch, 1 or 3, height, width]` in `[-1, 1]` to `[batch, channels, rows, columns]` each.
    ///
    /// NaN as in [`encode`](Self::encode).
    pub fn maps(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let [batch, ..] = images.dims();
        let device = images.device();
        let of_images = self.run(images, |layout, values| layout.map(values));
        let layouts = self.inner.layouts.iter().enumerate();
        let maps = layouts.map(|(index, layout)| {
            let [rows, columns] = layout.sides().unwrap_or([1, 1]);
            let values: Vec<f32> = of_images
                .iter()
                .flat_map(|maps| maps[index].iter().copied())
                .collect();
            let shape = [batch, layout.channels(), rows, columns];
            Tensor::from_data(TensorData::new(values, shape), &device)
        });
        maps.collect()
    }

    /// What `read` makes of every tensor of every image, one image after the other.
    ///
    /// A few images for every thread at a time: brought to the network's input, each may be many times what it was.
    fn run(
        &self,
        images: Tensor<4>,
        read: impl Fn(&Layout, &[f32]) -> Vec<f32> + Sync,
    ) -> Vec<Vec<Vec<f32>>> {
        let [at_once, ..] = self.inner.engine.input();
        let parts = images.split(PARTS * at_once * rayon::current_num_threads(), 0);
        let described = parts.into_iter().map(|part| self.run_part(part, &read));
        described.flatten().collect()
    }

    fn run_part(
        &self,
        images: Tensor<4>,
        read: &(impl Fn(&Layout, &[f32]) -> Vec<f32> + Sync),
    ) -> Vec<Vec<Vec<f32>>> {
        let Inner {
            sizes,
            layouts,
            engine,
            ..
        } = self.inner.as_ref();
        let [at_once, channels, height, width] = engine.input();
        let images = match channels {
            3 => to_rgb(images),
            _ => images,
        };
        let [mean, deviation] = [&sizes.look.mean, &sizes.look.std].map(|values| {
            values
                .iter()
                .map(|&value| value as f32)
                .collect::<Vec<f32>>()
        });
        let images = resize(normalise(images, &mean, &deviation), [height, width]);
        let values: Vec<f32> = images.into_data().iter().collect();
        let pixels = channels * height * width;
        // Mostly one image at a time: a description then is its image's alone, and threads share them.
        let chunks = values.par_chunks(at_once * pixels);
        let described = chunks.map(|chunk| {
            let given = chunk.len() / pixels;
            let outputs = engine.run(chunk).unwrap_or_else(|reason| {
                tracing::error!("the ONNX network failed on an image: {reason}");
                let shapes = engine.outputs().iter().map(|(_, shape)| shape);
                let nothing = shapes.map(|shape| vec![f32::NAN; shape.iter().product()]);
                nothing.collect()
            });
            let image = |index: usize| {
                let tensors = layouts.iter().zip(&outputs);
                let of = |(layout, all): (&Layout, &Vec<f32>)| {
                    let length = all.len() / at_once;
                    read(layout, &all[index * length..][..length])
                };
                tensors.map(of).collect()
            };
            (0..given).map(image).collect::<Vec<Vec<Vec<f32>>>>()
        });
        described
            .collect::<Vec<_>>()
            .into_iter()
            .flatten()
            .collect()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxNetwork")
            .field("bytes", &self.file.len())
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "onnx"))]
pub(crate) mod tests;
