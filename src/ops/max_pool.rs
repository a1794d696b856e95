//! The largest value of 3x3 windows at every second position.

use burn::backend::Flex;
use burn::tensor::Tensor;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;

use super::buffer::in_chunks;
use super::{Home, contiguous, flex, tensor, values};

/// Side of a window.
const WINDOW: usize = 3;
/// Positions between windows.
const STRIDE: usize = 2;
/// Maps per task.
const TASK: usize = 16;

/// 3x3 maximum at every second position. The windows that reach over the right and the bottom edge
/// count ("ceil mode"): without them an even side would lose its last row. NaN stays.
///
/// # Shapes
/// `[batch, channels, h, w]` to `[batch, channels, ceil((h - 1) / 2), ceil((w - 1) / 2)]`.
pub(crate) fn max_pool2d_3x3_s2(input: Tensor<4>) -> Tensor<4> {
    let [images, channels, height, width] = input.dims();
    let served = images * channels > 0 && height >= WINDOW && width >= WINDOW;
    // Burn's notes where every maximum came from, for gradients.
    match Home::of(&input) {
        Home::Flex if served => {
            let input = contiguous(flex(input));
            let sides = [height, width].map(|side| (side - 1).div_ceil(STRIDE));
            let pooled = pool(values(&input), [height, width], sides);
            let shape = [images, channels, sides[0], sides[1]];
            Tensor::from_primitive::<Flex>(tensor(pooled, shape))
        }
        _ => plain(input),
    }
}

/// Burn's operation.
fn plain(input: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([WINDOW; 2])
        .with_stride([STRIDE; 2])
        .with_ceil_mode(true);
    max_pool2d(input, options)
}

fn pool(input: &[f32], [height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let length = input.len() / (height * width) * rows * columns;
    in_chunks(length, TASK * rows * columns, |index, output| {
        let input = &input[index * TASK * height * width..];
        // Of three rows first, then of three columns, at every position: each is a pass over neighbours, which takes
        // less time than reading every second position.
        let (mut tallest, mut widest) = (vec![0.0; width], vec![0.0; width]);
        let maps = output.chunks_exact_mut(rows * columns);
        for (output, map) in maps.zip(input.chunks_exact(height * width)) {
            for (row, output) in output.chunks_exact_mut(columns).enumerate() {
                let mut lines = map[row * STRIDE * width..].chunks_exact(width).take(WINDOW);
                let Some(first) = lines.next() else { continue };
                tallest.copy_from_slice(first);
                for line in lines {
                    for (largest, &value) in tallest.iter_mut().zip(line) {
                        *largest = larger(*largest, value);
                    }
                }
                let neighbours = tallest.iter().zip(&tallest[1..]).zip(&tallest[2..]);
                for (widest, ((&a, &b), &c)) in widest.iter_mut().zip(neighbours) {
                    *widest = larger(larger(a, b), c);
                }
                // The window over the right edge.
                widest[width - STRIDE] = larger(tallest[width - STRIDE], tallest[width - 1]);
                for (output, widest) in output.iter_mut().zip(widest.chunks(STRIDE)) {
                    *output = widest[0];
                }
            }
        }
    })
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{gradient, normal, read};
    use burn::tensor::Device;

    #[test]
    fn maxima_are_those_of_burn() {
        for (seed, shape) in [[2, 3, 9, 9], [1, 40, 8, 6], [3, 1, 3, 4], [1, 2, 31, 15]]
            .into_iter()
            .enumerate()
        {
            let input = normal(shape, seed as u64, &Device::flex());
            let (found, expected) = (max_pool2d_3x3_s2(input.clone()), plain(input));
            assert_eq!(found.dims(), expected.dims());
            assert_eq!(read(found), read(expected), "{shape:?}");
        }
    }

    #[test]
    fn windows_over_the_edge_count() {
        let of = |values: Vec<f32>, side: usize| {
            let input = tensor(values, [1, 1, side, side]);
            read(max_pool2d_3x3_s2(Tensor::from_primitive::<Flex>(input)))
        };
        #[rustfmt::skip]
        let even = vec![
            -9.0, -2.0, -5.0, -4.0,
            -3.0, -8.0, -7.0, -6.0,
            -7.0, -5.0, -8.0, -7.0,
            -1.0, -6.0, -9.0, -3.0,
        ];
        assert_eq!(of(even, 4), [-2.0, -4.0, -1.0, -3.0]);
        let odd = (0..25u8).map(f32::from).collect();
        assert_eq!(of(odd, 5), [12.0, 14.0, 22.0, 24.0]);
    }

    #[test]
    fn what_is_no_number_stays() {
        // The last two are in windows over the right edge and over the lower one.
        for (side, place, output) in [(3, 0, 0), (3, 4, 0), (3, 8, 0), (4, 7, 1), (4, 14, 2)] {
            let mut values = vec![1.0; side * side];
            values[place] = f32::NAN;
            let input = tensor(values, [1, 1, side, side]);
            let found = read(max_pool2d_3x3_s2(Tensor::from_primitive::<Flex>(input)));
            assert!(found[output].is_nan(), "{side} {place}: {found:?}");
        }
    }

    #[test]
    fn gradients_are_burns() {
        let shape = [2, 2, 5, 6];
        let found = gradient(shape, &max_pool2d_3x3_s2);
        assert_eq!(found, gradient(shape, &plain));
    }
}
