//! DCGAN's one convolution, 4x4 with stride 2 and padding 1, and its transpose.
//!
//! The transpose is the gradient of the convolution by its input, and the convolution that of the
//! transpose, so three kernels make both operations and all their gradients. They are there twice: by windows
//! ([`direct`]), and with fewer products where there are enough channels and images ([`winograd`]).

mod direct;
mod geometry;
mod patches;
mod tiles;
mod winograd;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Tensor, module};

use self::geometry::Geometry;
#[cfg(feature = "wgpu")]
use super::gpu;
use super::graph::{Differentiate, noted};
use super::{Home, Training, contiguous, flex, tensor, training, values};

/// The convolution that halves the side: kernel 4, stride 2, padding 1, no bias.
///
/// # Shapes
/// `[batch, from, height, width]` and the weight `[to, from, 4, 4]` to
/// `[batch, to, height / 2, width / 2]`.
pub(crate) fn conv2d_4x4_s2(input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    apply(Direction::Down, input, weight)
}

/// The transpose of [`conv2d_4x4_s2`], which doubles the side.
///
/// # Shapes
/// `[batch, from, height, width]` and the weight `[from, to, 4, 4]` to
/// `[batch, to, 2 height, 2 width]`.
pub(crate) fn conv_transpose2d_4x4_s2(input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    apply(Direction::Up, input, weight)
}

fn apply(direction: Direction, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let home = Home::of(&input);
    let geometry = direction.geometry(input.dims(), weight.dims());
    match (home, geometry) {
        (Home::Flex, Some(geometry)) if Home::of(&weight) == home => {
            let output = direction.run(&geometry, flex(input), flex(weight));
            Tensor::from_primitive::<Flex>(output)
        }
        (Home::Training, Some(geometry)) if Home::of(&weight) == home => {
            record(direction, geometry, input, weight)
        }
        #[cfg(feature = "wgpu")]
        _ if direction.suits(input.dims(), weight.dims()) && gpu::has_room(&input) => {
            direction.run_on_gpu(input, weight)
        }
        _ => direction.plain(input, weight),
    }
}

/// Which of the two operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// The convolution, large maps to small ones.
    Down,
    /// The transposed convolution, small maps to large ones.
    Up,
}

impl Direction {
    fn reverse(self) -> Self {
        match self {
            Self::Down => Self::Up,
            Self::Up => Self::Down,
        }
    }

    /// Whether the weight is one of 4x4 for these channels, nothing is empty, and a side that is halved is even.
    fn suits(self, input: [usize; 4], weight: [usize; 4]) -> bool {
        let [_, channels, height, width] = input;
        let [small, large, rows, columns] = weight;
        let expected = match self {
            Self::Down if height.is_multiple_of(2) && width.is_multiple_of(2) => large,
            Self::Down => return false,
            Self::Up => small,
        };
        let whole = input.iter().chain(&weight).all(|size| *size > 0);
        whole && channels == expected && [rows, columns] == [4, 4]
    }

    /// The sizes, where the kernels take them.
    fn geometry(self, input: [usize; 4], weight: [usize; 4]) -> Option<Geometry> {
        let [images, _, height, width] = input;
        let [small, large, ..] = weight;
        let [height, width] = match self {
            Self::Down => [height / 2, width / 2],
            Self::Up => [height, width],
        };
        let geometry = Geometry {
            images,
            large,
            small,
            height,
            width,
        };
        let served = patches::serves([height, width]) || winograd::serves(&geometry);
        (self.suits(input, weight) && served).then_some(geometry)
    }

    /// Burn's operation.
    fn plain(self, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let [stride, padding, dilation] = [[2; 2], [1; 2], [1; 2]];
        match self {
            Self::Down => {
                let options = ConvOptions::new(stride, padding, dilation, 1);
                module::conv2d(input, weight, None, options)
            }
            Self::Up => {
                let options = ConvTransposeOptions::new(stride, padding, [0; 2], dilation, 1);
                module::conv_transpose2d(input, weight, None, options)
            }
        }
    }

