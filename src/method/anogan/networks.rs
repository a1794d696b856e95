//! AnoGAN's two networks (Schlegl et al., IPMI 2017, arXiv:1703.05921, section 2.1): DCGAN, trained on
//! normal images.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::encoder::{AutoEncoderConfig, ConvDecoder, ConvEncoder, dcgan_initialised};
use crate::method::fitting::adversarial::{Round, against_made, against_real};
use crate::train::{Kind, Monitor, StepOutput, merge_gradients};

/// AnoGAN's one stage, with the monitors in the order of its step's output.
///
/// The losses of two networks that play against each other do not say which epoch is a good one. The
/// energy distance of normal images and images made from noise does, and needs nothing but normal
/// images.
pub const ANOGAN_STAGE: Kind = Kind {
    name: "gan",
    section: "anogan",
    monitors: &[
        Monitor {
            name: "Energy distance",
            unit: "",
        },
        Monitor {
            name: "Generator loss",
            unit: "",
        },
        Monitor {
            name: "Discriminator loss",
            unit: "",
        },
    ],
    throughput: "Images",
    adversarial: true,
};

/// Generator and discriminator, which are a decoder and an encoder with a single output.
#[derive(Module, Debug)]
pub struct Anogan {
    generator: ConvDecoder,
    discriminator: ConvEncoder,
    /// The noises, `[starts, latent]`, of which a search starts from the nearest.
    starts: Param<Tensor<2>>,
    #[module(skip)]
    sizes: AutoEncoderConfig,
}

impl Anogan {
    /// Builds the networks of these sizes with initial weights drawn from `rng`, and then so many noises for a
    /// search to start from.
    pub fn new(
        config: &AutoEncoderConfig,
        starts: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let networks = (
            ConvDecoder::new(config, device),
            ConvEncoder::discriminator(config, device),
        );
        let (generator, discriminator) = dcgan_initialised(networks, rng);
        let shape = [starts, config.latent];
        let noises = StandardNormal.sample_iter(rng);
        let noises: Vec<f32> = noises.take(starts * config.latent).collect();
        let noises = Tensor::from_data(TensorData::new(noises, shape), device);
        Self {
            generator,
            discriminator,
            starts: Param::from_tensor(noises).set_require_grad(false),
            sizes: *config,
        }
    }

    /// Sizes of the networks.
    pub fn config(&self) -> AutoEncoderConfig {
        self.sizes
    }

    /// The noises that a search may start from.
    ///
    /// # Shapes
    /// `[starts, latent]`.
    pub fn starts(&self) -> Tensor<2> {
        self.starts.val()
    }

    /// Images from noise.
    ///
    /// # Shapes
    /// `[batch, latent]` to `[batch, channels, size, size]` in `[-1, 1]`.
    pub fn generate(&self, noise: Tensor<2>) -> Tensor<4> {
        self.generator.forward(noise)
    }

    /// The discriminator's features: everything before its last convolution.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` to `[batch, features]`.
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        self.discriminator.features(images).flatten(1, 3)
    }

    fn losses(&self, round: Round) -> Losses {
        let Round { images, noise, .. } = round;
        let made = self.generate(noise);
        let apart = made.clone().detach();
        Losses {
            batch: images.dims()[0],
            distance: energy_distance(images.clone(), apart.clone()),
            generator: against_real(self.discriminator.forward(made)),
            discriminator: against_real(self.discriminator.forward(images))
                + against_made(self.discriminator.forward(apart)),
        }
    }
}

/// What a batch gives, each a one-element tensor.
struct Losses {
    batch: usize,
    distance: Tensor<1>,
    generator: Tensor<1>,
    discriminator: Tensor<1>,
}

impl Losses {
    fn output(&self) -> StepOutput {
        let values = [&self.distance, &self.generator, &self.discriminator];
        StepOutput::new(self.batch, values.map(Clone::clone))
    }
}

impl TrainStep for Anogan {
    type Input = Round;
    type Output = StepOutput;

