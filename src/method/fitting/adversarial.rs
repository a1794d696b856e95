//! What adversarial methods are trained on, and by.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData, activation};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

use crate::data::{Images, Samples, Vectors};
use crate::method::{Part, Parts, derive};

/// What one step of an adversarial training sees.
pub struct Round {
    /// `[batch, channels, height, width]` in `[-1, 1]`.
    pub images: Tensor<4>,
    /// `[batch, latent]` from N(0, 1), for a generator to make images from.
    pub noise: Tensor<2>,
    /// Seed of whatever else is drawn in the step.
    pub seed: u64,
}

/// Images, with noise for each of them.
///
/// The noise depends on the seed, the epoch and the images that make up the batch: so it differs from
/// step to step, a resumed run repeats it, and every epoch is validated with the same.
pub struct Rounds {
    images: Arc<Images>,
    latent: usize,
    seed: u64,
}

impl Rounds {
    /// Noise of `latent` numbers per image.
    pub fn new(images: Arc<Images>, latent: usize, seed: u64) -> Self {
        Self {
            images,
            latent,
            seed,
        }
    }
}

impl Samples for Rounds {
    type Batch = Round;

    fn count(&self) -> usize {
        self.images.len()
    }

    fn batch(&self, indices: &[usize], device: &Device) -> Round {
        self.batch_in_epoch(0, indices, device)
    }

    fn batch_in_epoch(&self, epoch: usize, indices: &[usize], device: &Device) -> Round {
        let first = indices.first().copied().unwrap_or(0);
        let last = indices.last().copied().unwrap_or(0);
        let seed = derive(self.seed, &format!("epoch {epoch} from {first} to {last}"));
        let shape = [indices.len(), self.latent];
        let noise = StandardNormal.sample_iter(StdRng::seed_from_u64(seed));
        let noise: Vec<f32> = noise.take(shape.iter().product()).collect();
        Round {
            images: self.images.batch(indices, device),
            noise: Tensor::from_data(TensorData::new(noise, shape), device),
            seed: derive(seed, "step"),
        }
    }
}

/// Training and validation images with noise, as a stage takes them.
pub(in crate::method) fn rounds(
    parts: &Parts,
    latent: usize,
    seed: u64,
) -> (Arc<Rounds>, Arc<Rounds>) {
    let rounds = |part: &Part| {
        let seed = derive(seed, &format!("{} noise", part.name));
        Arc::new(Rounds::new(part.images.clone(), latent, seed))
    };
    (rounds(parts.train()), rounds(parts.validation()))
}

/// Mean binary cross-entropy of logits against the label "real".
///
/// # Shapes
/// `[batch, 1]` to `[1]`.
pub(in crate::method) fn against_real(logits: Tensor<2>) -> Tensor<1> {
    activation::softplus(logits.neg(), 1.0).mean()
}

/// Mean binary cross-entropy of logits against the label "made".
///
/// # Shapes
/// `[batch, 1]` to `[1]`.
pub(in crate::method) fn against_made(logits: Tensor<2>) -> Tensor<1> {
    activation::softplus(logits, 1.0).mean()
}

/// Noise for `count` images, the same for the same seed.
pub(in crate::method) fn noise(count: usize, latent: usize, seed: u64) -> Vectors {
    let mut noise = Vectors::new(latent);
    let values = StandardNormal.sample_iter(StdRng::seed_from_u64(seed));
    noise.extend(values.take(count * latent));
    noise
}

