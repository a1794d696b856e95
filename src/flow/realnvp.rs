//! RealNVP on vectors.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::distribution::Base;
use super::limits::{Limit, within};
use super::{ActNorm, AffineCoupling, BaseKind, Permutation, Transform};
use crate::safetensors_file::check_room;

/// How the halves change roles from one coupling to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mixing {
    /// A fixed random permutation before every coupling (Kingma & Dhariwal's generalisation of
    /// reversing the order).
    #[default]
    Permutation,
    /// First and second half pass in turn (Dinh et al., section 3.5).
    Alternate,
}

/// Sizes of a [`RealNvp`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RealNvpConfig {
    /// Entries of a vector, at least 2.
    pub dim: usize,
    /// Number of coupling layers.
    pub couplings: usize,
    /// Units of each hidden layer of a conditioner.
    pub hidden: usize,
    /// Hidden layers of a conditioner.
    pub layers: usize,
    /// Bound of a coupling's log-scale, in nats.
    pub clamp: f64,
    /// What happens between couplings.
    pub mixing: Mixing,
    /// An [`ActNorm`] before every coupling.
    pub actnorm: bool,
    /// Gaussians of the base distribution; with 0 it is a standard normal.
    #[serde(default)]
    pub gaussians: usize,
    /// How these Gaussians come about.
    #[serde(default)]
    pub base: BaseKind,
    /// Entries of the context that the density is conditioned on; 0 for none.
    #[serde(default)]
    pub context: usize,
}

impl RealNvpConfig {
    /// The largest bound of a log-scale, in nats.
    pub(crate) const MOST_CLAMP: f64 = 20.0;

    /// A density of `dim` entries without couplings: so many Gaussians that are fitted; with none, a standard
    /// normal.
    pub const fn base_alone(dim: usize, gaussians: usize) -> Self {
        Self {
            dim,
            couplings: 0,
            hidden: 1,
            layers: 0,
            clamp: 1.0,
            mixing: Mixing::Permutation,
            actnorm: false,
            gaussians,
            base: BaseKind::Fitted,
            context: 0,
        }
    }

    /// What keeps these sizes from being built, if anything does: a damaged file must not ask for
    /// more memory than there is.
    pub(crate) fn check(&self) -> Result<(), String> {
        let given = [
            ("dim", self.dim, 2..=4096),
            ("gaussians", self.gaussians, 0..=self.base.most_gaussians()),
            ("context", self.context, 0..=4096),
        ];
        within(given.into_iter().chain(self.limits()))?;
        match Self::can_clamp(self.clamp) {
            true => Ok(()),
            false => Err(format!(
                "the flow's clamp is {}, outside 0 to {}",
                self.clamp,
                Self::MOST_CLAMP
            )),
        }
    }

    /// What the sizes of its couplings can be.
    pub(crate) fn limits(&self) -> [Limit; 3] {
        [
            ("couplings", self.couplings, 0..=256),
            ("hidden", self.hidden, 1..=8192),
            ("layers", self.layers, 0..=16),
        ]
    }

    /// Whether a log-scale can have this bound.
    pub(crate) fn can_clamp(bound: f64) -> bool {
        bound > 0.0 && bound <= Self::MOST_CLAMP
    }

    /// Fewest numbers that a flow of these sizes holds, which are most of them.
    fn least_numbers(&self) -> usize {
        // Trained Gaussians have diagonal covariances, tied ones share one, and kernels a variance.
        let each = match self.base {
            BaseKind::Fitted => self.dim * self.dim,
            BaseKind::Trained | BaseKind::Tied | BaseKind::Kernel => self.dim,
        };
        let half = self.dim / 2;
        let network = match self.layers {
            0 => half * 2 * half,
            layers => half * self.hidden + (layers - 1) * self.hidden * self.hidden,
        };
        let couplings = network.saturating_mul(self.couplings);
        let shared = match (self.base, self.gaussians) {
            (BaseKind::Tied, 1..) => self.dim * self.dim,
            _ => 0,
        };
        couplings.saturating_add(each.saturating_mul(self.gaussians) + shared)
    }

    /// What keeps a flow of these sizes from being in so many bytes of a file, if anything does: a damaged one must
    /// not ask for more memory than there is.
    pub(crate) fn fits(&self, bytes: usize) -> Result<(), String> {
        check_room(bytes, self.least_numbers(), "flow")
    }

    /// Builds the flow, the identity up to a permutation, with weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> RealNvp {
        let mut layers = Vec::new();
        for index in 0..self.couplings {
            if self.actnorm {
                layers.push(Layer::ActNorm(ActNorm::new(self.dim, device)));
            }
            let first_passes = match self.mixing {
                Mixing::Permutation => {
                    layers.push(Layer::Permutation(Permutation::new(self.dim, rng, device)));
                    true
                }
                Mixing::Alternate => index % 2 == 0,
            };
            let coupling = AffineCoupling::new(self, first_passes, rng, device);
            layers.push(Layer::Coupling(coupling));
        }
        RealNvp {
            layers,
            base: Base::new(self.base, self.gaussians, self.dim, rng, device),
            dim: self.dim,
            context: self.context,
        }
    }
}

/// One step of the flow.
#[derive(Module, Debug)]
enum Layer {
    ActNorm(ActNorm),
    Permutation(Permutation),
    Coupling(AffineCoupling),
}

impl Layer {
    fn transform(&self) -> &dyn Transform<2> {
        match self {
            Self::ActNorm(layer) => layer,
            Self::Permutation(layer) => layer,
            Self::Coupling(layer) => layer,
        }
    }
}

