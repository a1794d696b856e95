//! Burn's convolutions, with the gradient by their weights that suits a GPU.
//!
//! Without its tuner, Burn gives every entry of that gradient one thread, which goes through all images and pixels: of a small
//! weight few threads with much to do. Here each part of the batch has a matrix product of its own.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Slice, Tensor, module};

use crate::backend::is_gpu;

/// Pixels that a thread sums over: fewer make many parts, more few threads.
const PIXELS: usize = 1024;
/// Entries of a gradient from which there are threads enough, where each has few pixels to go through.
const ENTRIES: usize = 100_000;
/// Pixels that are few.
const FEW_PIXELS: usize = 8192;
/// Numbers of windows that are laid out at a time, at most.
const WINDOWS: usize = 1 << 26;

/// A convolution without bias whose weight has the shape `[small, large, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Convolution {
    /// From large maps to small ones.
    Down {
        /// Pixels between two windows.
        stride: usize,
        /// Zeros around the map.
        padding: usize,
    },
    /// Its transpose, from small maps to large ones.
    Up {
        /// Pixels between two windows.
        stride: usize,
        /// Zeros around the large map.
        padding: usize,
    },
}

/// Burn's operation; of training on a GPU with the gradient above, where that is the faster one.
///
/// # Shapes
/// `[batch, large, height, width]` to `[batch, small, …]`, or the other way.
pub(super) fn convolve(kind: Convolution, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "wgpu")]
    if is_faster(kind, &input, &weight) {
        return record::<burn::backend::Wgpu>(kind, input, weight);
    }
    kind.run(input, weight)
}

/// Whether the gradient in parts is the faster one, where one is asked for.
pub(super) fn is_faster(kind: Convolution, input: &Tensor<4>, weight: &Tensor<4>) -> bool {
    // Of a frozen network the weight is not.
    let trains = [input, weight].map(|tensor| tensor.device().is_autodiff());
    is_gpu(&input.device()) && trains == [true; 2] && kind.pays(input.dims(), weight.dims())
}

impl Convolution {
    fn down(self) -> ConvOptions<2> {
        let (Self::Down { stride, padding } | Self::Up { stride, padding }) = self;
        ConvOptions::new([stride, stride], [padding, padding], [1, 1], 1)
    }

    fn up(self) -> ConvTransposeOptions<2> {
        let (Self::Down { stride, padding } | Self::Up { stride, padding }) = self;
        ConvTransposeOptions::new([stride, stride], [padding, padding], [0, 0], [1, 1], 1)
    }

    /// Burn's operation.
    fn run(self, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Down { .. } => module::conv2d(input, weight, None, self.down()),
            Self::Up { .. } => module::conv_transpose2d(input, weight, None, self.up()),
        }
    }

    /// Whether products in parts are faster than Burn's gradient by the weight.
    fn pays(self, [images, _, height, width]: [usize; 4], weight: [usize; 4]) -> bool {
        let pixels = match self {
            Self::Down { stride, .. } => images * height * width / (stride * stride),
            Self::Up { .. } => images * height * width,
        };
        let entries: usize = weight.iter().product();
        entries < ENTRIES || pixels > FEW_PIXELS
    }
}

