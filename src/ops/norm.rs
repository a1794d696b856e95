//! What clipping a gradient by its norm takes: a sum of squares and a multiplication.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{Home, contiguous, flex, values};

/// Values per task.
const TASK: usize = 1 << 14;
/// Lanes of a sum: the compiler keeps them in vector registers.
const LANES: usize = 16;

/// Sum of the squares of all values, where they can be read at no cost: on flex without automatic
/// differentiation.
pub(crate) fn sum_of_squares<const D: usize>(tensor: Tensor<D>) -> Option<f64> {
    if Home::of(&tensor) != Home::Flex {
        return None;
    }
    let tensor = contiguous(flex(tensor));
    let values = values(&tensor);
    // Small tensors are not worth waking a thread.
    if values.len() <= TASK {
        return Some(squares(values));
    }
    let parts: Vec<f64> = values.par_chunks(TASK).map(squares).collect();
    Some(parts.iter().sum())
}

/// The tensor times a number, in place where nobody else holds it.
pub(crate) fn scale<const D: usize>(tensor: Tensor<D>, factor: f32) -> Tensor<D> {
    if Home::of(&tensor) != Home::Flex {
        return tensor.mul_scalar(factor);
    }
    let mut tensor = contiguous(flex(tensor));
    let values = tensor.storage_mut::<f32>();
    let multiply = |values: &mut [f32]| values.iter_mut().for_each(|x| *x *= factor);
    if values.len() <= TASK {
        multiply(values);
    } else {
        values.par_chunks_mut(TASK).for_each(multiply);
    }
    Tensor::from_primitive::<Flex>(tensor)
}

fn squares(values: &[f32]) -> f64 {
    let mut sums = [0.0f32; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += x * x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x * x;
    }
    sums.iter().map(|&sum| f64::from(sum)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, in_pool, normal, read};
    use burn::tensor::{DType, Device, FloatDType};

    const SIZES: [usize; 5] = [1, LANES + 1, 1000, TASK, 100_003];

    #[test]
    fn sums_are_those_of_the_values() {
        for size in SIZES {
            let tensor = normal([size], 1, &Device::flex());
            let expected: f64 = read(tensor.clone())
                .iter()
                .map(|&x| f64::from(x) * f64::from(x))
                .sum();
            let found = sum_of_squares(tensor).expect("at home");
            assert!(
                (found - expected).abs() <= 1e-5 * expected,
                "{size}: {found} is not {expected}"
            );
        }
    }

    #[test]
    fn views_are_taken_whole_and_alone() {
        let tensor = Tensor::<2>::from_data([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::flex());
        assert_eq!(sum_of_squares(tensor.clone().transpose()), Some(91.0));
        assert_eq!(sum_of_squares(tensor.clone().narrow(1, 1, 2)), Some(74.0));
        let row = scale(tensor.clone().narrow(0, 1, 1), 2.0);
        assert_eq!(read(row), [8.0, 10.0, 12.0]);
        assert_eq!(read(tensor), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn products_are_burns() {
        for size in SIZES {
            let tensor = normal([size], 1, &Device::flex());
            let expected = read(tensor.clone().mul_scalar(0.3f32));
            assert_close(&read(scale(tensor, 0.3)), &expected, "product");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let [one, three] = [1, 3].map(|threads| {
            in_pool(threads, || {
                let tensor = normal([100_003], 1, &Device::flex());
                sum_of_squares(tensor).expect("at home").to_bits()
            })
        });
        assert_eq!(one, three);
    }

    #[test]
    fn other_types_and_training_tensors_are_left_to_burn() {
        let double = normal([5], 1, &Device::flex()).cast(FloatDType::F64);
        assert_eq!(sum_of_squares(double.clone()), None);
        assert_eq!(scale(double, 2.0).dtype(), DType::F64);
        let training = normal([5], 1, &Device::flex().autodiff());
        assert_eq!(sum_of_squares(training.clone()), None);
        assert!(scale(training, 2.0).is_autodiff());
    }
}
