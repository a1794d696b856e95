//! The paper's detector: encoder, standardisation, flow.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::differentiates_resizing;
use crate::data::{Conversion, Images, Samples, batches};
use crate::encoder::{Encoder, EncoderSizes};
use crate::flow::{RealNvp, RealNvpConfig, Standardizer, Transform};
use crate::method::detector::model_file::{check_shape, filled, onnx_in, parse_sizes};
use crate::method::detector::pictures::{pixel_gradients, reconstruct, residuals, to_bytes};
use crate::method::fitting::representation::BATCH;
use crate::method::{
    DetectorError, HeatSource, Heatmap, Representation, Scorer, Scores, Stored, Terms,
};

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
        if self.flow.context > 0 {
            return Err("a whole image has no place that its flow could know".to_owned());
        }
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
        for indices in batches(latents.len(), BATCH) {
            let (x, _) = self
                .standardizer
                .forward(latents.batch(&indices, &self.device), None);
            let (z, log_det) = self.weights.flow.forward(x, None);
            let log_prob = self.weights.flow.base_log_prob(z.clone()) + log_det;
            let length: Tensor<1> = z.square().sum_dim(1).sqrt().squeeze_dim(1);
            nll.extend(log_prob.neg().into_data().iter::<f32>());
            norm.extend(length.into_data().iter::<f32>());
        }
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
        } = parse_sizes(described)?;
        sizes.check()?;
        sizes.flow.fits(bytes.len())?;
        sizes.encoder.fits(bytes.len())?;
        check_shape(conversion, sizes.encoder.image_shape())?;
        standardizer.check(sizes.flow.dim)?;
        let onnx = onnx_in(&bytes)?;
        let weights = filled(bytes, |rng| {
            Ok(EncoderFlowWeights {
                encoder: sizes.encoder.empty(onnx, rng, device)?,
                flow: sizes.flow.init(rng, device),
            })
        })?;
        let scorer = Self::from_weights(conversion, sizes, weights, standardizer, device);
        Ok(Box::new(scorer))
    }

    /// True when gradients with respect to the pixels can be had: the engine of ONNX networks gives none,
    /// and SqueezeNet begins by resizing.
    fn differentiable(&self) -> bool {
        match self.weights.encoder {
            Encoder::SqueezeNet(_) => differentiates_resizing(&self.device),
            Encoder::Onnx(_) => false,
            _ => true,
        }
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

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        self.weights.save_into(store)
    }

    fn onnx(&self) -> Option<&[u8]> {
        self.weights.encoder.onnx()
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        Ok(self.score_representation(&self.represent(images)))
    }

    fn terms(&self, images: &Images) -> Vec<Terms> {
        let latents = self.represent(images).latents;
        let (mut base, mut log_det) = (Vec::new(), Vec::new());
        for indices in batches(latents.len(), BATCH) {
            let latents = latents.batch(&indices, &self.device);
            // The score is the likelihood of the standardised latent: its scale has no part in it.
            let (x, _) = self.standardizer.forward(latents, None);
            let terms = self.weights.flow.log_prob_terms(x, None);
            base.extend(terms.0.neg().into_data().iter::<f32>());
            log_det.extend(terms.1.neg().into_data().iter::<f32>());
        }
        vec![Terms {
            score: "nll",
            unit: "nats",
            base,
            log_det,
        }]
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
                pixel_gradients(images, GRADIENT_BATCH, &self.device, |pixels| {
                    let (x, _) = self.standardizer.forward(encoder.encode(pixels), None);
                    self.weights.flow.log_prob(x, None)
                })
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
pub(in crate::method) mod tests;
