//! Convolutions on a GPU, with their gradients: products of tiles in shared memory.

mod geometry;
mod tile;
mod weight_gradient;
mod windows;

pub(crate) use geometry::{Direction, Window};

use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::wgpu::CubeTensor;
use burn::backend::{Autodiff, Wgpu};
use burn::tensor::Tensor;

use self::geometry::Taps;
use self::weight_gradient::weight_gradient;
use self::windows::products;
use super::{primitive, tracked, trains};
use crate::ops::graph::{Differentiate, noted};

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
    Convolution: Differentiate<Wgpu, N, Saved = Saved>,
{
    let output = products(saved.taps, [&saved.input, &saved.weight], bias, size);
    let output = noted(Convolution, nodes, saved, output);
    Tensor::from_primitive::<Autodiff<Wgpu>>(output)
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

impl Differentiate<Wgpu, 2> for Convolution {
    type Saved = Saved;

    fn gradients(
        self,
        saved: Saved,
        by_output: CubeTensor,
        [by_input, by_weight]: [bool; 2],
    ) -> [Option<CubeTensor>; 2] {
        [
            by_input.then(|| saved.input_gradient(&by_output)),
            by_weight.then(|| saved.weight_gradient(&by_output)),
        ]
    }
}

impl Differentiate<Wgpu, 3> for Convolution {
    type Saved = Saved;

    fn gradients(
        self,
        saved: Saved,
        by_output: CubeTensor,
        [by_input, by_weight, by_bias]: [bool; 3],
    ) -> [Option<CubeTensor>; 3] {
        let [input, weight] = self.gradients(saved, by_output.clone(), [by_input, by_weight]);
        let bias = by_bias.then(|| {
            let sums = sum_of_maps(Tensor::from_primitive::<Wgpu>(by_output));
            primitive(sums)
        });
        [input, weight, bias]
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
