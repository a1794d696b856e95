//! GANomaly as a detector.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::Device;
use serde_json::Value;

use super::Ganomaly;
use crate::data::{Conversion, Images, Samples, batches};
use crate::encoder::{AutoEncoder, AutoEncoderConfig};
use crate::method::detector::model_file::{check_shape, filled, parse_sizes};
use crate::method::detector::pictures::{reconstruct, residuals};
use crate::method::fitting::representation::BATCH;
use crate::method::{DetectorError, HeatSource, Heatmap, Scorer, Scores, Stored};

/// Scores images by how far the latent of the reconstruction is from the latent of the image.
///
/// - `encoding_distance`: mean squared difference of the two latents, the authors' score;
/// - `reconstruction`: mean absolute difference of image and reconstruction, pixels in `[-1, 1]`.
///
/// The networks are in evaluation mode. The authors' code leaves them in training mode, in which a
/// score depends on the other images of its batch.
pub struct GanomalyDetector {
    conversion: Conversion,
    model: Ganomaly,
    device: Device,
}

impl GanomalyDetector {
    /// Wraps the trained networks.
    pub fn new(conversion: Conversion, model: Ganomaly, device: &Device) -> Self {
        Self {
            conversion,
            model: model.valid().to_device(device),
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
        let sizes: AutoEncoderConfig = parse_sizes(described)?;
        sizes.check()?;
        sizes.fits(bytes.len())?;
        check_shape(conversion, sizes.image_shape())?;
        let weights = filled(bytes, |rng| Ok(Ganomaly::new(&sizes, rng, device)))?;
        Ok(Box::new(Self::new(conversion, weights, device)))
    }
}

impl Scorer for GanomalyDetector {
    fn score_names(&self) -> &'static [&'static str] {
        &["encoding_distance", "reconstruction"]
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        Stored::new("ganomaly", &self.model.config())
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        self.model.save_into(store)
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        let mut distance = Vec::with_capacity(images.len());
        let mut reconstruction = Vec::with_capacity(images.len());
        for indices in batches(images.len(), BATCH) {
            let batch = images.batch(&indices, &self.device);
            let (fakes, score) = self.model.score(batch.clone());
            let error = AutoEncoder::reconstruction_error(batch, fakes);
            distance.extend(score.into_data().iter::<f32>());
            reconstruction.extend(error.into_data().iter::<f32>());
        }
        Ok(Scores::new(
            self.score_names(),
            vec![distance, reconstruction],
        ))
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        reconstruct(images, &self.device, |batch| {
            Some(self.model.score(batch).0)
        })
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        residuals(images, &self.device, |batch| {
            Some(self.model.score(batch).0)
        })
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        &[HeatSource::Reconstruction]
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::encoder::AutoEncoderConfig;
    use crate::method::detector::scorer::tests::{
        Enlarge, assert_score_of_image_alone, grey_32, noise,
    };
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    pub fn detector() -> GanomalyDetector {
        let device = test_device();
        let config = AutoEncoderConfig {
            channels: 1,
            size: 32,
            width: 4,
            latent: 6,
        };
        let model = Ganomaly::new(&config, &mut StdRng::seed_from_u64(1), &device);
        let model = model.map(&mut Enlarge(8.0));
        let conversion = grey_32();
        GanomalyDetector::new(conversion, model, &device)
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(300, 2));
    }
}
