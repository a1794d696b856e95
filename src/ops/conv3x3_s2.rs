//! The 3x3 convolution at every second position, which pretrained networks begin with.

use burn::backend::Flex;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use super::buffer::in_chunks;
#[cfg(feature = "wgpu")]
use super::gpu;
use super::matrix::{Matrix, WINDOWS, multiply_views, start_from, with_scratch};
use super::{Home, contiguous, flex, tensor, values};

/// Side of the kernel.
const KERNEL: usize = 3;
/// Positions between windows.
const STRIDE: usize = 2;
/// Shares of a single image's channels: there are no other images to keep another core busy. Each gathers the windows
/// anew, so there are few.
const SHARES: usize = 2;

/// The 3x3 convolution with stride 2 and no padding.
///
/// # Shapes
/// `[batch, from, h, w]`, the weight `[to, from, 3, 3]` and the bias `[to]` to
/// `[batch, to, (h - 3) / 2 + 1, (w - 3) / 2 + 1]`.
pub(crate) fn conv2d_3x3_s2(input: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let home = Home::of(&input);
    let together = Home::of(&weight) == home && Home::of(&bias) == home;
    match (home, Geometry::of(input.dims(), weight.dims(), bias.dims())) {
        // Nothing that is trained has such a layer.
        (Home::Flex, Some(geometry)) if together => {
            let [input, weight] = [input, weight].map(|values| contiguous(flex(values)));
            let bias = contiguous(flex(bias));
            let output = geometry.convolve(values(&input), values(&weight), values(&bias));
            let [rows, columns] = geometry.sides();
            let shape = [geometry.images, geometry.to, rows, columns];
            Tensor::from_primitive::<Flex>(tensor(output, shape))
        }
        #[cfg(feature = "wgpu")]
        (_, Some(geometry)) if gpu::has_room(&input) => {
            let window = gpu::Window {
                kernel: KERNEL,
                stride: STRIDE,
                padding: 0,
            };
            let size = geometry.sides();
            let maps = [input, weight];
            gpu::convolve(gpu::Direction::Down, window, maps, Some(bias), size)
        }
        _ => plain(input, weight, bias),
    }
}

/// Burn's operation.
fn plain(input: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let options = ConvOptions::new([STRIDE; 2], [0, 0], [1, 1], 1);
    module::conv2d(input, weight, Some(bias), options)
}

/// Sizes of such a convolution.
struct Geometry {
    images: usize,
    /// Channels before.
    from: usize,
    /// Channels after.
    to: usize,
    height: usize,
    width: usize,
}

impl Geometry {
    /// The sizes, where the kernel takes them.
    fn of(input: [usize; 4], weight: [usize; 4], bias: [usize; 1]) -> Option<Self> {
        let [images, channels, height, width] = input;
        let [to, from, kernel, other] = weight;
        let whole = images * from * to > 0 && height >= KERNEL && width >= KERNEL;
        let served = channels == from && bias == [to] && [kernel, other] == [KERNEL; 2];
        (whole && served).then_some(Self {
            images,
            from,
            to,
            height,
            width,
        })
    }

