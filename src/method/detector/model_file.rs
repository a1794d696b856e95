//! A detector on disk: one safetensors file with its description in the metadata.

use std::io::ErrorKind;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Int, Tensor};
use image::ImageFormat;
use rand::SeedableRng;
use rand::rngs::StdRng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Conversion;
use crate::files::{self, FileError};
use crate::method::{Calibration, DetectorError, MaskLevels, Method, Scorer};
use crate::safetensors_file;

/// Newest format that this program reads, and the one that it writes.
const FORMAT: u32 = 4;
/// Key of the description in the file's metadata.
const KEY: &str = "encoder-flow";

/// Name of the tensor that is the ONNX file of a detector's network, byte by byte.
const ONNX: &str = "onnx";

/// Everything about a detector but its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Version of the file's format.
    format: u32,
    /// The program that wrote it.
    program: String,
    /// What images are brought to.
    pub conversion: Conversion,
    /// Which scorer, and its sizes.
    pub scorer: Stored,
    /// How scores become p-values, once that has been fitted.
    pub calibration: Option<Calibration>,
    /// The value that nearly all pixels of normal images' heat maps stay below, and the one that is
    /// drawn as quite odd: see [`Heatmap::colour_range`](crate::method::Heatmap::colour_range).
    pub heat_range: Option<[f32; 2]>,
    /// At which values of a heat map masks are drawn, where there are heat maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masks: Option<MaskLevels>,
    /// How it was made, in words.
    pub origin: String,
    /// Whether the images that the p-values come from had a say in the fit, as in choosing the epoch: the p-values of new
    /// normal images are then approximate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approximate: bool,
}

/// Which scorer, and what it takes beside its weights to build it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Which one, among the [`Entry::loaders`](crate::method::Entry::loaders) of all methods.
    pub kind: String,
    /// What it takes, in its own form.
    pub sizes: Value,
}

impl Stored {
    /// Of this kind and these sizes.
    pub fn new(kind: &str, sizes: &impl Serialize) -> Self {
        Self {
            kind: kind.to_owned(),
            // Sizes are plain structs; a loader says what it misses in `null`.
            sizes: serde_json::to_value(sizes).unwrap_or(Value::Null),
        }
    }
}

impl Description {
    /// Of a scorer.
    pub fn new(scorer: &dyn Scorer, calibration: Option<Calibration>, origin: &str) -> Self {
        Self {
            format: FORMAT,
            program: format!("encoder-flow {}", env!("CARGO_PKG_VERSION")),
            conversion: scorer.conversion(),
            scorer: scorer.stored(),
            calibration,
            heat_range: None,
            masks: None,
            origin: origin.to_owned(),
            approximate: false,
        }
    }

    /// Names of the scores that its deciding one is made of.
    pub fn deciding(&self) -> Vec<String> {
        let calibration = self.calibration.as_ref();
        calibration.map_or_else(Vec::new, Calibration::names)
    }

    /// Reads that of a model file, and nothing else of it.
    ///
    /// # Errors
    /// [`DetectorError`] when the file is missing, damaged, something else or of another format.
    pub fn read(path: &Path) -> Result<Self, DetectorError> {
        read_description(&read(path)?, path)
    }