/// A chain of couplings from data to a base distribution (Dinh et al., arXiv:1605.08803).
#[derive(Module, Debug)]
pub struct RealNvp {
    layers: Vec<Layer>,
    base: Base,
    dim: usize,
    context: usize,
}

impl RealNvp {
    /// Entries of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Whether its density is conditioned on a context.
    pub fn has_context(&self) -> bool {
        self.context > 0
    }

    /// Whether nothing lies between the data and its base distribution.
    pub(crate) fn is_base_alone(&self) -> bool {
        self.layers.is_empty()
    }

    /// What it maps data to.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Log-density of each vector in nats: `ln p(f(x)) + ln |det df/dx|` (Dinh et al., equation 2),
    /// given the context where the flow has one.
    ///
    /// # Shapes
    /// `x`: `[batch, dim]`, `context`: `[batch, context]`; to `[batch]`.
    pub fn log_prob(&self, x: Tensor<2>, context: Option<&Tensor<2>>) -> Tensor<1> {
        let (base, log_det) = self.log_prob_terms(x, context);
        base + log_det
    }

    /// The two terms of [`log_prob`](Self::log_prob): `ln p(f(x))` and `ln |det df/dx|`.
    ///
    /// # Shapes
    /// `x`: `[batch, dim]`, `context`: `[batch, context]`; to `[batch]` both.
    pub fn log_prob_terms(
        &self,
        x: Tensor<2>,
        context: Option<&Tensor<2>>,
    ) -> (Tensor<1>, Tensor<1>) {
        let (z, log_det) = self.forward(x, context);
        (self.base_log_prob(z), log_det)
    }

    /// Vectors and their contexts, which lie side by side in a training row.
    ///
    /// # Shapes
    /// `[batch, dim + context]` to `[batch, dim]` and `[batch, context]`.
    pub fn split_context(&self, rows: Tensor<2>) -> (Tensor<2>, Option<Tensor<2>>) {
        let [_, columns] = rows.dims();
        if columns == self.dim {
            return (rows, None);
        }
        let context = rows.clone().narrow(1, self.dim, columns - self.dim);
        (rows.narrow(1, 0, self.dim), Some(context))
    }

    /// Log-density of the base distribution in nats.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch]`.
    pub fn base_log_prob(&self, z: Tensor<2>) -> Tensor<1> {
        self.base.distribution().log_prob(z)
    }

    /// Draws `count` vectors from a flow without context.
    ///
    /// # Shapes
    /// To `[count, dim]`.
    pub fn sample(&self, count: usize, rng: &mut StdRng, device: &Device) -> Tensor<2> {
        let z = self.base.distribution().sample(count, rng, device);
        self.inverse(z, None).0
    }

    /// Sets every [`ActNorm`], front to back, and the base distribution from data; without either,
    /// nothing changes. A fitted base distribution is the average of so many `starts`.
    ///
    /// # Shapes
    /// `rows`: `[batch, dim + context]`, at least two rows.
    pub fn initialised_from(mut self, rows: Tensor<2>, starts: usize, rng: &mut impl Rng) -> Self {
        let (mut x, context) = self.split_context(rows);
        self.layers = self
            .layers
            .into_iter()
            .map(|layer| {
                let layer = match layer {
                    Layer::ActNorm(_) => Layer::ActNorm(ActNorm::initialised(x.clone())),
                    other => other,
                };
                x = layer.transform().forward(x.clone(), context.as_ref()).0;
                layer
            })
            .collect();
        self.base = self.base.initialised(x, starts, rng);
        self
    }

    /// Folds the layers' maps over `x` and adds up their log-determinants.
    fn chain<'a>(
        layers: impl Iterator<Item = &'a Layer>,
        x: Tensor<2>,
        step: impl Fn(&dyn Transform<2>, Tensor<2>) -> (Tensor<2>, Tensor<1>),
    ) -> (Tensor<2>, Tensor<1>) {
        let log_det = Tensor::zeros([x.dims()[0]], &x.device());
        layers.fold((x, log_det), |(x, sum), layer| {
            let (x, log_det) = step(layer.transform(), x);
            (x, sum + log_det)
        })
    }
}

impl Transform<2> for RealNvp {
    fn forward(&self, x: Tensor<2>, context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        Self::chain(self.layers.iter(), x, |layer, x| layer.forward(x, context))
    }

    fn inverse(&self, z: Tensor<2>, context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        let layers = self.layers.iter().rev();
        Self::chain(layers, z, |layer, z| layer.inverse(z, context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_flow_fits_in_what_it_takes_and_not_in_a_quarter_of_it() {
        let wide = RealNvpConfig {
            dim: 9,
            couplings: 3,
            hidden: 64,
            layers: 3,
            ..RealNvpConfig::base_alone(9, 0)
        };
        for config in [
            wide,
            RealNvpConfig { layers: 0, ..wide },
            RealNvpConfig { layers: 1, ..wide },
            RealNvpConfig::base_alone(40, 7),
            RealNvpConfig {
                base: BaseKind::Tied,
                ..RealNvpConfig::base_alone(40, 7)
            },
            RealNvpConfig {
                base: BaseKind::Kernel,
                ..RealNvpConfig::base_alone(40, 70)
            },
        ] {
            let flow = config.init(
                &mut StdRng::seed_from_u64(0),
                &crate::backend::test_device(),
            );
            let bytes = flow.num_params() * size_of::<f32>();
            assert_eq!(config.fits(bytes), Ok(()), "{config:?}");
            assert!(config.fits(bytes / 4).is_err(), "{config:?}");
        }
        let impossible = RealNvpConfig {
            gaussians: 10_000,
            ..RealNvpConfig::base_alone(4096, 0)
        };
        assert!(impossible.check().is_ok() && impossible.fits(1 << 30).is_err());
    }
}
