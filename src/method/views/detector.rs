//! Scoring by several views.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::{Device, Tensor};
use serde_json::Value;

use super::ViewSizes;
use crate::backend::differentiates_resizing;
use crate::data::{Conversion, Images, Samples, Vectors, batches};
use crate::encoder::{
    AutoEncoder, Batch, Networks, OnnxNetwork, Projection, ResNet, SqueezeNet, VisualWords,
};
use crate::evaluate::quantile;
use crate::flow::RealNvp;
use crate::method::detector::model_file::{filled, onnx_in, parse_sizes};
use crate::method::detector::pictures::pixel_gradients;
use crate::method::{DetectorError, HeatSource, Heatmap, Scorer, Scores, Spread, Stored, Terms};

/// Name of the scorer in a model file.
pub(super) const KIND: &str = "views";
/// Images per forward pass; the pretrained network's first maps are large.
pub(super) const BATCH: usize = 64;
/// Images per backward pass, and pixels of them, at most: every view notes several numbers for each.
const GRADIENT_BATCH: usize = 32;
const GRADIENT_PIXELS: usize = 1 << 19;
/// Names of the scores: the deciding one, then one for every view.
pub(super) const NAMES: [&str; 9] = [
    "views", "view_1", "view_2", "view_3", "view_4", "view_5", "view_6", "view_7", "view_8",
];
/// The same in words.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("views", "mean of the views, and their guards"),
    ("view_1", "view 1"),
    ("view_2", "view 2"),
    ("view_3", "view 3"),
    ("view_4", "view 4"),
    ("view_5", "view 5"),
    ("view_6", "view 6"),
    ("view_7", "view 7"),
    ("view_8", "view 8"),
];

/// Scores images by the likelihoods of several descriptions of them.
///
/// - `view_1`, …: negative log-likelihood of a view's description, less its mean on normal validation
///   images, in deviations there; of a guard, the square of what exceeds that of nearly all of them;
/// - `views`: the mean of those that are no guards, and the sum of those that are, which decides.
///
/// Statistics of edges and frequencies tell another data set at once and say little about what an image is
/// of: in a mean they drown what a network sees, and make frogs, which are smooth, likely. As guards they
/// are silent about nearly all normal images.
pub struct Views {
    conversion: Conversion,
    sizes: ViewSizes,
    weights: Weights,
    device: Device,
}

/// The fitted parts of all views.
#[derive(Module, Debug)]
pub(super) struct Weights {
    pub network: Option<SqueezeNet>,
    pub onnx: Option<OnnxNetwork>,
    pub autoencoder: Option<AutoEncoder>,
    pub simclr: Option<ResNet>,
    pub dictionary: Option<VisualWords>,
    pub views: Vec<ViewWeights>,
}

/// The fitted parts of one view.
#[derive(Module, Debug)]
pub(super) struct ViewWeights {
    pub projection: Projection,
    pub flow: RealNvp,
}

impl Weights {
    /// What views look through.
    pub fn networks(&self) -> Networks<'_> {
        Networks {
            squeezenet: self.network.as_ref(),
            onnx: self.onnx.as_ref(),
            autoencoder: self.autoencoder.as_ref(),
            simclr: self.simclr.as_ref(),
            dictionary: self.dictionary.as_ref(),
        }
    }
}

impl Views {
    /// Puts the fitted parts together, with frozen weights.
    pub(super) fn new(
        conversion: Conversion,
        sizes: ViewSizes,
        weights: Weights,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            sizes,
            weights: weights.valid().to_device(device),
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
        let sizes: ViewSizes = parse_sizes(described)?;
        sizes.check(conversion, bytes.len())?;
        let onnx = match &sizes.onnx {
            Some(network) => {
                let channels = sizes.shape[0];
                Some(OnnxNetwork::stored(onnx_in(&bytes)?, network, channels)?)
            }
            None => None,
        };
        let weights = filled(bytes, |rng| {
            let views = sizes.views.iter().map(|view| ViewWeights {
                projection: Projection::empty(sizes.dim(&view.view), view.flow.dim, device),
                flow: view.flow.init(rng, device),
            });
            let squeezenet = sizes.pretrained();
            Ok(Weights {
                views: views.collect(),
                network: squeezenet.map(|look| SqueezeNet::new(device).with(look)),
                onnx,
                autoencoder: sizes.autoencoder.map(|sizes| sizes.init(rng, device)),
                simclr: sizes.simclr.map(|network| network.init(rng, device)),
                dictionary: sizes.dictionary.map(|sizes| sizes.empty(device)),
            })
        })?;
        Ok(Box::new(Self::new(conversion, sizes, weights, device)))
    }

    /// Calls `each` with the number of a view and its latents, batch after batch and view after view, of images
    /// that have been converted; `features` are the pretrained network's, where they are known.
    fn for_each_view(
        &self,
        images: &Images,
        features: Option<&Vectors>,
        mut each: impl FnMut(usize, Tensor<2>),
    ) {
        for indices in batches(images.len(), BATCH) {
            let features = features.map(|all| all.batch(&indices, &self.device));
            let batch = images.batch(&indices, &self.device);
            let batch = Batch::new(batch, self.weights.networks()).with_features(features);
            let views = self.sizes.views.iter().zip(&self.weights.views);
            for (number, (sizes, weights)) in views.enumerate() {
                let description = sizes.view.describe(&batch);
                each(number, weights.projection.forward(description));
            }
        }
    }