    #[cfg(feature = "wgpu")]
    fn run_on_gpu(self, input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let window = gpu::Window {
            kernel: 4,
            stride: 2,
            padding: 1,
        };
        let [.., height, width] = input.dims();
        let sides = [height, width];
        let (direction, size) = match self {
            Self::Down => (gpu::Direction::Down, sides.map(|side| side / 2)),
            Self::Up => (gpu::Direction::Up, sides.map(|side| 2 * side)),
        };
        gpu::convolve(direction, window, [input, weight], None, size)
    }

    fn run(self, geometry: &Geometry, input: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let (input, weight) = (contiguous(input), contiguous(weight));
        let (input, weight) = (values(&input), values(&weight));
        let fewer_products = winograd::serves(geometry);
        match self {
            Self::Down => {
                let small = if fewer_products {
                    winograd::convolve(geometry, input, weight)
                } else {
                    direct::convolve(geometry, input, weight)
                };
                tensor(small, geometry.small_shape())
            }
            Self::Up => {
                let large = if fewer_products {
                    winograd::expand(geometry, input, weight)
                } else {
                    direct::expand(geometry, input, weight)
                };
                tensor(large, geometry.large_shape())
            }
        }
    }

    fn weight_gradient(
        self,
        geometry: &Geometry,
        input: FlexTensor,
        gradient: FlexTensor,
    ) -> FlexTensor {
        let (input, gradient) = (contiguous(input), contiguous(gradient));
        let (large, small) = match self {
            Self::Down => (values(&input), values(&gradient)),
            Self::Up => (values(&gradient), values(&input)),
        };
        let weight = if winograd::serves(geometry) {
            winograd::weight_gradient(geometry, large, small)
        } else {
            direct::weight_gradient(geometry, large, small)
        };
        tensor(weight, geometry.weight_shape())
    }
}

/// Runs the operation and notes its gradient.
fn record(
    direction: Direction,
    geometry: Geometry,
    input: Tensor<4>,
    weight: Tensor<4>,
) -> Tensor<4> {
    let (input, weight) = (training(input), training(weight));
    let (input_tracked, weight_tracked) = (input.is_tracked(), weight.is_tracked());
    let (input, input_node) = input.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let output = direction.run(&geometry, input.clone(), weight.clone());
    let saved = Saved {
        direction,
        geometry,
        // Each is needed for the gradient of the other.
        input: weight_tracked.then_some(input),
        weight: input_tracked.then_some(weight),
    };
    let output = noted(Convolution, [input_node, weight_node], saved, output);
    Tensor::from_primitive::<Training>(output)
}

#[derive(Debug)]
struct Convolution;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved {
    direction: Direction,
    geometry: Geometry,
    input: Option<FlexTensor>,
    weight: Option<FlexTensor>,
}

impl Differentiate<Flex, 2> for Convolution {
    type Saved = Saved;

    fn gradients(
        self,
        saved: Saved,
        by_output: FlexTensor,
        _wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let Saved {
            direction,
            geometry,
            input,
            weight,
        } = saved;
        let reverse = direction.reverse();
        let by_input = weight.map(|weight| reverse.run(&geometry, by_output.clone(), weight));
        let by_weight = input.map(|input| direction.weight_gradient(&geometry, input, by_output));
        [by_input, by_weight]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, devices, in_pool, normal, read};
    use burn::tensor::Device;

    const DIRECTIONS: [Direction; 2] = [Direction::Down, Direction::Up];

    /// `[batch, large channels, small channels, side of the large map]`
    type Sizes = [usize; 4];

    fn shapes(direction: Direction, sizes: Sizes) -> [[usize; 4]; 2] {
        let [batch, large, small, side] = sizes;
        let input = match direction {
            Direction::Down => [batch, large, side, side],
            Direction::Up => [batch, small, side / 2, side / 2],
        };
        [input, [small, large, 4, 4]]
    }

