//! Convolutions on a GPU, with their gradients: products of tiles in shared memory.

mod geometry;
mod tile;
mod weight_gradient;
mod windows;

pub(crate) use geometry::{Direction, Window};

use burn::backend::Wgpu;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops};
use burn::backend::wgpu::CubeTensor;
use burn::tensor::Tensor;

use self::geometry::Taps;
use self::weight_gradient::weight_gradient;
use self::windows::products;
use super::{noted, primitive, tracked, trains};

/// The convolution, or its transpose, on a GPU.
///
/// # Shapes
/// Down, `[batch, large, height, width]`, the weight `[small, large, kernel, kernel]` and the bias `[small]` to
/// `[batch, small, rows, columns]`; up, from small maps to large ones. `size` is the output's rows and columns.
///
/// # Panics
/// When a tensor is not on the GPU.
pub(crate) fn convolve(
    direction: Direction,
    window: Window,
    [input, weight]: [Tensor<4>; 2],
    bias: Option<Tensor<1>>,
    size: [usize; 2],
) -> Tensor<4> {
    let taps = Taps { window, direction };
    if !trains(&input) && !trains(&weight) && !bias.as_ref().is_some_and(trains) {
        let [input, weight] = [input, weight].map(primitive);
        let output = products(taps, [&input, &weight], bias.map(primitive), size);
        return Tensor::from_primitive::<Wgpu>(output);
    }
    let [(input, input_node), (weight, weight_node)] = [input, weight].map(tracked);
    let saved = Saved {
        taps,
        input,
        weight,
    };
    match bias.map(tracked) {
        None => record([input_node, weight_node], saved, None, size),
        Some((bias, bias_node)) => record(
            [input_node, weight_node, bias_node],
            saved,
            Some(bias),
            size,
        ),
    }
}

/// Runs the operation and notes its gradients.
fn record<const N: usize>(
    nodes: [NodeGuard; N],
    saved: Saved,
    bias: Option<CubeTensor>,
    size: [usize; 2],
) -> Tensor<4>
where
    Convolution: Backward<Wgpu, N, State = Saved>,
{
    let output = products(saved.taps, [&saved.input, &saved.weight], bias, size);
    noted(Convolution, nodes, saved, output)
}

#[derive(Debug)]
struct Convolution;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved {
    taps: Taps,
    input: CubeTensor,
    weight: CubeTensor,
}

impl Saved {
    fn input_gradient(&self, gradient: &CubeTensor) -> CubeTensor {
        let Taps { window, direction } = self.taps;
        let taps = Taps {
            window,
            direction: direction.reversed(),
        };
        let [.., height, width] = self.input.meta.shape().dims::<4>();
        products(taps, [gradient, &self.weight], None, [height, width])
    }

    fn weight_gradient(&self, gradient: &CubeTensor) -> CubeTensor {
        let (large, small) = match self.taps.direction {
            Direction::Down => (&self.input, gradient),
            Direction::Up => (gradient, &self.input),
        };
        weight_gradient(self.taps.window, large, small)
    }
}

impl Backward<Wgpu, 2> for Convolution {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Saved, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        register(ops, gradients);
    }
}

impl Backward<Wgpu, 3> for Convolution {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Saved, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        register(ops, gradients);
    }
}

/// The gradients of input, weight and bias, as far as they are asked for.
fn register<const N: usize>(ops: Ops<Saved, N>, gradients: &mut Gradients) {
    let gradient = gradients.consume::<Wgpu>(&ops.node);
    let asked = |index: usize| ops.parents.get(index).and_then(Option::as_ref);
    if let Some(node) = asked(0) {
        gradients.register::<Wgpu>(node.id, ops.state.input_gradient(&gradient));
    }
    if let Some(node) = asked(1) {
        gradients.register::<Wgpu>(node.id, ops.state.weight_gradient(&gradient));
    }
    if let Some(node) = asked(2) {
        let found = sum_of_maps(Tensor::from_primitive::<Wgpu>(gradient));
        gradients.register::<Wgpu>(node.id, primitive(found));
    }
}

/// The gradient by the bias. Over maps first and over images then: at once, Burn takes one thread for each channel.
///
/// # Shapes
/// `[batch, channels, height, width]` to `[channels]`.
fn sum_of_maps(maps: Tensor<4>) -> Tensor<1> {
    let [images, channels, height, width] = maps.dims();
    let of_maps = maps
        .reshape([images * channels, height * width])
        .sum_dim(1)
        .reshape([images, channels]);
    of_maps.sum_dim(0).reshape([channels])
}