    /// Both losses on the same weights; each reaches its own network alone.
    fn step(&self, round: Round) -> TrainOutput<StepOutput> {
        let losses = self.losses(round);
        let item = losses.output();
        let mut grads = GradientsParams::from_grads(losses.generator.backward(), &self.generator);
        let own = losses.discriminator.backward();
        let own = GradientsParams::from_grads(own, &self.discriminator);
        merge_gradients(&self.discriminator, own, &mut grads);
        TrainOutput { grads, item }
    }
}

impl InferenceStep for Anogan {
    type Input = Round;
    type Output = StepOutput;

    fn step(&self, round: Round) -> StepOutput {
        self.losses(round).output()
    }
}

/// Energy distance of two sets of images (Székely & Rizzo, 2013, equation 6.1, with all pairs): twice
/// the mean Euclidean distance between them, less the mean distances within each; 0 for sets that are
/// the same. Distances are per root of the number of pixels.
///
/// # Shapes
/// `[n, channels, size, size]` and `[m, channels, size, size]` to `[1]`.
fn energy_distance(images: Tensor<4>, made: Tensor<4>) -> Tensor<1> {
    let [left, right] = [images, made].map(|images| images.flatten::<2>(1, 3));
    let between = mean_distance(left.clone(), right.clone());
    between * 2.0 - mean_distance(left.clone(), left) - mean_distance(right.clone(), right)
}

/// Mean Euclidean distance of all pairs of rows, per root of their length.
fn mean_distance(left: Tensor<2>, right: Tensor<2>) -> Tensor<1> {
    let length = left.dims()[1] as f64;
    let squares = |rows: &Tensor<2>| rows.clone().square().sum_dim(1); // [n, 1]
    let products = left.clone().matmul(right.clone().transpose()); // [n, m]
    let distances = squares(&left) + squares(&right).transpose() - products * 2.0;
    // Rounding can leave less than nothing of the distance of a row from itself.
    (distances / length).clamp_min(0.0).sqrt().mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::method::fitting::adversarial::tests::{
        assert_gradients_of, gradients_of, normal, round,
    };
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn model(device: &Device) -> Anogan {
        let config = AutoEncoderConfig {
            channels: 1,
            size: 32,
            width: 2,
            latent: 4,
        };
        Anogan::new(&config, 3, &mut StdRng::seed_from_u64(1), device)
    }

    #[test]
    fn each_loss_reaches_its_own_network_alone() {
        let device = test_device().autodiff();
        let model = model(&device);
        let found = TrainStep::step(&model, round(&device)).grads;
        // Graphs are consumed: each loss is computed anew.
        let losses = || model.losses(round(&device));
        assert_gradients_of(&model.generator, &found, &losses().generator);
        assert_gradients_of(&model.discriminator, &found, &losses().discriminator);
        assert_eq!(gradients_of(&model.generator, &losses().discriminator), 0.0);
    }

    #[test]
    fn the_energy_distance_tells_sets_apart() {
        let device = test_device();
        let read = |tensor: Tensor<1>| tensor.into_scalar::<f32>();
        // Three numbers and two: by hand 2 * (1 + 3 + 0 + 2 + 1 + 1) / 6 = 8/3, within the first
        // (1 + 2 + 1) * 2 / 9 = 8/9, within the second 2 * 2 / 4 = 1.
        let set = |values: Vec<f32>| {
            let shape = [values.len(), 1, 1, 1];
            Tensor::<4>::from_data(TensorData::new(values, shape), &device)
        };
        let found = read(energy_distance(
            set(vec![0.0, 1.0, 2.0]),
            set(vec![1.0, 3.0]),
        ));
        assert!(
            (found - (8.0 / 3.0 - 8.0 / 9.0 - 1.0)).abs() < 1e-5,
            "{found}"
        );
        // Images of one kind are nearer to others of it than to a single image many times over.
        let images = normal([64, 1, 8, 8], 1, &device);
        let alike = read(energy_distance(
            images.clone(),
            normal([64, 1, 8, 8], 2, &device),
        ));
        let collapsed = normal([1, 1, 8, 8], 3, &device).repeat_dim(0, 64);
        let collapsed = read(energy_distance(images.clone(), collapsed));
        assert!(alike < 0.1 * collapsed, "{alike} {collapsed}");
        assert!(read(energy_distance(images.clone(), images)).abs() < 1e-3);
    }
}