    /// Rows and columns after.
    fn sides(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| (side - KERNEL) / STRIDE + 1)
    }

    /// Length of a window, and of a row of the weights.
    fn window(&self) -> usize {
        self.from * KERNEL * KERNEL
    }

    /// # Shapes
    /// `[images, from, height, width]`, `[to, from, 3, 3]` and `[to]` to `[images, to, rows, columns]`.
    fn convolve(&self, input: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let [rows, columns] = self.sides();
        let area = rows * columns;
        let shares = match self.images {
            1 if self.to.is_multiple_of(SHARES) => SHARES,
            _ => 1,
        };
        let (part, length) = (self.to / shares, self.images * self.to * area);
        in_chunks(length, part * area, |index, output| {
            let image = &input[index / shares * self.from * self.height * self.width..];
            let channel = index % shares * part;
            start_from(Some(&bias[channel..][..part]), area, output);
            let window = self.window();
            let weight = Matrix {
                values: &weight[channel * window..],
                rows: part,
                columns: window,
                stride: window,
            };
            self.add_products(image, weight, output);
        })
    }

    /// Adds to some of the maps of an image, `[channels, rows, columns]`, what their weights `[channels, from * 3 * 3]`
    /// make of its windows.
    fn add_products(&self, image: &[f32], weight: Matrix<'_>, output: &mut [f32]) {
        let [rows, columns] = self.sides();
        let window = self.window();
        let band = (WINDOWS / (window * columns)).clamp(1, rows);
        with_scratch([window * band * columns], |[windows]: [&mut [f32]; 1]| {
            for row in (0..rows).step_by(band) {
                let count = band.min(rows - row) * columns;
                let windows = &mut windows[..window * count];
                self.gather(image, row, windows, count);
                let windows = Matrix {
                    values: windows,
                    rows: window,
                    columns: count,
                    stride: count,
                };
                let output = &mut output[row * columns..];
                multiply_views(weight.view(), windows.view(), output, rows * columns, true);
            }
        });
    }

    /// Gathers the windows of so many positions of an image, from row `first` on: `[from * 3 * 3, count]`.
    fn gather(&self, image: &[f32], first: usize, windows: &mut [f32], count: usize) {
        let [_, columns] = self.sides();
        for (index, line) in windows.chunks_exact_mut(count).enumerate() {
            let (channel, tap) = (index / (KERNEL * KERNEL), index % (KERNEL * KERNEL));
            let map = &image[channel * self.height * self.width..];
            for (row, target) in line.chunks_exact_mut(columns).enumerate() {
                let row = (first + row) * STRIDE + tap / KERNEL;
                let source = &map[row * self.width..][..self.width][tap % KERNEL..];
                for (target, source) in target.iter_mut().zip(source.chunks(STRIDE)) {
                    *target = source[0];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, devices, in_pool, normal, read};
    use burn::tensor::Device;

    /// Of `[images, from, to, height, width]`.
    fn arguments(sizes: [usize; 5], device: &Device) -> (Tensor<4>, Tensor<4>, Tensor<1>) {
        let [images, from, to, height, width] = sizes;
        (
            normal([images, from, height, width], 1, device),
            normal([to, from, 3, 3], 2, device),
            normal([to], 3, device),
        )
    }

    #[test]
    fn values_are_burns() {
        for sizes in [
            [1, 3, 64, 25, 31],
            [3, 3, 5, 8, 6],
            [2, 1, 3, 3, 4],
            // An odd number of channels of one image, and several bands of rows.
            [1, 2, 7, 9, 9],
            [2, 60, 3, 70, 66],
        ] {
            let (input, weight, bias) = arguments(sizes, &Device::flex());
            let expected = plain(input, weight, bias);
            let shape = expected.dims();
            let expected = read(expected);
            for device in devices() {
                let (input, weight, bias) = arguments(sizes, &device);
                let found = conv2d_3x3_s2(input, weight, bias);
                assert_eq!(found.dims(), shape);
                assert_close(&read(found), &expected, &format!("{sizes:?} on {device:?}"));
            }
        }
    }

    #[test]
    fn neither_threads_nor_other_images_change_a_bit() {
        let (images, weight, bias) = arguments([3, 3, 64, 33, 40], &Device::flex());
        let of = |images: Tensor<4>| {
            let (weight, bias) = (weight.clone(), bias.clone());
            read(conv2d_3x3_s2(images, weight, bias))
        };
        let all = of(images.clone());
        for threads in [1, 3] {
            assert_eq!(in_pool(threads, || of(images.clone())), all);
        }
        let alone = of(images.narrow(0, 1, 1));
        assert_eq!(alone, all[alone.len()..][..alone.len()]);
    }

    #[test]
    fn gradients_are_burns() {
        type Operation = fn(Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4>;
        // Of the even height a row is left over.
        let measure = |device: &Device, operation: Operation| {
            let (input, weight, bias) = arguments([2, 2, 3, 6, 5], &device.clone().autodiff());
            let (input, weight) = (input.require_grad(), weight.require_grad());
            let bias = bias.require_grad();
            let output = operation(input.clone(), weight.clone(), bias.clone());
            let gradients = output.square().sum().backward();
            [
                read(input.grad(&gradients).expect("a gradient")),
                read(weight.grad(&gradients).expect("a gradient")),
                read(bias.grad(&gradients).expect("a gradient")),
            ]
        };
        let expected = measure(&Device::flex(), plain);
        for device in devices() {
            let found = measure(&device, conv2d_3x3_s2);
            for (found, expected) in found.iter().zip(&expected) {
                assert_close(found, expected, &format!("a gradient on {device:?}"));
            }
        }
    }
}
