//! RealNVP's affine coupling: the network, the clamp and the affine map in one pass each way.

mod geometry;
mod gradient;
mod kernel;
mod layer;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::nn::Linear;
use burn::tensor::{Tensor, activation};

use self::geometry::Geometry;
use self::gradient::Wanted;
use self::kernel::{Coupling, Pass};
use self::layer::Layer;
use super::{Home, Training, contiguous, flex, tensor, training, values};

/// Most hidden layers that the kernels take.
const HIDDEN: usize = 4;
/// Places for parents in the graph: the vectors, weight and bias of every layer, the context.
const PARENTS: usize = 2 + 2 * (HIDDEN + 1);

/// Linear layers with ReLU between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network<'a> {
    /// All layers but the last, in order.
    pub hidden: &'a [Linear],
    /// The layer that no ReLU follows.
    pub last: &'a Linear,
}

impl Network<'_> {
    /// Burn's operations.
    ///
    /// # Shapes
    /// `[batch, from]` to `[batch, to]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.hidden.iter();
        let x = hidden.fold(x, |x, layer| activation::relu(layer.forward(x)));
        self.last.forward(x)
    }

    fn layers(&self) -> impl Iterator<Item = &Linear> {
        self.hidden.iter().chain(std::iter::once(self.last))
    }
}

/// What a coupling does with a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Affine {
    /// Entries that pass.
    pub passing: usize,
    /// Whether these are the first ones, or the last.
    pub first_passes: bool,
    /// Bound of the log-scales.
    pub clamp: f64,
}

impl Affine {
    /// The passing entries and those that are changed.
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
}

/// Which way through the coupling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `y = x * exp(s) + t`.
    Forward,
    /// `x = (y - t) * exp(-s)`.
    Inverse,
}

/// Scales and shifts some entries of every vector, by what the network makes of the other entries
/// and the context, and gives `ln |det J|` of that.
///
/// With `[raw, t] = network([passing entries, context])`, the log-scale is
/// `s = clamp * tanh(raw / clamp)` and the log-determinant the sum of `s`, or its negative in the
/// inverse direction.
///
/// # Shapes
/// `x`: `[batch, dim]`, `context`: `[batch, context]`, the network from `[batch, passing + context]`
/// to `[batch, 2 (dim - passing)]`; to `[batch, dim]` and `[batch]`.
pub(crate) fn affine_coupling(
    x: Tensor<2>,
    context: Option<&Tensor<2>>,
    network: Network<'_>,
    affine: Affine,
    direction: Direction,
) -> (Tensor<2>, Tensor<1>) {
    let home = Home::of(&x);
    match (home, served(&x, context, network, affine), direction) {
        (Home::Flex, Some(served), _) => evaluate(served, x, context, direction),
        (Home::Training, Some(served), Direction::Forward) => record(served, x, context),
        // No training goes through the inverse.
        _ => plain(x, context, network, affine, direction),
    }
}

/// Burn's operations.
fn plain(
    x: Tensor<2>,
    context: Option<&Tensor<2>>,
    network: Network<'_>,
    affine: Affine,
    direction: Direction,
) -> (Tensor<2>, Tensor<1>) {
    let (passed, changed) = affine.split(x);
    let known = match context {
        Some(context) => Tensor::cat(vec![passed.clone(), context.clone()], 1),
        None => passed.clone(),
    };
    let both = network.forward(known);
    let width = both.dims()[1] / 2;
    let raw = both.clone().narrow(1, 0, width);
    let log_scale = (raw / affine.clamp).tanh() * affine.clamp;
    let shift = both.narrow(1, width, width);
    let log_det = log_scale.clone().sum_dim(1).squeeze_dim::<1>(1);
    let (changed, log_det) = match direction {
        Direction::Forward => (changed * log_scale.exp() + shift, log_det),
        Direction::Inverse => ((changed - shift) * log_scale.neg().exp(), log_det.neg()),
    };
    (affine.join(passed, changed), log_det)
}

/// What the kernels are given: the sizes, and weight and bias of every layer.
type Served = (Geometry, Vec<(Tensor<2>, Tensor<1>)>);

/// The sizes and parameters, where the kernels take them and all tensors have the same home.
fn served(
    x: &Tensor<2>,
    context: Option<&Tensor<2>>,
    network: Network<'_>,
    affine: Affine,
) -> Option<Served> {
    let home = Home::of(x);
    let [batch, dim] = x.dims();
    let whole = batch > 0 && (1..dim).contains(&affine.passing);
    let context_fits = context.is_none_or(|context| {
        let [rows, width] = context.dims();
        rows == batch && width > 0 && Home::of(context) == home
    });
    let clamp = affine.clamp as f32;
    let clamp_fits = clamp.is_normal() && clamp > 0.0;
    let known = home != Home::Elsewhere && whole && context_fits && clamp_fits;
    if !known || network.hidden.len() > HIDDEN {
        return None;
    }
    let geometry = Geometry {
        dim,
        passing: affine.passing,
        first_passes: affine.first_passes,
        context: context.map_or(0, |context| context.dims()[1]),
        clamp,
    };
    let mut width = geometry.passing + geometry.context;
    let mut parameters = Vec::with_capacity(network.hidden.len() + 1);
    for layer in network.layers() {
        let (weight, bias) = (layer.weight.val(), layer.bias.as_ref()?.val());
        let [inputs, outputs] = weight.dims();
        let fits = inputs == width && outputs > 0 && bias.dims() == [outputs];
        if !fits || Home::of(&weight) != home || Home::of(&bias) != home {
            return None;
        }
        width = outputs;
        parameters.push((weight, bias));
    }
    (width == 2 * (dim - affine.passing)).then_some((geometry, parameters))
}

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

fn evaluate(
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
fn record(
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
