//! Dropout whose masks come from the step's seed: Burn's draws from its process-wide generator.

use burn::tensor::{Device, Tensor, TensorData};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::networks::{BiGanConfig, Discriminator};

/// What half of the values are multiplied by: those that are kept grow for those that are dropped.
const KEPT: f32 = 2.0;

/// Zeros and twos for the four places of the discriminator where half of the values are dropped.
#[derive(Debug)]
pub struct Masks {
    /// `[batch, 2 width, size / 2, size / 2]`.
    pub stem: Tensor<4>,
    /// `[batch, 2 width, size / 4, size / 4]`.
    pub second: Tensor<4>,
    /// `[batch, hidden / 2]`.
    pub latent: Tensor<2>,
    /// `[batch, hidden]`.
    pub joint: Tensor<2>,
}

impl Masks {
    /// Masks for a batch, each value dropped with a probability of one half.
    pub fn draw(config: &BiGanConfig, batch: usize, seed: u64, device: &Device) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let [stem, second, latent, joint] = Discriminator::dropped(config);
        let [half, quarter] = [config.size / 2, config.size / 4];
        let channels = 2 * config.width;
        Self {
            stem: mask([batch, channels, half, half], batch * stem, rng, device),
            second: mask(
                [batch, channels, quarter, quarter],
                batch * second,
                rng,
                device,
            ),
            latent: mask([batch, latent], batch * latent, rng, device),
            joint: mask([batch, joint], batch * joint, rng, device),
        }
    }

    /// The values that a mask leaves; all of them without one.
    pub fn drop<const D: usize>(values: Tensor<D>, mask: Option<&Tensor<D>>) -> Tensor<D> {
        match mask {
            Some(mask) => values * mask.clone(),
            None => values,
        }
    }
}

fn mask<const D: usize>(
    shape: [usize; D],
    count: usize,
    rng: &mut StdRng,
    device: &Device,
) -> Tensor<D> {
    let mut bits = vec![0u8; count.div_ceil(8)];
    rng.fill_bytes(&mut bits);
    let bits = bits
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
    let values: Vec<f32> = bits.take(count).map(|bit| f32::from(bit) * KEPT).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;

    #[test]
    fn half_of_the_values_are_dropped_and_the_seed_says_which() {
        let config = BiGanConfig {
            channels: 1,
            size: 32,
            width: 2,
            hidden: 64,
            latent: 4,
        };
        let draw = |seed| Masks::draw(&config, 10, seed, &test_device());
        let read = |masks: &Masks| -> Vec<f32> {
            let data = masks.stem.clone().into_data();
            data.iter::<f32>().collect()
        };
        let first = read(&draw(1));
        assert_eq!(first, read(&draw(1)));
        assert_ne!(first, read(&draw(2)));
        assert!(first.iter().all(|value| *value == 0.0 || *value == KEPT));
        // 10,240 values: their mean has a deviation of 0.01.
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert_eq!(draw(1).joint.dims(), [10, 64]);
    }
}
