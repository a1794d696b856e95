//! A fixed random reordering of the entries between couplings.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;
use rand::seq::SliceRandom;

use super::Transform;

/// Reorders the entries of a vector; the volume does not change.
///
/// The order is drawn once and saved with the weights, so a stored flow does not depend on how a
/// random generator turns a seed into an order.
#[derive(Module, Debug)]
pub struct Permutation {
    order: Param<Tensor<1, Int>>,
    inverse: Param<Tensor<1, Int>>,
}

impl Permutation {
    /// A random order of `dim` entries.
    pub fn new(dim: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let mut order: Vec<i32> = (0..dim as i32).collect();
        order.shuffle(rng);
        let mut inverse = vec![0; dim];
        for (to, &from) in (0i32..).zip(&order) {
            inverse[from as usize] = to;
        }
        let param = |values: Vec<i32>| {
            Param::initialized(
                ParamId::new(),
                Tensor::from_data(TensorData::new(values, [dim]), device),
            )
        };
        Self {
            order: param(order),
            inverse: param(inverse),
        }
    }

    fn select(x: Tensor<2>, order: &Param<Tensor<1, Int>>) -> (Tensor<2>, Tensor<1>) {
        let log_det = Tensor::zeros([x.dims()[0]], &x.device());
        (x.select(1, order.val()), log_det)
    }
}

impl Transform<2> for Permutation {
    fn forward(&self, x: Tensor<2>, _context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        Self::select(x, &self.order)
    }

    fn inverse(&self, z: Tensor<2>, _context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        Self::select(z, &self.inverse)
    }
}
