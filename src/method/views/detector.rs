//! Scoring by several views.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::Backend;
use crate::data::{Conversion, Images, Samples, Vectors};
use crate::encoder::{
    Look, Networks, PretrainedLook, Projection, ResNet, ResNetConfig, SqueezeNet, View,
};
use crate::flow::{RealNvp, RealNvpConfig};
use crate::method::model_file::{check_shape, load_weights};
use crate::method::pictures::heatmaps;
use crate::method::{DetectorError, HeatSource, Heatmap, Scorer, Scores, Stored};

/// Name of the scorer in a model file.
pub(super) const KIND: &str = "views";
/// Images per forward pass; the pretrained network's first maps are large.
pub(super) const BATCH: usize = 64;
/// Images per backward pass.
const GRADIENT_BATCH: usize = 32;
/// Names of the scores: the deciding one, then one for every view.
pub(super) const NAMES: [&str; 9] = [
    "views", "view_1", "view_2", "view_3", "view_4", "view_5", "view_6", "view_7", "view_8",
];
/// The same in words.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("views", "mean of the views"),
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
///   images, in deviations there;
/// - `views`: the mean of these, which decides.
pub struct Views {
    conversion: Conversion,
    sizes: ViewSizes,
    weights: Weights,
    device: Device,
}

/// What a model file says beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSizes {
    /// `[channels, height, width]` of an image.
    pub shape: [usize; 3],
    /// Side to which images are resized for the pretrained network.
    pub input: usize,
    /// Sizes of the network that was trained without labels, where a view looks through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simclr: Option<ResNetConfig>,
    /// The views.
    pub views: Vec<ViewFlow>,
}

/// One view, the sizes of its flow, and the scale of its score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewFlow {
    /// The description and its normalisation.
    pub view: View,
    /// Of the flow; its `dim` is the number of components.
    pub flow: RealNvpConfig,
    /// Mean negative log-likelihood of normal validation images, in nats.
    pub mean: f64,
    /// Its standard deviation there.
    pub deviation: f64,
}

/// The fitted parts of all views.
#[derive(Module, Debug)]
pub(super) struct Weights {
    pub network: Option<SqueezeNet>,
    pub simclr: Option<ResNet>,
    pub views: Vec<ViewWeights>,
}

/// The fitted parts of one view.
#[derive(Module, Debug)]
pub(super) struct ViewWeights {
    pub projection: Projection,
    pub flow: RealNvp,
}

impl Weights {
    fn networks(&self) -> Networks<'_> {
        Networks {
            squeezenet: self.network.as_ref(),
            simclr: self.simclr.as_ref(),
        }
    }
}

impl ViewSizes {
    /// How the pretrained network looks at images, if it does.
    fn pretrained(&self) -> Option<PretrainedLook> {
        let mut looks = self.views.iter().map(|view| view.view.of);
        let look = PretrainedLook {
            input: self.input,
            moments: looks.clone().any(|of| of == Look::SqueezeNetMoments),
        };
        looks.any(Look::is_pretrained).then_some(look)
    }

    /// Entries of the description that a view is of.
    fn dim(&self, view: &View) -> usize {
        let features = self.simclr.map_or(0, |network| network.features());
        view.dim(self.shape, features)
    }

    fn check(&self, conversion: Conversion, bytes: usize) -> Result<(), String> {
        if !(1..NAMES.len()).contains(&self.views.len()) {
            return Err(format!("{} views are not supported", self.views.len()));
        }
        check_shape(conversion, self.shape)?;
        let [channels, size, _] = self.shape;
        if !matches!(channels, 1 | 3) || !(4..=1024).contains(&size) {
            return Err(format!(
                "images of shape {:?} are not supported",
                self.shape
            ));
        }
        if !SqueezeNet::INPUTS.contains(&self.input) {
            return Err(format!(
                "an input of {} pixels is not supported",
                self.input
            ));
        }
        match self.simclr {
            Some(network) if network.image_shape() != self.shape => {
                return Err("its network is for other images".to_owned());
            }
            Some(network) => network.check()?,
            None if self.views.iter().any(|view| view.view.of == Look::SimClr) => {
                return Err("the network of a view is missing".to_owned());
            }
            None => {}
        }
        for view in &self.views {
            view.flow.check()?;
            let dim = self.dim(&view.view);
            let numbers = view.flow.dim * view.flow.dim.max(1) * view.flow.gaussians.max(1);
            if view.flow.dim > dim || numbers.max(dim) > bytes {
                return Err("a view's flow is not of its description's size".to_owned());
            }
            if !(view.mean.is_finite() && view.deviation > 0.0 && view.deviation.is_finite()) {
                return Err("the scale of a view's score is damaged".to_owned());
            }
        }
        Ok(())
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
        let sizes: ViewSizes =
            serde_json::from_value(described).map_err(|error| error.to_string())?;
        sizes.check(conversion, bytes.len())?;
        // The initial weights are replaced; any seed will do.
        let rng = &mut StdRng::seed_from_u64(0);
        let mut weights = Weights {
            network: sizes
                .pretrained()
                .map(|look| SqueezeNet::new(device).with(look)),
            simclr: sizes.simclr.map(|network| network.init(rng, device)),
            views: sizes
                .views
                .iter()
                .map(|view| ViewWeights {
                    projection: Projection::empty(sizes.dim(&view.view), view.flow.dim, device),
                    flow: view.flow.init(rng, device),
                })
                .collect(),
        };
        load_weights(&mut weights, bytes)?;
        Ok(Box::new(Self::new(conversion, sizes, weights, device)))
    }

