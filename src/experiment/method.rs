//! The methods that can be compared, by name.

use std::fmt;
use std::str::FromStr;

use super::ExperimentError;
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

    /// Sections of the settings that decide its numbers.
    pub(super) fn sections(self) -> &'static [&'static str] {
        match self {
            Self::EncoderFlow => &["data", "encoder", "flow"],
            Self::Autoencoder => &["data", "encoder"],
            Self::Ganomaly => &["data", "ganomaly"],
            Self::Knn => &["data", "encoder", "knn"],
            Self::Gmm => &["data", "encoder", "gmm"],
            Self::Mahalanobis => &["data", "encoder", "mahalanobis"],
        }
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
