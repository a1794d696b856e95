//! The logarithm of a sum of exponentials over each row: the likelihood of a mixture out of those of its parts.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{Home, contiguous, elementary, flex, tensor, values};

/// Values per task, about.
const TASK: usize = 1 << 14;
/// Lanes of a sum: the compiler keeps them in vector registers.
const LANES: usize = 16;

/// `ln sum exp` over each row.
///
/// # Shapes
/// `[batch, columns]` to `[batch, 1]`.
pub(crate) fn log_sum_exp(rows: Tensor<2>) -> Tensor<2> {
    let [_, columns] = rows.dims();
    let none = Tensor::zeros([1, columns], &rows.device());
    shifted_log_sum_exp(rows, none)
}

/// `ln sum exp` over each row, to which `shift` has been added.
///
/// # Shapes
/// `[batch, columns]` and `[1, columns]` to `[batch, 1]`.
pub(crate) fn shifted_log_sum_exp(rows: Tensor<2>, shift: Tensor<2>) -> Tensor<2> {
    let [batch, columns] = rows.dims();
    let at_home = [&rows, &shift].map(Home::of) == [Home::Flex; 2];
    if !at_home || batch == 0 || columns == 0 {
        return plain(rows, shift);
    }
    let (rows, shift) = (contiguous(flex(rows)), contiguous(flex(shift)));
    let shift = values(&shift);
    let mut sums = vec![0.0f32; batch];
    let together = (TASK / columns).max(1);
    sums.par_chunks_mut(together)
        .zip(values(&rows).par_chunks(together * columns))
        .for_each(|(sums, rows)| {
            for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(columns)) {
                *sum = of_row(row, shift);
            }
        });
    Tensor::from_primitive::<Flex>(tensor(sums, [batch, 1]))
}

/// The same by Burn's operations.
fn plain(rows: Tensor<2>, shift: Tensor<2>) -> Tensor<2> {
    let rows = rows + shift;
    // What is subtracted and added again has no gradient.
    let largest = rows.clone().max_dim(1).detach();
    (rows - largest.clone()).exp().sum_dim(1).log() + largest
}

fn of_row(row: &[f32], shift: &[f32]) -> f32 {
    let largest = combined(row, shift, f32::NEG_INFINITY, f32::max, |sum| sum);
    let sum = combined(
        row,
        shift,
        0.0,
        |a, b| a + b,
        |sum| elementary::exp(sum - largest),
    );
    sum.ln() + largest
}

/// What `join` makes of `each` of the sums of two rows, lane by lane and then of the lanes.
#[inline(always)]
fn combined(
    row: &[f32],
    shift: &[f32],
    start: f32,
    join: impl Fn(f32, f32) -> f32,
    each: impl Fn(f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let (row, row_rest) = row.as_chunks::<LANES>();
    let (shift, shift_rest) = shift.as_chunks::<LANES>();
    for (row, shift) in row.iter().zip(shift) {
        for ((lane, a), b) in lanes.iter_mut().zip(row).zip(shift) {
            *lane = join(*lane, each(a + b));
        }
    }
    let rest = row_rest.iter().zip(shift_rest).map(|(a, b)| each(a + b));
    lanes.into_iter().chain(rest).fold(start, join)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn random(shape: [usize; 2], seed: u64) -> Tensor<2> {
        let rng = &mut StdRng::seed_from_u64(seed);
        let values = (0..shape[0] * shape[1]).map(|_| rng.random_range(-300.0..50.0f32));
        let values = TensorData::new(values.collect::<Vec<_>>(), shape);
        Tensor::from_data(values, &Device::flex())
    }

    fn values_of(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn it_is_what_burn_makes_of_it() {
        for shape in [[1, 1], [3, 5], [7, 16], [2, 1000], [400, 133]] {
            let (rows, shift) = (random(shape, 1), random([1, shape[1]], 2));
            let found = values_of(shifted_log_sum_exp(rows.clone(), shift.clone()));
            for (found, expected) in found.into_iter().zip(values_of(plain(rows, shift))) {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{shape:?}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn its_gradient_is_each_one_s_share_of_the_sum() {
        const SHAPE: [usize; 2] = [7, 19];
        let device = Device::flex().autodiff();
        let tracked = |shape, seed| {
            let values = random(shape, seed).into_data();
            Tensor::<2>::from_data(values, &device).require_grad()
        };
        let (rows, shift) = (tracked(SHAPE, 3), tracked([1, SHAPE[1]], 4));
        let gradients = shifted_log_sum_exp(rows.clone(), shift.clone())
            .sum()
            .backward();
        let by_rows = values_of(rows.grad(&gradients).unwrap());
        let by_shift = values_of(shift.grad(&gradients).unwrap());

        let [rows, shift] = [rows, shift].map(|tensor| values_of(tensor.inner()));
        let mut columns = [0.0f64; SHAPE[1]];
        for (row, found) in rows.chunks(SHAPE[1]).zip(by_rows.chunks(SHAPE[1])) {
            let sums = row.iter().zip(&shift).map(|(a, b)| f64::from(a + b));
            let sums: Vec<f64> = sums.collect();
            let largest = sums.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = sums.iter().map(|sum| (sum - largest).exp()).sum();
            for ((sum, found), column) in sums.iter().zip(found).zip(&mut columns) {
                let share = (sum - largest).exp() / total;
                assert!((f64::from(*found) - share).abs() < 1e-5, "{found} {share}");
                *column += share;
            }
        }
        for (found, column) in by_shift.into_iter().zip(columns) {
            assert!((f64::from(found) - column).abs() < 1e-5, "{found} {column}");
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let device = Device::flex();
        let rows = [
            [f32::NAN, 0.0],
            [f32::NEG_INFINITY, 1.0],
            [0.0, f32::INFINITY],
        ];
        let rows = Tensor::<2>::from_data(rows, &device);
        let found = values_of(log_sum_exp(rows));
        assert!(found[0].is_nan());
        assert!((found[1] - 1.0).abs() < 1e-6);
        assert!(!found[2].is_finite());
    }
}
