//! How an operation of our own enters the graph of gradients.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

/// What an operation on `N` inputs gives back.
pub(super) trait Differentiate<B: Backend, const N: usize>: Debug + Send + 'static {
    /// What the gradients need of the operation.
    type Saved: Clone + Debug + Send + 'static;

    /// The gradients by the inputs, those that are wanted at least, for that by the output.
    fn gradients(
        self,
        saved: Self::Saved,
        by_output: FloatTensor<B>,
        wanted: [bool; N],
    ) -> [Option<FloatTensor<B>>; N];
}

/// The output of an operation behind its inputs in the graph of gradients.
pub(super) fn noted<B, O, const N: usize>(
    operation: O,
    inputs: [NodeGuard; N],
    saved: O::Saved,
    output: FloatTensor<B>,
) -> FloatTensor<Autodiff<B>>
where
    B: Backend,
    O: Differentiate<B, N>,
{
    let prepared = Noted(operation)
        .prepare::<NoCheckpointing>(inputs)
        .compute_bound()
        .stateful();
    match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(saved, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

/// An operation as the graph knows it.
#[derive(Debug)]
struct Noted<O>(O);

impl<B, O, const N: usize> Backward<B, N> for Noted<O>
where
    B: Backend,
    O: Differentiate<B, N>,
{
    type State = O::Saved;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let by_output = gradients.consume::<B>(&ops.node);
        let wanted = std::array::from_fn(|input| ops.parents[input].is_some());
        let found = self.0.gradients(ops.state, by_output, wanted);
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}
