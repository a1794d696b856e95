//! The convolution of residual blocks, 3x3 with stride 1 and padding 1.
//!
//! Its gradient by the input is such a convolution again, so two kernels make the operation and all
//! its gradients.

mod kernel;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use self::kernel::Geometry;
use super::{Home, Training, contiguous, flex, tensor, training, values};

/// The convolution that keeps the side: kernel 3, stride 1, padding 1, no bias.
///
/// # Shapes
/// `[batch, from, height, width]` and the weight `[to, from, 3, 3]` to
/// `[batch, to, height, width]`.
pub(crate) fn conv2d_3x3(input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let home = Home::of(&input);
    match (home, geometry(input.dims(), weight.dims())) {
        (Home::Flex, Some(geometry)) if Home::of(&weight) == home => {
            let output = run(&geometry, flex(input), flex(weight));
            Tensor::from_primitive::<Flex>(output)
        }
        (Home::Training, Some(geometry)) if Home::of(&weight) == home => {
            record(geometry, input, weight)
        }
        _ => plain(input, weight),
    }
}

/// Burn's operation.
fn plain(input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    module::conv2d(input, weight, None, options)
}

/// The sizes, where the kernels take them.
fn geometry(input: [usize; 4], weight: [usize; 4]) -> Option<Geometry> {
    let [images, channels, height, width] = input;
    let [to, from, 3, 3] = weight else {
        return None;
    };
    let geometry = Geometry {
        images,
        from,
        to,
        height,
        width,
    };
    (channels == from && geometry.is_served()).then_some(geometry)
}

fn run(geometry: &Geometry, input: FlexTensor, weight: FlexTensor) -> FlexTensor {
    let (input, weight) = (contiguous(input), contiguous(weight));
    let output = kernel::convolve(geometry, values(&input), values(&weight));
    tensor(output, geometry.output_shape())
}