    /// Negative log-likelihoods in nats, one column for every view, of images that have been
    /// converted; `features` are the pretrained network's, where they are known.
    pub(super) fn nll(&self, images: &Images, features: Option<&Vectors>) -> Vec<Vec<f32>> {
        let mut columns = vec![Vec::with_capacity(images.len()); self.sizes.views.len()];
        self.for_each_view(images, features, |number, latents| {
            let log_prob = self.weights.views[number].flow.log_prob(latents, None);
            columns[number].extend(log_prob.neg().into_data().iter::<f32>());
        });
        columns
    }

    /// True when gradients with respect to the pixels can be had: a network from an ONNX file gives none, and
    /// SqueezeNet begins by resizing.
    fn differentiable(&self) -> bool {
        self.weights.onnx.is_none()
            && (self.weights.network.is_none() || differentiates_resizing(&self.device))
    }

    /// The deciding score of images whose gradients are noted, `[batch]`.
    fn deciding_score(&self, pixels: Tensor<4>) -> Tensor<1> {
        let mut total = Tensor::<1>::zeros([pixels.dims()[0]], &pixels.device());
        let batch = Batch::new(pixels, self.weights.networks());
        for (sizes, weights) in self.sizes.views.iter().zip(&self.weights.views) {
            let description = sizes.view.describe(&batch);
            let latents = weights.projection.forward(description);
            let nll = weights.flow.log_prob(latents, None).neg();
            let standard = (nll - sizes.mean) / sizes.deviation;
            total = total
                + match sizes.guard {
                    None => standard / self.sizes.scored() as f64,
                    Some(from) => (standard - from).clamp_min(0.0).square(),
                };
        }
        total
    }

    /// Takes the scales of the scores from those of normal validation images, and from where guards count: the
    /// share of these images of which each says nothing.
    pub(super) fn standardise(&mut self, nll: &[Vec<f32>], guards: &[Option<f64>]) {
        let views = self.sizes.views.iter_mut().zip(nll).zip(guards);
        for ((view, column), &guard) in views {
            let spread = Spread::of(column);
            (view.mean, view.deviation) = (spread.mean, spread.deviation);
            if let Some(share) = guard {
                let standard: Vec<f32> = column.iter().map(|&nll| spread.standard(nll)).collect();
                // Of no image at all: the mean.
                view.guard = Some(quantile(&standard, share).unwrap_or(0.0));
            }
        }
    }

    /// The deciding score, and what every view adds to it.
    pub(super) fn combined(&self, nll: Vec<Vec<f32>>) -> Scores {
        let views = self.sizes.views.iter().zip(nll);
        let parts = views.map(|(view, column)| -> Vec<f32> {
            let part = column.into_iter().map(|value| view.part(value));
            part.collect()
        });
        let parts: Vec<Vec<f32>> = parts.collect();
        let count = self.sizes.scored() as f32;
        let sum = |row: usize, guards: bool| {
            let views = self.sizes.views.iter().zip(&parts);
            let wanted = views.filter(|(view, _)| view.guard.is_some() == guards);
            wanted.map(|(_, column)| column[row]).sum::<f32>()
        };
        let rows = 0..parts.first().map_or(0, Vec::len);
        let deciding = rows.map(|row| sum(row, false) / count + sum(row, true));
        let columns = std::iter::once(deciding.collect()).chain(parts.iter().cloned());
        Scores::new(self.score_names(), columns.collect())
    }
}

impl Scorer for Views {
    fn score_names(&self) -> &'static [&'static str] {
        &NAMES[..=self.sizes.views.len()]
    }

    fn summands(&self) -> &'static [&'static str] {
        &self.score_names()[1..]
    }

    /// Guards add all of their part.
    fn summand_weights(&self) -> Vec<f32> {
        let share = 1.0 / self.sizes.scored() as f32;
        let views = self.sizes.views.iter();
        let weights = views.map(|view| view.guard.map_or(share, |_| 1.0));
        weights.collect()
    }

    fn words(&self, score: &str) -> Option<String> {
        let number = self.summands().iter().position(|name| *name == score)?;
        let view = &self.sizes.views[number];
        let guard = if view.guard.is_some() {
            ", a guard"
        } else {
            ""
        };
        Some(format!("view {} ({}{guard})", number + 1, view.view))
    }

    /// Of the views whose density is more than a mixture.
    fn terms(&self, images: &Images) -> Vec<Terms> {
        let mut columns = vec![[Vec::new(), Vec::new()]; self.sizes.views.len()];
        self.for_each_view(images, None, |number, latents| {
            let terms = self.weights.views[number]
                .flow
                .log_prob_terms(latents, None);
            let terms = [terms.0, terms.1].map(|term| term.neg().into_data());
            for (column, term) in columns[number].iter_mut().zip(terms) {
                column.extend(term.iter::<f32>());
            }
        });
        let names = self.summands().iter().zip(&self.sizes.views).zip(columns);
        let flows = names.filter(|((_, view), _)| view.flow.couplings > 0);
        flows
            .map(|((&score, _), [base, log_det])| Terms {
                score,
                unit: "nats",
                base,
                log_det,
            })
            .collect()
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        Stored::new(KIND, &self.sizes)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        self.weights.save_into(store)
    }

    fn onnx(&self) -> Option<&[u8]> {
        let network = self.weights.onnx.as_ref();
        network.map(OnnxNetwork::file)
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        Ok(self.combined(self.nll(images, None)))
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        let [_, height, width] = images.shape();
        let batch = (GRADIENT_PIXELS / (height * width).max(1)).clamp(1, GRADIENT_BATCH);
        pixel_gradients(images, batch, &self.device, |pixels| {
            self.deciding_score(pixels)
        })
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        match self.differentiable() {
            true => &[HeatSource::Gradient],
            false => &[],
        }
    }
}

#[cfg(test)]
pub(in crate::method) mod tests;
