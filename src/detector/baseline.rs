//! What the flow is compared with on the same representations: an encoder and a simpler score.

use std::borrow::Cow;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::density::{Density, DensitySizes};
use super::pictures::{reconstruct, residuals};
use super::{DetectorError, HeatSource, Heatmap, Representation, Scorer, Scores};
use crate::data::{Conversion, Images, Samples, Vectors};
use crate::encoder::{Encoder, EncoderSizes};
use crate::flow::{Standardizer, Transform};

/// An encoder with a [`Density`], or with none: then the reconstruction error is the score.
pub struct Baseline {
    conversion: Conversion,
    encoder: EncoderSizes,
    weights: BaselineWeights,
    standardizer: Option<Standardizer>,
    device: Device,
}

/// The fitted parts.
#[derive(Module, Debug)]
pub struct BaselineWeights {
    /// From images to latents.
    pub encoder: Encoder,
    /// The latents' density.
    pub density: Option<Density>,
}

/// Sizes of the two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineSizes {
    /// Of the encoder.
    pub encoder: EncoderSizes,
    /// Of the density.
    pub density: Option<DensitySizes>,
}

impl BaselineSizes {
    /// What keeps these sizes from being built, if anything does; a file of so many bytes cannot hold
    /// more numbers than it has.
    pub(super) fn check(&self, bytes: usize) -> Result<(), String> {
        self.encoder.check()?;
        let numbers = match &self.density {
            Some(density) => density.numbers(self.encoder.latent()),
            None => Some(0),
        };
        match numbers.is_some_and(|numbers| numbers <= bytes / size_of::<f32>()) {
            true => Ok(()),
            false => Err("it is too short for the density that it describes".to_owned()),
        }
    }
}

impl Baseline {
    /// Puts the fitted parts together, with frozen weights. With a `standardizer`, the density is one
    /// of standardised latents.
    pub fn new(
        conversion: Conversion,
        encoder: EncoderSizes,
        weights: BaselineWeights,
        standardizer: Option<Standardizer>,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            encoder,
            weights: weights.valid().to_device(device),
            standardizer,
            device: device.clone(),
        }
    }

    /// Second half of scoring: from latents, or reconstruction errors, to scores.
    pub fn score_representation(&self, representation: &Representation) -> Scores {
        let column = match &self.weights.density {
            Some(density) => {
                let latents = &representation.latents;
                let latents = match &self.standardizer {
                    Some(scale) => Cow::Owned(standardized(scale, latents, &self.device)),
                    None => Cow::Borrowed(latents),
                };
                density.score(&latents)
            }
            None => representation.reconstruction.clone().unwrap_or_default(),
        };
        Scores::new(self.score_names(), vec![column])
    }

    /// What images are brought to before they are scored.
    pub fn conversion(&self) -> Conversion {
        self.conversion
    }

    /// Sizes of its parts.
    pub fn sizes(&self) -> BaselineSizes {
        BaselineSizes {
            encoder: self.encoder,
            density: self.weights.density.as_ref().map(Density::sizes),
        }
    }

    /// Scale of the latents, where the density is one of standardised ones.
    pub(super) fn standardizer(&self) -> Option<&Standardizer> {
        self.standardizer.as_ref()
    }

    /// Its fitted parts.
    pub(super) fn weights(&self) -> &BaselineWeights {
        &self.weights
    }

    /// True when there is something to be seen in what the encoder brings back.
    fn brings_back(&self) -> bool {
        let encoder = &self.weights.encoder;
        encoder.decodes() && !matches!(encoder, Encoder::Pixels(_))
    }
}

impl Scorer for Baseline {
    fn score_names(&self) -> &'static [&'static str] {
        match self.weights.density {
            None => &["reconstruction"],
            Some(Density::Knn(_)) => &["neighbour_distance"],
            Some(Density::Mahalanobis(_)) => &["mahalanobis"],
            Some(Density::Gmm(_)) => &["nll"],
        }
    }

    fn score(&self, images: &Images) -> Result<Scores, DetectorError> {
        let images = self.conversion.apply(images.clone())?;
        let latent = self.encoder.latent();
        let encoder = &self.weights.encoder;
        let representation = Representation::of(encoder, latent, &images, &self.device);
        Ok(self.score_representation(&representation))
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        let encoder = self.brings_back().then_some(&self.weights.encoder)?;
        reconstruct(images, &self.device, |batch| {
            encoder.decode(encoder.encode(batch))
        })
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        let encoder = &self.weights.encoder;
        residuals(images, &self.device, |batch| {
            encoder.decode(encoder.encode(batch))
        })
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        match self.brings_back() {
            true => &[HeatSource::Reconstruction],
            false => &[],
        }
    }
}

/// All latents, standardised.
pub(crate) fn standardized(
    standardizer: &Standardizer,
    latents: &Vectors,
    device: &Device,
) -> Vectors {
    let all: Vec<usize> = (0..latents.len()).collect();
    let (rows, _) = standardizer.forward(latents.batch(&all, device), None);
    let mut vectors = Vectors::new(latents.dim());
    vectors.extend(rows.into_data().iter::<f32>());
    vectors
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Fit;
    use crate::detector::tests::{assert_score_of_image_alone, noise};
    use crate::detector::{Gmm, GmmConfig, Knn, Mahalanobis};
    use crate::encoder::Pca;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// One of every density on five principal components, the last without any.
    pub(in crate::detector) fn detectors() -> [Baseline; 4] {
        let device = test_device();
        let conversion = Conversion {
            channels: 1,
            size: 32,
            fit: Fit::Pad,
        };
        let sizes = EncoderSizes::Pca {
            shape: [1, 32, 32],
            components: 5,
        };
        let images = noise(300, 3);
        let rng = &mut StdRng::seed_from_u64(1);
        let encoder = Encoder::Pca(Pca::fit(&images, 5, rng, &device));
        let latents = Representation::of(&encoder, 5, &images, &device).latents;
        let standardizer = Standardizer::fit(latents.values(), 5);
        let white = standardized(&standardizer, &latents, &device);
        let gmm = GmmConfig {
            components: 3,
            samples: 300,
        };
        let densities = [
            Some(Density::Knn(Knn::fit(&latents, 3, &device))),
            Some(Density::Mahalanobis(Mahalanobis::fit(&latents, &device))),
            Some(Density::Gmm(Gmm::fit(&white, gmm, rng, &device))),
            None,
        ];
        densities.map(|density| {
            let standardizer = match density {
                Some(Density::Gmm(_)) => Some(standardizer.clone()),
                _ => None,
            };
            let weights = BaselineWeights {
                encoder: encoder.clone(),
                density,
            };
            Baseline::new(conversion, sizes, weights, standardizer, &device)
        })
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        for detector in detectors() {
            assert_score_of_image_alone(&detector, &noise(300, 4));
        }
    }

    #[test]
    fn its_heat_map_is_what_the_encoder_does_not_bring_back() {
        let [detector, ..] = detectors();
        let images = noise(2, 5);
        let maps = detector.heat(&images, HeatSource::Reconstruction).unwrap();
        let back = detector.reconstruct(&images).unwrap();
        for (index, map) in maps.iter().enumerate() {
            let bytes = images.get(index).iter().zip(back.get(index));
            for (heat, (&pixel, &other)) in map.values().iter().zip(bytes) {
                // The reconstruction is rounded to bytes here.
                let expected = (f32::from(pixel) - f32::from(other)).abs() / 127.5;
                assert!((heat - expected).abs() < 0.005, "{heat} {expected}");
            }
        }
        assert!(detector.heat(&images, HeatSource::Gradient).is_none());
    }
}
