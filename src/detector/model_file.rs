//! A detector on disk: one safetensors file with its description in the metadata.

use std::io::ErrorKind;
use std::path::Path;

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::Device;
use image::ImageFormat;
use rand::SeedableRng;
use rand::rngs::StdRng;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::encoder_flow::EncoderFlowWeights;
use super::{
    Baseline, BaselineSizes, BaselineWeights, Calibration, DetectorError, EncoderFlow,
    GanomalyDetector, PositionFlow, PositionSizes, PositionWeights, Scorer, Sizes,
};
use crate::data::Conversion;
use crate::encoder::{AutoEncoderConfig, Ganomaly};
use crate::files::{self, FileError};
use crate::flow::Standardizer;

/// Newest format that this program reads, and the one that it writes.
const FORMAT: u32 = 2;
/// Key of the description in the file's metadata.
const KEY: &str = "encoder-flow";

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
    /// Which detector, and its sizes.
    pub model: ModelSizes,
    /// How scores become p-values, once that has been fitted.
    pub calibration: Option<Calibration>,
    /// Values of a heat map that are drawn as quite normal and as quite odd.
    pub heat_range: Option<[f32; 2]>,
    /// How it was made, in words.
    pub origin: String,
}

/// Which detector, and its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelSizes {
    /// One latent per image.
    EncoderFlow {
        /// Of encoder and flow.
        sizes: Sizes,
        /// Scale of the latents.
        standardizer: Standardizer,
    },
    /// One latent per position.
    PositionFlow {
        /// Of encoder and flow.
        sizes: PositionSizes,
    },
    /// An encoder with a simpler score.
    Baseline {
        /// Of encoder and density.
        sizes: BaselineSizes,
        /// Scale of the latents, where the density is one of standardised ones.
        standardizer: Option<Standardizer>,
    },
    /// GANomaly.
    Ganomaly {
        /// Of its networks.
        sizes: AutoEncoderConfig,
    },
}

/// A detector that can be stored.
// There is one per process: a box would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Model {
    /// One latent per image.
    EncoderFlow(EncoderFlow),
    /// One latent per position.
    PositionFlow(PositionFlow),
    /// An encoder with a simpler score.
    Baseline(Baseline),
    /// GANomaly.
    Ganomaly(GanomalyDetector),
}

impl Model {
    /// Its description, to be stored with its weights.
    pub fn describe(&self, calibration: Option<Calibration>, origin: &str) -> Description {
        let (conversion, model) = match self {
            Self::EncoderFlow(detector) => (
                detector.conversion(),
                ModelSizes::EncoderFlow {
                    sizes: detector.sizes(),
                    standardizer: detector.standardizer().clone(),
                },
            ),
            Self::PositionFlow(detector) => (
                detector.conversion(),
                ModelSizes::PositionFlow {
                    sizes: detector.sizes(),
                },
            ),
            Self::Baseline(detector) => (
                detector.conversion(),
                ModelSizes::Baseline {
                    sizes: detector.sizes(),
                    standardizer: detector.standardizer().cloned(),
                },
            ),
            Self::Ganomaly(detector) => (
                detector.conversion(),
                ModelSizes::Ganomaly {
                    sizes: detector.sizes(),
                },
            ),
        };
        Description {
            format: FORMAT,
            program: format!("encoder-flow {}", env!("CARGO_PKG_VERSION")),
            conversion,
            model,
            calibration,
            heat_range: None,
            origin: origin.to_owned(),
        }
    }

    /// As what it is: something that scores.
    pub fn scorer(&self) -> &dyn Scorer {
        match self {
            Self::EncoderFlow(detector) => detector,
            Self::PositionFlow(detector) => detector,
            Self::Baseline(detector) => detector,
            Self::Ganomaly(detector) => detector,
        }
    }

    /// Writes weights and description to one file.
    ///
    /// # Errors
    /// [`DetectorError`] naming the file when it cannot be written.
    pub fn save(&self, description: &Description, path: &Path) -> Result<(), DetectorError> {
        let text = serde_json::to_string(description)
            .map_err(|error| DetectorError::model(path, error))?;
        match self {
            Self::EncoderFlow(detector) => save(detector.weights(), text, path),
            Self::PositionFlow(detector) => save(detector.weights(), text, path),
            Self::Baseline(detector) => save(detector.weights(), text, path),
            Self::Ganomaly(detector) => save(detector.weights(), text, path),
        }
    }

