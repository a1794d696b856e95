//! The network of a coupling layer: from the untouched half to scale and shift of the other.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, Uniform};

use crate::ops::Network;

/// A multi-layer perceptron with ReLU between its layers.
///
/// The last layer starts at zero, so that the coupling starts as the identity (Kingma & Dhariwal,
/// arXiv:1807.03039, section 3.3).
///
/// # Shapes
/// `[batch, from]` to `[batch, to]`.
#[derive(Module, Debug)]
pub struct Conditioner {
    hidden: Vec<Linear>,
    last: Linear,
}

impl Conditioner {
    /// `layers` hidden layers of `width` units between `from` inputs and `to` outputs.
    pub fn new(
        [from, to]: [usize; 2],
        width: usize,
        layers: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let mut inputs = from;
        let hidden = (0..layers)
            .map(|_| linear(std::mem::replace(&mut inputs, width), width, rng, device))
            .collect();
        Self {
            hidden,
            last: Linear {
                weight: Param::from_tensor(Tensor::zeros([inputs, to], device)),
                bias: Some(Param::from_tensor(Tensor::zeros([to], device))),
            },
        }
    }

    /// # Shapes
    /// `[batch, from]` to `[batch, to]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.network().forward(x)
    }

    /// Its layers, for the operation that runs them within the coupling.
    pub(crate) fn network(&self) -> Network<'_> {
        Network {
            hidden: &self.hidden,
            last: &self.last,
        }
    }
}

/// A linear layer with weight and bias from U(-1/sqrt(from), 1/sqrt(from)), PyTorch's default,
/// drawn from `rng` so that a seed gives the same weights on every backend.
pub(super) fn linear(from: usize, to: usize, rng: &mut impl Rng, device: &Device) -> Linear {
    let bound = 1.0 / (from.max(1) as f32).sqrt();
    let uniform = Uniform::new_inclusive(-bound, bound).expect("a finite interval");
    let mut draw =
        |count: usize| -> Vec<f32> { uniform.sample_iter(&mut *rng).take(count).collect() };
    let weight = TensorData::new(draw(from * to), [from, to]);
    let bias = TensorData::new(draw(to), [to]);
    Linear {
        weight: Param::from_tensor(Tensor::from_data(weight, device)),
        bias: Some(Param::from_tensor(Tensor::from_data(bias, device))),
    }
}
