//! How unlikely what a position shows is, in one of several ways.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::{KernelDensity, PatchBank, PlaceGaussians};
use crate::encoder::{POSITION_CONTEXT, Projection, position_contexts};
use crate::flow::{Base, RealNvp, RealNvpConfig, WhiteMixture};
use crate::safetensors_file::check_room;

/// A density of the features of positions, or what is compared with one.
// There are as many as scales: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum PositionDensity {
    /// A flow on whitened components; without couplings its base distribution alone.
    Flow(ComponentFlow),
    /// Many Gaussians of one covariance.
    Tied(TiedGaussians),
    /// A kernel around each of many centres.
    Kernel(KernelDensity),
    /// The nearest of many remembered positions (PatchCore).
    Bank(PatchBank),
    /// A Gaussian for every place (PaDiM).
    Places(PlaceGaussians),
}

/// A flow's likelihood of whitened components; what the flow does not see is normal.
#[derive(Module, Debug)]
pub struct ComponentFlow {
    pub(super) projection: Projection,
    pub(super) flow: RealNvp,
}

/// A flow without couplings whose base is a mixture with one covariance, and which sees all components: its
/// whitening is part of the projection's, so that there is one product in place of two.
#[derive(Module, Debug)]
pub struct TiedGaussians {
    projection: Projection,
    gaussians: WhiteMixture,
}

/// Sizes of a [`PositionDensity`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DensitySizes {
    /// Of [`PositionDensity::Flow`].
    Flow {
        /// Whitened components.
        components: usize,
        /// Of the flow, which sees the first of them.
        flow: RealNvpConfig,
    },
    /// Of [`PositionDensity::Tied`].
    Tied {
        /// Whitened components.
        components: usize,
        /// Gaussians.
        gaussians: usize,
    },
    /// Of [`PositionDensity::Kernel`].
    Kernel {
        /// Centres.
        centres: usize,
    },
    /// Of [`PositionDensity::Bank`].
    Bank {
        /// Remembered positions.
        patches: usize,
    },
    /// Of [`PositionDensity::Places`].
    Places {
        /// Features that are looked at.
        dimensions: usize,
    },
}

impl DensitySizes {
    /// What keeps a density of so many `features` at so many `places` from being built out of a file
    /// of so many `bytes`, if anything does.
    pub(super) fn check(&self, features: usize, places: usize, bytes: usize) -> Result<(), String> {
        let numbers = match self {
            Self::Flow { components, flow } => {
                flow.check()?;
                if flow.dim > *components
                    || *components > features
                    || !matches!(flow.context, 0 | POSITION_CONTEXT)
                {
                    return Err("the flow is not of the features' dimension".to_owned());
                }
                flow.fits(bytes)?;
                features.checked_mul(*components)
            }
            Self::Tied {
                components,
                gaussians,
            } => {
                RealNvpConfig::base_alone(*components, *gaussians).check()?;
                if *components > features || *gaussians == 0 {
                    return Err("its Gaussians are not of the features' dimension".to_owned());
                }
                features
                    .checked_add(*gaussians)
                    .and_then(|columns| columns.checked_mul(*components))
            }
            Self::Kernel { centres } => features.checked_mul(*centres),
            Self::Bank { patches } => features.checked_mul(*patches),
            Self::Places { dimensions } => match *dimensions <= features {
                true => (dimensions * dimensions).checked_mul(places),
                false => None,
            },
        };
        check_room(bytes, numbers.unwrap_or(usize::MAX), "density")
    }

    /// A density of these sizes, to be filled from a store.
    pub(super) fn empty(&self, features: usize, places: usize, device: &Device) -> PositionDensity {
        match *self {
            Self::Flow { components, flow } => PositionDensity::Flow(ComponentFlow {
                projection: Projection::empty(features, components, device),
                // The initial weights are replaced; any seed will do.
                flow: flow.init(&mut StdRng::seed_from_u64(0), device),
            }),
            Self::Tied {
                components,
                gaussians,
            } => PositionDensity::Tied(TiedGaussians {
                projection: Projection::empty(features, components, device),
                gaussians: WhiteMixture::empty(components, gaussians, device),
            }),
            Self::Kernel { centres } => {
                PositionDensity::Kernel(KernelDensity::empty(features, centres, device))
            }
            Self::Bank { patches } => {
                PositionDensity::Bank(PatchBank::empty(features, patches, device))
            }
            Self::Places { dimensions } => {
                PositionDensity::Places(PlaceGaussians::empty(features, places, dimensions, device))
            }
        }
    }
}

impl PositionDensity {
    /// How unlikely each position is: nats where it is a density, else a distance.
    ///
    /// # Shapes
    /// `[batch * rows * columns, features]` to `[batch * rows * columns]`; `sides`: `[rows, columns]`.
    pub fn score(&self, features: Tensor<2>, sides: [usize; 2]) -> Tensor<1> {
        match self {
            Self::Flow(density) => density.nll(features, sides),
            Self::Tied(density) => density.nll(features),
            Self::Kernel(density) => density.nll(features),
            Self::Bank(bank) => bank.distances(features),
            Self::Places(places) => places.distances(features),
        }
    }
}

impl ComponentFlow {
    /// A flow of the first of the components that `projection` gives.
    pub fn new(projection: Projection, flow: RealNvp) -> Self {
        Self { projection, flow }
    }

