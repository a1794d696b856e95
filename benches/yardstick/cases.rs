//! What is measured and compared: sizes, data made from fixed seeds, and a training step as a stage
//! takes it. `benches/pytorch/models.py` has the same sizes.

use burn::module::Module;
use burn::optim::{AdamConfig, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn::train::TrainStep;
use encoder_flow::data::{Images, Samples, Vectors};
use encoder_flow::encoder::AutoEncoderConfig;
use encoder_flow::flow::image::{GlowConfig, ImageRealNvpConfig, Masking};
use encoder_flow::flow::{BaseKind, Mixing, RealNvpConfig};
use encoder_flow::train::{StepOutput, clip_global_norm};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// Adam's step size: small, so that the many steps on one batch go nowhere extreme.
const RATE: f64 = 2e-4;

/// The paper's flow.
pub const FLOW: RealNvpConfig = RealNvpConfig {
    dim: 100,
    couplings: 8,
    hidden: 256,
    layers: 2,
    clamp: 2.0,
    mixing: Mixing::Permutation,
    actnorm: false,
    gaussians: 0,
    base: BaseKind::Trained,
    context: 0,
};

/// Adam's first momentum and the largest norm of the gradient (0 for no limit), those of
/// `experiments/mnist.toml`.
#[derive(Clone, Copy)]
pub struct Settings {
    pub beta_1: f32,
    pub clip_norm: f64,
}

/// Of the networks on images.
pub const CONVOLUTIONAL: Settings = Settings {
    beta_1: 0.5,
    clip_norm: 0.0,
};

/// Of the flow.
pub const LIKELIHOOD: Settings = Settings {
    beta_1: 0.9,
    clip_norm: 10.0,
};

/// RealNVP on pixels, at the default sizes.
pub const PIXEL_REAL_NVP: ImageRealNvpConfig = ImageRealNvpConfig {
    shape: [3, 32, 32],
    masks: Masking::MultiScale,
    scales: 2,
    width: 16,
    blocks: 1,
    bottleneck: 0,
};

/// Glow, at the default sizes.
pub const GLOW: GlowConfig = GlowConfig {
    shape: [3, 32, 32],
    levels: 3,
    steps: 4,
    width: 64,
};

/// Of the flows on pixels, whose loss is in bits per dimension.
pub const PIXEL_LIKELIHOOD: Settings = Settings {
    beta_1: 0.9,
    clip_norm: 1.0,
};

/// Pixels in `[0, 1]`, those of [`image_batch`].
pub fn pixel_batch(count: usize, device: &Device) -> Tensor<4> {
    (image_batch(3, count, device) + 1.0) / 2.0
}

/// The paper's autoencoder, and with it GANomaly's networks.
pub fn autoencoder(channels: usize) -> AutoEncoderConfig {
    AutoEncoderConfig {
        channels,
        size: 32,
        width: 64,
        latent: 100,
    }
}

/// The source of initial weights.
pub fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

/// `count` images of noise, 32x32.
pub fn images(channels: usize, count: usize) -> Images {
    let mut pixels = vec![0; count * channels * 1024];
    StdRng::seed_from_u64(2).fill_bytes(&mut pixels);
    Images::new([channels, 32, 32], pixels).expect("whole images")
}

/// All of [`images`] as one batch.
pub fn image_batch(channels: usize, count: usize, device: &Device) -> Tensor<4> {
    whole(&images(channels, count), device)
}

/// `count` standard normal vectors.
pub fn vectors(dim: usize, count: usize, seed: u64) -> Vectors {
    let mut vectors = Vectors::new(dim);
    let rng = StdRng::seed_from_u64(seed);
    vectors.extend(StandardNormal.sample_iter(rng).take(count * dim));
    vectors
}

/// `count` latents for the flow.
pub fn latent_batch(count: usize, device: &Device) -> Tensor<2> {
    whole(&vectors(FLOW.dim, count, 3), device)
}

/// All samples as one batch.
pub fn whole<S: Samples>(samples: &S, device: &Device) -> S::Batch {
    let all: Vec<usize> = (0..samples.count()).collect();
    samples.batch(&all, device)
}

/// A model in training.
pub struct Training<M> {
    model: Option<M>,
    adam: ModuleOptimizer,
    settings: Settings,
}

impl<M: Module + TrainStep<Output = StepOutput>> Training<M> {
    pub fn new(model: M, settings: Settings) -> Self {
        Self {
            model: Some(model),
            // The moments and epsilon of every stage.
            adam: AdamConfig::new()
                .with_beta_1(settings.beta_1)
                .with_epsilon(1e-8)
                .init(),
            settings,
        }
    }

    /// One step as the learner of a stage takes it: forward, backward, clipping, Adam, and the
    /// monitors read once. Returns the monitors.
    pub fn step(&mut self, batch: M::Input) -> Vec<f64> {
        let model = self.model.take().expect("put back below");
        let mut output = TrainStep::step(&model, batch);
        if self.settings.clip_norm > 0.0 {
            output.grads = clip_global_norm(&model, output.grads, self.settings.clip_norm);
        }
        self.model = Some(model.optimize(&mut self.adam, RATE.into(), output.grads));
        output.item.values().expect("the device works").to_vec()
    }

    /// The model in evaluation mode.
    pub fn evaluated(&self) -> M {
        self.model.as_ref().expect("put back by every step").valid()
    }

    /// The same model with an optimizer that has seen nothing.
    pub fn restarted(self) -> Self {
        let model = self.model.expect("put back by every step");
        Self::new(model, self.settings)
    }
}
