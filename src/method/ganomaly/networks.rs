//! GANomaly (Akcay, Atapour-Abarghouei & Breckon, ACCV 2018), the method that the paper is compared
//! with, after its authors' code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::Digest;

use crate::encoder::{AutoEncoderConfig, ConvDecoder, ConvEncoder, dcgan_initialised};
use crate::method::fitting::adversarial::{against_made, against_real};
use crate::method::fitting::context::weights_hash;
use crate::train::{Kind, Monitor, StepOutput, merge_gradients};

/// Weight of the reconstruction term; those of the adversarial and the latent term are 1.
const RECONSTRUCTION_WEIGHT: f64 = 50.0;
/// Loss of the discriminator below which its weights are drawn anew.
const COLLAPSED_LOSS: f32 = 1e-5;

/// GANomaly's one stage, with the monitors in the order of its step's output.
pub const GANOMALY_STAGE: Kind = Kind {
    name: "ganomaly",
    section: "ganomaly",
    monitors: &[
        Monitor {
            name: "Generator loss",
            unit: "",
        },
        Monitor {
            name: "Discriminator loss",
            unit: "",
        },
        Monitor {
            name: "Reconstruction loss",
            unit: "",
        },
        Monitor {
            name: "Latent loss",
            unit: "",
        },
        Monitor {
            name: "Adversarial loss",
            unit: "",
        },
    ],
    throughput: "Images",
    adversarial: true,
};

/// Generator (encoder, decoder, second encoder) and discriminator.
///
/// The discriminator is an encoder with a single output; its features are what comes before that.
#[derive(Module, Debug)]
pub struct Ganomaly {
    encoder: ConvEncoder,
    decoder: ConvDecoder,
    second_encoder: ConvEncoder,
    discriminator: ConvEncoder,
    #[module(skip)]
    sizes: AutoEncoderConfig,
    /// Set by a step that found the discriminator's loss too low, read by the update after it.
    #[module(skip)]
    collapsed: Arc<AtomicBool>,
}

/// Losses of one batch, each a one-element tensor.
struct Losses {
    adversarial: Tensor<1>,
    reconstruction: Tensor<1>,
    latent: Tensor<1>,
}

impl Losses {
    /// `1 adv + 50 con + 1 enc`.
    fn generator(&self) -> Tensor<1> {
        self.adversarial.clone()
            + self.reconstruction.clone() * RECONSTRUCTION_WEIGHT
            + self.latent.clone()
    }
}

impl Ganomaly {
    /// Builds the networks of these sizes with initial weights drawn from `rng`.
    pub fn new(config: &AutoEncoderConfig, rng: &mut impl Rng, device: &Device) -> Self {
        let model = Self {
            encoder: ConvEncoder::new(config, device),
            decoder: ConvDecoder::new(config, device),
            second_encoder: ConvEncoder::new(config, device),
            discriminator: ConvEncoder::discriminator(config, device),
            sizes: *config,
            collapsed: Arc::default(),
        };
        dcgan_initialised(model, rng)
    }

    /// Sizes of the networks.
    pub fn config(&self) -> AutoEncoderConfig {
        self.sizes
    }

    /// Image, its latent, its reconstruction and that one's latent.
    fn generate(&self, images: Tensor<4>) -> (Tensor<2>, Tensor<4>, Tensor<2>) {
        let latents = self.encoder.forward(images);
        let fakes = self.decoder.forward(latents.clone());
        let again = self.second_encoder.forward(fakes.clone());
        (latents, fakes, again)
    }

    /// Reconstructions and anomaly scores: the mean squared difference of the two latents, the
    /// score of the authors' code.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` to the same and `[batch]`.
    pub fn score(&self, images: Tensor<4>) -> (Tensor<4>, Tensor<1>) {
        let (latents, fakes, again) = self.generate(images);
        let score = (latents - again).square().mean_dim(1).squeeze_dim(1);
        (fakes, score)
    }

