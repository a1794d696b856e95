//! The activations between convolutions.

use burn::tensor::{Tensor, activation};

use super::pointwise::{Curve, each};

/// What follows a convolution or a normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    /// None: `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x`, or the slope times it where it is negative. The slope is positive.
    LeakyRelu(f32),
}

impl Activation {
    /// Burn's operation.
    pub(super) fn plain<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Identity => input,
            Self::Relu => activation::relu(input),
            Self::LeakyRelu(slope) => activation::leaky_relu(input, f64::from(slope)),
        }
    }
}

/// An activation as a type, for loops that are compiled for each: its gradient depends on the sign of its value alone,
/// which `x` has as well.
pub(super) trait Gate: Curve {}

/// [`Activation::Identity`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass;

impl Gate for Pass {}

impl Curve for Pass {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn gradient(self, _: f32, gradient: f32) -> f32 {
        gradient
    }
}

/// [`Activation::Relu`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Rectify;

impl Gate for Rectify {}

impl Curve for Rectify {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        // NaN stays.
        if x <= 0.0 { 0.0 } else { x }
    }

    #[inline(always)]
    fn gradient(self, x: f32, gradient: f32) -> f32 {
        if x <= 0.0 { 0.0 } else { gradient }
    }
}

/// [`Activation::LeakyRelu`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Leak(pub f32);

impl Gate for Leak {}

impl Curve for Leak {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        if x < 0.0 { self.0 * x } else { x }
    }

    #[inline(always)]
    fn gradient(self, x: f32, gradient: f32) -> f32 {
        if x < 0.0 { self.0 * gradient } else { gradient }
    }
}

/// Evaluates an expression with the activation's [`Gate`].
macro_rules! with_gate {
    ($activation:expr, |$gate:ident| $body:expr) => {
        match $activation {
            $crate::ops::Activation::Identity => {
                let $gate = $crate::ops::activation::Pass;
                $body
            }
            $crate::ops::Activation::Relu => {
                let $gate = $crate::ops::activation::Rectify;
                $body
            }
            $crate::ops::Activation::LeakyRelu(slope) => {
                let $gate = $crate::ops::activation::Leak(slope);
                $body
            }
        }
    };
}
pub(super) use with_gate;

/// The activation of every value.
pub(crate) fn activate<const D: usize>(input: Tensor<D>, activation: Activation) -> Tensor<D> {
    with_gate!(activation, |gate| each(gate, input, |input| activation
        .plain(input)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{normal, read};
    use burn::tensor::{Device, TensorData};

    const ACTIVATIONS: [Activation; 3] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.2),
    ];

    #[test]
    fn values_and_gradients_are_burns() {
        let device = Device::flex().autodiff();
        for activation in ACTIVATIONS {
            let measure = |operation: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                let input = normal([3, Rectify::TASK], 1, &device).require_grad();
                let output = operation(input.clone());
                let probe = normal(output.dims(), 2, &device);
                let gradients = (output.clone() * probe).sum().backward();
                let gradient = input.grad(&gradients).expect("a gradient");
                // The leaf is read after the operation: in place must not mean in its place.
                [read(output), read(gradient), read(input)]
            };
            let found = measure(&|input| activate(input, activation));
            assert_eq!(found, measure(&|input| activation.plain(input)));
            let plain = activate(normal([3, Rectify::TASK], 1, &Device::flex()), activation);
            assert_eq!(read(plain), found[0]);
        }
    }

    #[test]
    fn special_values_are_burns() {
        let edges = [
            -1.0,
            -0.0,
            0.0,
            1e-40,
            -1e-40,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ];
        for device in [Device::flex(), Device::flex().autodiff()] {
            for activation in ACTIVATIONS {
                let input = Tensor::<1>::from_data(TensorData::new(edges.to_vec(), [7]), &device);
                let found = read(activate(input.clone(), activation));
                assert_eq!(found, read(activation.plain(input)));
                let nan = Tensor::<1>::from_data([f32::NAN], &device);
                assert!(read(activate(nan, activation))[0].is_nan());
            }
        }
    }

    #[test]
    fn gradients_at_zero_are_burns() {
        let device = Device::flex().autodiff();
        for activation in ACTIVATIONS {
            let gradient = |operation: &dyn Fn(Tensor<1>) -> Tensor<1>| {
                let input = Tensor::<1>::from_data([0.0f32, -1.0, 1.0], &device).require_grad();
                let gradients = operation(input.clone()).sum().backward();
                read(input.grad(&gradients).expect("a gradient"))
            };
            assert_eq!(
                gradient(&|input| activate(input, activation)),
                gradient(&|input| activation.plain(input))
            );
        }
    }
}
