//! What of a density fits into memory.

use crate::encoder::PositionConfig;
use crate::method::{DetectorError, MethodError};

/// Numbers in the covariances of a density, at most: half a GiB.
const MOST_COVARIANCES: usize = 1 << 27;

/// Refuses a Gaussian of so many features for every place of a scale where they do not fit.
///
/// # Errors
/// [`DetectorError::Shape`] with what to lower.
pub(super) fn check_places(
    dimensions: usize,
    config: &PositionConfig,
    shrink: usize,
) -> Result<(), MethodError> {
    let dimensions = dimensions.min(config.features());
    let remedy = "lower padim.dimensions or --size (data.size)";
    check_covariances(config.grid(shrink).len(), dimensions, remedy)
}

/// Refuses so many full covariances of so many entries where they do not fit.
///
/// # Errors
/// [`DetectorError::Shape`] with the `remedy`.
pub(super) fn check_covariances(
    count: usize,
    entries: usize,
    remedy: &str,
) -> Result<(), MethodError> {
    match count.saturating_mul(entries * entries) > MOST_COVARIANCES {
        false => Ok(()),
        true => Err(DetectorError::Shape(format!(
            "{count} Gaussians with full covariances of {entries} entries do not fit into memory: {remedy}"
        ))
        .into()),
    }
}
