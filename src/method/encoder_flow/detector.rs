//! The paper's detector: encoder, standardisation, flow.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::Backend;
use crate::data::{Conversion, Images, Samples};
use crate::encoder::{Encoder, EncoderSizes};
use crate::flow::{RealNvp, RealNvpConfig, Standardizer, Transform};
use crate::method::model_file::{check_shape, load_weights, onnx_in};
use crate::method::pictures::{heatmaps, reconstruct, residuals, to_bytes};
use crate::method::representation::for_each_batch;
use crate::method::{DetectorError, HeatSource, Heatmap, Representation, Scorer, Scores, Stored};

/// Name of the scorer in a model file.
pub(super) const KIND: &str = "encoder-flow";

/// Images per backward pass.
const GRADIENT_BATCH: usize = 32;

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
    weights: EncoderFlowWeights,
    standardizer: Standardizer,
    device: Device,
}

/// Sizes of the two parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Of the encoder.
    pub encoder: EncoderSizes,
    /// Of the flow.
    pub flow: RealNvpConfig,
}

impl Sizes {
    /// What keeps these sizes from being built, if anything does.
    fn check(&self) -> Result<(), String> {
        self.flow.check()?;
        self.encoder.check()?;
        match self.flow.dim == self.encoder.latent() {
            true => Ok(()),
            false => Err("the flow is not of the latent's dimension".to_owned()),
        }
    }
}

/// The trained parts.
#[derive(Module, Debug)]
pub struct EncoderFlowWeights {
    /// From images to latents.
    pub encoder: Encoder,
    /// The latents' density.
    pub flow: RealNvp,
}

/// What a model file says beside the weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    sizes: Sizes,
    /// Scale of the latents.
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
        let weights = EncoderFlowWeights { encoder, flow };
        Self::from_weights(conversion, sizes, weights, standardizer, device)
    }

    /// [`new`](Self::new) from the trained parts as they are stored.
    fn from_weights(
        conversion: Conversion,
        sizes: Sizes,
        weights: EncoderFlowWeights,
        standardizer: Standardizer,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            sizes,
            weights: weights.valid().to_device(device),
            standardizer,
            device: device.clone(),
        }
    }

    /// First half of scoring: what the encoder makes of images that have been converted.
    pub fn represent(&self, images: &Images) -> Representation {
        let latent = self.sizes.encoder.latent();
        Representation::of(&self.weights.encoder, latent, images, &self.device)
    }

    /// Second half of scoring: the flow's view of the latents.
    pub fn score_representation(&self, representation: &Representation) -> Scores {
        let latents = &representation.latents;
        let mut nll = Vec::with_capacity(latents.len());
        let mut norm = Vec::with_capacity(latents.len());
        for_each_batch(latents.len(), |indices| {
            let (x, _) = self
                .standardizer
                .forward(latents.batch(indices, &self.device), None);
            let (z, log_det) = self.weights.flow.forward(x, None);
            let log_prob = self.weights.flow.base_log_prob(z.clone()) + log_det;
            let length: Tensor<1> = z.square().sum_dim(1).sqrt().squeeze_dim(1);
            nll.extend(log_prob.neg().into_data().iter::<f32>());
            norm.extend(length.into_data().iter::<f32>());
        });
        let reconstruction = representation.reconstruction.clone();
        let columns = [Some(nll), reconstruction, Some(norm)];
        Scores::new(self.score_names(), columns.into_iter().flatten().collect())
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
        let Described {
            sizes,
            standardizer,
        } = serde_json::from_value(described).map_err(|error| error.to_string())?;
        sizes.check()?;
        check_shape(conversion, sizes.encoder.image_shape())?;
        standardizer.check(sizes.flow.dim)?;
        // The initial weights are replaced; any seed will do.
        let rng = &mut StdRng::seed_from_u64(0);
        let mut weights = EncoderFlowWeights {
            encoder: sizes.encoder.empty(onnx_in(&bytes)?, rng, device)?,
            flow: sizes.flow.init(rng, device),
        };
        load_weights(&mut weights, bytes)?;
        let scorer = Self::from_weights(conversion, sizes, weights, standardizer, device);
        Ok(Box::new(scorer))
    }

    /// True when the device can give gradients with respect to the pixels: SqueezeNet begins by resizing
    /// them, and of Burn 0.22's backends only flex differentiates that; the engine of ONNX networks
    /// gives none.
    fn differentiable(&self) -> bool {
        let on_flex = || {
            let flex = Backend::Flex.open();
            flex.is_ok_and(|flex| flex.device == self.device)
        };
        match self.weights.encoder {
            Encoder::SqueezeNet(_) => on_flex(),
            Encoder::Onnx(_) => false,
            _ => true,
        }
    }

    /// `|d nll / d pixel|`, summed over the channels: which pixels the likelihood hangs on.
    ///
    /// # Shapes
    /// To `[len, height, width]`, row-major.
    fn pixel_gradients(&self, images: &Images) -> Vec<f32> {
        let mut values = Vec::new();
        let device = self.device.clone().autodiff();
        let all: Vec<usize> = (0..images.len()).collect();
        for indices in all.chunks(GRADIENT_BATCH) {
            let pixels = images.batch(indices, &device).require_grad();
            let latents = self.weights.encoder.encode(pixels.clone());
            let (x, _) = self.standardizer.forward(latents, None);
            // The images do not see each other, so the sum's gradient is each image's own.
            let gradients = self.weights.flow.log_prob(x, None).sum().backward();
            if let Some(gradient) = pixels.grad(&gradients) {
                let strength = gradient.abs().sum_dim(1);
                values.extend(strength.into_data().iter::<f32>());
            }
        }
        values
    }
}

