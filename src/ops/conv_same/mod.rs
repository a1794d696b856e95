//! The convolutions of flows on images: 1x1 and 3x3, stride 1, padded so that the side stays, with a
//! bias.

mod kernel;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use self::kernel::Geometry;
#[cfg(feature = "wgpu")]
use super::gpu;
use super::graph::{Differentiate, noted};
use super::{Home, Training, contiguous, flex, tensor, training, values};

/// The convolution with an odd square kernel that keeps height and width.
///
/// # Shapes
/// `[batch, from, height, width]`, the weight `[to, from, kernel, kernel]` and the bias `[to]` to
/// `[batch, to, height, width]`.
pub(crate) fn conv2d_same(input: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let home = Home::of(&input);
    let together = Home::of(&weight) == home && Home::of(&bias) == home;
    let geometry = geometry(input.dims(), weight.dims(), bias.dims());
    match (home, geometry) {
        (Home::Flex, Some(geometry)) if together => {
            let output = run(&geometry, flex(input), flex(weight), Some(flex(bias)));
            Tensor::from_primitive::<Flex>(output)
        }
        (Home::Training, Some(geometry)) if together => record(geometry, input, weight, bias),
        #[cfg(feature = "wgpu")]
        (_, Some(geometry)) if gpu::has_room(&input) => {
            let window = gpu::Window {
                kernel: geometry.kernel,
                stride: 1,
                padding: geometry.kernel / 2,
            };
            let size = [geometry.height, geometry.width];
            let maps = [input, weight];
            gpu::convolve(gpu::Direction::Down, window, maps, Some(bias), size)
        }
        _ => plain(input, weight, bias),
    }
}

/// The sizes, where the kernels take them.
fn geometry(input: [usize; 4], weight: [usize; 4], bias: [usize; 1]) -> Option<Geometry> {
    let [images, channels, height, width] = input;
    let [to, from, kernel, other] = weight;
    let whole = [images, to, from, height, width]
        .iter()
        .all(|size| *size > 0);
    let served = whole && channels == from && bias == [to] && kernel == other && kernel % 2 == 1;
    served.then_some(Geometry {
        images,
        from,
        to,
        height,
        width,
        kernel,
    })
}

/// Burn's operation.
fn plain(input: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let padding = weight.dims()[2] / 2;
    let options = ConvOptions::new([1, 1], [padding, padding], [1, 1], 1);
    module::conv2d(input, weight, Some(bias), options)
}

fn run(
    geometry: &Geometry,
    input: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
) -> FlexTensor {
    let [input, weight] = [input, weight].map(contiguous);
    let bias = bias.map(contiguous);
    let bias = bias.as_ref().map(values);
    let output = kernel::convolve(geometry, values(&input), values(&weight), bias);
    tensor(output, geometry.output_shape())
}

/// The gradient by the input: another such convolution.
fn input_gradient(geometry: &Geometry, weight: FlexTensor, gradient: FlexTensor) -> FlexTensor {
    let [weight, gradient] = [weight, gradient].map(contiguous);
    let weight = kernel::reversed_weight(geometry, values(&weight));
    let found = kernel::convolve(&geometry.reversed(), values(&gradient), &weight, None);
    tensor(found, geometry.input_shape())
}

/// Runs the operation and notes its gradient.
fn record(geometry: Geometry, input: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let (input, weight, bias) = (training(input), training(weight), training(bias));
    let input_tracked = input.is_tracked();
    let parameters_tracked = weight.is_tracked() || bias.is_tracked();
    let (input, input_node) = input.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let output = run(&geometry, input.clone(), weight.clone(), Some(bias));
    let saved = Saved {
        geometry,
        // Each is needed for the gradient of the other.
        input: parameters_tracked.then_some(input),
        weight: input_tracked.then_some(weight),
    };
    let output = noted(
        Convolution,
        [input_node, weight_node, bias_node],
        saved,
        output,
    );
    Tensor::from_primitive::<Training>(output)
}

#[derive(Debug)]
struct Convolution;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved {
    geometry: Geometry,
    input: Option<FlexTensor>,
    weight: Option<FlexTensor>,
}

impl Differentiate<Flex, 3> for Convolution {
    type Saved = Saved;

