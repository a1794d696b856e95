//! The coupling's kernels as an operation on Burn's tensors, and as one of its graph of gradients.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Tensor;

use super::geometry::Geometry;
use super::gradient::Wanted;
use super::kernel::{Coupling, Pass};
use super::layer::Layer;
use super::{Direction, HIDDEN, Served};
use crate::ops::{Training, contiguous, flex, tensor, training, values};

/// Places for parents in the graph: the vectors, weight and bias of every layer, the context.
const PARENTS: usize = 2 + 2 * (HIDDEN + 1);

/// What a coupling works on.
#[derive(Clone, Debug)]
struct Operands {
    geometry: Geometry,
    x: FlexTensor,
    /// Weight and bias of every layer.
    layers: Vec<[FlexTensor; 2]>,
    context: Option<FlexTensor>,
}

impl Operands {
    fn coupling(&self) -> Coupling<'_> {
        let layers = self.layers.iter().map(|[weight, bias]| Layer {
            weight: values(weight),
            bias: values(bias),
        });
        Coupling {
            geometry: self.geometry,
            layers: layers.collect(),
        }
    }

    /// Values of the context, none without one.
    fn context(&self) -> &[f32] {
        self.context.as_ref().map(values).unwrap_or_default()
    }

    /// The changed vectors and the log-determinants.
    fn run(&self, direction: Direction, trace: Option<&mut [f32]>) -> (FlexTensor, FlexTensor) {
        let (x, context) = (values(&self.x), self.context());
        let (y, log_det) = self.coupling().run(direction, x, context, trace);
        let batch = log_det.len();
        (
            tensor(y, [batch, self.geometry.dim]),
            tensor(log_det, [batch]),
        )
    }
}

/// The changed vectors and the log-determinants, without gradients.
pub(super) fn evaluate(
    (geometry, parameters): Served,
    x: Tensor<2>,
    context: Option<&Tensor<2>>,
    direction: Direction,
) -> (Tensor<2>, Tensor<1>) {
    let operands = Operands {
        geometry,
        x: contiguous(flex(x)),
        layers: parameters
            .into_iter()
            .map(|(weight, bias)| [contiguous(flex(weight)), contiguous(flex(bias))])
            .collect(),
        context: context.map(|context| contiguous(flex(context.clone()))),
    };
    let (y, log_det) = operands.run(direction, None);
    (
        Tensor::from_primitive::<Flex>(y),
        Tensor::from_primitive::<Flex>(log_det),
    )
}

/// Runs the coupling forward and notes its gradients.
///
/// A node of Burn's graph has one output, the coupling has two. The log-determinants' node has the
/// operands as its parents and computes all gradients. The vectors' node is its child and only hands
/// the gradient that it gets over to it, beside the graph: two outputs in one tensor would have to be
/// cut apart and their gradients put together again, which are passes over all vectors.
pub(super) fn record(
    (geometry, parameters): Served,
    x: Tensor<2>,
    context: Option<&Tensor<2>>,
) -> (Tensor<2>, Tensor<1>) {
    let [batch, _] = x.dims();
    // Takes the places of parents that there are not.
    let nobody = training(Tensor::<1>::zeros([1], &x.device()));
    let mut guards = Vec::with_capacity(PARENTS);
    let mut open = |operand: FloatTensor<Training>| {
        let (operand, guard) = operand.into_parts();
        guards.push(guard);
        contiguous(operand)
    };
    let operands = Operands {
        geometry,
        x: open(training(x)),
        layers: parameters
            .into_iter()
            .map(|(weight, bias)| [open(training(weight)), open(training(bias))])
            .collect(),
        context: context.map(|context| open(training(context.clone()))),
    };
    let mut guards = guards.into_iter();
    let guards =
        std::array::from_fn::<_, PARENTS, _>(|_| guards.next().unwrap_or_else(|| nobody.node()));

    let by_y = Handover::default();
    let prepared = CouplingBackward
        .prepare::<NoCheckpointing>(guards)
        .compute_bound()
        .stateful();
    let (y, log_det) = match prepared {
        OpsKind::Tracked(prepared) => {
            let mut trace = operands.coupling().trace(batch);
            let (y, log_det) = operands.run(Direction::Forward, Some(trace.as_mut_slice()));
            let saved = Saved {
                operands,
                trace,
                by_y: by_y.clone(),
            };
            (y, prepared.finish(saved, log_det))
        }
        OpsKind::UnTracked(prepared) => {
            let (y, log_det) = operands.run(Direction::Forward, None);
            (y, prepared.finish(log_det))
        }
    };
    let prepared = VectorsBackward
        .prepare::<NoCheckpointing>([log_det.node()])
        .compute_bound()
        .stateful();
    let y = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(by_y, y),
        OpsKind::UnTracked(prepared) => prepared.finish(y),
    };
    (
        Tensor::from_primitive::<Training>(y),
        Tensor::from_primitive::<Training>(log_det),
    )
}

