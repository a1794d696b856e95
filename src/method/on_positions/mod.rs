//! What looks at every position of an image: descriptions at several scales, and densities of them.

mod aggregation;
mod bank;
mod coreset;
mod density;
mod detector;
mod fit;
mod fit_density;
mod interpolation;
mod kernel;
mod places;
mod room;
mod rows;
mod settings;
mod sizes;

pub use aggregation::Aggregation;
pub use bank::PatchBank;
pub use density::{ComponentFlow, DensitySizes, PositionDensity, TiedGaussians};
pub use detector::{OnPositions, PositionWeights};
pub use fit::{BankSettings, DensityPlan, KernelSettings, PlaceSettings, PositionPlan};
pub use kernel::KernelDensity;
pub use places::PlaceGaussians;
pub use settings::{Components, Description, PositionContext, PositionSettings};
pub use sizes::{PositionSizes, ScaleSizes};

pub(super) use detector::{KIND, WORDS};

#[cfg(test)]
pub(super) use detector::tests::detectors;
