//! EGBAD as a detector.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BiGan, BiGanConfig};
use crate::data::{Conversion, Images, Samples, batches};
use crate::method::detector::model_file::{check_shape, filled, parse_sizes};
use crate::method::detector::pictures::{reconstruct, residuals, to_bytes};
use crate::method::fitting::adversarial::noise;
use crate::method::fitting::representation::BATCH;
use crate::method::{DetectorError, HeatSource, Heatmap, Scorer, Scores, Stored};

/// Scores images by how they are brought back, and by what the discriminator says of that (Zenati et
/// al., section 3).
///
/// - `feature_matching`: `(1 - w) * residual + w * distance` of the discriminator's features of the image
///   and of its reconstruction, each with the image's latent;
/// - `cross_entropy`: the same with the discriminator's cross-entropy in place of that distance, of the
///   reconstruction against the label "real", as in the authors' code;
/// - `residual`: sum of the absolute differences of image and reconstruction, pixels in `[-1, 1]`.
///
/// The networks are the averaged ones, in evaluation mode.
pub struct EgbadDetector {
    conversion: Conversion,
    sizes: BiGanConfig,
    /// Share of the discriminator in the scores.
    weight: f64,
    networks: BiGan,
    device: Device,
}

/// What a model file says beside the weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    sizes: BiGanConfig,
    weight: f64,
}

impl EgbadDetector {
    /// Wraps the averaged networks.
    pub fn new(
        conversion: Conversion,
        sizes: BiGanConfig,
        weight: f64,
        networks: BiGan,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            sizes,
            weight,
            networks: networks.valid().to_device(device),
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
        let Described { sizes, weight } = parse_sizes(described)?;
        sizes.check()?;
        sizes.fits(bytes.len())?;
        if !(0.0..=1.0).contains(&weight) {
            return Err(format!("its discriminator's share cannot be {weight}"));
        }
        check_shape(conversion, sizes.image_shape())?;
        let networks = filled(bytes, |rng| Ok(sizes.init(rng, device)))?;
        Ok(Box::new(Self::new(
            conversion, sizes, weight, networks, device,
        )))
    }

    fn back(&self, images: Tensor<4>) -> Tensor<4> {
        let BiGan {
            encoder, generator, ..
        } = &self.networks;
        generator.forward(encoder.forward(images))
    }

    /// The three scores of a batch, `[batch, 3]`.
    fn scores(&self, images: Tensor<4>) -> Tensor<2> {
        let BiGan {
            encoder,
            generator,
            discriminator,
        } = &self.networks;
        let latents = encoder.forward(images.clone());
        let back = generator.forward(latents.clone());
        let own = discriminator.features(images.clone(), latents.clone(), None);
        let of_back = discriminator.features(back.clone(), latents, None);
        let residual = (images - back).abs().flatten::<2>(1, 3).sum_dim(1); // [n, 1]
        let distance = (own - of_back.clone()).abs().sum_dim(1);
        let entropy = activation::softplus(discriminator.logits(of_back).neg(), 1.0);
        let with = |said: Tensor<2>| residual.clone() * (1.0 - self.weight) + said * self.weight;
        Tensor::cat(vec![with(distance), with(entropy), residual], 1)
    }
}

impl Scorer for EgbadDetector {
    fn score_names(&self) -> &'static [&'static str] {
        &["feature_matching", "cross_entropy", "residual"]
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        let described = Described {
            sizes: self.sizes,
            weight: self.weight,
        };
        Stored::new("egbad", &described)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        self.networks.save_into(store)
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        let mut columns = vec![Vec::new(); 3];
        for indices in batches(images.len(), BATCH) {
            let scores = self
                .scores(images.batch(&indices, &self.device))
                .into_data();
            for (index, score) in scores.iter::<f32>().enumerate() {
                columns[index % 3].push(score);
            }
        }
        Ok(Scores::new(self.score_names(), columns))
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        reconstruct(images, &self.device, |batch| Some(self.back(batch)))
    }

    fn sample(&self, count: usize, seed: u64) -> Option<Images> {
        let noise = noise(count, self.sizes.latent, seed);
        let mut pixels = Vec::new();
        for indices in batches(count, BATCH) {
            let noise = noise.batch(&indices, &self.device);
            pixels.extend(to_bytes(self.networks.generator.forward(noise)));
        }
        Images::new(self.sizes.image_shape(), pixels).ok()
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        residuals(images, &self.device, |batch| Some(self.back(batch)))
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        &[HeatSource::Reconstruction]
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::method::detector::scorer::tests::{
        Enlarge, assert_score_of_image_alone, grey_32, noise,
    };
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    pub fn detector() -> EgbadDetector {
        enlarged(8.0)
    }

    /// Of networks whose weights are so many times DCGAN's.
    fn enlarged(times: f64) -> EgbadDetector {
        let device = test_device();
        let sizes = BiGanConfig {
            channels: 1,
            size: 32,
            width: 2,
            hidden: 8,
            latent: 6,
        };
        let networks = sizes.init(&mut StdRng::seed_from_u64(1), &device);
        let networks = networks.map(&mut Enlarge(times));
        let conversion = grey_32();
        EgbadDetector::new(conversion, sizes, 0.1, networks, &device)
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(300, 2));
    }

    #[test]
    fn scores_are_shares_of_the_residual_and_of_the_discriminator() {
        let scores = enlarged(1.0).score(&noise(5, 3)).unwrap();
        let [matching, entropy, residual] = scores.columns() else {
            panic!("three scores")
        };
        for ((matching, entropy), residual) in matching.iter().zip(entropy).zip(residual) {
            // Near a logit of zero the cross-entropy is that of tossing a coin.
            let entropy = (entropy - 0.9 * residual) / 0.1;
            assert!((entropy - std::f32::consts::LN_2).abs() < 0.05, "{entropy}");
            assert!(*matching >= 0.9 * residual - 1e-3);
        }
    }
}