    /// Reads what [`save`](Self::save) wrote, onto any device.
    ///
    /// # Errors
    /// [`DetectorError`] when the file is missing, damaged, something else or of a newer format.
    pub fn load(path: &Path, device: &Device) -> Result<(Self, Description), DetectorError> {
        let bytes = read(path)?;
        let description = read_description(&bytes, path)?;
        // The initial weights are replaced; any seed will do.
        let rng = &mut StdRng::seed_from_u64(0);
        let conversion = description.conversion;
        let possible =
            |check: Result<(), String>| check.map_err(|reason| DetectorError::model(path, reason));
        let model = match &description.model {
            ModelSizes::EncoderFlow {
                sizes,
                standardizer,
            } => {
                possible(sizes.check())?;
                possible(standardizer.check(sizes.flow.dim))?;
                let mut weights = EncoderFlowWeights {
                    encoder: sizes.encoder.init(rng, device),
                    flow: sizes.flow.init(rng, device),
                };
                load(&mut weights, bytes, path)?;
                Self::EncoderFlow(EncoderFlow::from_weights(
                    conversion,
                    *sizes,
                    weights,
                    standardizer.clone(),
                    device,
                ))
            }
            ModelSizes::PositionFlow { sizes } => {
                possible(sizes.check())?;
                let mut weights = PositionWeights {
                    encoder: sizes.maps.empty(sizes.flow.dim, rng, device),
                    flow: sizes.flow.init(rng, device),
                };
                load(&mut weights, bytes, path)?;
                Self::PositionFlow(PositionFlow::new(conversion, *sizes, weights, device))
            }
            ModelSizes::Baseline {
                sizes,
                standardizer,
            } => {
                possible(sizes.check(bytes.len()))?;
                let latent = sizes.encoder.latent();
                if let Some(scale) = standardizer {
                    possible(scale.check(latent))?;
                }
                let density = sizes.density.map(|density| density.empty(latent, device));
                let mut weights = BaselineWeights {
                    encoder: sizes.encoder.init(rng, device),
                    density,
                };
                load(&mut weights, bytes, path)?;
                let scale = standardizer.clone();
                let detector = Baseline::new(conversion, sizes.encoder, weights, scale, device);
                Self::Baseline(detector)
            }
            ModelSizes::Ganomaly { sizes } => {
                possible(sizes.check())?;
                let mut weights = Ganomaly::new(sizes, rng, device);
                load(&mut weights, bytes, path)?;
                Self::Ganomaly(GanomalyDetector::new(conversion, weights, device))
            }
        };
        Ok((model, description))
    }
}

