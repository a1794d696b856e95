//! Means of neighbouring positions.

use burn::backend::Flex;
use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;

use super::buffer::in_chunks;
use super::{Home, contiguous, flex, tensor, values};

/// Maps per task.
const TASK: usize = 16;

/// The mean of a square of `side` by `side` positions around every one, `side` being odd; at the edges of those that
/// there are.
///
/// # Shapes
/// `[batch, channels, h, w]` to the same.
pub(crate) fn mean_pool2d(input: Tensor<4>, side: usize) -> Tensor<4> {
    let shape = input.dims();
    let served = shape.iter().all(|&size| size > 0) && !side.is_multiple_of(2);
    match Home::of(&input) {
        Home::Flex if served => {
            let input = contiguous(flex(input));
            let pooled = pool(values(&input), [shape[2], shape[3]], side / 2);
            Tensor::from_primitive::<Flex>(tensor(pooled, shape))
        }
        _ => plain(input, side),
    }
}

/// Burn's operation.
fn plain(input: Tensor<4>, side: usize) -> Tensor<4> {
    let options = AvgPoolOptions::new([side; 2])
        .with_stride([1, 1])
        .with_padding([side / 2; 2])
        .with_count_include_pad(false);
    avg_pool2d(input, options)
}

/// # Shapes
/// `[maps, height, width]` to the same.
fn pool(input: &[f32], [height, width]: [usize; 2], reach: usize) -> Vec<f32> {
    let area = height * width;
    let columns: Vec<f32> = (0..width)
        .map(|at| neighbours(at, reach, width).len() as f32)
        .collect();
    in_chunks(input.len(), TASK * area, |index, output| {
        let input = &input[index * TASK * area..];
        let mut sums = vec![0.0; area];
        let maps = output.chunks_exact_mut(area);
        for (output, map) in maps.zip(input.chunks_exact(area)) {
            // Along the rows first, then along the columns: that is two passes over a few neighbours.
            sums.fill(0.0);
            for (sums, row) in sums.chunks_exact_mut(width).zip(map.chunks_exact(width)) {
                for by in 0..=reach.min(width - 1) {
                    add(&mut sums[..width - by], &row[by..]);
                    if by > 0 {
                        add(&mut sums[by..], &row[..width - by]);
                    }
                }
            }
            for (row, output) in output.chunks_exact_mut(width).enumerate() {
                let rows = neighbours(row, reach, height);
                let count = rows.len() as f32;
                for sums in sums[rows.start * width..rows.end * width].chunks_exact(width) {
                    add(output, sums);
                }
                for (value, columns) in output.iter_mut().zip(&columns) {
                    *value /= count * columns;
                }
            }
        }
    })
}

/// Positions within reach of one of `length`.
fn neighbours(at: usize, reach: usize, length: usize) -> std::ops::Range<usize> {
    at.saturating_sub(reach)..(at + reach + 1).min(length)
}

fn add(sums: &mut [f32], values: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, gradient, normal, read};
    use burn::tensor::Device;

    #[test]
    fn means_are_those_of_burn() {
        for (shape, side) in [
            ([2, 3, 9, 7], 3),
            ([1, 40, 8, 8], 3),
            ([3, 2, 6, 11], 5),
            ([1, 2, 4, 5], 1),
            // A window that reaches beyond the map.
            ([1, 1, 2, 3], 7),
        ] {
            let input = normal(shape, 1, &Device::flex());
            let found = read(mean_pool2d(input.clone(), side));
            assert_close(&found, &read(plain(input, side)), &format!("{shape:?}"));
        }
    }

    #[test]
    fn edges_have_the_mean_of_what_is_there() {
        let input = tensor((1..=9u8).map(f32::from).collect(), [1, 1, 3, 3]);
        let found = read(mean_pool2d(Tensor::from_primitive::<Flex>(input), 3));
        // numpy: a = arange(1, 10).reshape(3, 3); a[:2, :2].mean(), a[:2].mean(), ...
        assert_eq!(found, [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0]);
    }

    #[test]
    fn gradients_are_burns() {
        let shape = [2, 2, 5, 6];
        let found = gradient(shape, &|input| mean_pool2d(input, 3));
        let expected = gradient(shape, &|input| plain(input, 3));
        assert_close(&found, &expected, "gradients");
    }
}