    /// # Shapes
    /// `[batch * rows * columns, features]` to `[batch * rows * columns]`, in nats.
    fn nll(&self, features: Tensor<2>, sides: [usize; 2]) -> Tensor<1> {
        let [count, _] = features.dims();
        let device = features.device();
        let latents = self.projection.forward(features);
        let head = self.flow.dim();
        let context = self
            .flow
            .has_context()
            .then(|| position_contexts(count / (sides[0] * sides[1]).max(1), sides, &device));
        let nll = self
            .flow
            .log_prob(latents.clone().narrow(1, 0, head), context.as_ref())
            .neg();
        nll + residual(latents, head)
    }
}

impl TiedGaussians {
    /// The same density as a flow's, if it is of this kind.
    pub fn of(density: &ComponentFlow) -> Option<Self> {
        let ComponentFlow { projection, flow } = density;
        match flow.base() {
            Base::Tied(mixture) if flow.is_base_alone() && flow.dim() == projection.dim() => {
                let (whitening, gaussians) = mixture.apart();
                let projection = projection.then(whitening);
                Some(Self {
                    projection,
                    gaussians,
                })
            }
            _ => None,
        }
    }

    /// # Shapes
    /// `[positions, features]` to `[positions]`, in nats.
    fn nll(&self, features: Tensor<2>) -> Tensor<1> {
        let white = self.projection.forward(features);
        self.gaussians.log_prob(white).neg()
    }
}

/// Negative log-likelihood, under a standard normal, of the components after the first `head`.
fn residual(latents: Tensor<2>, head: usize) -> Tensor<1> {
    let [count, components] = latents.dims();
    if head == components {
        return Tensor::zeros([count], &latents.device());
    }
    let rest = components - head;
    let squares = latents.narrow(1, head, rest).square().sum_dim(1);
    squares.squeeze_dim::<1>(1) * 0.5 + 0.5 * rest as f64 * std::f64::consts::TAU.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::data::{Samples, Vectors};
    use crate::flow::BaseKind;
    use rand_distr::{Distribution, StandardNormal};

    #[test]
    fn many_gaussians_of_one_covariance_are_one_product() {
        let device = test_device();
        let rng = &mut StdRng::seed_from_u64(3);
        let noise: Vec<f32> = StandardNormal
            .sample_iter(&mut *rng)
            .take(4 * 500)
            .collect();
        let mut rows = Vectors::new(4);
        for (at, noise) in noise.chunks_exact(4).enumerate() {
            let place = [0.0, 30.0, 60.0][at % 3];
            rows.extend([
                place + noise[0],
                noise[1] - place,
                0.1 * noise[2],
                noise[3] + noise[0],
            ]);
        }
        let projection = Projection::fit(&rows, 4, rng, &device);
        let sizes = RealNvpConfig {
            base: BaseKind::Tied,
            ..RealNvpConfig::base_alone(4, 3)
        };
        let all: Vec<usize> = (0..rows.len()).collect();
        let features = rows.batch(&all, &device);
        let flow = sizes.init(rng, &device);
        let flow = flow.initialised_from(projection.forward(features.clone()), 1, rng);
        let flow = ComponentFlow::new(projection, flow);
        let tied = TiedGaussians::of(&flow).expect("a mixture with one covariance");
        let [found, expected] = [tied.nll(features.clone()), flow.nll(features, [1, 1])];
        let expected: Vec<f32> = expected.into_data().iter().collect();
        for (found, expected) in found.into_data().iter::<f32>().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
        }
        // Neither with another base, nor behind couplings, nor of some of the components is it that mixture.
        for other in [
            RealNvpConfig::base_alone(4, 0),
            RealNvpConfig {
                couplings: 1,
                ..sizes
            },
            RealNvpConfig { dim: 3, ..sizes },
        ] {
            let other = ComponentFlow::new(flow.projection.clone(), other.init(rng, &device));
            assert!(TiedGaussians::of(&other).is_none());
        }
    }

    #[test]
    fn gaussians_that_a_file_cannot_hold_are_refused() {
        let check = |components, gaussians, bytes| {
            let sizes = DensitySizes::Tied {
                components,
                gaussians,
            };
            sizes.check(8, 16, bytes)
        };
        assert_eq!(check(6, 9, 4 * (8 + 9) * 6), Ok(()));
        for (components, gaussians, bytes) in [
            (6, 9, 4 * (8 + 9) * 6 - 1),
            (9, 9, 1 << 20),
            (0, 9, 1 << 20),
            (6, 0, 1 << 20),
            // More than any fit takes, in a file that is long enough.
            (2, 5_000_000, 1 << 30),
            (6, usize::MAX, 1 << 30),
        ] {
            assert!(
                check(components, gaussians, bytes).is_err(),
                "{components} {gaussians}"
            );
        }
    }

    #[test]
    fn the_components_that_the_flow_does_not_see_are_normal() {
        // scipy.stats.norm.logpdf([[0.5, -1.0], [2.0, 0.0]]).sum(1), negated
        let latents = Tensor::<2>::from_data([[9.0, 0.5, -1.0], [9.0, 2.0, 0.0]], &test_device());
        let found: Vec<f32> = residual(latents.clone(), 1).into_data().iter().collect();
        for (found, expected) in found.iter().zip([2.462_877, 3.837_877]) {
            assert!((found - expected).abs() < 1e-4, "{found}");
        }
        let none: Vec<f32> = residual(latents, 3).into_data().iter().collect();
        assert_eq!(none, [0.0, 0.0]);
    }
}
