//! What the flows on pixels share: scoring by bits per dimension, and the fit.

use std::fmt::Debug;
use std::sync::Arc;

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::detector::model_file::{check_shape, filled, parse_sizes};
use super::detector::pictures::{pixel_gradients, to_bytes};
use super::fitting::context::input_digest;
use super::pixel_pictures::pictures;
use super::{
    Context, DetectorError, Fitted, HeatSource, Heatmap, MethodError, Parts, Scorer, Scores,
    Stored, Terms, derive,
};
use crate::data::{Conversion, Dequantised, Images, Samples, batches};
use crate::flow::Limit;
use crate::flow::image::ImageFlow;
use crate::report::ImageRows;
use crate::safetensors_file::check_room;
use crate::study::{Check, Fault, first_fault, optimisation_fault};
use crate::train::{Kind, Optimisation, StageSummary};

/// Images per forward pass. The scores do not depend on it.
const BATCH: usize = 64;
/// Images per backward pass.
const GRADIENT_BATCH: usize = 16;
/// Images from which what starts from data is set (openai/glow).
const INITIAL_IMAGES: usize = 256;

/// Names of the scores in words.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("bits_per_dim", "NLL in bits/dim"),
    ("noise_norm", "norm of the noise"),
];

/// A shape of images, where sizes are asked for that do not depend on it.
pub(super) const ANY_SHAPE: [usize; 3] = [1, 32, 32];

/// The first key of the `section` with which no run is possible.
pub(super) fn fault(
    section: &'static str,
    limits: impl IntoIterator<Item = Limit>,
    usage: Use,
    training: &Optimisation,
) -> Option<Fault> {
    let limits = limits.into_iter();
    let sizes = limits.map(|(key, value, allowed)| Check::within(key, value, allowed));
    let fault = first_fault(section, sizes.chain(usage.checks()));
    fault.or_else(|| optimisation_fault(section, training))
}

/// Sizes of a flow on images.
pub trait FlowSizes: Serialize + DeserializeOwned + Copy + Debug + Send + Sync + 'static {
    /// Name of the method, and of its scorer in a model file.
    const METHOD: &'static str;
    /// What it trains.
    const STAGE: &'static Kind;

    /// `[channels, height, width]` of an image.
    fn shape(&self) -> [usize; 3];

    /// Checks that a flow of these sizes can be built.
    ///
    /// # Errors
    /// In words, that it cannot.
    fn check(&self) -> Result<(), String>;

    /// Fewest numbers that a flow of these sizes, which have been checked, holds.
    fn least_numbers(&self) -> usize;

    /// A flow of these sizes.
    fn init(&self, rng: &mut StdRng, device: &Device) -> ImageFlow;
}

/// How such a flow scores and draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// Dequantisations over which a score is averaged.
    pub draws: usize,
    /// Standard deviation of the noise that samples are made from.
    pub temperature: f64,
}

impl Use {
    /// The largest number of draws.
    const MOST_DRAWS: usize = 1000;

    /// What the settings must be.
    fn checks(&self) -> [Check; 2] {
        [
            Check::within("draws", self.draws, 1..=Self::MOST_DRAWS),
            Check::new(
                "temperature",
                self.is_warm(),
                "must be above 0 and at most 10",
            ),
        ]
    }

    /// Whether the temperature is one to draw samples at.
    fn is_warm(&self) -> bool {
        self.temperature > 0.0 && self.temperature <= 10.0
    }

    /// The same of a model file.
    fn check(&self) -> Result<(), String> {
        match (1..=Self::MOST_DRAWS).contains(&self.draws) && self.is_warm() {
            true => Ok(()),
            false => Err(format!(
                "its draws or its temperature are impossible: {self:?}"
            )),
        }
    }
}

/// Scores images by the likelihood of their pixels.
///
/// - `bits_per_dim`: negative log-likelihood in bits per number of the image, the mean over the
///   dequantisations: an upper bound of that of the bytes;
/// - `noise_norm`: Euclidean norm of what the flow makes of the image, the distance from the mode of
///   the base distribution, its mean.
///
/// The noise of the dequantisations is the same for all images, so a score is its image's alone.
pub struct PixelFlow<S> {
    conversion: Conversion,
    sizes: S,
    usage: Use,
    flow: ImageFlow,
    device: Device,
}

/// What a model file says beside the weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described<S> {
    sizes: S,
    usage: Use,
}

