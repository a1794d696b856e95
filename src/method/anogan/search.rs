//! AnoGAN's search for the noise that makes an image (Schlegl et al., section 2.2).

use std::ops::RangeInclusive;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Anogan;
use crate::backend::is_gpu;
use crate::data::{Images, Samples};

/// Images that a thread searches for side by side on the CPU. Fixed, and filled up where there are fewer: products
/// of another number of rows are rounded otherwise, and hundreds of steps would enlarge the difference.
const SLOTS: usize = 32;
/// The same on a GPU, where one thread searches for all: a step of many takes hardly longer than one of a few.
const SLOTS_ON_GPU: usize = 256;
/// Steps between two looks at which searches have ended.
const LOOK: usize = 10;
/// A loss that is lower by less than this share is no progress.
const PROGRESS: f32 = 1e-3;
/// Share of Adam's first step size, from which step on (houssamzenati/Efficient-GAN-Anomaly-Detection, gan).
const RATES: [(usize, f32); 3] = [(0, 1.0), (200, 0.1), (300, 0.05)];
/// Adam's other settings, its authors' own.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// How the search is done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRule {
    /// Noises of which a search starts from the one whose image has the lowest loss.
    pub starts: usize,
    /// Adam's first step size.
    pub learning_rate: f64,
    /// Steps, at most.
    pub steps: usize,
    /// Steps without progress after which a search ends; 0 for never.
    pub patience: usize,
    /// Share of the features in the loss, from 0 to 1.
    pub feature_weight: f64,
}

impl SearchRule {
    /// Noises to start from.
    pub const STARTS: RangeInclusive<usize> = 1..=4096;
    /// The largest number of steps.
    pub const MOST_STEPS: usize = 100_000;

    /// Checks that such a search is possible.
    ///
    /// # Errors
    /// In words, that it is not.
    pub fn check(&self) -> Result<(), String> {
        let possible = Self::STARTS.contains(&self.starts)
            && self.learning_rate > 0.0
            && self.learning_rate.is_finite()
            && (1..=Self::MOST_STEPS).contains(&self.steps)
            && (0.0..=1.0).contains(&self.feature_weight);
        match possible {
            true => Ok(()),
            false => Err(format!("a search like this is not possible: {self:?}")),
        }
    }

    /// The loss of its two terms.
    fn loss(&self, residual: Tensor<2>, features: Tensor<2>) -> Tensor<2> {
        residual * (1.0 - self.feature_weight) + features * self.feature_weight
    }
}

/// The best that a search came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// `(1 - w) * residual + w * features`, the lowest of all steps.
    pub loss: f32,
    /// Sum of the absolute differences of the pixels, which are in `[-1, 1]`.
    pub residual: f32,
    /// Sum of the absolute differences of the discriminator's features.
    pub features: f32,
    /// The noise.
    pub latent: Vec<f32>,
}

/// Searches for every image; `networks` are in evaluation mode, on a device with automatic
/// differentiation.
///
/// Every search starts from one of the noises that are kept with the networks, and sees no other image, so
/// that what it finds depends on its image alone. (The authors draw one noise, another every time: the same
/// image then gets another score.)
pub fn search(
    networks: &Anogan,
    rule: &SearchRule,
    images: &Images,
    device: &Device,
) -> Vec<Found> {
    // Steps are too small to keep all threads busy; searches do not need each other.
    let (threads, slots) = match is_gpu(device) {
        true => (1, SLOTS_ON_GPU),
        false => (rayon::current_num_threads(), SLOTS),
    };
    let starts = Starts::of(networks, slots);
    let share = images.len().div_ceil(threads).max(1);
    let all: Vec<usize> = (0..images.len()).collect();
    let shares = all.par_chunks(share);
    let found = shares
        .flat_map_iter(|share| search_share(networks, rule, &starts, images, share, slots, device));
    found.collect()
}

