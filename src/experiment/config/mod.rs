//! The settings of an experiment: `experiments/*.toml`, plus `--set`, resolved and checked.

mod checks;

use serde::{Deserialize, Serialize};

use super::Method;
use crate::data::{Conversion, DatasetName, Fit, SplitShares};
use crate::encoder::{AutoEncoderConfig, EncoderSizes, MapSizes};
use crate::evaluate::{Sides, ThresholdRule};
use crate::flow::{Mixing, RealNvpConfig};
use crate::train::Optimisation;

/// The study whose settings are those of every other one that does not name them.
pub(super) const DEFAULTS: &str = include_str!("../../../experiments/digits.toml");

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
    /// The method `ganomaly`.
    pub ganomaly: GanomalyConfig,
    /// The method `knn`.
    pub knn: KnnConfig,
    /// The method `gmm`.
    pub gmm: MixtureConfig,
    /// The method `mahalanobis`.
    pub mahalanobis: MahalanobisConfig,
    /// Threshold.
    pub evaluation: EvaluationConfig,
}

/// Images and their split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Data set whose classes are normal but for one.
    pub dataset: DatasetName,
    /// The user's own images, where `dataset` is `folder`. Left out of files where it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folder: String,
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
    /// The so-many-th class after the one left out plays the anomaly in its place, and the class
    /// left out is in no part of the split; 0 for none. Left out of files where it is 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stand_in: usize,
}

/// The encoder and its stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Which encoder.
    pub kind: EncoderKind,
    /// Channels after the first convolution.
    pub width: usize,
    /// Dimension of the latent.
    pub latent: usize,
    /// One latent for every position instead of one for the image.
    pub positions: bool,
    /// Principal components of patches, for each of three scales (`pca` with positions).
    pub patch_components: usize,
    /// Side to which images are resized for the pretrained network (`squeezenet`).
    pub input: usize,
    /// Principal components of the image itself beside those of the pretrained network's features;
    /// 0 for none (`squeezenet` without positions).
    pub pixel_components: usize,
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
    /// Gaussians of the base distribution; 0 for a standard normal.
    pub gaussians: usize,
    /// Standard deviation of the noise added to every training latent, in units of its own.
    pub noise: f64,
    /// Its stage.
    pub training: Optimisation,
}

/// Which encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderKind {
    /// The encoder of an autoencoder, trained in a stage of its own.
    Autoencoder,
    /// Principal components; of patches, where there is a latent for every position.
    Pca,
    /// Principal components of the features of SqueezeNet 1.1, pretrained on ImageNet: results are
    /// not from scratch.
    #[serde(rename = "squeezenet")]
    SqueezeNet,
}

/// What a baseline looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The image's own values.
    Pixels,
    /// Principal components.
    Pca,
    /// The latents of `[encoder]`'s autoencoder.
    Autoencoder,
    /// Principal components of the features of a pretrained SqueezeNet.
    #[serde(rename = "squeezenet")]
    SqueezeNet,
}

/// The method `ganomaly`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GanomalyConfig {
    /// Channels after the first convolution.
    pub width: usize,
    /// Dimension of the latent.
    pub latent: usize,
    /// Its stage.
    pub training: Optimisation,
}

/// The method `knn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnnConfig {
    /// What it looks at.
    pub on: Source,
    /// Number of principal components.
    pub components: usize,
    /// Number of neighbours.
    pub neighbours: usize,
}

/// The method `gmm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureConfig {
    /// What it looks at.
    pub on: Source,
    /// Number of principal components.
    pub components: usize,
    /// Number of Gaussians.
    pub gaussians: usize,
    /// Training latents used, at most.
    pub samples: usize,
}

/// The method `mahalanobis`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MahalanobisConfig {
    /// What it looks at.
    pub on: Source,
    /// Number of principal components.
    pub components: usize,
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
    ///
    /// # Panics
    /// Never: a test reads the file that is compiled in.
    fn default() -> Self {
        toml::from_str(DEFAULTS).expect("the built-in study is complete")
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
    pub fn split_shares(&self) -> SplitShares {
        SplitShares {
            train: self.data.train_share,
            validation: self.data.validation_share,
        }
    }

    /// `[channels, height, width]` of a converted image.
    fn image_shape(&self) -> [usize; 3] {
        [self.data.channels, self.data.size, self.data.size]
    }

    /// Sizes of the autoencoder.
    pub fn autoencoder(&self) -> AutoEncoderConfig {
        AutoEncoderConfig {
            channels: self.data.channels,
            size: self.data.size,
            width: self.encoder.width,
            latent: self.encoder.latent,
        }
    }

    /// Sizes of GANomaly's networks.
    pub fn ganomaly(&self) -> AutoEncoderConfig {
        AutoEncoderConfig {
            width: self.ganomaly.width,
            latent: self.ganomaly.latent,
            ..self.autoencoder()
        }
    }

    /// Sizes of the encoder that a method looks through; none for `ganomaly`.
    pub fn encoder_of(&self, method: Method) -> Option<EncoderSizes> {
        let shape = self.image_shape();
        let pca = |components| EncoderSizes::Pca { shape, components };
        let squeezenet = |components, pixels| EncoderSizes::SqueezeNet {
            shape,
            input: self.encoder.input,
            components,
            pixels,
        };
        let source = |on, components| match on {
            Source::Pixels => EncoderSizes::Pixels { shape },
            Source::Pca => pca(components),
            Source::Autoencoder => EncoderSizes::Autoencoder(self.autoencoder()),
            Source::SqueezeNet => squeezenet(components, 0),
        };
        Some(match method {
            Method::Ganomaly => return None,
            Method::EncoderFlow => match self.encoder.kind {
                EncoderKind::Autoencoder => EncoderSizes::Autoencoder(self.autoencoder()),
                EncoderKind::Pca => pca(self.encoder.latent),
                EncoderKind::SqueezeNet => {
                    squeezenet(self.encoder.latent, self.encoder.pixel_components)
                }
            },
            Method::Autoencoder => EncoderSizes::Autoencoder(self.autoencoder()),
            Method::Knn => source(self.knn.on, self.knn.components),
            Method::Gmm => source(self.gmm.on, self.gmm.components),
            Method::Mahalanobis => source(self.mahalanobis.on, self.mahalanobis.components),
        })
    }

    /// True when the method looks at every position by itself.
    pub fn by_positions(&self, method: Method) -> bool {
        method == Method::EncoderFlow && self.encoder.positions
    }

    /// Where the features of positions come from.
    pub fn maps(&self) -> MapSizes {
        let (channels, size) = (self.data.channels, self.data.size);
        match self.encoder.kind {
            EncoderKind::Autoencoder => MapSizes::Autoencoder(self.autoencoder()),
            EncoderKind::Pca => MapSizes::Patches {
                channels,
                size,
                components: self.encoder.patch_components,
            },
            EncoderKind::SqueezeNet => MapSizes::SqueezeNet {
                channels,
                size,
                input: self.encoder.input,
            },
        }
    }

    /// Sizes of the flow on latents of `dim` entries.
    pub fn flow(&self, dim: usize) -> RealNvpConfig {
        RealNvpConfig {
            dim,
            couplings: self.flow.couplings,
            hidden: self.flow.hidden,
            layers: self.flow.layers,
            clamp: self.flow.clamp,
            mixing: self.flow.mixing,
            actnorm: self.flow.actnorm,
            gaussians: self.flow.gaussians,
            context: 0,
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
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}
