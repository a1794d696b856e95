//! The paper's detector: encoder, standardisation, flow.

use std::path::Path;

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::pictures::{reconstruct, to_bytes};
use super::representation::for_each_batch;
use super::{Detector, DetectorError, Representation, Scores};
use crate::data::{Conversion, Images, Samples};
use crate::encoder::{Encoder, EncoderSizes};
use crate::files;
use crate::flow::{RealNvp, RealNvpConfig, Standardizer, Transform};

/// Newest format of a stored detector that this program reads and the one that it writes.
const FORMAT: u32 = 1;

const DESCRIPTION: &str = "detector.json";
const ENCODER: &str = "encoder.safetensors";
const FLOW: &str = "flow.safetensors";

/// Scores images by the likelihood of their latents.
///
/// - `nll`: negative log-likelihood, in nats, of the standardised latent under the flow: the
///   paper's score;
/// - `reconstruction`: mean absolute difference of image and reconstruction, pixels in `[-1, 1]`;
/// - `latent_norm`: Euclidean norm of the latent after the flow, the distance from the base
///   distribution's mode.
pub struct EncoderFlow {
    conversion: Conversion,
    sizes: Sizes,
    encoder: Encoder,
    standardizer: Standardizer,
    flow: RealNvp,
    device: Device,
}

/// Sizes of the two parts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Of the encoder.
    pub encoder: EncoderSizes,
    /// Of the flow.
    pub flow: RealNvpConfig,
}

/// What is stored beside the weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    method: String,
    conversion: Conversion,
    sizes: Sizes,
    standardizer: Standardizer,
}

impl EncoderFlow {
    /// Puts the trained parts together, with frozen weights.
    pub fn new(
        conversion: Conversion,
        sizes: Sizes,
        encoder: Encoder,
        standardizer: Standardizer,
        flow: RealNvp,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            sizes,
            encoder: encoder.frozen(device),
            standardizer,
            flow: flow.valid().to_device(device),
            device: device.clone(),
        }
    }

    /// First half of scoring: what the encoder makes of images that have been converted.
    pub fn represent(&self, images: &Images) -> Representation {
        let latent = self.sizes.encoder.latent();
        Representation::of(&self.encoder, latent, images, &self.device)
    }

    /// Second half of scoring: the flow's view of the latents.
    pub fn score_representation(&self, representation: &Representation) -> Scores {
        let latents = &representation.latents;
        let mut nll = Vec::with_capacity(latents.len());
        let mut norm = Vec::with_capacity(latents.len());
        for_each_batch(latents.len(), |indices| {
            let (x, _) = self
                .standardizer
                .forward(latents.batch(indices, &self.device));
            let (z, log_det) = self.flow.forward(x);
            let log_prob = self.flow.base_log_prob(z.clone()) + log_det;
            let length: Tensor<1> = z.square().sum_dim(1).sqrt().squeeze_dim(1);
            nll.extend(log_prob.neg().into_data().iter::<f32>());
            norm.extend(length.into_data().iter::<f32>());
        });
        Scores::new(
            self.score_names(),
            vec![nll, representation.reconstruction.clone(), norm],
        )
    }

    /// Stores the detector in `folder`: a description, and the weights as safetensors.
    ///
    /// # Errors
    /// [`DetectorError`] naming the file that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), DetectorError> {
        files::create_folder(folder)?;
        let path = folder.join(ENCODER);
        match &self.encoder {
            Encoder::Autoencoder(model) => save_weights(model, &path)?,
            Encoder::Pca(model) => save_weights(model, &path)?,
            Encoder::Pixels(_) => {}
        }
        save_weights(&self.flow, &folder.join(FLOW))?;
        let description = Description {
            format: FORMAT,
            method: "encoder-flow".to_owned(),
            conversion: self.conversion,
            sizes: self.sizes,
            standardizer: self.standardizer.clone(),
        };
        Ok(files::write_json(&folder.join(DESCRIPTION), &description)?)
    }

    /// Loads what [`save`](Self::save) stored, onto any device.
    ///
    /// # Errors
    /// [`DetectorError`] when a file is missing, damaged or of a newer format.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, DetectorError> {
        let path = folder.join(DESCRIPTION);
        let format: serde_json::Value = files::read_json(&path)?;
        if let Some(found) = format["format"]
            .as_u64()
            .filter(|&found| found > u64::from(FORMAT))
        {
            return Err(DetectorError::Newer {
                path,
                found: u32::try_from(found).unwrap_or(u32::MAX),
                known: FORMAT,
            });
        }
        let description: Description = files::read_json(&path)?;
        // The initial weights are replaced; any seed will do.
        let rng = &mut StdRng::seed_from_u64(0);
        let mut encoder = description.sizes.encoder.init(rng, device);
        let mut flow = description.sizes.flow.init(rng, device);
        let weights = folder.join(ENCODER);
        match &mut encoder {
            Encoder::Autoencoder(model) => load_weights(model, &weights)?,
            Encoder::Pca(model) => load_weights(model, &weights)?,
            Encoder::Pixels(_) => {}
        }
        load_weights(&mut flow, &folder.join(FLOW))?;
        Ok(Self::new(
            description.conversion,
            description.sizes,
            encoder,
            description.standardizer,
            flow,
            device,
        ))
    }
}