/// Searches for the images at `indices`, in so many slots.
fn search_share(
    networks: &Anogan,
    rule: &SearchRule,
    starts: &Starts,
    images: &Images,
    indices: &[usize],
    slots: usize,
    device: &Device,
) -> Vec<Found> {
    let latent = networks.config().latent;
    let mut found = vec![None; indices.len()];
    let mut waiting = 0..indices.len();
    let mut slots: Vec<Slot> = (0..slots)
        .map(|_| Slot::of(waiting.next(), latent))
        .collect();
    while slots.iter().any(|slot| slot.image.is_some()) {
        let targets = Targets::of(&slots, networks, images, indices, device);
        for (row, slot) in slots.iter_mut().enumerate() {
            if slot.waits() {
                slot.start(starts.nearest(&targets, row, rule));
            }
        }
        while !slots.iter().any(|slot| slot.ready(rule)) {
            for _ in 0..LOOK {
                step(networks, rule, &targets, &mut slots, device);
            }
        }
        for slot in slots.iter_mut().filter(|slot| slot.ready(rule)) {
            if let Some(image) = slot.image {
                found[image] = Some(slot.best.clone());
            }
            *slot = Slot::of(waiting.next(), latent);
        }
    }
    // All have been waited for.
    found.into_iter().flatten().collect()
}

/// One search.
struct Slot {
    /// The image that is searched for, by its place among those of the thread; none where all have been.
    image: Option<usize>,
    step: usize,
    /// Loss and step of the last progress.
    progress: (f32, usize),
    latent: Vec<f32>,
    /// Adam's moments.
    moments: [Vec<f32>; 2],
    best: Found,
}

impl Slot {
    /// A search for an image that has not been started.
    fn of(image: Option<usize>, latent: usize) -> Self {
        let zeros = vec![0.0; latent];
        Self {
            image,
            step: 0,
            progress: (f32::INFINITY, 0),
            best: Found {
                // What a search that meets nothing but NaN comes to.
                loss: f32::NAN,
                residual: f32::NAN,
                features: f32::NAN,
                latent: zeros.clone(),
            },
            moments: [zeros.clone(), zeros.clone()],
            latent: zeros,
        }
    }

    /// True when there is an image, and nothing has been tried for it.
    fn waits(&self) -> bool {
        self.image.is_some() && self.step == 0
    }

    fn start(&mut self, noise: &[f32]) {
        self.latent = noise.to_vec();
        self.best.latent = noise.to_vec();
    }

    /// True when there is an image, and its search has ended.
    fn ready(&self, rule: &SearchRule) -> bool {
        self.image.is_some() && self.ended(rule)
    }

    fn ended(&self, rule: &SearchRule) -> bool {
        let without_progress = self.step - self.progress.1;
        self.step >= rule.steps || (rule.patience > 0 && without_progress >= rule.patience)
    }

    /// Notes what the present noise gives, and takes Adam's step.
    fn advance(&mut self, rule: &SearchRule, terms: [f32; 3], gradient: &[f32]) {
        let [loss, residual, features] = terms;
        if loss < self.best.loss || self.best.loss.is_nan() {
            self.best = Found {
                loss,
                residual,
                features,
                latent: self.latent.clone(),
            };
        }
        if loss < self.progress.0 * (1.0 - PROGRESS) || self.step == 0 {
            self.progress = (loss, self.step);
        }
        let rates = RATES.iter().rev();
        let rate = rates.clone().find(|(from, _)| self.step >= *from);
        let share = rate.map_or(RATES[0].1, |(_, share)| *share);
        self.step += 1;
        let time = i32::try_from(self.step).unwrap_or(i32::MAX);
        let [first, second] = &mut self.moments;
        let rate = share * rule.learning_rate as f32;
        let rate = rate * (1.0 - BETA_2.powi(time)).sqrt() / (1.0 - BETA_1.powi(time));
        let moments = first.iter_mut().zip(second);
        for ((latent, gradient), (first, second)) in
            self.latent.iter_mut().zip(gradient).zip(moments)
        {
            *first += (1.0 - BETA_1) * (gradient - *first);
            *second += (1.0 - BETA_2) * (gradient * gradient - *second);
            *latent -= rate * *first / (second.sqrt() + EPSILON);
        }
    }
}

/// The noises that a search may start from, and what the networks make of them.
struct Starts {
    /// `latent` numbers each.
    noises: Vec<Vec<f32>>,
    images: Tensor<2>,   // [starts, pixels]
    features: Tensor<2>, // [starts, features]
}