    /// Negative log-likelihoods in nats, one column for every view, of images that have been
    /// converted; `features` are the pretrained network's, where they are known.
    pub(super) fn nll(&self, images: &Images, features: Option<&Vectors>) -> Vec<Vec<f32>> {
        let mut columns = vec![Vec::with_capacity(images.len()); self.sizes.views.len()];
        let all: Vec<usize> = (0..images.len()).collect();
        for indices in all.chunks(BATCH) {
            let batch = images.batch(indices, &self.device);
            // One pass of the network serves all of its views.
            let features = features.map(|all| all.batch(indices, &self.device));
            let networks = self.weights.networks();
            let features = features.or_else(|| Some(networks.squeezenet?.encode(batch.clone())));
            let views = self.sizes.views.iter().zip(&self.weights.views);
            for (column, (sizes, weights)) in columns.iter_mut().zip(views) {
                let description = match (&features, sizes.view.of) {
                    (Some(features), of) if of.is_pretrained() => {
                        sizes.view.of_features(features.clone())
                    }
                    _ => sizes.view.describe(batch.clone(), networks),
                };
                let latents = weights.projection.forward(description);
                let log_prob: Tensor<1> = weights.flow.log_prob(latents, None);
                column.extend(log_prob.neg().into_data().iter::<f32>());
            }
        }
        columns
    }

    /// True when the device can give gradients with respect to the pixels: the pretrained network begins
    /// by resizing them, and of Burn 0.22's backends only flex differentiates that.
    fn differentiable(&self) -> bool {
        let flex = || {
            Backend::Flex
                .open()
                .is_ok_and(|flex| flex.device == self.device)
        };
        self.weights.network.is_none() || flex()
    }

    /// `|d views / d pixel|`, summed over the channels: which pixels the score hangs on.
    ///
    /// # Shapes
    /// To `[len, height, width]`, row-major.
    fn pixel_gradients(&self, images: &Images) -> Vec<f32> {
        let device = self.device.clone().autodiff();
        let mut values = Vec::new();
        let all: Vec<usize> = (0..images.len()).collect();
        for indices in all.chunks(GRADIENT_BATCH) {
            let pixels = images.batch(indices, &device).require_grad();
            let networks = self.weights.networks();
            let mut total = Tensor::<1>::zeros([1], &device);
            for (sizes, weights) in self.sizes.views.iter().zip(&self.weights.views) {
                let description = sizes.view.describe(pixels.clone(), networks);
                let latents = weights.projection.forward(description);
                let nll = weights.flow.log_prob(latents, None).neg().sum();
                total = total + nll / sizes.deviation;
            }
            // The images do not see each other, so the sum's gradient is each image's own.
            if let Some(gradient) = pixels.grad(&total.backward()) {
                let strength = gradient.abs().sum_dim(1) / self.sizes.views.len() as f64;
                values.extend(strength.into_data().iter::<f32>());
            }
        }
        values
    }

    /// Takes the scales of the scores from those of normal validation images.
    pub(super) fn standardise(&mut self, nll: &[Vec<f32>]) {
        for (view, column) in self.sizes.views.iter_mut().zip(nll) {
            let count = column.len().max(1) as f64;
            let mean = column.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
            let squares = column
                .iter()
                .map(|&value| (f64::from(value) - mean).powi(2));
            let deviation = (squares.sum::<f64>() / count).sqrt();
            view.mean = mean;
            // Scores that are all alike: any scale that is not zero keeps the order.
            view.deviation = if deviation > 0.0 { deviation } else { 1.0 };
        }
    }

    /// The mean of the standardised scores, and these.
    pub(super) fn combined(&self, nll: Vec<Vec<f32>>) -> Scores {
        let standard: Vec<Vec<f32>> = self
            .sizes
            .views
            .iter()
            .zip(nll)
            .map(|(view, column)| {
                let scaled = |value: f32| (f64::from(value) - view.mean) / view.deviation;
                column
                    .into_iter()
                    .map(|value| scaled(value) as f32)
                    .collect()
            })
            .collect();
        let count = standard.len() as f32;
        let rows = 0..standard.first().map_or(0, Vec::len);
        let mean = rows.map(|row| standard.iter().map(|column| column[row]).sum::<f32>() / count);
        let columns = std::iter::once(mean.collect()).chain(standard.iter().cloned());
        Scores::new(self.score_names(), columns.collect())
    }
}

