//! AnoGAN as a detector.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::search::{Found, search};
use super::{Anogan, SearchRule};
use crate::data::{Conversion, Images, Samples, Vectors, batches};
use crate::encoder::AutoEncoderConfig;
use crate::method::detector::model_file::{check_shape, filled, parse_sizes};
use crate::method::detector::pictures::{heatmaps, to_bytes};
use crate::method::fitting::adversarial::noise;
use crate::method::fitting::representation::BATCH;
use crate::method::{DetectorError, Findings, HeatSource, Heatmap, Scorer, Scores, Stored};

/// Scores images by how near to them the generator comes.
///
/// - `search_loss`: the lowest loss of the search for the image's noise, the sum of the other two by
///   their shares;
/// - `residual`: sum of the absolute differences of the pixels, which are in `[-1, 1]`;
/// - `feature_distance`: sum of the absolute differences of the discriminator's features.
///
/// The networks are in evaluation mode.
pub struct AnoganDetector {
    conversion: Conversion,
    model: Anogan,
    /// The same where gradients are noted.
    searched: Anogan,
    rule: SearchRule,
    device: Device,
}

/// What a model file says beside the weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    sizes: AutoEncoderConfig,
    search: SearchRule,
}

impl AnoganDetector {
    /// Wraps the trained networks.
    pub fn new(conversion: Conversion, model: Anogan, rule: SearchRule, device: &Device) -> Self {
        let model = model.valid().to_device(device);
        Self {
            conversion,
            // No gradients of weights, and still in evaluation mode.
            searched: model.clone().freeze().train(),
            model,
            rule,
            device: device.clone(),
        }
    }

    /// From a model file.
    ///
    /// # Errors
    /// What keeps the file from being such a model.
    pub(super) fn load(
        described: Value,
        conversion: Conversion,
        bytes: Vec<u8>,
        device: &Device,
    ) -> Result<Box<dyn Scorer>, String> {
        let Described { sizes, search } = parse_sizes(described)?;
        sizes.check()?;
        sizes.fits(bytes.len())?;
        search.check()?;
        check_shape(conversion, sizes.image_shape())?;
        let weights = filled(bytes, |rng| {
            Ok(Anogan::new(&sizes, search.starts, rng, device))
        })?;
        Ok(Box::new(Self::new(conversion, weights, search, device)))
    }

    fn search(&self, images: &Images) -> Vec<Found> {
        let device = self.device.clone().autodiff();
        search(&self.searched, &self.rule, images, &device)
    }

    /// The images that the generator makes of noise, batch by batch, as pixels in `[-1, 1]`.
    fn generate(&self, noise: &Vectors) -> Vec<Tensor<4>> {
        let mut made = Vec::new();
        for indices in batches(noise.len(), BATCH) {
            made.push(self.model.generate(noise.batch(&indices, &self.device)));
        }
        made
    }

    /// The images that the generator makes of what was found.
    fn nearest(&self, found: &[Found]) -> Vec<Tensor<4>> {
        let mut noise = Vectors::new(self.model.config().latent);
        for found in found {
            noise.extend(found.latent.iter().copied());
        }
        self.generate(&noise)
    }
}

impl Scorer for AnoganDetector {
    fn score_names(&self) -> &'static [&'static str] {
        &["search_loss", "residual", "feature_distance"]
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        let described = Described {
            sizes: self.model.config(),
            search: self.rule,
        };
        Stored::new("anogan", &described)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        self.model.save_into(store)
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        self.inspect(images).scores()
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        let made = self.nearest(&self.search(images));
        let pixels = made.into_iter().flat_map(to_bytes);
        Images::new(images.shape(), pixels.collect()).ok()
    }

    fn sample(&self, count: usize, seed: u64) -> Option<Images> {
        let config = self.model.config();
        let noise = noise(count, config.latent, seed);
        let pixels = self.generate(&noise).into_iter().flat_map(to_bytes);
        Images::new(config.image_shape(), pixels.collect()).ok()
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        self.inspect(images).heat(source)
    }

    fn inspect<'a>(&'a self, images: &'a Images) -> Box<dyn Findings + 'a> {
        Box::new(OfSearch {
            detector: self,
            images,
            found: self.search(images),
        })
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        &[HeatSource::Reconstruction]
    }
}

/// What one search says of the images: it takes hundreds of steps.
struct OfSearch<'a> {
    detector: &'a AnoganDetector,
    images: &'a Images,
    /// One for each image.
    found: Vec<Found>,
}

impl Findings for OfSearch<'_> {
    fn scores(&self) -> Result<Scores, DetectorError> {
        let columns: [fn(&Found) -> f32; 3] = [
            |found| found.loss,
            |found| found.residual,
            |found| found.features,
        ];
        let columns = columns.map(|column| self.found.iter().map(column).collect());
        Ok(Scores::new(self.detector.score_names(), columns.into()))
    }

    fn heat(&self, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.detector
            .heat_sources()
            .contains(&source)
            .then_some(())?;
        let [_, height, width] = self.images.shape();
        let made = Tensor::cat(self.detector.nearest(&self.found), 0);
        let all: Vec<usize> = (0..self.images.len()).collect();
        let residuals = (self.images.batch(&all, &self.detector.device) - made)
            .abs()
            .mean_dim(1);
        let residuals: Vec<f32> = residuals.into_data().iter::<f32>().collect();
        heatmaps([height, width], &residuals)
    }
}

#[cfg(test)]
pub(in crate::method) mod tests;