impl Starts {
    /// Those of the networks, so many at a time.
    fn of(networks: &Anogan, part: usize) -> Self {
        let noises = networks.starts();
        let [_, latent] = noises.dims();
        let made = noises.clone().split(part, 0).into_iter().map(|noises| {
            let images = networks.generate(noises);
            let features = networks.features(images.clone());
            (images.flatten::<2>(1, 3).detach(), features.detach())
        });
        let (images, features): (Vec<_>, Vec<_>) = made.unzip();
        let values: Vec<f32> = noises.into_data().iter::<f32>().collect();
        Self {
            noises: values.chunks_exact(latent).map(<[f32]>::to_vec).collect(),
            images: Tensor::cat(images, 0),
            features: Tensor::cat(features, 0),
        }
    }

    /// The noise whose image has the lowest loss for the target of a slot, to a thousandth.
    fn nearest(&self, targets: &Targets, row: usize, rule: &SearchRule) -> &[f32] {
        if let [only] = self.noises.as_slice() {
            return only;
        }
        let image = targets.images.clone().narrow(0, row, 1).flatten::<2>(1, 3);
        let features = targets.features.clone().narrow(0, row, 1);
        let residual = (self.images.clone() - image).abs().sum_dim(1); // [starts, 1]
        let features = (self.features.clone() - features).abs().sum_dim(1); // [starts, 1]
        let losses: Vec<f32> = rule
            .loss(residual, features)
            .into_data()
            .iter::<f32>()
            .collect();
        // The first that is hardly worse than the best: which of equals is the lowest is a matter of rounding, and the
        // same on every backend it must be.
        let lowest = losses.iter().copied().fold(f32::INFINITY, f32::min);
        let near = losses
            .iter()
            .position(|loss| *loss <= lowest * (1.0 + PROGRESS));
        &self.noises[near.unwrap_or(0)]
    }
}

/// What the slots are searching for.
struct Targets {
    images: Tensor<4>,   // [slots, channels, size, size]
    features: Tensor<2>, // [slots, features]
}

impl Targets {
    fn of(
        slots: &[Slot],
        networks: &Anogan,
        images: &Images,
        indices: &[usize],
        device: &Device,
    ) -> Self {
        // A slot without an image takes any, for nothing.
        let taken = slots.iter().map(|slot| indices[slot.image.unwrap_or(0)]);
        let images = images.batch(&taken.collect::<Vec<_>>(), device);
        Self {
            features: networks.features(images.clone()).detach(),
            images,
        }
    }
}

/// One step of every search that has not ended.
fn step(
    networks: &Anogan,
    rule: &SearchRule,
    targets: &Targets,
    slots: &mut [Slot],
    device: &Device,
) {
    let latent = networks.config().latent;
    let values: Vec<f32> = slots.iter().flat_map(|slot| slot.latent.clone()).collect();
    let noise = Tensor::<2>::from_data(TensorData::new(values, [slots.len(), latent]), device);
    let noise = noise.require_grad();
    let made = networks.generate(noise.clone());
    let features = networks.features(made.clone());
    let residual = (targets.images.clone() - made).abs();
    let residual = residual.flatten::<2>(1, 3).sum_dim(1); // [slots, 1]
    let features = (targets.features.clone() - features).abs().sum_dim(1); // [slots, 1]
    let loss = rule.loss(residual.clone(), features.clone());
    // The images do not see each other, so the sum's gradient is each image's own.
    let gradients = loss.clone().sum().backward();
    let Some(gradients) = noise.grad(&gradients) else {
        unreachable!("the loss depends on the noise")
    };
    let terms = Tensor::cat(vec![loss, residual, features], 1).into_data();
    let terms: Vec<f32> = terms.iter::<f32>().collect();
    let gradients: Vec<f32> = gradients.into_data().iter::<f32>().collect();
    let of_each = terms.chunks_exact(3).zip(gradients.chunks_exact(latent));
    for (slot, (terms, gradient)) in slots.iter_mut().zip(of_each) {
        if !slot.ended(rule) {
            slot.advance(rule, [terms[0], terms[1], terms[2]], gradient);
        }
    }
}