impl Scorer for EncoderFlow {
    fn score_names(&self) -> &'static [&'static str] {
        match self.weights.encoder.decodes() {
            true => &["nll", "reconstruction", "latent_norm"],
            false => &["nll", "latent_norm"],
        }
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        let described = Described {
            sizes: self.sizes.clone(),
            standardizer: self.standardizer.clone(),
        };
        Stored::new(KIND, &described)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), String> {
        let saved = self.weights.save_into(store);
        saved.map_err(|error| error.to_string())
    }

    fn onnx(&self) -> Option<&[u8]> {
        self.weights.encoder.onnx()
    }

    fn score(&self, images: &Images) -> Result<Scores, DetectorError> {
        let images = self.conversion.apply(images.clone())?;
        Ok(self.score_representation(&self.represent(&images)))
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        let encoder = &self.weights.encoder;
        reconstruct(images, &self.device, |batch| {
            encoder.decode(encoder.encode(batch))
        })
    }

    fn sample(&self, count: usize, seed: u64) -> Option<Images> {
        let rng = &mut StdRng::seed_from_u64(seed);
        let noise = self.weights.flow.sample(count, rng, &self.device);
        let (latents, _) = self.standardizer.inverse(noise, None);
        let pixels = to_bytes(self.weights.encoder.decode(latents)?).collect();
        Images::new(self.sizes.encoder.image_shape(), pixels).ok()
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        let encoder = &self.weights.encoder;
        match source {
            HeatSource::Reconstruction => residuals(images, &self.device, |batch| {
                encoder.decode(encoder.encode(batch))
            }),
            HeatSource::Gradient if self.differentiable() => {
                let [_, height, width] = images.shape();
                heatmaps([height, width], &self.pixel_gradients(images))
            }
            HeatSource::Gradient | HeatSource::Positions => None,
        }
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        match self.weights.encoder.decodes() {
            true => &[HeatSource::Reconstruction, HeatSource::Gradient],
            false if self.differentiable() => &[HeatSource::Gradient],
            false => &[],
        }
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Framing;
    use crate::encoder::AutoEncoderConfig;
    use crate::flow::transform_tests::randomised;
    use crate::flow::{BaseKind, Mixing};
    use crate::method::scorer::tests::{assert_score_of_image_alone, noise};

    pub fn detector() -> EncoderFlow {
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
                gaussians: 0,
                base: BaseKind::Trained,
                context: 0,
            },
        };
        let rng = &mut StdRng::seed_from_u64(1);
        let encoder = sizes.encoder.init(rng, &device).unwrap();
        let flow = randomised(sizes.flow.init(rng, &device));
        let representation = Representation::of(&encoder, 6, &noise(300, 2), &device);
        let standardizer = Standardizer::fit(representation.latents.values(), 6);
        let conversion = Conversion {
            channels: 1,
            height: 32,
            width: 32,
            fit: Framing::Pad,
        };
        EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, &device)
    }

    /// Looking through the tiny network of `tests/fixtures/onnx`.
    #[cfg(feature = "onnx")]
    pub fn exported() -> EncoderFlow {
        use crate::encoder::onnx_tests::tiny;
        use crate::encoder::{Exported, Projection};
        let device = test_device();
        let other = detector();
        let network = tiny(&["late", "vector"], 1);
        let sizes = Sizes {
            encoder: EncoderSizes::Onnx {
                shape: [1, 32, 32],
                network: network.sizes().clone(),
                components: 6,
            },
            flow: other.sizes.flow,
        };
        let projection = randomised(Projection::empty(network.features(), 6, &device));
        let encoder = Encoder::Onnx(Exported {
            network,
            projection,
        });
        let rng = &mut StdRng::seed_from_u64(3);
        let flow = randomised(sizes.flow.init(rng, &device));
        let representation = Representation::of(&encoder, 6, &noise(300, 2), &device);
        let standardizer = Standardizer::fit(representation.latents.values(), 6);
        let conversion = other.conversion();
        EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, &device)
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(300, 3));
    }

    #[cfg(feature = "onnx")]
    #[test]
    fn an_exported_network_has_scores_and_no_gradients() {
        let detector = exported();
        assert_score_of_image_alone(&detector, &noise(300, 3));
        assert!(detector.heat_sources().is_empty());
        assert!(detector.heat(&noise(1, 3), HeatSource::Gradient).is_none());
    }

    #[test]
    fn gradients_and_residuals_have_one_value_per_pixel() {
        let detector = detector();
        let images = noise(3, 5);
        for &source in detector.heat_sources() {
            let maps = detector.heat(&images, source).unwrap();
            assert_eq!(maps.len(), 3, "{source}");
            assert_eq!((maps[0].height(), maps[0].width()), (32, 32));
            // Scored one at a time, an image has the same map.
            let alone = detector.heat(&images.select(&[2]), source).unwrap();
            for (left, right) in maps[2].values().iter().zip(alone[0].values()) {
                assert!(
                    (left - right).abs() <= 1e-4 * (1.0 + right.abs()),
                    "{source}"
                );
            }
        }
    }

    #[test]
    fn the_gradient_goes_through_a_pretrained_network() {
        let device = test_device();
        let other = detector();
        let sizes = Sizes {
            encoder: EncoderSizes::SqueezeNet {
                shape: [1, 32, 32],
                input: 64,
                components: 6,
                pixels: 4,
            },
            flow: RealNvpConfig {
                dim: 10,
                ..other.sizes.flow
            },
        };
        let rng = &mut StdRng::seed_from_u64(2);
        let encoder = randomised(sizes.encoder.init(rng, &device).unwrap());
        let flow = randomised(sizes.flow.init(rng, &device));
        let images = noise(20, 7);
        let representation = Representation::of(&encoder, 10, &images, &device);
        let standardizer = Standardizer::fit(representation.latents.values(), 10);
        let conversion = other.conversion();
        let detector = EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, &device);
        assert_eq!(detector.heat_sources(), [HeatSource::Gradient]);
        let maps = detector.heat(&images.select(&[0, 1]), HeatSource::Gradient);
        for map in maps.unwrap() {
            assert_eq!((map.height(), map.width()), (32, 32));
            assert!(map.values().iter().all(|value| value.is_finite()));
            assert!(map.values().iter().any(|&value| value > 0.0));
        }
    }

    #[test]
    fn the_gradient_is_the_score_s_slope() {
        // Central differences of the NLL by a grey level in single pixels.
        let detector = detector();
        let image = noise(1, 6);
        let map = &detector.heat(&image, HeatSource::Gradient).unwrap()[0];
        for pixel in [0, 77, 500, 1023] {
            let shifted = |by: i16| {
                let mut bytes = image.as_bytes().to_vec();
                let value = i16::from(bytes[pixel]).clamp(4, 251) + by;
                bytes[pixel] = value as u8;
                let image = Images::new([1, 32, 32], bytes).unwrap();
                f64::from(detector.score(&image).unwrap().columns()[0][0])
            };
            let slope = (shifted(4) - shifted(-4)).abs() / (8.0 / 127.5);
            let found = f64::from(map.values()[pixel]);
            assert!(
                (found - slope).abs() < 0.05 * slope.max(0.2),
                "{found} {slope}"
            );
        }
    }
}
