//! GANomaly (Akcay, Atapour-Abarghouei & Breckon, ACCV 2018), the method that the paper is compared
//! with, after its authors' code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, activation};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::AutoEncoderConfig;
use super::conv::{ConvDecoder, ConvEncoder, initialise};
use crate::train::{Kind, Monitor, StepOutput, merge_gradients};

/// Weight of the reconstruction term; those of the adversarial and the latent term are 1.
const RECONSTRUCTION_WEIGHT: f64 = 50.0;
/// Loss of the discriminator below which its weights are drawn anew.
const COLLAPSED_LOSS: f32 = 1e-5;

/// GANomaly's one stage, with the monitors in the order of its step's output.
pub const GANOMALY_STAGE: Kind = Kind {
    name: "ganomaly",
    label: "1/1 ganomaly",
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
    sizes: [usize; 4],
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
        let AutoEncoderConfig {
            channels,
            size,
            width,
            latent,
        } = *config;
        let model = Self {
            encoder: ConvEncoder::new(config, device),
            decoder: ConvDecoder::new(config, device),
            second_encoder: ConvEncoder::new(config, device),
            discriminator: discriminator(config, device),
            sizes: [channels, size, width, latent],
            collapsed: Arc::default(),
        };
        initialise(model, rng)
    }

    fn config(&self) -> AutoEncoderConfig {
        let [channels, size, width, latent] = self.sizes;
        AutoEncoderConfig {
            channels,
            size,
            width,
            latent,
        }
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
        let real = activation::softplus(real.neg(), 1.0).mean();
        let fake = activation::softplus(fake, 1.0).mean();
        (real + fake) * 0.5
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

fn discriminator(config: &AutoEncoderConfig, device: &Device) -> ConvEncoder {
    let single = AutoEncoderConfig {
        latent: 1,
        ..*config
    };
    ConvEncoder::new(&single, device)
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
    /// teaches the generator nothing.
    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let mut model = optimizer.step(rate, self, gradients);
        if model.collapsed.swap(false, Ordering::Relaxed) {
            let device = model.discriminator.devices()[0].clone();
            let rng = &mut StdRng::seed_from_u64(model.sizes.iter().sum::<usize>() as u64);
            model.discriminator = initialise(discriminator(&model.config(), &device), rng);
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
