//! The affine coupling layer of RealNVP.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;

use super::{Conditioner, RealNvpConfig, Transform};

/// One half of the vector passes; it decides scale and shift of the other half.
///
/// With `x = [a, b]`: `y = [a, b * exp(s(a)) + t(a)]`, `ln |det J| = sum s(a)` (Dinh et al.,
/// arXiv:1605.08803, equations 4 to 6). The log-scale is clamped softly, `s = c tanh(raw / c)`, so
/// that no input can make `exp(s)` overflow. With a context `c`, scale and shift are functions of
/// `[a, c]` (Ardizzone et al., arXiv:1907.02392, section 3.1).
#[derive(Module, Debug)]
pub struct AffineCoupling {
    conditioner: Conditioner,
    passing: usize,
    clamp: f64,
    /// Which half passes: the first, or the second.
    first_passes: bool,
}

impl AffineCoupling {
    /// A coupling of vectors of `config.dim` entries in which the first or the second half passes.
    pub fn new(
        config: &RealNvpConfig,
        first_passes: bool,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let half = config.dim / 2;
        let passing = if first_passes {
            half
        } else {
            config.dim - half
        };
        let changed = config.dim - passing;
        Self {
            conditioner: Conditioner::new(
                [passing + config.context, 2 * changed],
                config.hidden,
                config.layers,
                rng,
                device,
            ),
            passing,
            clamp: config.clamp,
            first_passes,
        }
    }

    /// The passing half and the half that is changed.
    fn split(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let [_, dim] = x.dims();
        let changed = dim - self.passing;
        if self.first_passes {
            (
                x.clone().narrow(1, 0, self.passing),
                x.narrow(1, self.passing, changed),
            )
        } else {
            (
                x.clone().narrow(1, changed, self.passing),
                x.narrow(1, 0, changed),
            )
        }
    }

    fn join(&self, passed: Tensor<2>, changed: Tensor<2>) -> Tensor<2> {
        if self.first_passes {
            Tensor::cat(vec![passed, changed], 1)
        } else {
            Tensor::cat(vec![changed, passed], 1)
        }
    }

    /// Log-scale and shift from the passing half and the context, each `[batch, dim - passing]`.
    fn scale_and_shift(
        &self,
        passed: Tensor<2>,
        context: Option<&Tensor<2>>,
    ) -> (Tensor<2>, Tensor<2>) {
        let known = match context {
            Some(context) => Tensor::cat(vec![passed, context.clone()], 1),
            None => passed,
        };
        let both = self.conditioner.forward(known);
        let changed = both.dims()[1] / 2;
        let raw = both.clone().narrow(1, 0, changed);
        let log_scale = (raw / self.clamp).tanh() * self.clamp;
        (log_scale, both.narrow(1, changed, changed))
    }
}

impl Transform for AffineCoupling {
    fn forward(&self, x: Tensor<2>, context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        let (passed, changed) = self.split(x);
        let (log_scale, shift) = self.scale_and_shift(passed.clone(), context);
        let changed = changed * log_scale.clone().exp() + shift;
        let log_det = log_scale.sum_dim(1).squeeze_dim(1);
        (self.join(passed, changed), log_det)
    }

    fn inverse(&self, z: Tensor<2>, context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        let (passed, changed) = self.split(z);
        let (log_scale, shift) = self.scale_and_shift(passed.clone(), context);
        let changed = (changed - shift) * log_scale.clone().neg().exp();
        let log_det = log_scale.sum_dim(1).squeeze_dim::<1>(1).neg();
        (self.join(passed, changed), log_det)
    }
}
