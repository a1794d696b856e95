//! The hyperbolic tangent and the exponential of every value, in place and on all threads. Burn's call the C
//! library once for every value, on one.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::vectors::vectorised;
use super::{Home, Training, contiguous, elementary, flex, training, values};

/// Values per task.
const TASK: usize = 1 << 12;

/// A function of one number whose slope follows from its value.
trait Curve: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// The value at `x`.
    fn value(self, x: f32) -> f32;

    /// The slope where this is the value.
    fn slope(self, value: f32) -> f32;

    /// Burn's operation.
    fn plain<const D: usize>(self, input: Tensor<D>) -> Tensor<D>;
}

#[derive(Clone, Copy, Debug)]
struct Tanh;

impl Curve for Tanh {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        elementary::tanh(x)
    }

    #[inline(always)]
    fn slope(self, value: f32) -> f32 {
        1.0 - value * value
    }

    fn plain<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        input.tanh()
    }
}

#[derive(Clone, Copy, Debug)]
struct Exp;

impl Curve for Exp {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        elementary::exp(x)
    }

    #[inline(always)]
    fn slope(self, value: f32) -> f32 {
        value
    }

    fn plain<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        input.exp()
    }
}

/// The hyperbolic tangent of every value.
pub(crate) fn tanh<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    each(Tanh, input)
}

/// The exponential of every value.
pub(crate) fn exp<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    each(Exp, input)
}

fn each<const D: usize>(curve: impl Curve, input: Tensor<D>) -> Tensor<D> {
    match Home::of(&input) {
        Home::Flex => Tensor::from_primitive::<Flex>(forward(curve, flex(input))),
        Home::Training => record(curve, input),
        Home::Elsewhere => curve.plain(input),
    }
}

fn forward(curve: impl Curve, input: FlexTensor) -> FlexTensor {
    let mut output = contiguous(input);
    let values = output.storage_mut::<f32>();
    values
        .par_chunks_mut(TASK)
        .for_each(|values| vectorised(|| values.iter_mut().for_each(|x| *x = curve.value(*x))));
    output
}

fn backward(curve: impl Curve, output: FlexTensor, gradient: FlexTensor) -> FlexTensor {
    let (output, mut gradient) = (contiguous(output), contiguous(gradient));
    let gradients = gradient.storage_mut::<f32>().par_chunks_mut(TASK);
    gradients
        .zip(values(&output).par_chunks(TASK))
        .for_each(|(gradients, outputs)| {
            for (gradient, output) in gradients.iter_mut().zip(outputs) {
                *gradient *= curve.slope(*output);
            }
        });
    gradient
}

fn record<const D: usize>(curve: impl Curve, input: Tensor<D>) -> Tensor<D> {
    let (input, node) = training(input).into_parts();
    let output = forward(curve, input);
    let prepared = CurveBackward(curve)
        .prepare::<NoCheckpointing>([node])
        .compute_bound()
        .stateful();
    let output = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(output.clone(), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Training>(output)
}

#[derive(Debug)]
struct CurveBackward<C>(C);

impl<C: Curve> Backward<Flex, 1> for CurveBackward<C> {
    /// The output.
    type State = FlexTensor;

    fn backward(
        self,
        ops: Ops<FlexTensor, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let Some(node) = node {
            gradients.register::<Flex>(node.id, backward(self.0, ops.state, gradient));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, in_pool, normal, read};
    use burn::tensor::Device;

    #[test]
    fn values_and_gradients_are_burns() {
        check(Tanh);
        check(Exp);
    }

    fn check(curve: impl Curve) {
        let device = Device::flex().autodiff();
        let measure = |operation: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let input = normal([3, TASK], 1, &device).require_grad();
            let output = operation(input.clone());
            let probe = normal(output.dims(), 2, &device);
            let gradients = (output.clone() * probe).sum().backward();
            let gradient = input.grad(&gradients).expect("a gradient");
            // The leaf is read after the operation: in place must not mean in its place.
            [read(output), read(gradient), read(input)]
        };
        let (found, expected) = (
            measure(&|input| each(curve, input)),
            measure(&|input| curve.plain(input)),
        );
        for (index, what) in ["values", "gradients", "input"].into_iter().enumerate() {
            assert_close(&found[index], &expected[index], what);
        }
        let plain = read(each(curve, normal([3, TASK], 1, &Device::flex())));
        assert_eq!(plain, found[0]);
    }

    #[test]
    fn a_view_is_not_changed_and_threads_change_no_bit() {
        let input = normal([TASK, 3], 3, &Device::flex());
        let before = read(input.clone());
        let turned = || read(tanh(input.clone().transpose()));
        let [one, three] = [1, 3].map(|threads| in_pool(threads, turned));
        assert_eq!(one, three);
        assert_close(&one, &read(input.clone().transpose().tanh()), "transposed");
        assert_eq!(read(input), before);
    }
}
