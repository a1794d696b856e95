//! The activations between convolutions, in place and on all threads.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, activation};
use rayon::prelude::*;

use super::{Home, Training, contiguous, flex, training, values};

/// Values per task.
const TASK: usize = 1 << 14;

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

/// An activation as a type, for loops that are compiled for each.
pub(super) trait Gate: Copy + Send + Sync {
    /// The activation of `x`.
    fn value(self, x: f32) -> f32;

    /// The gradient by `x`, for the gradient by the activation. What `x` is matters only by its
    /// sign, so the activation of `x` does as well.
    fn gradient(self, x: f32, gradient: f32) -> f32;
}

#[derive(Clone, Copy)]
pub(super) struct Pass;

impl Gate for Pass {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn gradient(self, _: f32, gradient: f32) -> f32 {
        gradient
    }
}

#[derive(Clone, Copy)]
pub(super) struct Rectify;

impl Gate for Rectify {
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

#[derive(Clone, Copy)]
pub(super) struct Leak(pub f32);

impl Gate for Leak {
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
    match Home::of(&input) {
        Home::Flex => Tensor::from_primitive::<Flex>(forward(flex(input), activation)),
        Home::Training => record(input, activation),
        Home::Elsewhere => activation.plain(input),
    }
}

fn forward(input: FlexTensor, activation: Activation) -> FlexTensor {
    let mut output = contiguous(input);
    let values = output.storage_mut::<f32>();
    with_gate!(activation, |gate| values.par_chunks_mut(TASK).for_each(
        |values| values.iter_mut().for_each(|x| *x = gate.value(*x))
    ));
    output
}

fn backward(output: FlexTensor, gradient: FlexTensor, activation: Activation) -> FlexTensor {
    let (output, mut gradient) = (contiguous(output), contiguous(gradient));
    let gradients = gradient.storage_mut::<f32>().par_chunks_mut(TASK);
    let pairs = gradients.zip(values(&output).par_chunks(TASK));
    with_gate!(activation, |gate| pairs.for_each(|(gradients, outputs)| {
        for (gradient, output) in gradients.iter_mut().zip(outputs) {
            *gradient = gate.gradient(*output, *gradient);
        }
    }));
    gradient
}

fn record<const D: usize>(input: Tensor<D>, activation: Activation) -> Tensor<D> {
    let (input, node) = training(input).into_parts();
    let output = forward(input, activation);
    let prepared = ActivationBackward
        .prepare::<NoCheckpointing>([node])
        .compute_bound()
        .stateful();
    let output = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish((output.clone(), activation), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Training>(output)
}

#[derive(Debug)]
struct ActivationBackward;

impl Backward<Flex, 1> for ActivationBackward {
    type State = (FlexTensor, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let gradient = gradients.consume::<Flex>(&ops.node);
        let (output, activation) = ops.state;
        if let Some(node) = node {
            gradients.register::<Flex>(node.id, backward(output, gradient, activation));
        }
    }
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
                let input = normal([3, TASK], 1, &device).require_grad();
                let output = operation(input.clone());
                let probe = normal(output.dims(), 2, &device);
                let gradients = (output.clone() * probe).sum().backward();
                let gradient = input.grad(&gradients).expect("a gradient");
                // The leaf is read after the operation: in place must not mean in its place.
                [read(output), read(gradient), read(input)]
            };
            let found = measure(&|input| activate(input, activation));
            assert_eq!(found, measure(&|input| activation.plain(input)));
            let plain = activate(normal([3, TASK], 1, &Device::flex()), activation);
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
