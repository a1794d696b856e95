//! What a flow maps data to: densities of vectors that can be evaluated and drawn from.

mod full_mixture;
mod standard_normal;
mod tied_mixture;
mod trained_mixture;
mod white_mixture;
mod whitened;
mod whitening;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

pub use full_mixture::{FullMixture, MixtureConfig};
pub use standard_normal::StandardNormal;
pub use tied_mixture::TiedMixture;
pub use trained_mixture::GaussianMixture;
pub use white_mixture::WhiteMixture;
pub(crate) use whitening::whitening;

use crate::data::Vectors;

/// A density of vectors.
pub trait Distribution {
    /// Log-density in nats.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch]`.
    fn log_prob(&self, z: Tensor<2>) -> Tensor<1>;

    /// Draws `count` vectors.
    ///
    /// # Shapes
    /// To `[count, dim]`.
    fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2>;
}

/// How the Gaussians of a base distribution come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseKind {
    /// Diagonal covariances, trained with the flow; without any Gaussian a standard normal.
    #[default]
    Trained,
    /// Full covariances, fitted to the training vectors before the flow is trained, and fixed then. The
    /// couplings start at the identity, so before its first step the flow *is* this mixture.
    Fitted,
    /// As [`Fitted`](Self::Fitted), around the centres of k-means and with one full covariance: there can be many.
    Tied,
}

impl BaseKind {
    /// True when it is trained with the flow, not fitted before.
    pub fn is_trained(self) -> bool {
        self == Self::Trained
    }
}

/// The base distribution of a flow.
#[derive(Module, Debug)]
pub enum Base {
    /// A standard normal.
    Normal(StandardNormal),
    /// A mixture that is trained with the flow.
    Trained(GaussianMixture),
    /// A mixture that was fitted before.
    Fitted(FullMixture),
    /// One of one covariance.
    Tied(TiedMixture),
}

impl Base {
    /// With so many Gaussians of vectors of `dim` entries, to be set from data or from a store.
    pub(super) fn new(
        kind: BaseKind,
        gaussians: usize,
        dim: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        match (kind, gaussians) {
            (_, 0) => Self::Normal(StandardNormal::new(dim)),
            (BaseKind::Trained, _) => {
                Self::Trained(GaussianMixture::new(gaussians, dim, rng, device))
            }
            (BaseKind::Fitted, _) => Self::Fitted(FullMixture::empty(dim, gaussians, device)),
            (BaseKind::Tied, _) => Self::Tied(TiedMixture::empty(dim, gaussians, device)),
        }
    }

    /// Set from vectors: where a mixture is trained, its means; where it is fitted, all of it, as the
    /// average of so many `starts`.
    ///
    /// # Shapes
    /// `z`: `[batch, dim]`, at least one row.
    pub(super) fn initialised(self, z: Tensor<2>, starts: usize, rng: &mut impl Rng) -> Self {
        match self {
            Self::Normal(normal) => Self::Normal(normal),
            Self::Trained(mixture) => Self::Trained(mixture.initialised(z)),
            Self::Fitted(mixture) => {
                let device = z.device();
                let rows = vectors(z);
                let config = MixtureConfig {
                    gaussians: mixture.gaussians() / starts.max(1),
                    starts,
                    samples: rows.len(),
                };
                Self::Fitted(FullMixture::fit(&rows, config, rng, &device))
            }
            Self::Tied(mixture) => {
                let device = z.device();
                let fitted = TiedMixture::fit(vectors(z), mixture.gaussians(), rng, &device);
                Self::Tied(fitted)
            }
        }
    }

    /// As what it is.
    pub fn distribution(&self) -> &dyn Distribution {
        match self {
            Self::Normal(normal) => normal,
            Self::Trained(mixture) => mixture,
            Self::Fitted(mixture) => mixture,
            Self::Tied(mixture) => mixture,
        }
    }
}

/// The rows of a tensor.
fn vectors(rows: Tensor<2>) -> Vectors {
    let [len, dim] = rows.dims();
    let mut vectors = Vectors::with_capacity(dim, len);
    vectors.extend(rows.into_data().iter::<f32>());
    vectors
}