/// Runs the operation and notes its gradients.
#[cfg_attr(not(any(feature = "wgpu", test)), allow(dead_code))]
fn record<B: Backend>(kind: Convolution, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let inner = |tensor: &Tensor<4>| -> FloatTensor<Autodiff<B>> {
        let found = tensor.clone().try_into_primitive::<Autodiff<B>>();
        found.expect("the tensor is at home on a device that trains")
    };
    let (tracked_input, tracked_weight) = (inner(&input), inner(&weight));
    if !tracked_weight.is_tracked() {
        return kind.run(input, weight);
    }
    let (plain_input, input_node) = tracked_input.into_parts();
    let (plain_weight, weight_node) = tracked_weight.into_parts();
    let output = kind.run(
        Tensor::from_primitive::<B>(plain_input.clone()),
        Tensor::from_primitive::<B>(plain_weight.clone()),
    );
    let output = primitive::<B>(output);
    let prepared = InParts
        .prepare::<NoCheckpointing>([input_node, weight_node])
        .compute_bound()
        .stateful();
    let output = match prepared {
        OpsKind::Tracked(prepared) => {
            let saved = Saved::<B> {
                kind,
                input: plain_input,
                weight: plain_weight,
            };
            prepared.finish(saved, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<B>>(output)
}

/// The tensor inside, without automatic differentiation.
fn primitive<B: Backend>(tensor: Tensor<4>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let found = tensor.try_into_primitive::<B>();
    found.expect("the tensor is at home where it was made")
}

#[derive(Debug)]
struct InParts;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    kind: Convolution,
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
}

impl<B: Backend> Backward<B, 2> for InParts
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = Saved<B>;

    fn backward(
        self,
        ops: Ops<Saved<B>, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [input_node, weight_node] = ops.parents;
        let gradient = gradients.consume::<B>(&ops.node);
        let Saved {
            kind,
            input,
            weight,
        } = ops.state;
        if let Some(node) = input_node {
            let (input, gradient) = (input.clone(), gradient.clone());
            let found = match kind {
                Convolution::Down { .. } => {
                    B::conv2d_x_backward(input, weight.clone(), gradient, kind.down())
                }
                Convolution::Up { .. } => {
                    B::conv_transpose2d_x_backward(weight.clone(), gradient, kind.up())
                }
            };
            gradients.register::<B>(node.id, found);
        }
        if let Some(node) = weight_node {
            let [input, gradient, weight] =
                [input, gradient, weight].map(|tensor| Tensor::<4>::from_primitive::<B>(tensor));
            let (large, small) = match kind {
                Convolution::Down { .. } => (input, gradient),
                Convolution::Up { .. } => (gradient, input),
            };
            let found = weight_gradient(kind, large, small, weight.dims()[3]);
            gradients.register::<B>(node.id, primitive::<B>(found));
        }
    }
}

/// The gradient by the weight, from the maps of both sides: one of them is the input, the other the gradient of the output.
///
/// # Shapes
/// `[batch, large, height, width]` and `[batch, small, rows, columns]` to `[small, large, kernel, kernel]`.
fn weight_gradient(
    kind: Convolution,
    large: Tensor<4>,
    small: Tensor<4>,
    kernel: usize,
) -> Tensor<4> {
    let [images, channels, ..] = large.dims();
    let [_, to, rows, columns] = small.dims();
    let of_image = channels * kernel * kernel * rows * columns;
    let at_a_time = (WINDOWS / of_image.max(1)).min(images).max(1);
    let mut sum: Option<Tensor<3>> = None;
    for first in (0..images).step_by(at_a_time) {
        let count = at_a_time.min(images - first);
        let large = large.clone().narrow(0, first, count);
        let small = small.clone().narrow(0, first, count);
        let found = products(kind, large, small, kernel);
        sum = Some(match sum {
            None => found,
            Some(sum) => sum + found,
        });
    }
    let shape = [to, channels, kernel, kernel];
    match sum {
        Some(sum) => sum.reshape(shape),
        None => Tensor::zeros(shape, &small.device()),
    }
}

/// The same of images whose windows are laid out at once: `[1, small, large * kernel * kernel]`.
fn products(kind: Convolution, large: Tensor<4>, small: Tensor<4>, kernel: usize) -> Tensor<3> {
    let [images, channels, ..] = large.dims();
    let [_, to, rows, columns] = small.dims();
    let pixels = rows * columns;
    let parts = (1..=images)
        .find(|parts| images.is_multiple_of(*parts) && images / parts * pixels <= PIXELS)
        .unwrap_or(images);
    let each = images / parts;
    let entries = channels * kernel * kernel;
    let windows: Tensor<3> = windows(kind, large, kernel, [rows, columns])
        .reshape([parts, each, entries, pixels])
        .permute([0, 1, 3, 2])
        .reshape([parts, each * pixels, entries]);
    let small: Tensor<3> = small
        .reshape([parts, each, to, pixels])
        .permute([0, 2, 1, 3])
        .reshape([parts, to, each * pixels]);
    small.matmul(windows).sum_dim(0)
}

/// What every pixel of the small map sees of the large one.
///
/// # Shapes
/// `[batch, large, height, width]` to `[batch, large, kernel * kernel, rows, columns]`.
fn windows(
    kind: Convolution,
    large: Tensor<4>,
    kernel: usize,
    [rows, columns]: [usize; 2],
) -> Tensor<5> {
    let (Convolution::Down { stride, padding } | Convolution::Up { stride, padding }) = kind;
    if (kernel, stride, padding) == (1, 1, 0) {
        return large.unsqueeze_dim(2);
    }
    let [images, channels, height, width] = large.dims();
    let (below, right) = (padding + height, padding + width);
    let shape = [images, channels, below + padding, right + padding];
    let padded = Tensor::zeros(shape, &large.device()).slice_assign(
        [0..images, 0..channels, padding..below, padding..right],
        large,
    );
    let seen = |first: usize, count: usize| {
        let end = first + (count - 1) * stride + 1;
        Slice::new(first as isize, Some(end as isize), stride as isize)
    };
    let taps = (0..kernel * kernel).map(|tap| {
        padded.clone().slice([
            Slice::full(),
            Slice::full(),
            seen(tap / kernel, rows),
            seen(tap % kernel, columns),
        ])
    });
    Tensor::stack(taps.collect(), 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, normal, read};
    use burn::backend::Flex;
    use burn::tensor::Device;

    /// Output and the gradients of input and weight of a random linear function of the output.
    fn measure(
        [input, weight]: [[usize; 4]; 2],
        operation: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> [Vec<f32>; 3] {
        let device = Device::flex().autodiff();
        let input = normal(input, 1, &device).require_grad();
        let weight = normal(weight, 2, &device).require_grad();
        let output = operation(input.clone(), weight.clone());
        let probe = normal(output.dims(), 3, &device);
        let gradients = (output.clone() * probe).sum().backward();
        [
            read(output),
            read(input.grad(&gradients).expect("a gradient")),
            read(weight.grad(&gradients).expect("a gradient")),
        ]
    }

    #[test]
    fn gradients_in_parts_are_burns() {
        let same = |kernel: usize| Convolution::Down {
            stride: 1,
            padding: kernel / 2,
        };
        let (stride, padding) = (2, 1);
        for (kind, input, weight) in [
            (same(1), [7, 3, 5, 4], [6, 3, 1, 1]),
            (same(3), [6, 3, 9, 8], [4, 3, 3, 3]),
            // A part for every image, and several parts.
            (same(3), [3, 2, 33, 32], [2, 2, 3, 3]),
            (same(3), [12, 2, 16, 16], [2, 2, 3, 3]),
            (
                Convolution::Down { stride, padding },
                [6, 3, 8, 8],
                [5, 3, 4, 4],
            ),
            (
                Convolution::Up { stride, padding },
                [6, 5, 4, 4],
                [5, 3, 4, 4],
            ),
        ] {
            let found = measure([input, weight], |input, weight| {
                record::<Flex>(kind, input, weight)
            });
            let expected = measure([input, weight], |input, weight| kind.run(input, weight));
            let parts = ["output", "input gradient", "weight gradient"];
            for ((found, expected), part) in found.iter().zip(&expected).zip(parts) {
                assert_close(found, expected, &format!("{kind:?} {input:?} {part}"));
            }
        }
    }

    #[test]
    fn a_weight_that_is_not_trained_costs_nothing() {
        let device = Device::flex().autodiff();
        let kind = Convolution::Down {
            stride: 1,
            padding: 1,
        };
        let input = normal([2, 3, 4, 4], 1, &device).require_grad();
        let weight = normal([2, 3, 3, 3], 2, &device);
        let output = record::<Flex>(kind, input.clone(), weight.clone());
        let gradients = output.sum().backward();
        assert!(input.grad(&gradients).is_some() && weight.grad(&gradients).is_none());
    }

    #[test]
    fn few_entries_of_many_pixels_are_summed_in_parts() {
        let same = Convolution::Down {
            stride: 1,
            padding: 1,
        };
        assert!(same.pays([64, 12, 32, 32], [12, 12, 3, 3]));
        let halving = Convolution::Down {
            stride: 2,
            padding: 1,
        };
        assert!(!halving.pays([64, 64, 16, 16], [128, 64, 4, 4]));
        assert!(halving.pays([1024, 64, 16, 16], [128, 64, 4, 4]));
    }
}
