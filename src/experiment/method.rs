//! The methods that can be compared, by name.

use std::fmt;
use std::str::FromStr;

use super::{ExperimentConfig, ExperimentError};
use crate::encoder::EncoderSizes;
use crate::suggest::did_you_mean;

/// A method of anomaly detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The paper's: a flow's likelihood of an encoder's latents.
    EncoderFlow,
    /// The autoencoder's reconstruction error.
    Autoencoder,
    /// GANomaly.
    Ganomaly,
    /// Distance to the nearest training images.
    Knn,
    /// Likelihood under a mixture of Gaussians.
    Gmm,
    /// Distance from the mean in units of the covariance.
    Mahalanobis,
}

impl Method {
    /// All methods, the paper's first.
    pub const ALL: [Self; 6] = [
        Self::EncoderFlow,
        Self::Autoencoder,
        Self::Ganomaly,
        Self::Knn,
        Self::Gmm,
        Self::Mahalanobis,
    ];

    /// Name on the command line and of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::EncoderFlow => "encoder-flow",
            Self::Autoencoder => "autoencoder",
            Self::Ganomaly => "ganomaly",
            Self::Knn => "knn",
            Self::Gmm => "gmm",
            Self::Mahalanobis => "mahalanobis",
        }
    }

    /// The settings that decide its numbers; the autoencoder's only where it looks through it.
    pub(super) fn settings(self, config: &ExperimentConfig) -> toml::Table {
        let own = match self {
            Self::EncoderFlow => "flow",
            Self::Autoencoder => "encoder",
            other => other.name(),
        };
        let mut table = toml::Table::try_from(config).unwrap_or_default();
        let trained = matches!(config.encoder_of(self), Some(EncoderSizes::Autoencoder(_)));
        if let (Self::EncoderFlow, false, Some(encoder)) = (
            self,
            trained,
            table.get_mut("encoder").and_then(toml::Value::as_table_mut),
        ) {
            encoder.retain(|key, _| !["width", "training"].contains(&key));
        }
        let encoder = trained || self == Self::EncoderFlow;
        table.retain(|key, _| key == "data" || key == own || (encoder && key == "encoder"));
        table
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = ExperimentError;

    fn from_str(name: &str) -> Result<Self, ExperimentError> {
        let found = Self::ALL.into_iter().find(|method| method.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            ExperimentError::Name(format!(
                "unknown method `{name}`{} Known: {}",
                did_you_mean(name, known.into_iter()),
                known.join(", ")
            ))
        })
    }
}