impl<S: FlowSizes> PixelFlow<S> {
    /// Wraps a trained flow, with frozen weights.
    pub fn new(
        conversion: Conversion,
        sizes: S,
        usage: Use,
        flow: ImageFlow,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            sizes,
            usage,
            flow: flow.valid().to_device(device),
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
        let Described { sizes, usage } = parse_sizes::<Described<S>>(described)?;
        sizes.check()?;
        usage.check()?;
        check_shape(conversion, sizes.shape())?;
        check_room(bytes.len(), sizes.least_numbers(), "flow")?;
        let flow = filled(bytes, |rng| Ok(sizes.init(rng, device)))?;
        Ok(Box::new(Self::new(conversion, sizes, usage, flow, device)))
    }

    /// Makes sure that there is a flow of these sizes.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] when not.
    pub(super) fn check(sizes: &S) -> Result<(), DetectorError> {
        sizes.check().map_err(DetectorError::Shape)
    }

    /// Trains a flow of these sizes and scores every part.
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped.
    pub(super) fn fit(
        (sizes, usage): (S, Use),
        training: &Optimisation,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<Fitted, MethodError> {
        Self::check(&sizes)?;
        let (flow, summary) = train(&sizes, training, context, parts)?;
        let scorer = Self::new(context.conversion, sizes, usage, flow, context.device);
        context.finish_one_stage(scorer, summary, parts)
    }

    /// Two numbers of every image, means over the draws of the dequantisation's noise.
    fn mean_over_draws(
        &self,
        images: &Arc<Images>,
        of: impl Fn(Tensor<4>) -> [Tensor<1>; 2],
    ) -> [Vec<f32>; 2] {
        let mut columns = [(); 2].map(|()| vec![0.0; images.len()]);
        let share = 1.0 / self.usage.draws as f32;
        for draw in 0..self.usage.draws {
            let samples = Dequantised::fixed(images.clone(), draw as u64);
            for indices in batches(images.len(), BATCH) {
                let found = of(samples.batch(&indices, &self.device));
                for (column, found) in columns.iter_mut().zip(found) {
                    let means = &mut column[indices[0]..][..indices.len()];
                    for (mean, value) in means.iter_mut().zip(found.into_data().iter::<f32>()) {
                        *mean += share * value;
                    }
                }
            }
        }
        columns
    }
}

/// The one stage, on dequantised images; those of validation always have the same noise.
fn train<S: FlowSizes>(
    sizes: &S,
    training: &Optimisation,
    context: &mut Context,
    parts: &Parts,
) -> Result<(ImageFlow, StageSummary), MethodError> {
    let flow = sizes.init(&mut context.rng("pixel flow weights"), context.device);
    let [train, valid] = [parts.train(), parts.validation()].map(|part| part.images.clone());
    let input = input_digest(parts);
    // The training images come in the order of the data set, which may be by classes.
    let rng = &mut context.rng("pixel flow start");
    let first = rand::seq::index::sample(rng, train.len(), train.len().min(INITIAL_IMAGES));
    let train = Dequantised::fresh(train, derive(context.seed, "dequantisation"));
    let flow = flow.initialised_from(train.batch(&first.into_vec(), context.device));
    let samples = (Arc::new(train), Arc::new(Dequantised::fixed(valid, 0)));
    context.train(S::STAGE, training, flow, samples, &input)
}

impl<S: FlowSizes> Scorer for PixelFlow<S> {
    fn score_names(&self) -> &'static [&'static str] {
        &["bits_per_dim", "noise_norm"]
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        let described = Described {
            sizes: self.sizes,
            usage: self.usage,
        };
        Stored::new(S::METHOD, &described)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        self.flow.save_into(store)
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        let images = Arc::new(images.clone());
        let columns = self.mean_over_draws(&images, |batch| {
            let (log_prob, norm) = self.flow.log_prob_and_norm(batch);
            [self.flow.bits_per_dim(log_prob), norm]
        });
        Ok(Scores::new(self.score_names(), columns.into()))
    }

    fn sample(&self, count: usize, seed: u64) -> Option<Images> {
        let rng = &mut StdRng::seed_from_u64(seed);
        let drawn = self
            .flow
            .sample(count, self.usage.temperature, rng, &self.device);
        let pixels = to_bytes(drawn * 2.0 - 1.0).collect();
        Images::new(self.sizes.shape(), pixels).ok()
    }

    fn terms(&self, images: &Images) -> Vec<Terms> {
        let images = Arc::new(images.clone());
        let [base, log_det] = self.mean_over_draws(&images, |batch| {
            let (base, log_det) = self.flow.bits_per_dim_terms(batch);
            [base, log_det]
        });
        vec![Terms {
            score: "bits_per_dim",
            unit: Terms::BITS,
            base,
            log_det,
        }]
    }