    fn gradients(
        self,
        saved: Saved,
        by_output: FlexTensor,
        _wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let Saved {
            geometry,
            input,
            weight,
        } = saved;
        let by_output = contiguous(by_output);
        let by_input = weight.map(|weight| input_gradient(&geometry, weight, by_output.clone()));
        let Some(input) = input.map(contiguous) else {
            return [by_input, None, None];
        };
        let [by_weight, by_bias] =
            kernel::parameter_gradients(&geometry, values(&input), values(&by_output));
        [
            by_input,
            Some(tensor(by_weight, geometry.weight_shape())),
            Some(tensor(by_bias, [geometry.to])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, devices, in_pool, normal, read};
    use burn::tensor::Device;

    /// `[batch, from, to, height, width, kernel]`
    type Sizes = [usize; 6];

    fn arguments(sizes: Sizes, device: &Device) -> (Tensor<4>, Tensor<4>, Tensor<1>) {
        let [batch, from, to, height, width, kernel] = sizes;
        (
            normal([batch, from, height, width], 1, device),
            normal([to, from, kernel, kernel], 2, device),
            normal([to], 3, device),
        )
    }

    /// Output and the gradients of a random linear function of the output.
    fn measure(
        sizes: Sizes,
        device: &Device,
        operation: impl Fn(Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4>,
    ) -> [Vec<f32>; 4] {
        let device = device.clone().autodiff();
        let (input, weight, bias) = arguments(sizes, &device);
        let (input, weight) = (input.require_grad(), weight.require_grad());
        let bias = bias.require_grad();
        let output = operation(input.clone(), weight.clone(), bias.clone());
        let probe = normal(output.dims(), 4, &device);
        let gradients = (output.clone() * probe).sum().backward();
        [
            read(output),
            read(input.grad(&gradients).expect("a gradient")),
            read(weight.grad(&gradients).expect("a gradient")),
            read(bias.grad(&gradients).expect("a gradient")),
        ]
    }

    #[test]
    fn values_and_gradients_are_burns() {
        for sizes in [
            [1, 1, 1, 1, 1, 3],
            [3, 2, 5, 4, 6, 3],
            [3, 2, 5, 4, 6, 1],
            [2, 3, 4, 17, 16, 1],
            // Several bands of rows, and bands of which the last is not full.
            [2, 64, 3, 33, 32, 3],
            // A single image, whose channels are shared out.
            [1, 3, 32, 9, 8, 3],
            [1, 5, 64, 7, 7, 1],
            // Small maps in unequal groups and shares.
            [37, 5, 7, 4, 4, 3],
            [19, 6, 9, 8, 8, 3],
            // Large tiles on a GPU: of few maps and many, with pixels for many of them.
            [17, 1, 16, 64, 64, 1],
            [9, 1, 20, 64, 64, 1],
            [9, 3, 70, 32, 32, 1],
            [5, 2, 65, 64, 64, 3],
            // A kernel that reaches beyond the map.
            [2, 3, 2, 2, 1, 5],
        ] {
            let expected = measure(sizes, &Device::flex(), plain);
            for device in devices() {
                let found = measure(sizes, &device, conv2d_same);
                let parts = ["output", "input", "weight", "bias"];
                for ((found, expected), part) in found.iter().zip(&expected).zip(parts) {
                    assert_close(found, expected, &format!("{sizes:?} {part} on {device:?}"));
                }
                // The same without automatic differentiation.
                let (input, weight, bias) = arguments(sizes, &device);
                assert_eq!(read(conv2d_same(input, weight, bias)), found[0]);
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for sizes in [
            [19, 6, 9, 8, 8, 3],
            [3, 20, 4, 32, 32, 3],
            [1, 20, 32, 32, 32, 3],
        ] {
            let [one, three] = [1, 3]
                .map(|threads| in_pool(threads, || measure(sizes, &Device::flex(), conv2d_same)));
            assert_eq!(one, three);
        }
    }

    #[test]
    fn an_image_alone_is_what_it_is_among_others() {
        for sizes in [[3, 20, 64, 17, 16, 3], [3, 64, 32, 31, 31, 1]] {
            let (images, weight, bias) = arguments(sizes, &Device::flex());
            let all = conv2d_same(images.clone(), weight.clone(), bias.clone()).narrow(0, 1, 1);
            let alone = conv2d_same(images.narrow(0, 1, 1), weight, bias);
            assert_eq!(read(alone), read(all));
        }
    }

    #[test]
    fn views_are_read_in_their_own_order() {
        let device = Device::flex();
        let (_, weight, bias) = arguments([1, 2, 3, 8, 8, 3], &device);
        let turned = normal([4, 8, 8, 2], 1, &device).permute([0, 3, 1, 2]);
        let part = normal([6, 4, 8, 8], 1, &device).narrow(1, 1, 2);
        for view in [turned, part] {
            let found = read(conv2d_same(view.clone(), weight.clone(), bias.clone()));
            assert_close(
                &found,
                &read(plain(view, weight.clone(), bias.clone())),
                "view",
            );
        }
    }

    #[test]
    fn constants_have_no_gradient_and_cost_none() {
        let device = Device::flex().autodiff();
        let (input, weight, bias) = arguments([2, 3, 4, 5, 5, 3], &device);
        let weight = weight.require_grad();
        let output = conv2d_same(input.clone(), weight.clone(), bias.clone());
        let gradients = output.sum().backward();
        assert!(input.grad(&gradients).is_none() && bias.grad(&gradients).is_none());
        assert!(weight.grad(&gradients).is_some());
    }
}
