//! What the flow is compared with on the same representations: an encoder and a simpler score.

use burn::tensor::Device;

use super::density::{Gmm, Knn, Mahalanobis};
use super::pictures::reconstruct;
use super::{DetectorError, Representation, Scorer, Scores};
use crate::data::{Conversion, Images, Samples, Vectors};
use crate::encoder::{Encoder, EncoderSizes};
use crate::flow::{Standardizer, Transform};

/// How a latent is scored.
// There is one per detector: a box would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Density {
    /// Not at all: by the reconstruction error alone.
    Reconstruction,
    /// By the distance to the nearest training latents, unstandardised.
    Knn(Knn),
    /// By the distance from the mean.
    Mahalanobis(Mahalanobis),
    /// By the likelihood under a mixture of Gaussians of the standardised latents.
    Gmm(Standardizer, Gmm),
}

/// An encoder with a [`Density`].
pub struct Baseline {
    conversion: Conversion,
    sizes: EncoderSizes,
    encoder: Encoder,
    density: Density,
    device: Device,
}

impl Baseline {
    /// Puts the fitted parts together.
    pub fn new(
        conversion: Conversion,
        sizes: EncoderSizes,
        encoder: Encoder,
        density: Density,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            sizes,
            encoder: encoder.frozen(device),
            density,
            device: device.clone(),
        }
    }

    /// Second half of scoring: from latents, or reconstruction errors, to scores.
    pub fn score_representation(&self, representation: &Representation) -> Scores {
        let latents = &representation.latents;
        let column = match &self.density {
            Density::Reconstruction => representation.reconstruction.clone().unwrap_or_default(),
            Density::Knn(knn) => knn.score(latents),
            Density::Mahalanobis(gaussian) => gaussian.score(latents),
            Density::Gmm(standardizer, mixture) => {
                mixture.score(&standardized(standardizer, latents, &self.device))
            }
        };
        Scores::new(self.score_names(), vec![column])
    }
}

impl Scorer for Baseline {
    fn score_names(&self) -> &'static [&'static str] {
        match self.density {
            Density::Reconstruction => &["reconstruction"],
            Density::Knn(_) => &["neighbour_distance"],
            Density::Mahalanobis(_) => &["mahalanobis"],
            Density::Gmm(..) => &["nll"],
        }
    }

    fn score(&self, images: &Images) -> Result<Scores, DetectorError> {
        let images = self.conversion.apply(images.clone())?;
        let latent = self.sizes.latent();
        let representation = Representation::of(&self.encoder, latent, &images, &self.device);
        Ok(self.score_representation(&representation))
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        match self.encoder {
            Encoder::Pixels(_) => None,
            _ => reconstruct(images, &self.device, |batch| {
                self.encoder.decode(self.encoder.encode(batch))
            }),
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
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Fit;
    use crate::detector::GmmConfig;
    use crate::detector::tests::{assert_score_of_image_alone, noise};
    use crate::encoder::Pca;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_score_depends_on_its_image_alone() {
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
            Density::Reconstruction,
            Density::Knn(Knn::fit(&latents, 3, &device)),
            Density::Mahalanobis(Mahalanobis::fit(&latents, &device)),
            Density::Gmm(standardizer, Gmm::fit(&white, gmm, rng, &device)),
        ];
        for density in densities {
            let detector = Baseline::new(conversion, sizes, encoder.clone(), density, &device);
            assert_score_of_image_alone(&detector, &noise(300, 4));
        }
    }
}
