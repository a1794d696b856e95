//! The hyperbolic tangent at the end of the decoder, in place and on all threads. Burn's calls the C
//! library once for every value, on one.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{Home, Training, contiguous, elementary, flex, training, values};

/// Values per task.
const TASK: usize = 1 << 12;

/// The hyperbolic tangent of every value.
pub(crate) fn tanh<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    match Home::of(&input) {
        Home::Flex => Tensor::from_primitive::<Flex>(forward(flex(input))),
        Home::Training => record(input),
        Home::Elsewhere => input.tanh(),
    }
}

fn forward(input: FlexTensor) -> FlexTensor {
    let mut output = contiguous(input);
    let values = output.storage_mut::<f32>();
    values
        .par_chunks_mut(TASK)
        .for_each(|values| values.iter_mut().for_each(|x| *x = elementary::tanh(*x)));
    output
}

/// `d tanh = 1 - tanh^2`.
fn backward(output: FlexTensor, gradient: FlexTensor) -> FlexTensor {
    let (output, mut gradient) = (contiguous(output), contiguous(gradient));
    let gradients = gradient.storage_mut::<f32>().par_chunks_mut(TASK);
    gradients
        .zip(values(&output).par_chunks(TASK))
        .for_each(|(gradients, outputs)| {
            for (gradient, output) in gradients.iter_mut().zip(outputs) {
                *gradient *= 1.0 - output * output;
            }
        });
    gradient
}

fn record<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    let (input, node) = training(input).into_parts();
    let output = forward(input);
    let prepared = TanhBackward
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
struct TanhBackward;

impl Backward<Flex, 1> for TanhBackward {
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
            gradients.register::<Flex>(node.id, backward(ops.state, gradient));
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
        let (found, expected) = (measure(&tanh), measure(&|input| input.tanh()));
        for (index, what) in ["values", "gradients", "input"].into_iter().enumerate() {
            assert_close(&found[index], &expected[index], what);
        }
        let plain = read(tanh(normal([3, TASK], 1, &Device::flex())));
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