fn save<M: Module>(weights: &M, description: String, path: &Path) -> Result<(), DetectorError> {
    let mut store = SafetensorsStore::from_bytes(None).metadata(KEY, description);
    weights
        .save_into(&mut store)
        .map_err(|error| DetectorError::model(path, error))?;
    let bytes = store
        .get_bytes()
        .map_err(|error| DetectorError::model(path, error))?;
    Ok(files::replace(path, |file| file.write_all(&bytes))?)
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

fn load<M: Module>(weights: &mut M, bytes: Vec<u8>, path: &Path) -> Result<(), DetectorError> {
    let result = weights
        .load_from(&mut SafetensorsStore::from_bytes(Some(bytes)))
        .map_err(|error| DetectorError::model(path, error))?;
    match result.errors.first() {
        Some(error) => Err(DetectorError::model(path, error)),
        None => Ok(()),
    }
}

fn read_description(bytes: &[u8], path: &Path) -> Result<Description, DetectorError> {
    let damaged = |reason: String| DetectorError::model(path, reason);
    // Checks that the header is whole and that the tensors are as long as it says.
    let (_, header) = SafeTensors::read_metadata(bytes)
        .and_then(|metadata| SafeTensors::deserialize(bytes).map(|_| metadata))
        .map_err(|error| {
            damaged(match image::guess_format(bytes) {
                Ok(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) => {
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
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::detector::tests::noise;
    use proptest::prelude::*;

    fn position_flow() -> Model {
        Model::PositionFlow(super::super::positions::tests::detector())
    }

    /// Every kind of model.
    fn models() -> Vec<Model> {
        let baselines = super::super::baseline::tests::detectors();
        let others = [
            Model::EncoderFlow(super::super::encoder_flow::tests::detector()),
            Model::Ganomaly(super::super::ganomaly::tests::detector()),
            position_flow(),
        ];
        let baselines = baselines.into_iter().map(Model::Baseline);
        baselines.chain(others).collect()
    }

    #[test]
    fn a_stored_detector_scores_identically() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let images = noise(20, 4);
        for model in models() {
            let description = model.describe(None, "a test");
            model.save(&description, &path).unwrap();
            let (loaded, read) = Model::load(&path, &test_device()).unwrap();
            assert_eq!(read, description);
            assert_eq!(
                model.scorer().score(&images).unwrap(),
                loaded.scorer().score(&images).unwrap()
            );
        }
    }

    #[test]
    fn damaged_foreign_and_newer_files_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let model = Model::EncoderFlow(super::super::encoder_flow::tests::detector());
        model.save(&model.describe(None, "a test"), &path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Model::load(&path, &test_device())
                .err()
                .expect("a damaged file was loaded")
                .to_string()
        };
        for length in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
            let error = refused(&whole[..length]);
            assert!(error.contains("model.safetensors"), "{error}");
            assert!(error.contains("damaged"), "{length}: {error}");
        }
        let newer = String::from_utf8_lossy(&whole).contains("\\\"format\\\":2");
        assert!(newer, "the description is not where this test expects it");
        let at = whole
            .windows(12)
            .position(|window| window == b"\\\"format\\\":2")
            .map(|start| start + 11);
        let mut changed = whole.clone();
        changed[at.unwrap()] = b'9';
        let error = refused(&changed);
        assert!(error.contains("format 9"), "{error}");
    }

    #[test]
    fn a_scale_of_another_dimension_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let [_, _, mixture, _] = super::super::baseline::tests::detectors();
        let flow = super::super::encoder_flow::tests::detector();
        for model in [Model::Baseline(mixture), Model::EncoderFlow(flow)] {
            let mut description = model.describe(None, "a test");
            let other = Standardizer::fit(&[0.0, 1.0, 2.0, 3.0], 2);
            match &mut description.model {
                ModelSizes::EncoderFlow { standardizer, .. } => *standardizer = other,
                ModelSizes::Baseline { standardizer, .. } => *standardizer = Some(other),
                _ => unreachable!("neither has a scale"),
            }
            model.save(&description, &path).unwrap();
            let error = Model::load(&path, &test_device()).err().unwrap();
            assert!(error.to_string().contains("its scale"), "{error}");
        }
    }

    #[test]
    fn what_is_no_model_is_refused_with_what_is() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| {
            let error = Model::load(path, &test_device()).err();
            error.expect("it is no model").to_string()
        };
        let text = refused(&folder.path().join("none.safetensors"));
        assert!(text.contains("no such file") && text.contains("fit FOLDER"));
        let text = refused(folder.path());
        assert!(text.contains("is a folder: give the file"), "{text}");
        std::fs::write(folder.path().join("model.safetensors"), "").unwrap();
        let text = refused(folder.path());
        assert!(text.contains("the model in it is"), "{text}");
        let image = folder.path().join("image.png");
        image::GrayImage::new(40, 30).save(&image).unwrap();
        let text = refused(&image);
        assert!(
            text.contains("is an image: the model comes first"),
            "{text}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_bytes_bring_the_reader_down(position in 0.0f64..1.0, value: u8, cut in 0.0f64..1.0, both: bool) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.safetensors");
            let model = position_flow();
            model.save(&model.describe(None, "a test"), &path).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            // Most of the damage goes to the header, where it matters.
            let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[(position * header as f64) as usize] = value;
            if both {
                let length = (cut * bytes.len() as f64) as usize;
                bytes.truncate(length);
            }
            std::fs::write(&path, &bytes).unwrap();
            let _ = Model::load(&path, &test_device());
        }
    }
}
