//! RealNVP on vectors with a standard normal base distribution.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{ActNorm, AffineCoupling, Permutation, Transform};

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
}

impl RealNvpConfig {
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
            dim: self.dim,
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
    fn transform(&self) -> &dyn Transform {
        match self {
            Self::ActNorm(layer) => layer,
            Self::Permutation(layer) => layer,
            Self::Coupling(layer) => layer,
        }
    }
}

/// A chain of couplings from data to a standard normal (Dinh et al., arXiv:1605.08803).
#[derive(Module, Debug)]
pub struct RealNvp {
    layers: Vec<Layer>,
    dim: usize,
}

impl RealNvp {
    /// Entries of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Log-density of each vector in nats: `ln N(f(x); 0, I) + ln |det df/dx|` (Dinh et al.,
    /// equation 2).
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch]`.
    pub fn log_prob(&self, x: Tensor<2>) -> Tensor<1> {
        let (z, log_det) = self.forward(x);
        self.base_log_prob(z) + log_det
    }

    /// Log-density of the base distribution, a standard normal, in nats.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch]`.
    pub fn base_log_prob(&self, z: Tensor<2>) -> Tensor<1> {
        let constant = self.dim as f64 * std::f64::consts::TAU.ln();
        (z.square().sum_dim(1).squeeze_dim::<1>(1) + constant) * -0.5
    }

    /// Draws `count` vectors.
    ///
    /// # Shapes
    /// To `[count, dim]`.
    pub fn sample(&self, count: usize, rng: &mut impl Rng, device: &Device) -> Tensor<2> {
        let noise: Vec<f32> = StandardNormal
            .sample_iter(rng)
            .take(count * self.dim)
            .collect();
        let z = Tensor::from_data(TensorData::new(noise, [count, self.dim]), device);
        self.inverse(z).0
    }

    /// Sets every [`ActNorm`] from data, front to back; without any, nothing changes.
    ///
    /// # Shapes
    /// `x`: `[batch, dim]`, at least two rows.
    pub fn initialised_from(mut self, x: Tensor<2>) -> Self {
        let mut x = x;
        self.layers = self
            .layers
            .into_iter()
            .map(|layer| {
                let layer = match layer {
                    Layer::ActNorm(_) => Layer::ActNorm(ActNorm::initialised(x.clone())),
                    other => other,
                };
                x = layer.transform().forward(x.clone()).0;
                layer
            })
            .collect();
        self
    }

    /// Folds the layers' maps over `x` and adds up their log-determinants.
    fn chain<'a>(
        layers: impl Iterator<Item = &'a Layer>,
        x: Tensor<2>,
        step: impl Fn(&dyn Transform, Tensor<2>) -> (Tensor<2>, Tensor<1>),
    ) -> (Tensor<2>, Tensor<1>) {
        let log_det = Tensor::zeros([x.dims()[0]], &x.device());
        layers.fold((x, log_det), |(x, sum), layer| {
            let (x, log_det) = step(layer.transform(), x);
            (x, sum + log_det)
        })
    }
}

impl Transform for RealNvp {
    fn forward(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<1>) {
        Self::chain(self.layers.iter(), x, |layer, x| layer.forward(x))
    }

    fn inverse(&self, z: Tensor<2>) -> (Tensor<2>, Tensor<1>) {
        Self::chain(self.layers.iter().rev(), z, |layer, z| layer.inverse(z))
    }
}