/// Runs the operation and notes its gradient.
fn record(geometry: Geometry, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let (input, weight) = (training(input), training(weight));
    let (input_tracked, weight_tracked) = (input.is_tracked(), weight.is_tracked());
    let (input, input_node) = input.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let output = run(&geometry, input.clone(), weight.clone());
    let prepared = ConvolutionBackward
        .prepare::<NoCheckpointing>([input_node, weight_node])
        .compute_bound()
        .stateful();
    let output = match prepared {
        OpsKind::Tracked(prepared) => {
            let saved = Saved {
                geometry,
                // Each is needed for the gradient of the other.
                input: weight_tracked.then_some(input),
                weight: input_tracked.then_some(weight),
            };
            prepared.finish(saved, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Training>(output)
}

#[derive(Debug)]
struct ConvolutionBackward;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved {
    geometry: Geometry,
    input: Option<FlexTensor>,
    weight: Option<FlexTensor>,
}

impl Backward<Flex, 2> for ConvolutionBackward {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Saved, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [input_node, weight_node] = ops.parents;
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let Saved {
            geometry,
            input,
            weight,
        } = ops.state;
        if let (Some(node), Some(weight)) = (input_node, weight) {
            let weight = kernel::reversed(&geometry, values(&contiguous(weight)));
            let back = geometry.reversed();
            let input_gradient = kernel::convolve(&back, values(&gradient), &weight);
            let input_gradient = tensor(input_gradient, geometry.input_shape());
            gradients.register::<Flex>(node.id, input_gradient);
        }
        if let (Some(node), Some(input)) = (weight_node, input) {
            let input = contiguous(input);
            let weight_gradient =
                kernel::weight_gradient(&geometry, values(&input), values(&gradient));
            let weight_gradient = tensor(weight_gradient, geometry.weight_shape());
            gradients.register::<Flex>(node.id, weight_gradient);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, in_pool, normal, read};
    use burn::tensor::Device;

    /// `[batch, from, to, height, width]`
    type Sizes = [usize; 5];

    fn shapes([batch, from, to, height, width]: Sizes) -> [[usize; 4]; 2] {
        [[batch, from, height, width], [to, from, 3, 3]]
    }

    /// Output and the gradients of input and weight of a random linear function of the output.
    fn measure(
        sizes: Sizes,
        operation: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> [Vec<f32>; 3] {
        let device = Device::flex().autodiff();
        let [input, weight] = shapes(sizes);
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

    fn assert_like_burn(sizes: Sizes) {
        let [input, weight] = shapes(sizes);
        assert!(geometry(input, weight).is_some(), "{sizes:?}");
        let found = measure(sizes, conv2d_3x3);
        let expected = measure(sizes, plain);
        let parts = ["output", "input gradient", "weight gradient"];
        for ((found, expected), part) in found.iter().zip(&expected).zip(parts) {
            assert_close(found, expected, &format!("{sizes:?} {part}"));
        }
        // The same without automatic differentiation.
        let device = Device::flex();
        let (input, weight) = (normal(input, 1, &device), normal(weight, 2, &device));
        assert_eq!(read(conv2d_3x3(input, weight)), found[0]);
    }

    #[test]
    fn small_shapes_are_burns() {
        for batch in [1, 3, 20] {
            for [from, to] in [[1, 3], [3, 1], [4, 4]] {
                for [height, width] in [[1, 1], [2, 5], [4, 4], [16, 16]] {
                    assert_like_burn([batch, from, to, height, width]);
                }
            }
        }
    }

    #[test]
    fn shapes_of_several_blocks_are_burns() {
        // Windows in several blocks of channels, more images than tasks, in unequal groups.
        assert_like_burn([2, 70, 5, 16, 16]);
        assert_like_burn([19, 130, 9, 8, 8]);
        assert_like_burn([150, 2, 17, 4, 4]);
        // A map that is a group by itself.
        assert_like_burn([2, 5, 4, 64, 64]);
    }

    #[test]
    fn other_shapes_are_left_to_burn() {
        let device = Device::flex();
        let input = normal([2, 3, 5, 65 * 64], 1, &device);
        let weight = normal([3, 3, 3, 3], 2, &device);
        let found = conv2d_3x3(input.clone(), weight.clone());
        assert_eq!(read(found), read(plain(input, weight)));
        assert_eq!(geometry([1, 4, 8, 8], [2, 3, 3, 3]), None);
        assert_eq!(geometry([1, 3, 8, 8], [2, 3, 3, 1]), None);
        assert_eq!(geometry([0, 3, 8, 8], [2, 3, 3, 3]), None);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for sizes in [[19, 70, 9, 8, 8], [3, 3, 4, 16, 16]] {
            let [one, three] =
                [1, 3].map(|threads| in_pool(threads, || measure(sizes, conv2d_3x3)));
            assert_eq!(one, three);
        }
    }

    #[test]
    fn views_are_read_in_their_own_order() {
        let device = Device::flex();
        let weight = normal([3, 2, 3, 3], 2, &device);
        let turned = normal([4, 8, 8, 2], 1, &device).permute([0, 3, 1, 2]);
        let part = normal([6, 2, 8, 8], 1, &device).narrow(0, 1, 4);
        for view in [turned, part] {
            let found = read(conv2d_3x3(view.clone(), weight.clone()));
            let expected = read(plain(view, weight.clone()));
            assert_close(&found, &expected, "a view");
        }
    }

    #[test]
    fn a_frozen_side_costs_and_gets_nothing() {
        let device = Device::flex().autodiff();
        let [input, weight] = shapes([2, 3, 4, 8, 8]);
        let (input, weight) = (normal(input, 1, &device), normal(weight, 2, &device));
        let trained = weight.clone().require_grad();
        let gradients = conv2d_3x3(input.clone(), trained.clone()).sum().backward();
        assert!(trained.grad(&gradients).is_some());
        assert!(input.grad(&gradients).is_none());
        let trained = input.require_grad();
        let gradients = conv2d_3x3(trained.clone(), weight.clone()).sum().backward();
        assert!(trained.grad(&gradients).is_some());
        assert!(weight.grad(&gradients).is_none());
    }
}
