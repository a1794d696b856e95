//! Where a detector looks when it says that an image is odd.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a heat map is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeatSource {
    /// Negative log-likelihood of every position, in nats.
    Positions,
    /// Absolute difference of image and reconstruction, mean over the channels.
    Reconstruction,
    /// Absolute gradient of the negative log-likelihood through the encoder with respect to the
    /// pixels, summed over the channels.
    Gradient,
}

impl HeatSource {
    /// All sources.
    pub const ALL: [Self; 3] = [Self::Positions, Self::Reconstruction, Self::Gradient];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Positions => "positions",
            Self::Reconstruction => "reconstruction",
            Self::Gradient => "gradient",
        }
    }
}

impl fmt::Display for HeatSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for HeatSource {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|source| source.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("unknown source of heat maps `{name}`. Known: {known}")
        })
    }
}