    /// What keeps it from being that of a scorer with these scores, if anything does.
    fn check(&self, scorer: &dyn Scorer) -> Result<(), String> {
        if let Some(calibration) = &self.calibration {
            calibration.check(scorer.deciding())?;
        }
        if let Some(levels) = &self.masks {
            levels.check_speck()?;
        }
        match self.heat_range {
            Some(range) if !range.iter().all(|value| value.is_finite()) => {
                Err("the range of its heat maps is not finite".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Writes a scorer's weights and its description to one file.
///
/// # Errors
/// [`DetectorError`] naming the file when it cannot be written.
pub(in crate::method) fn save(
    scorer: &dyn Scorer,
    description: &Description,
    path: &Path,
) -> Result<(), DetectorError> {
    let bytes = to_bytes(scorer, description);
    let bytes = bytes.map_err(|reason| DetectorError::model(path, reason))?;
    Ok(files::replace_linked(path, |file| file.write_all(&bytes))?)
}

/// A model file.
///
/// # Errors
/// What keeps the scorer from being written.
pub(in crate::method) fn to_bytes(
    scorer: &dyn Scorer,
    description: &Description,
) -> Result<Vec<u8>, String> {
    let text = serde_json::to_string(description).map_err(|error| error.to_string())?;
    let mut store = SafetensorsStore::from_bytes(None).metadata(KEY, text);
    let bytes = scorer
        .save_into(&mut store)
        .and_then(|()| store.get_bytes())
        .map_err(|error| error.to_string())?;
    let bytes = match scorer.onnx() {
        Some(file) => with_onnx(&bytes, file).map_err(|error| error.to_string())?,
        None => bytes,
    };
    safetensors_file::sealed(&bytes).map_err(|error| error.to_string())
}

/// The same model file with the ONNX file of its network: a detector is one file, and scores the same
/// when the network's own file has changed or is elsewhere.
fn with_onnx(model: &[u8], file: &[u8]) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let (_, header) = SafeTensors::read_metadata(model)?;
    let weights = SafeTensors::deserialize(model)?;
    let mut tensors = weights.tensors();
    let onnx = TensorView::new(Dtype::U8, vec![file.len()], file)?;
    tensors.push((ONNX.to_owned(), onnx));
    safetensors::serialize(tensors, header.metadata().clone())
}

/// The ONNX file in a model file, where it has one.
///
/// # Errors
/// What keeps it from being read.
pub(in crate::method) fn onnx_in(model: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let file = SafeTensors::deserialize(model).map_err(|error| error.to_string())?;
    let tensor = file.tensor(ONNX).ok();
    Ok(tensor.map(|tensor| tensor.data().to_vec()))
}

/// Reads what [`save`] wrote, onto any device.
///
/// # Errors
/// [`DetectorError`] when the file is missing, damaged, something else or of another format.
pub(in crate::method) fn load(
    path: &Path,
    device: &Device,
) -> Result<(Box<dyn Scorer>, Description), DetectorError> {
    from_bytes(read(path)?, path, device)
}

/// Reads a model file that has been read from `path`, which errors name, onto any device.
///
/// # Errors
/// [`DetectorError`] as for [`load`].
pub(in crate::method) fn from_bytes(
    bytes: Vec<u8>,
    path: &Path,
    device: &Device,
) -> Result<(Box<dyn Scorer>, Description), DetectorError> {
    let description = read_description(&bytes, path)?;
    let wrong = |reason: String| DetectorError::model(path, reason);
    if !safetensors_file::is_unbroken(&bytes).unwrap_or(false) {
        return Err(wrong(
            "damaged: its tensors are not those that were written. Copy it again, or make it anew"
                .to_owned(),
        ));
    }
    let Stored { kind, sizes } = description.scorer.clone();
    let mut loaders = Method::ALL
        .into_iter()
        .flat_map(|method| method.entry().loaders);
    let (_, loader) = loaders.find(|(name, _)| *name == kind).ok_or_else(|| {
        wrong(format!(
            "holds a `{kind}`, which this program does not know"
        ))
    })?;
    let loaded = loader(sizes, description.conversion, bytes, device);
    let scorer = loaded.map_err(wrong)?;
    description.check(scorer.as_ref()).map_err(wrong)?;
    Ok((scorer, description))
}

/// What a model file says of its scorer beside the weights.
///
/// # Errors
/// What keeps it from being of this type.
pub(in crate::method) fn parse_sizes<T: DeserializeOwned>(sizes: Value) -> Result<T, String> {
    serde_json::from_value(sizes).map_err(|error| error.to_string())
}

/// A module with the weights in the bytes of a model file; `init` makes one of its sizes.
///
/// # Errors
/// Those of `init`, and what keeps the bytes from being its weights.
pub(in crate::method) fn filled<M: Module>(
    bytes: Vec<u8>,
    init: impl FnOnce(&mut StdRng) -> Result<M, String>,
) -> Result<M, String> {
    // The initial weights are replaced; any seed will do.
    let mut weights = init(&mut StdRng::seed_from_u64(0))?;
    let initial = Integers::of(&weights);
    let result = weights
        .load_from(&mut SafetensorsStore::from_bytes(Some(bytes)))
        .map_err(|error| error.to_string())?;
    if let Some(error) = result.errors.first() {
        return Err(error.to_string());
    }
    initial.check(&Integers::of(&weights))?;
    Ok(weights)
}

/// The integers of a module, in its order: permutations and signs, which are drawn once and never trained.
struct Integers(Vec<Vec<i64>>);

impl ModuleVisitor for Integers {
    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.0.push(param.val().into_data().iter().collect());
    }
}

impl Integers {
    fn of<M: Module>(module: &M) -> Self {
        let mut integers = Self(Vec::new());
        module.visit(&mut integers);
        integers
    }

    /// Refuses what is no permutation where these are one, and no signs where these are that: what a file says is
    /// where values are taken from.
    fn check(&self, loaded: &Self) -> Result<(), String> {
        let sorted = |values: &[i64]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values
        };
        for (initial, loaded) in self.0.iter().zip(&loaded.0) {
            let places: Vec<i64> = (0..).take(initial.len()).collect();
            let sound = if sorted(initial) == places {
                sorted(loaded) == places
            } else {
                loaded.iter().all(|value| value.abs() == 1)
            };
            if !sound {
                return Err("it has an order or signs of channels that are none".to_owned());
            }
        }
        Ok(())
    }
}

/// What keeps images that are brought to `conversion` from having the shape that networks were built
/// for, if anything does.
pub(in crate::method) fn check_shape(
    conversion: Conversion,
    shape: [usize; 3],
) -> Result<(), String> {
    match shape == conversion.shape() {
        true => Ok(()),
        false => Err(format!(
            "its networks are for images of shape {shape:?}, and it brings images to {:?}",
            conversion.shape()
        )),
    }
}

/// The bytes of a model file; a wrong path comes with a right one.
fn read(path: &Path) -> Result<Vec<u8>, DetectorError> {
    if path.is_dir() {
        let inside = ["model.safetensors", "detector/model.safetensors"];
        let mut files = inside.iter().map(|name| path.join(name));
        let advice = match files.find(|file| file.is_file()) {
            Some(file) => format!("the model in it is {}", file.display()),
            None => "give the file that `fit --out` or an experiment wrote".to_owned(),
        };
        return Err(DetectorError::model(path, format!("is a folder: {advice}")));
    }
    std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => DetectorError::model(
            path,
            "there is no such file: `encoder-flow fit FOLDER --out MODEL` makes one",
        ),
        _ => FileError::io("read", path)(error).into(),
    })
}

