//! What looks at every position of an image: descriptions at several scales, and densities of them.

mod bank;
mod coreset;
mod density;
mod detector;
mod fit;
mod kernel;
mod places;
mod settings;

pub use bank::PatchBank;
pub use density::{ComponentFlow, DensitySizes, PositionDensity};
pub use detector::{OnPositions, PositionSizes, PositionWeights, ScaleSizes, Spread};
pub use fit::{BankSettings, DensityPlan, KernelSettings, PlaceSettings, PositionPlan};
pub use kernel::KernelDensity;
pub use places::PlaceGaussians;
pub use settings::{Components, Description, PositionSettings};

pub(super) use detector::{KIND, WORDS};

#[cfg(test)]
pub(super) use detector::tests::detectors;