    /// Output and the gradients of input and weight of a random linear function of the output.
    fn measure(
        sizes: Sizes,
        direction: Direction,
        device: &Device,
        operation: impl Fn(Direction, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> [Vec<f32>; 3] {
        let device = device.clone().autodiff();
        let [input, weight] = shapes(direction, sizes);
        let input = normal(input, 1, &device).require_grad();
        let weight = normal(weight, 2, &device).require_grad();
        let output = operation(direction, input.clone(), weight.clone());
        let probe = normal(output.dims(), 3, &device);
        let gradients = (output.clone() * probe).sum().backward();
        [
            read(output),
            read(input.grad(&gradients).expect("a gradient")),
            read(weight.grad(&gradients).expect("a gradient")),
        ]
    }

    fn assert_like_burn(sizes: Sizes) {
        for direction in DIRECTIONS {
            let [input, weight] = shapes(direction, sizes);
            assert!(direction.geometry(input, weight).is_some(), "{sizes:?}");
            let expected = measure(sizes, direction, &Device::flex(), Direction::plain);
            for device in devices() {
                let found = measure(sizes, direction, &device, apply);
                let parts = ["output", "input gradient", "weight gradient"];
                for ((found, expected), part) in found.iter().zip(&expected).zip(parts) {
                    let which = format!("{direction:?} {sizes:?} {part} on {device:?}");
                    assert_close(found, expected, &which);
                }
                // The same without automatic differentiation.
                let (input, weight) = (normal(input, 1, &device), normal(weight, 2, &device));
                assert_eq!(read(apply(direction, input, weight)), found[0]);
            }
        }
    }

    #[test]
    fn small_shapes_are_burns() {
        for batch in [1, 3, 8] {
            for [large, small] in [[1, 3], [3, 1], [4, 4]] {
                for side in [2, 4, 8, 32] {
                    assert_like_burn([batch, large, small, side]);
                }
            }
        }
    }

    #[test]
    fn shapes_of_several_blocks_are_burns() {
        // Windows in three blocks of channels, and a gradient of three blocks and two shares.
        assert_like_burn([2, 70, 5, 32]);
        assert_like_burn([19, 70, 9, 8]);
        // More images than tasks, in unequal groups.
        assert_like_burn([37, 2, 17, 8]);
        // A map that is a group by itself.
        assert_like_burn([2, 3, 4, 64]);
    }

    #[test]
    fn shapes_with_fewer_products_are_burns() {
        // The second has small maps 6 wide, which the kernels by windows do not take.
        for sizes in [[64, 24, 16, 8], [30, 16, 40, 12]] {
            let [input, weight] = shapes(Direction::Down, sizes);
            let geometry = Direction::Down.geometry(input, weight);
            assert!(winograd::serves(&geometry.expect("sizes that are served")));
            assert_like_burn(sizes);
        }
    }

    /// Fewer products for many images, windows for one.
    #[test]
    fn an_image_alone_is_what_it_is_among_others() {
        for direction in DIRECTIONS {
            let [input, weight] = shapes(direction, [64, 24, 16, 8]);
            let device = Device::flex();
            let (input, weight) = (normal(input, 1, &device), normal(weight, 2, &device));
            let among = apply(direction, input.clone(), weight.clone());
            let alone = apply(direction, input.narrow(0, 1, 1), weight);
            let found = read(among.narrow(0, 1, 1));
            assert_close(&found, &read(alone), &format!("{direction:?}"));
        }
    }

    #[test]
    fn other_shapes_are_left_to_burn() {
        let device = Device::flex();
        for direction in DIRECTIONS {
            for [height, width] in [[5, 5], [12, 12], [8, 7]] {
                let input = normal([2, 3, height, width], 1, &device);
                let weight = normal([3, 3, 4, 4], 2, &device);
                let found = apply(direction, input.clone(), weight.clone());
                assert_eq!(read(found), read(direction.plain(input, weight)));
            }
        }
        let odd = |side| Direction::Down.geometry([1, 3, side, side], [2, 3, 4, 4]);
        assert_eq!(odd(5), None);
        assert_eq!(odd(12), None);
        assert_eq!(Direction::Down.geometry([1, 4, 8, 8], [2, 3, 4, 4]), None);
        assert_eq!(Direction::Up.geometry([1, 2, 8, 8], [2, 3, 3, 4]), None);
        assert_eq!(Direction::Up.geometry([0, 2, 8, 8], [2, 3, 4, 4]), None);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for direction in DIRECTIONS {
            for sizes in [[19, 70, 9, 8], [3, 3, 4, 32], [67, 40, 16, 8]] {
                let [one, three] = [1, 3].map(|threads| {
                    in_pool(threads, || {
                        measure(sizes, direction, &Device::flex(), apply)
                    })
                });
                assert_eq!(one, three);
            }
        }
    }

    #[test]
    fn views_are_read_in_their_own_order() {
        let device = Device::flex();
        let weight = normal([3, 2, 4, 4], 2, &device);
        let turned = normal([4, 8, 8, 2], 1, &device).permute([0, 3, 1, 2]);
        let part = normal([6, 2, 8, 8], 1, &device).narrow(0, 1, 4);
        for view in [turned, part] {
            let found = read(conv2d_4x4_s2(view.clone(), weight.clone()));
            let expected = read(Direction::Down.plain(view, weight.clone()));
            assert_close(&found, &expected, "a view");
        }
    }

    /// As a heat map of a detector asks for it: its weights are not on a training device.
    #[test]
    fn what_does_not_train_is_a_constant_beside_what_does() {
        for direction in DIRECTIONS {
            let [input, weight] = shapes(direction, [2, 3, 4, 8]);
            let slope = |device: &Device, input_trains: bool| {
                let training = device.clone().autodiff();
                let on = [&training, device];
                let [of_input, of_weight] = if input_trains { on } else { [on[1], on[0]] };
                let (input, weight) = (normal(input, 1, of_input), normal(weight, 2, of_weight));
                let of = |tensor: Tensor<4>, gradients| {
                    read(tensor.grad(&gradients).expect("a gradient"))
                };
                if input_trains {
                    let input = input.require_grad();
                    let gradients = apply(direction, input.clone(), weight)
                        .square()
                        .sum()
                        .backward();
                    of(input, gradients)
                } else {
                    let weight = weight.require_grad();
                    let gradients = apply(direction, input, weight.clone())
                        .square()
                        .sum()
                        .backward();
                    of(weight, gradients)
                }
            };
            for input_trains in [true, false] {
                let expected = slope(&Device::flex(), input_trains);
                for device in devices() {
                    let found = slope(&device, input_trains);
                    assert_close(&found, &expected, &format!("{direction:?} on {device:?}"));
                }
            }
        }
    }

    #[test]
    fn a_frozen_side_costs_and_gets_nothing() {
        let devices = devices().into_iter().map(Device::autodiff);
        for (device, direction) in
            devices.flat_map(|device| DIRECTIONS.map(|way| (device.clone(), way)))
        {
            let [input, weight] = shapes(direction, [2, 3, 4, 8]);
            let (input, weight) = (normal(input, 1, &device), normal(weight, 2, &device));
            let trained = weight.clone().require_grad();
            let gradients = apply(direction, input.clone(), trained.clone())
                .sum()
                .backward();
            assert!(trained.grad(&gradients).is_some());
            assert!(input.grad(&gradients).is_none());
            let trained = input.require_grad();
            let gradients = apply(direction, trained.clone(), weight.clone())
                .sum()
                .backward();
            assert!(trained.grad(&gradients).is_some());
            assert!(weight.grad(&gradients).is_none());
        }
    }

    #[test]
    fn gradient_checkpointing_is_left_to_burn() {
        let device = Device::flex().autodiff().gradient_checkpointing();
        let input = normal([2, 3, 8, 8], 1, &device);
        let weight = normal([4, 3, 4, 4], 2, &device).require_grad();
        let gradients = conv2d_4x4_s2(input, weight.clone()).sum().backward();
        assert!(weight.grad(&gradients).is_some());
    }
}
