//! Functions of every value, in place and on all threads. Burn calls the C library once for every hyperbolic tangent and
//! exponential, on one.

use std::fmt::Debug;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::graph::{Differentiate, noted};
use super::vectors::vectorised;
use super::{Home, Training, contiguous, elementary, flex, training, values};

/// A function of one number whose gradient follows from its value.
pub(super) trait Curve: Copy + Send + Sync + Debug + 'static {
    /// Values per task.
    const TASK: usize = 1 << 14;

    /// The value at `x`.
    fn value(self, x: f32) -> f32;

    /// The gradient by `x` where this is the value, for the gradient by the value.
    fn gradient(self, value: f32, gradient: f32) -> f32;
}

#[derive(Clone, Copy, Debug)]
struct Tanh;

impl Curve for Tanh {
    const TASK: usize = 1 << 12;

    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        elementary::tanh(x)
    }

    #[inline(always)]
    fn gradient(self, value: f32, gradient: f32) -> f32 {
        gradient * (1.0 - value * value)
    }
}

#[derive(Clone, Copy, Debug)]
struct Exp;

impl Curve for Exp {
    const TASK: usize = 1 << 12;

    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        elementary::exp(x)
    }

    #[inline(always)]
    fn gradient(self, value: f32, gradient: f32) -> f32 {
        gradient * value
    }
}

/// The hyperbolic tangent of every value.
pub(crate) fn tanh<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    each(Tanh, input, Tensor::tanh)
}

/// The exponential of every value.
pub(crate) fn exp<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    each(Exp, input, Tensor::exp)
}

/// The function of every value; `plain` is Burn's operation.
pub(super) fn each<const D: usize>(
    curve: impl Curve,
    input: Tensor<D>,
    plain: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    match Home::of(&input) {
        Home::Flex => Tensor::from_primitive::<Flex>(forward(curve, flex(input))),
        Home::Training => {
            let (input, node) = training(input).into_parts();
            let output = forward(curve, input);
            let output = noted(Each(curve), [node], output.clone(), output);
            Tensor::from_primitive::<Training>(output)
        }
        Home::Elsewhere => plain(input),
    }
}

fn forward<C: Curve>(curve: C, input: FlexTensor) -> FlexTensor {
    let mut output = contiguous(input);
    let tasks = output.storage_mut::<f32>().par_chunks_mut(C::TASK);
    tasks.for_each(|values| {
        vectorised(|| values.iter_mut().for_each(|x| *x = curve.value(*x)));
    });
    output
}

#[derive(Debug)]
struct Each<C>(C);

impl<C: Curve> Differentiate<Flex, 1> for Each<C> {
    /// The output.
    type Saved = FlexTensor;

    fn gradients(
        self,
        output: FlexTensor,
        by_output: FlexTensor,
        _wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let (output, mut gradient) = (contiguous(output), contiguous(by_output));
        let gradients = gradient.storage_mut::<f32>().par_chunks_mut(C::TASK);
        gradients
            .zip(values(&output).par_chunks(C::TASK))
            .for_each(|(gradients, outputs)| {
                for (gradient, &output) in gradients.iter_mut().zip(outputs) {
                    *gradient = self.0.gradient(output, *gradient);
                }
            });
        [Some(gradient)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, in_pool, normal, read};
    use burn::tensor::Device;

    #[test]
    fn values_and_gradients_are_burns() {
        check(Tanh, Tensor::tanh);
        check(Exp, Tensor::exp);
    }

    fn check<C: Curve>(curve: C, plain: fn(Tensor<2>) -> Tensor<2>) {
        let device = Device::flex().autodiff();
        let measure = |operation: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let input = normal([3, C::TASK], 1, &device).require_grad();
            let output = operation(input.clone());
            let probe = normal(output.dims(), 2, &device);
            let gradients = (output.clone() * probe).sum().backward();
            let gradient = input.grad(&gradients).expect("a gradient");
            // The leaf is read after the operation: in place must not mean in its place.
            [read(output), read(gradient), read(input)]
        };
        let (found, expected) = (measure(&|input| each(curve, input, plain)), measure(&plain));
        for (index, what) in ["values", "gradients", "input"].into_iter().enumerate() {
            assert_close(&found[index], &expected[index], what);
        }
        let input = normal([3, C::TASK], 1, &Device::flex());
        assert_eq!(read(each(curve, input, plain)), found[0]);
    }

    #[test]
    fn a_view_is_not_changed_and_threads_change_no_bit() {
        let input = normal([Tanh::TASK, 3], 3, &Device::flex());
        let before = read(input.clone());
        let turned = || read(tanh(input.clone().transpose()));
        let [one, three] = [1, 3].map(|threads| in_pool(threads, turned));
        assert_eq!(one, three);
        assert_close(&one, &read(input.clone().transpose().tanh()), "transposed");
        assert_eq!(read(input), before);
    }
}