fn read_description(bytes: &[u8], path: &Path) -> Result<Description, DetectorError> {
    let damaged = |reason: String| DetectorError::model(path, reason);
    // Checks that the header is whole and that the tensors are as long as it says.
    let (_, header) = SafeTensors::read_metadata(bytes)
        .and_then(|metadata| SafeTensors::deserialize(bytes).map(|_| metadata))
        .map_err(|error| {
            damaged(match image::guess_format(bytes) {
                Ok(
                    ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Tiff | ImageFormat::WebP,
                ) => {
                    "is an image: the model comes first, as in `score MODEL PATHS`".to_owned()
                }
                _ => format!(
                    "damaged or not a safetensors file ({error}): give what `fit --out` or an experiment wrote"
                ),
            })
        })?;
    let text = header.metadata().as_ref().and_then(|map| map.get(KEY));
    let text = text.ok_or_else(|| {
        damaged("a safetensors file, but not one of encoder-flow's detectors".to_owned())
    })?;
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = serde_json::from_str(text)
        .map_err(|error| damaged(format!("its description is damaged ({error})")))?;
    if format != FORMAT {
        let path = path.to_owned();
        return Err(match format > FORMAT {
            true => DetectorError::Newer {
                path,
                found: format,
                known: FORMAT,
            },
            false => DetectorError::model(
                path,
                format!("has format {format}, which this program no longer reads: fit it again"),
            ),
        });
    }
    serde_json::from_str(text)
        .map_err(|error| damaged(format!("its description is damaged ({error})")))
}

#[cfg(test)]
mod tests;
