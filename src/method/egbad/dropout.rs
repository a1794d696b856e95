//! Dropout whose masks come from the step's seed: Burn's draws from its process-wide generator.

use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand::rngs::StdRng;

/// What half of the values are multiplied by: those that are kept grow for those that are dropped.
const KEPT: f32 = 2.0;

/// Drops each value with a probability of one half, as `rng` has it; none without one.
pub(super) fn drop_half<const D: usize>(values: Tensor<D>, rng: Option<&mut StdRng>) -> Tensor<D> {
    let Some(rng) = rng else {
        return values;
    };
    let shape = values.dims();
    let count: usize = shape.iter().product();
    let mut bits = vec![0u8; count.div_ceil(8)];
    rng.fill_bytes(&mut bits);
    let bits = bits
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
    let mask: Vec<f32> = bits.take(count).map(|bit| f32::from(bit) * KEPT).collect();
    let mask = Tensor::from_data(TensorData::new(mask, shape), &values.device());
    values * mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;

    #[test]
    fn half_of_the_values_are_dropped_and_the_seed_says_which() {
        let drop = |seed: Option<u64>| -> Vec<f32> {
            let mut rng = seed.map(StdRng::seed_from_u64);
            let ones = Tensor::<2>::ones([10, 1024], &test_device());
            let left = drop_half(ones, rng.as_mut()).into_data();
            left.iter::<f32>().collect()
        };
        let first = drop(Some(1));
        assert_eq!(first, drop(Some(1)));
        assert_ne!(first, drop(Some(2)));
        assert!(first.iter().all(|value| *value == 0.0 || *value == KEPT));
        // 10,240 values: their mean has a deviation of 0.01.
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert!(drop(None).iter().all(|value| *value == 1.0));
    }
}