impl Scorer for Views {
    fn score_names(&self) -> &'static [&'static str] {
        &NAMES[..=self.sizes.views.len()]
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        Stored::new(KIND, &self.sizes)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), String> {
        let saved = self.weights.save_into(store);
        saved.map_err(|error| error.to_string())
    }

    fn score(&self, images: &Images) -> Result<Scores, DetectorError> {
        let images = self.conversion.apply(images.clone())?;
        Ok(self.combined(self.nll(&images, None)))
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        let [_, height, width] = images.shape();
        heatmaps([height, width], &self.pixel_gradients(images))
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        match self.differentiable() {
            true => &[HeatSource::Gradient],
            false => &[],
        }
    }
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::Framing;
    use crate::encoder::Normalisation;
    use crate::flow::transform_tests::randomised;
    use crate::flow::{BaseKind, Mixing};
    use crate::method::scorer::tests::{assert_score_of_image_alone, noise};

    pub fn detector() -> Views {
        let device = test_device();
        let conversion = Conversion {
            channels: 1,
            height: 32,
            width: 32,
            fit: Framing::Pad,
        };
        let flow = RealNvpConfig {
            dim: 4,
            couplings: 2,
            hidden: 8,
            layers: 1,
            clamp: 2.0,
            mixing: Mixing::Permutation,
            actnorm: false,
            gaussians: 2,
            base: BaseKind::Fitted,
            context: 0,
        };
        let images = noise(300, 3);
        let rng = &mut StdRng::seed_from_u64(1);
        let looks = [
            (Look::Pixels, Normalisation::L2),
            (Look::Bands, Normalisation::None),
            (Look::SqueezeNet, Normalisation::Sqrt),
            (Look::SimClr, Normalisation::L2),
        ];
        // The network is asked about a few images only: it is slow.
        let network = randomised(SqueezeNet::new(&device).with_input(64));
        let trained = ResNetConfig {
            channels: 1,
            size: 32,
            width: 4,
            blocks: 1,
            first_stride: 2,
        };
        let simclr = trained.init(rng, &device);
        let networks = Networks {
            squeezenet: Some(&network),
            simclr: Some(&simclr),
        };
        let (mut views, mut sizes) = (Vec::new(), Vec::new());
        for (of, normalise) in looks {
            let view = View { of, normalise };
            let chosen: Vec<usize> = (0..40).collect();
            let description = view.describe(images.batch(&chosen, &device), networks);
            let mut rows = Vectors::new(view.dim([1, 32, 32], trained.features()));
            rows.extend(description.clone().into_data().iter::<f32>());
            let projection = Projection::fit(&rows, 4, rng, &device);
            let latents = projection.forward(description);
            let fitted = flow.init(rng, &device).initialised_from(latents, 1, rng);
            views.push(ViewWeights {
                projection,
                flow: fitted,
            });
            sizes.push(ViewFlow {
                view,
                flow,
                mean: 0.0,
                deviation: 1.0,
            });
        }
        let weights = Weights {
            network: Some(network),
            simclr: Some(simclr),
            views,
        };
        let sizes = ViewSizes {
            shape: [1, 32, 32],
            input: 64,
            simclr: Some(trained),
            views: sizes,
        };
        let mut views = Views::new(conversion, sizes, weights, &device);
        let nll = views.nll(&noise(40, 9), None);
        views.standardise(&nll);
        views
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(20, 4));
    }

    #[test]
    fn the_gradient_is_the_score_s_slope() {
        // Central differences of the score by grey levels in single pixels.
        let detector = detector();
        let image = noise(1, 6);
        let map = &detector.heat(&image, HeatSource::Gradient).unwrap()[0];
        for pixel in [77, 500] {
            let shifted = |by: i16| {
                let mut bytes = image.as_bytes().to_vec();
                bytes[pixel] = (i16::from(bytes[pixel]).clamp(8, 247) + by) as u8;
                let image = Images::new([1, 32, 32], bytes).unwrap();
                f64::from(detector.score(&image).unwrap().columns()[0][0])
            };
            let slope = (shifted(8) - shifted(-8)).abs() / (16.0 / 127.5);
            let found = f64::from(map.values()[pixel]);
            assert!(
                (found - slope).abs() < 0.1 * slope.max(0.5),
                "{found} {slope}"
            );
        }
    }

    #[test]
    fn the_deciding_score_is_the_mean_of_the_standardised_ones() {
        let detector = detector();
        let scores = detector.score(&noise(40, 9)).unwrap();
        assert_eq!(
            scores.names(),
            ["views", "view_1", "view_2", "view_3", "view_4"]
        );
        assert_eq!(detector.deciding(), ["views"]);
        let [all, views @ ..] = scores.columns() else {
            panic!("no scores");
        };
        for column in views {
            let mean = column.iter().sum::<f32>() / 40.0;
            let squares: f32 = column.iter().map(|value| (value - mean).powi(2)).sum();
            assert!(
                mean.abs() < 1e-3 && (squares / 40.0 - 1.0).abs() < 1e-2,
                "{mean}"
            );
        }
        for (row, score) in all.iter().enumerate() {
            let mean = views.iter().map(|column| column[row]).sum::<f32>() / 4.0;
            assert!((score - mean).abs() < 1e-5);
        }
    }
}