    /// The generator's losses. The features of real images do not depend on the generator.
    fn losses(&self, images: &Tensor<4>) -> (Losses, Tensor<4>) {
        let (latents, fakes, again) = self.generate(images.clone());
        let real = self.discriminator.features(images.clone()).detach();
        let fake = self.discriminator.features(fakes.clone());
        let losses = Losses {
            adversarial: (real - fake).square().mean(),
            reconstruction: (images.clone() - fakes.clone()).abs().mean(),
            latent: (latents - again).square().mean(),
        };
        (losses, fakes)
    }

    /// Half the binary cross-entropies of real images against 1 and of reconstructions against 0.
    fn discriminator_loss(&self, images: Tensor<4>, fakes: Tensor<4>) -> Tensor<1> {
        let real = self.discriminator.forward(images);
        let fake = self.discriminator.forward(fakes.detach());
        (against_real(real) + against_made(fake)) * 0.5
    }

    fn output(batch: usize, losses: &Losses, discriminator: &Tensor<1>) -> StepOutput {
        StepOutput::new(
            batch,
            [
                losses.generator(),
                discriminator.clone(),
                losses.reconstruction.clone(),
                losses.latent.clone(),
                losses.adversarial.clone(),
            ],
        )
    }
}

/// Hash of a network's weights: a seed that is another at every restart, and the same whether or
/// not the training was interrupted before.
fn fingerprint(network: &ConvEncoder) -> [u8; 32] {
    weights_hash(network).finalize().into()
}

impl TrainStep for Ganomaly {
    type Input = Tensor<4>; // [batch, channels, size, size]
    type Output = StepOutput;

    /// Both losses on the same weights, as in the authors' `optimize_params`; each reaches its own
    /// network alone.
    fn step(&self, images: Tensor<4>) -> TrainOutput<StepOutput> {
        let batch = images.dims()[0];
        let (losses, fakes) = self.losses(&images);
        let discriminator_loss = self.discriminator_loss(images, fakes);
        let output = Self::output(batch, &losses, &discriminator_loss);

        let mut generator = losses.generator().backward();
        let mut grads = GradientsParams::from_module(&mut generator, &self.encoder);
        let part = GradientsParams::from_module(&mut generator, &self.second_encoder);
        merge_gradients(&self.second_encoder, part, &mut grads);
        let part = GradientsParams::from_module(&mut generator, &self.decoder);
        merge_gradients(&self.decoder, part, &mut grads);
        let part =
            GradientsParams::from_grads(discriminator_loss.clone().backward(), &self.discriminator);
        merge_gradients(&self.discriminator, part, &mut grads);

        let loss = discriminator_loss.into_data().iter::<f32>().next();
        let collapsed = loss.is_some_and(|loss| loss < COLLAPSED_LOSS);
        self.collapsed.store(collapsed, Ordering::Relaxed);
        TrainOutput {
            grads,
            item: output,
        }
    }

    /// Updates all networks, and gives the discriminator new weights when it has won: a loss of zero
    /// teaches the generator nothing. Its running statistics and its optimizer's moments stay, as in the authors' code.
    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let mut model = optimizer.step(rate, self, gradients);
        if model.collapsed.swap(false, Ordering::Relaxed) {
            let rng = &mut StdRng::from_seed(fingerprint(&model.discriminator));
            model.discriminator = dcgan_initialised(model.discriminator, rng);
        }
        model
    }
}

impl InferenceStep for Ganomaly {
    type Input = Tensor<4>; // [batch, channels, size, size]
    type Output = StepOutput;