    fn pictures(&self, sets: &[(String, Images)]) -> Vec<ImageRows> {
        pictures(&self.flow, sets, &self.device)
    }

    /// `|d NLL / d pixel|`, summed over the channels, of the first dequantisation.
    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        let samples = Dequantised::fixed(Arc::new(images.clone()), 0);
        pixel_gradients(&samples, GRADIENT_BATCH, &self.device, |pixels| {
            self.flow.log_prob(pixels)
        })
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        &[HeatSource::Gradient]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::method::detector::scorer::tests::{assert_score_of_image_alone, grey_32, noise};

    /// A detector of grey images of 32 pixels whose scales have been set from noise.
    pub fn of_sizes<S: FlowSizes>(sizes: S) -> PixelFlow<S> {
        let device = test_device();
        let conversion = grey_32();
        let usage = Use {
            draws: 2,
            temperature: 0.8,
        };
        let flow = sizes.init(&mut StdRng::seed_from_u64(1), &device);
        let images = Dequantised::fixed(Arc::new(noise(20, 1)), 0);
        let all: Vec<usize> = (0..20).collect();
        let flow = flow.initialised_from(images.batch(&all, &device));
        let flow = crate::flow::image::tests::shaken_by(flow, 0.01);
        PixelFlow::new(conversion, sizes, usage, flow, &device)
    }

    /// What holds for every such detector.
    pub fn assert_scores<S: FlowSizes>(sizes: S) {
        let detector = of_sizes(sizes);
        let images = noise(100, 2);
        assert_score_of_image_alone(&detector, &images);
        let scores = detector.score(&images).unwrap();
        // Nothing tells noise on all levels in less than 8 bits.
        let mean = scores.columns()[0].iter().sum::<f32>() / 100.0;
        assert!(mean > 8.0, "{mean} bits per number of noise");
        let drawn = detector.sample(3, 7).unwrap();
        assert_eq!((drawn.len(), drawn.shape()), (3, [1, 32, 32]));
        assert_eq!(Some(drawn), detector.sample(3, 7));
        let two = images.select(&[4, 5]);
        let sets = [
            ("normal".to_owned(), two.clone()),
            ("other".to_owned(), two.clone()),
        ];
        let pictures = detector.pictures(&sets);
        assert_eq!(pictures.len(), 3);
        assert!(pictures[1].rows.len() > 4 && pictures[1].rows[0] == two);
        // The ends of a way are the images themselves.
        let way = &pictures[0].rows[0];
        for (index, end) in [(0, 0), (11, 1)] {
            let (found, expected) = (way.get(index), two.get(end));
            let worst = found
                .iter()
                .zip(expected)
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert!(worst <= Some(1), "{worst:?}");
        }
        assert_heat_is_the_slope(detector, &two);
    }

    /// The heat of a pixel is how fast the likelihood of its dequantised value changes there, in nats.
    fn assert_heat_is_the_slope<S: FlowSizes>(mut detector: PixelFlow<S>, images: &Images) {
        // Bytes either way, of 256 in the unit of a dequantised pixel.
        const STEP: u8 = 3;
        detector.usage.draws = 1;
        let nats = images.shape().iter().product::<usize>() as f32 * std::f32::consts::LN_2;
        let maps = detector.heat(images, HeatSource::Gradient).unwrap();
        assert_eq!(maps.len(), images.len());
        for (index, map) in maps.iter().enumerate() {
            let pixels = images.get(index);
            // Away from the ends of the range, where the logit is all but straight.
            let mut places: Vec<usize> = (0..pixels.len())
                .filter(|&place| (48..208).contains(&pixels[place]))
                .collect();
            places.sort_by(|&a, &b| map.values()[b].total_cmp(&map.values()[a]));
            for place in places.into_iter().take(5) {
                let moved = [pixels[place] - STEP, pixels[place] + STEP].map(|byte| {
                    let mut moved = pixels.to_vec();
                    moved[place] = byte;
                    moved
                });
                let moved = Images::new(images.shape(), moved.concat()).unwrap();
                let scores = detector.score(&moved).unwrap();
                let bits = &scores.columns()[0];
                let slope = (bits[1] - bits[0]).abs() * nats * 256.0 / (2.0 * f32::from(STEP));
                let found = map.values()[place];
                assert!((found - slope).abs() < 0.1 * slope, "{found}, not {slope}");
            }
        }
    }
}
