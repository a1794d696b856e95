//! The settings of an experiment: `experiments/*.toml`, plus `--set`, resolved and checked.

use serde::{Deserialize, Serialize};

use super::ExperimentError;
use crate::data::{Conversion, DatasetName, Fit, SplitSizes};
use crate::detector::Sizes;
use crate::encoder::AutoEncoderConfig;
use crate::evaluate::{Sides, ThresholdRule};
use crate::flow::{Mixing, RealNvpConfig};
use crate::train::{Optimisation, Schedule};

/// Everything that decides a run's numbers, but for the class left out and the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentConfig {
    /// Images and their split.
    pub data: DataConfig,
    /// The encoder and its stage.
    pub encoder: EncoderConfig,
    /// The flow and its stage.
    pub flow: FlowConfig,
    /// Threshold.
    pub evaluation: EvaluationConfig,
}

/// Images and their split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Data set whose classes are normal but for one.
    pub dataset: DatasetName,
    /// Channels that images are brought to.
    pub channels: usize,
    /// Side that images are brought to, in pixels.
    pub size: usize,
    /// How smaller images are brought to that side.
    pub fit: Fit,
    /// Share of the normal images that is trained on.
    pub train_share: f64,
    /// Share of those that is held out for model selection and calibration.
    pub validation_share: f64,
    /// Other data sets to test on as anomalies.
    pub ood: Vec<DatasetName>,
    /// Use the first so many images of every data set only, for a quick trial; 0 is all.
    pub limit: usize,
}

/// The encoder and its stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Channels after the first convolution.
    pub width: usize,
    /// Dimension of the latent.
    pub latent: usize,
    /// Its stage.
    pub training: Optimisation,
}

/// The flow and its stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowConfig {
    /// Coupling layers.
    pub couplings: usize,
    /// Units of a conditioner's hidden layer.
    pub hidden: usize,
    /// Hidden layers of a conditioner.
    pub layers: usize,
    /// Bound of the log-scale, in nats.
    pub clamp: f64,
    /// What happens between couplings.
    pub mixing: Mixing,
    /// Activation normalisation before every coupling.
    pub actnorm: bool,
    /// Its stage.
    pub training: Optimisation,
}

/// Threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Share of the training images that the threshold calls normal.
    pub confidence: f64,
}

impl Default for ExperimentConfig {
    /// The settings of `experiments/digits.toml`.
    fn default() -> Self {
        Self {
            data: DataConfig {
                dataset: DatasetName::Digits,
                channels: 1,
                size: 32,
                fit: Fit::Pad,
                train_share: 0.8,
                validation_share: 0.1,
                ood: Vec::new(),
                limit: 0,
            },
            encoder: EncoderConfig {
                width: 16,
                latent: 32,
                training: Optimisation {
                    epochs: 5,
                    batch_size: 64,
                    learning_rate: 1e-3,
                    schedule: Schedule::Cosine,
                    beta_1: 0.5,
                    weight_decay: 0.0,
                    clip_norm: 0.0,
                    patience: 0,
                },
            },
            flow: FlowConfig {
                couplings: 8,
                hidden: 128,
                layers: 2,
                clamp: 2.0,
                mixing: Mixing::Permutation,
                actnorm: false,
                training: Optimisation {
                    epochs: 30,
                    batch_size: 256,
                    learning_rate: 1e-3,
                    schedule: Schedule::Cosine,
                    beta_1: 0.9,
                    weight_decay: 0.0,
                    clip_norm: 10.0,
                    patience: 8,
                },
            },
            evaluation: EvaluationConfig { confidence: 0.95 },
        }
    }
}

impl ExperimentConfig {
    /// What images are brought to.
    pub fn conversion(&self) -> Conversion {
        Conversion {
            channels: self.data.channels,
            size: self.data.size,
            fit: self.data.fit,
        }
    }

    /// Shares of the split.
    pub fn split_sizes(&self) -> SplitSizes {
        SplitSizes {
            train: self.data.train_share,
            validation: self.data.validation_share,
        }
    }