#[cfg(test)]
pub(in crate::method) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::method::detector::scorer::tests::noise;
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::optim::GradientsParams;

    /// Normal numbers.
    pub fn normal<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
        let values = StandardNormal.sample_iter(StdRng::seed_from_u64(seed));
        let values: Vec<f32> = values.take(shape.iter().product()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// Four grey images of 32 pixels with noise of four numbers each.
    pub fn round(device: &Device) -> Round {
        Round {
            images: normal([4, 1, 32, 32], 2, device).tanh(),
            noise: normal([4, 4], 3, device),
            seed: 5,
        }
    }

    /// Sum of all parameters' absolute gradients, and how many parameters have one.
    pub fn gradients<M: Module>(module: &M, gradients: &GradientsParams) -> (f32, usize) {
        struct Sum<'a>(&'a GradientsParams, f32, usize);
        impl ModuleVisitor for Sum<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    self.1 += gradient.abs().sum().into_scalar::<f32>();
                    self.2 += 1;
                }
            }
        }
        let mut sum = Sum(gradients, 0.0, 0);
        module.visit(&mut sum);
        (sum.1, sum.2)
    }

    /// The same of `module` alone, of a loss.
    pub fn gradients_of<M: Module>(module: &M, loss: &Tensor<1>) -> f32 {
        let own = GradientsParams::from_grads(loss.backward(), module);
        gradients(module, &own).0
    }

    /// All parameters' gradients, one after the other.
    fn elements<M: Module>(module: &M, gradients: &GradientsParams) -> Vec<f32> {
        struct All<'a>(&'a GradientsParams, Vec<f32>);
        impl ModuleVisitor for All<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    self.1.extend(read(gradient));
                }
            }
        }
        let mut all = All(gradients, Vec::new());
        module.visit(&mut all);
        all.1
    }

    /// What a step hands to the optimizer for `module` is the gradient of its own loss.
    pub fn assert_gradients_of<M: Module>(module: &M, found: &GradientsParams, loss: &Tensor<1>) {
        let own = GradientsParams::from_grads(loss.backward(), module);
        let [found, expected] = [found, &own].map(|gradients| elements(module, gradients));
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().map(|value| value.abs()).fold(0.0, f32::max);
        assert!(largest > 0.0);
        for (found, expected) in found.iter().zip(&expected) {
            let close = (found - expected).abs() < 1e-3 * largest;
            assert!(close, "{found} is not {expected} of {largest} at most");
        }
    }

    fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn noise_differs_between_steps_and_is_repeated_by_a_resumed_run() {
        let rounds = Rounds::new(Arc::new(noise(6, 1)), 500, 3);
        let round =
            |epoch: usize, indices: &[usize]| rounds.batch_in_epoch(epoch, indices, &test_device());
        let drawn = |epoch: usize, indices: &[usize]| read(round(epoch, indices).noise);
        let first = drawn(1, &[0, 3]);
        assert_eq!(first, drawn(1, &[0, 3]));
        assert_eq!(round(1, &[0, 3]).seed, round(1, &[0, 3]).seed);
        assert_ne!(first, drawn(2, &[0, 3]));
        assert_ne!(first, drawn(1, &[4, 5]));
        assert_ne!(round(1, &[0, 3]).seed, round(1, &[4, 5]).seed);
        // A thousand numbers: their mean has a deviation of 0.03, their mean square of 0.045.
        let mean = first.iter().sum::<f32>() / 1000.0;
        let square = first.iter().map(|x| x * x).sum::<f32>() / 1000.0;
        assert!(mean.abs() < 0.13 && (square - 1.0).abs() < 0.18);
    }

    #[test]
    fn cross_entropies_are_those_of_the_logistic_function() {
        let logits = || Tensor::<2>::from_data([[0.5], [-2.0]], &test_device());
        // -ln sigmoid(0.5) = 0.474077, -ln sigmoid(-2) = 2.126928; of the others ln(1 + e^x) = 0.974077
        // and 0.126928.
        let [real] = read(against_real(logits()))[..] else {
            panic!()
        };
        let [made] = read(against_made(logits()))[..] else {
            panic!()
        };
        assert!((real - 1.300_502).abs() < 1e-5, "{real}");
        assert!((made - 0.550_502).abs() < 1e-5, "{made}");
    }
}