/// The gradient by the changed vectors on its way from their node to the log-determinants'.
type Handover = Arc<Mutex<Option<FlexTensor>>>;

#[derive(Debug)]
struct VectorsBackward;

impl Backward<Flex, 1> for VectorsBackward {
    type State = Handover;

    fn backward(
        self,
        ops: Ops<Handover, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let gradient = gradients.consume::<Flex>(&ops.node);
        let [batch, _] = gradient.layout().shape().dims::<2>();
        if let Some(node) = node {
            // The graph runs a node after all its children, so this is there in time.
            *ops.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
            // It also wants every child to give its parent a gradient.
            gradients.register::<Flex>(node.id, tensor(vec![0.0; batch], [batch]));
        }
    }
}

#[derive(Debug)]
struct CouplingBackward;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved {
    operands: Operands,
    /// The hidden layers' activations and the log-scales.
    trace: Vec<f32>,
    by_y: Handover,
}

impl Backward<Flex, PARENTS> for CouplingBackward {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Saved, PARENTS>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let by_log_det = contiguous(gradients.consume::<Flex>(&ops.node));
        let Saved {
            operands,
            trace,
            by_y,
        } = ops.state;
        let Geometry { dim, context, .. } = operands.geometry;
        let batch = values(&by_log_det).len();
        let by_y = by_y.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without one, nothing that was differentiated depends on the vectors.
        let by_y = by_y.unwrap_or_else(|| tensor(vec![0.0; batch * dim], [batch, dim]));

        // In the order in which they were opened; those without a gradient are none.
        let mut nodes = ops.parents.into_iter();
        let mut next = || nodes.next().flatten();
        let x_node = next();
        let layer_nodes: Vec<_> = operands.layers.iter().map(|_| [next(), next()]).collect();
        let context_node = next();
        let wanted = Wanted {
            x: x_node.is_some(),
            context: context_node.is_some(),
            layers: layer_nodes
                .iter()
                .map(|nodes| nodes.each_ref().map(|node| node.is_some()))
                .collect(),
        };

        let pass = Pass {
            x: values(&operands.x),
            context: operands.context(),
            trace: &trace,
        };
        let mut by_x = contiguous(by_y);
        let found = operands.coupling().backward(
            pass,
            &wanted,
            by_x.storage_mut::<f32>(),
            values(&by_log_det),
        );
        if let Some(node) = x_node {
            gradients.register::<Flex>(node.id, by_x);
        }
        if let Some(node) = context_node {
            gradients.register::<Flex>(node.id, tensor(found.context, [batch, context]));
        }
        let layers = layer_nodes.into_iter().zip(found.layers);
        for ([weight, _], (nodes, [by_weight, by_bias])) in operands.layers.iter().zip(layers) {
            let [weight_node, bias_node] = nodes;
            let [inputs, outputs] = weight.layout().shape().dims::<2>();
            if let Some(node) = weight_node {
                gradients.register::<Flex>(node.id, tensor(by_weight, [inputs, outputs]));
            }
            if let Some(node) = bias_node {
                gradients.register::<Flex>(node.id, tensor(by_bias, [outputs]));
            }
        }
    }
}
