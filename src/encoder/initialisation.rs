//! Initial weights.
//!
//! The numbers come from a generator that is given, and not from the backend's process-wide one: so a seed gives the
//! same weights on every backend, and in tests that run side by side.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, Normal};

/// Standard deviation of DCGAN's initial weights (its section 4).
const DCGAN_DEVIATION: f32 = 0.02;

/// DCGAN's initial weights: convolutions from N(0, 0.02²), gains of normalisations from N(1, 0.02²), their shifts zero
/// (Radford et al., arXiv:1511.06434, section 4).
pub(crate) fn dcgan_initialised<M: Module>(module: M, rng: &mut impl Rng) -> M {
    drawn(module, rng, |name, _| match name {
        "weight" => Some((0.0, DCGAN_DEVIATION)),
        "gamma" => Some((1.0, DCGAN_DEVIATION)),
        "beta" => Some((0.0, 0.0)),
        _ => None,
    })
}

/// Weights from N(0, 2 / inputs of a unit) (He et al., arXiv:1502.01852).
pub(super) fn he_initialised<M: Module>(module: M, rng: &mut impl Rng) -> M {
    drawn(module, rng, |name, shape| {
        // Convolutions are `[to, from, height, width]`, matrices `[from, to]`.
        let inputs: usize = match shape {
            [from, _] => *from,
            [_, rest @ ..] => rest.iter().product(),
            [] => 1,
        };
        (name == "weight").then(|| (0.0, (2.0 / inputs.max(1) as f32).sqrt()))
    })
}

/// The module with every parameter drawn for which `law` knows a mean and a standard deviation, by its name and shape. The
/// parameters stay what they are to an optimizer.
fn drawn<M: Module, R: Rng>(
    module: M,
    rng: &mut R,
    law: impl Fn(&str, &[usize]) -> Option<(f32, f32)>,
) -> M {
    module.map(&mut Draw {
        rng,
        law,
        path: Vec::new(),
    })
}

struct Draw<'a, R, L> {
    rng: &'a mut R,
    law: L,
    /// Names on the way down to a parameter.
    path: Vec<String>,
}

impl<R: Rng, L: Fn(&str, &[usize]) -> Option<(f32, f32)>> ModuleMapper for Draw<'_, R, L> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        let name = self.path.last().map_or("", String::as_str);
        let Some((mean, deviation)) = (self.law)(name, &shape) else {
            return param;
        };
        let count = shape.iter().product();
        let values: Vec<f32> = match deviation {
            0.0 => vec![mean; count],
            _ => {
                let normal = Normal::new(mean, deviation).expect("a standard deviation");
                normal.sample_iter(&mut *self.rng).take(count).collect()
            }
        };
        param.map(|old| {
            let new = Tensor::from_data(TensorData::new(values, shape), &old.device());
            new.set_require_grad(old.is_require_grad())
        })
    }
}