    /// Sizes of the networks.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            autoencoder: AutoEncoderConfig {
                channels: self.data.channels,
                size: self.data.size,
                width: self.encoder.width,
                latent: self.encoder.latent,
            },
            flow: RealNvpConfig {
                dim: self.encoder.latent,
                couplings: self.flow.couplings,
                hidden: self.flow.hidden,
                layers: self.flow.layers,
                clamp: self.flow.clamp,
                mixing: self.flow.mixing,
                actnorm: self.flow.actnorm,
            },
        }
    }

    /// The paper's threshold, one- or two-sided.
    pub fn threshold(&self, sides: Sides) -> ThresholdRule {
        ThresholdRule {
            confidence: self.evaluation.confidence,
            sides,
        }
    }

    /// As TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// Refuses settings with which no run is possible.
    ///
    /// # Errors
    /// [`ExperimentError::Setting`] naming the key, the value and what is possible.
    pub fn check(&self) -> Result<(), ExperimentError> {
        let Self {
            data,
            encoder,
            flow,
            evaluation,
        } = self;
        let size = data.size;
        let checks = [
            (
                matches!(data.channels, 1 | 3),
                "data.channels",
                "must be 1 (grey) or 3 (RGB)",
            ),
            (matches!(size, 32 | 64), "data.size", "must be 32 or 64"),
            (
                within(data.train_share),
                "data.train_share",
                "must be between 0 and 1, both excluded",
            ),
            (
                within(data.validation_share),
                "data.validation_share",
                "must be between 0 and 1, both excluded",
            ),
            (
                !data.ood.contains(&data.dataset),
                "data.ood",
                "names the data set that is trained on: choose another one",
            ),
            (
                (1..=512).contains(&encoder.width),
                "encoder.width",
                "must be from 1 to 512",
            ),
            (
                (2..=4096).contains(&encoder.latent),
                "encoder.latent",
                "must be from 2 to 4096",
            ),
            (
                (1..=256).contains(&flow.couplings),
                "flow.couplings",
                "must be from 1 to 256",
            ),
            (
                (1..=8192).contains(&flow.hidden),
                "flow.hidden",
                "must be from 1 to 8192",
            ),
            (flow.layers <= 16, "flow.layers", "must be at most 16"),
            (
                flow.clamp > 0.0 && flow.clamp <= 20.0,
                "flow.clamp",
                "must be above 0 and at most 20 nats",
            ),
            (
                within(evaluation.confidence),
                "evaluation.confidence",
                "must be between 0 and 1, both excluded (0.95 calls 95 % of the training images normal)",
            ),
        ];
        for (holds, key, reason) in checks {
            if !holds {
                return Err(setting(key, reason));
            }
        }
        check_training("encoder", &encoder.training)?;
        check_training("flow", &flow.training)
    }
}

fn check_training(stage: &str, training: &Optimisation) -> Result<(), ExperimentError> {
    let checks = [
        (
            (1..=100_000).contains(&training.epochs),
            "epochs",
            "must be from 1 to 100000",
        ),
        (
            (2..=65_536).contains(&training.batch_size),
            "batch_size",
            "must be from 2 to 65536",
        ),
        (
            training.learning_rate > 0.0 && training.learning_rate <= 1.0,
            "learning_rate",
            "must be above 0 and at most 1",
        ),
        (
            (0.0..1.0).contains(&training.beta_1),
            "beta_1",
            "must be at least 0 and below 1",
        ),
        (
            (0.0..=1.0).contains(&training.weight_decay),
            "weight_decay",
            "must be from 0 (none) to 1",
        ),
        (
            training.clip_norm >= 0.0 && training.clip_norm.is_finite(),
            "clip_norm",
            "must be 0 (no limit) or above",
        ),
    ];
    match checks.into_iter().find(|(holds, ..)| !holds) {
        Some((_, key, reason)) => Err(setting(&format!("{stage}.training.{key}"), reason)),
        None => Ok(()),
    }
}

fn within(share: f64) -> bool {
    share > 0.0 && share < 1.0
}

fn setting(key: &str, reason: &str) -> ExperimentError {
    ExperimentError::Setting {
        place: format!("`{key}`"),
        reason: reason.to_owned(),
    }
}
