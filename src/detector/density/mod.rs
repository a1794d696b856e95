//! Scores of latents other than a flow's: nearest neighbours, a Gaussian, a mixture of Gaussians.

mod gmm;
mod knn;
mod mahalanobis;

pub use gmm::{Gmm, GmmConfig};
pub use knn::Knn;
pub use mahalanobis::Mahalanobis;

use burn::module::Module;
use burn::tensor::Device;
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::data::Vectors;

/// How a latent is scored.
// There is one per detector: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Density {
    /// By the distance to the nearest training latents.
    Knn(Knn),
    /// By the distance from the mean.
    Mahalanobis(Mahalanobis),
    /// By the likelihood under a mixture of Gaussians.
    Gmm(Gmm),
}

/// Which [`Density`], and its sizes beside the latent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DensitySizes {
    /// Nearest neighbours.
    Knn {
        /// Training latents.
        latents: usize,
        /// Neighbours of a latent.
        neighbours: usize,
    },
    /// A Gaussian.
    Mahalanobis,
    /// A mixture.
    Gmm {
        /// Number of Gaussians.
        gaussians: usize,
    },
}

impl Density {
    /// Which it is, and its sizes.
    pub fn sizes(&self) -> DensitySizes {
        match self {
            Self::Knn(knn) => {
                let (latents, neighbours) = knn.sizes();
                DensitySizes::Knn {
                    latents,
                    neighbours,
                }
            }
            Self::Mahalanobis(_) => DensitySizes::Mahalanobis,
            Self::Gmm(mixture) => DensitySizes::Gmm {
                gaussians: mixture.components(),
            },
        }
    }

    /// The score of each latent; higher is more anomalous.
    pub fn score(&self, latents: &Vectors) -> Vec<f32> {
        match self {
            Self::Knn(knn) => knn.score(latents),
            Self::Mahalanobis(gaussian) => gaussian.score(latents),
            Self::Gmm(mixture) => mixture.score(latents),
        }
    }
}

impl DensitySizes {
    /// A density of latents of `dim` entries, to be filled from a store.
    pub(super) fn empty(&self, dim: usize, device: &Device) -> Density {
        match *self {
            Self::Knn {
                latents,
                neighbours,
            } => Density::Knn(Knn::empty([dim, latents], neighbours, device)),
            Self::Mahalanobis => Density::Mahalanobis(Mahalanobis::empty(dim, device)),
            Self::Gmm { gaussians } => Density::Gmm(Gmm::empty(dim, gaussians, device)),
        }
    }

    /// Numbers in its largest tensor for latents of `dim` entries; none when there is no such
    /// density.
    pub(super) fn numbers(&self, dim: usize) -> Option<usize> {
        match *self {
            Self::Knn { latents, .. } => dim.checked_mul(latents),
            Self::Mahalanobis => dim.checked_mul(dim),
            Self::Gmm { gaussians } => dim.checked_mul(dim)?.checked_mul(gaussians),
        }
    }
}

/// The inverse of the lower Cholesky factor of a covariance, and half the log-determinant of its
/// inverse: `|W (x - m)|^2` is the squared Mahalanobis distance.
///
/// A covariance that is not positive definite gets more and more added to its diagonal until it is.
fn whitening(covariance: &DMatrix<f64>) -> (DMatrix<f64>, f64) {
    let dim = covariance.nrows();
    // No ridge helps there; the scores come out as not finite, which is reported.
    if covariance.iter().any(|value| !value.is_finite()) {
        return (DMatrix::identity(dim, dim) * f64::NAN, f64::NAN);
    }
    let scale = (covariance.trace() / dim as f64).max(f64::MIN_POSITIVE);
    let mut ridge = 0.0;
    loop {
        let ridged = covariance + DMatrix::identity(dim, dim) * ridge;
        if let Some(cholesky) = ridged.cholesky() {
            let factor = cholesky.l();
            let half_log_det: f64 = factor.diagonal().iter().map(|value| value.ln()).sum();
            let identity = DMatrix::identity(dim, dim);
            if let Some(inverse) = factor.solve_lower_triangular(&identity) {
                return (inverse, -half_log_det);
            }
        }
        ridge = if ridge == 0.0 {
            1e-9 * scale
        } else {
            10.0 * ridge
        };
    }
}