    fn step(&self, images: Tensor<4>) -> StepOutput {
        let batch = images.dims()[0];
        let (losses, fakes) = self.losses(&images);
        let discriminator_loss = self.discriminator_loss(images, fakes);
        Self::output(batch, &losses, &discriminator_loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::method::fitting::adversarial::tests::{assert_gradients_of, gradients};
    use burn::module::list_param_ids;
    use burn::optim::AdamConfig;

    fn model(device: &Device) -> Ganomaly {
        let config = AutoEncoderConfig {
            channels: 1,
            size: 32,
            width: 2,
            latent: 4,
        };
        Ganomaly::new(&config, &mut StdRng::seed_from_u64(1), device)
    }

    fn images(device: &Device) -> Tensor<4> {
        let values: Vec<f32> = (0..4 * 1024)
            .map(|index| ((index * 37) % 101) as f32 / 50.0 - 1.0)
            .collect();
        Tensor::from_data(
            burn::tensor::TensorData::new(values, [4, 1, 32, 32]),
            device,
        )
    }

    #[test]
    fn each_loss_reaches_its_own_network_alone() {
        let device = test_device().autodiff();
        let model = model(&device);
        let output = TrainStep::step(&model, images(&device));
        // The generator's three networks have the gradients of its loss ...
        let loss = || model.losses(&images(&device)).0.generator();
        assert_gradients_of(&model.encoder, &output.grads, &loss());
        assert_gradients_of(&model.decoder, &output.grads, &loss());
        assert_gradients_of(&model.second_encoder, &output.grads, &loss());
        // ... and the discriminator those of its own, untouched by the generator's.
        let loss = || discriminator_loss(&model);
        assert_gradients_of(&model.discriminator, &output.grads, &loss());
        let own = GradientsParams::from_grads(loss().backward(), &model.discriminator);
        let (generator, _) = gradients(&model.encoder, &own);
        assert_eq!(generator, 0.0);
    }

    fn discriminator_loss(model: &Ganomaly) -> Tensor<1> {
        let images = images(&model.discriminator.devices()[0]);
        let (_, fakes, _) = model.generate(images.clone());
        model.discriminator_loss(images, fakes)
    }

    /// The discriminator alone is trained until it has all but won.
    fn won(mut model: Ganomaly) -> Ganomaly {
        let mut adam = AdamConfig::new().init();
        for _ in 0..1000 {
            let loss = discriminator_loss(&model);
            if loss.clone().into_scalar::<f32>() < 0.5 * COLLAPSED_LOSS {
                return model;
            }
            let own = GradientsParams::from_grads(loss.backward(), &model.discriminator);
            model = adam.step(0.02, model, own);
        }
        panic!("the discriminator does not win");
    }

    fn loss(model: &Ganomaly) -> f32 {
        discriminator_loss(model).into_scalar()
    }

    fn updated(model: Ganomaly) -> Ganomaly {
        let device = model.discriminator.devices()[0].clone();
        let output = TrainStep::step(&model, images(&device));
        model.optimize(&mut AdamConfig::new().init(), 1e-9.into(), output.grads)
    }

    #[test]
    fn a_discriminator_that_has_not_won_stays() {
        let model = model(&test_device().autodiff());
        let before = loss(&model);
        let after = loss(&updated(model));
        assert!((after - before).abs() < 1e-3 * before, "{before} {after}");
    }

    #[test]
    fn a_discriminator_that_has_won_starts_over_with_other_weights_each_time() {
        let device = test_device().autodiff();
        let winner = won(model(&device));
        let ids = list_param_ids(&winner.discriminator);
        let first = updated(winner);
        let weights = fingerprint(&first.discriminator);
        // To the optimizer they are what they were.
        assert_eq!(list_param_ids(&first.discriminator), ids);
        assert!(loss(&first) > 0.1, "{}", loss(&first));
        // The new network learns like the old one, and is replaced in turn.
        let output = TrainStep::step(&first, images(&device));
        assert!(gradients(&first.discriminator, &output.grads).0 > 0.0);
        let second = updated(won(first));
        assert!(loss(&second) > 0.1, "{}", loss(&second));
        assert_ne!(fingerprint(&second.discriminator), weights);
        // Another run of the same training comes to the same weights.
        let again = updated(won(model(&device)));
        assert_eq!(fingerprint(&again.discriminator), weights);
    }
}