impl Detector for EncoderFlow {
    fn score_names(&self) -> &'static [&'static str] {
        &["nll", "reconstruction", "latent_norm"]
    }

    fn score(&self, images: &Images) -> Result<Scores, DetectorError> {
        let images = self.conversion.apply(images.clone())?;
        Ok(self.score_representation(&self.represent(&images)))
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        Some(reconstruct(images, &self.device, |batch| {
            self.encoder.reconstruct(batch)
        }))
    }

    fn sample(&self, count: usize, seed: u64) -> Option<Images> {
        let rng = &mut StdRng::seed_from_u64(seed);
        let noise = self.flow.sample(count, rng, &self.device);
        let (latents, _) = self.standardizer.inverse(noise);
        let pixels = to_bytes(self.encoder.decode(latents)).collect();
        Images::new(self.sizes.encoder.image_shape(), pixels).ok()
    }
}

fn save_weights<M: Module>(module: &M, path: &Path) -> Result<(), DetectorError> {
    let mut store = SafetensorsStore::from_bytes(None);
    module
        .save_into(&mut store)
        .map_err(|error| DetectorError::weights(path, error))?;
    let bytes = store
        .get_bytes()
        .map_err(|error| DetectorError::weights(path, error))?;
    Ok(files::replace(path, |file| file.write_all(&bytes))?)
}

fn load_weights<M: Module>(module: &mut M, path: &Path) -> Result<(), DetectorError> {
    let bytes = std::fs::read(path).map_err(files::FileError::io("read", path))?;
    module
        .load_from(&mut SafetensorsStore::from_bytes(Some(bytes)))
        .map_err(|error| DetectorError::weights(path, error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Fit;
    use crate::encoder::AutoEncoderConfig;
    use crate::flow::Mixing;
    use crate::flow::transform_tests::randomised;
    use rand::Rng;

    fn detector() -> EncoderFlow {
        let device = test_device();
        let sizes = Sizes {
            encoder: EncoderSizes::Autoencoder(AutoEncoderConfig {
                channels: 1,
                size: 32,
                width: 4,
                latent: 6,
            }),
            flow: RealNvpConfig {
                dim: 6,
                couplings: 3,
                hidden: 8,
                layers: 1,
                clamp: 2.0,
                mixing: Mixing::Permutation,
                actnorm: true,
            },
        };
        let rng = &mut StdRng::seed_from_u64(1);
        let encoder = sizes.encoder.init(rng, &device);
        let flow = randomised(sizes.flow.init(rng, &device));
        let representation = Representation::of(&encoder, 6, &images(300, 2), &device);
        let standardizer = Standardizer::fit(representation.latents.values(), 6);
        let conversion = Conversion {
            channels: 1,
            size: 32,
            fit: Fit::Pad,
        };
        EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, &device)
    }

    fn images(count: usize, seed: u64) -> Images {
        let mut pixels = vec![0; count * 1024];
        StdRng::seed_from_u64(seed).fill_bytes(&mut pixels);
        Images::new([1, 32, 32], pixels).unwrap()
    }

    fn assert_close(left: &Scores, right: &Scores) {
        for (left, right) in left.columns().iter().zip(right.columns()) {
            for (left, right) in left.iter().zip(right) {
                assert!(
                    (left - right).abs() <= 1e-5 * (1.0 + right.abs()),
                    "{left} {right}"
                );
            }
        }
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        let detector = detector();
        let all = images(300, 3);
        let scores = detector.score(&all).unwrap();
        let order: Vec<usize> = (0..300).rev().collect();
        let reversed = detector.score(&all.select(&order)).unwrap();
        let back = reversed
            .columns()
            .iter()
            .map(|column| column.iter().rev().copied().collect());
        assert_close(&scores, &Scores::new(scores.names(), back.collect()));
        let alone = detector.score(&all.select(&[7])).unwrap();
        let row = scores
            .columns()
            .iter()
            .map(|column| vec![column[7]])
            .collect();
        assert_close(&alone, &Scores::new(scores.names(), row));
    }

    #[test]
    fn a_stored_detector_scores_identically() {
        let folder = tempfile::tempdir().unwrap();
        let detector = detector();
        detector.save(folder.path()).unwrap();
        let loaded = EncoderFlow::load(folder.path(), &test_device()).unwrap();
        let images = images(20, 4);
        assert_eq!(
            detector.score(&images).unwrap(),
            loaded.score(&images).unwrap()
        );
        assert_eq!(detector.sample(3, 5), loaded.sample(3, 5));
    }

    #[test]
    fn damaged_and_newer_detectors_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        detector().save(folder.path()).unwrap();
        let load = || {
            let loaded = EncoderFlow::load(folder.path(), &test_device());
            loaded.err().expect("refused").to_string()
        };
        let flow = folder.path().join(FLOW);
        let weights = std::fs::read(&flow).unwrap();
        std::fs::write(&flow, &weights[..weights.len() / 2]).unwrap();
        assert!(load().contains("flow.safetensors"));
        std::fs::remove_file(&flow).unwrap();
        assert!(load().contains("flow.safetensors"));
        let path = folder.path().join(DESCRIPTION);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
        assert!(load().contains("format 9"));
        std::fs::write(&path, "{}").unwrap();
        assert!(load().contains("damaged"));
    }
}
