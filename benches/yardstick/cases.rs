//! What is measured and compared: sizes, data made from fixed seeds, and a training step as a stage
//! takes it. `benches/pytorch/models.py` has the same sizes.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::TrainStep;
use encoder_flow::data::{Conversion, Framing, Images, Samples, Vectors};
use encoder_flow::encoder::{
    AutoEncoderConfig, MapEncoder, MapSource, Normalisation, POSITION_CONTEXT, PositionConfig,
    Projection, SqueezeNet,
};
use encoder_flow::flow::image::{GlowConfig, ImageRealNvpConfig, Masking};
use encoder_flow::flow::{BaseKind, Mixing, MixtureConfig, RealNvpConfig};
use encoder_flow::method::Spread;
use encoder_flow::method::on_positions::{
    ComponentFlow, DensitySizes, OnPositions, PositionDensity, PositionSizes, PositionWeights,
    ScaleSizes, TiedGaussians,
};
use encoder_flow::train::{Optimisation, Schedule, StepOutput, clip_global_norm};
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

/// The flow of the variant `scratch` of the study `folder`, which knows the position.
pub const POSITION_FLOW: RealNvpConfig = RealNvpConfig {
    dim: 64,
    hidden: 128,
    context: POSITION_CONTEXT,
    ..FLOW
};

/// Adam's first momentum and the largest norm of the gradient (0 for no limit), those of
/// `experiments/mnist.toml`.
#[derive(Clone, Copy)]
pub struct Settings {
    pub beta_1: f32,
    pub clip_norm: f64,
}

impl Settings {
    /// As a stage optimises: with the program's own Adam.
    fn optimisation(self) -> Optimisation {
        Optimisation {
            epochs: 1,
            batch_size: 1,
            learning_rate: RATE,
            schedule: Schedule::Constant,
            beta_1: f64::from(self.beta_1),
            weight_decay: 0.0,
            clip_norm: self.clip_norm,
            patience: 0,
        }
    }
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

/// RealNVP on pixels, at the default sizes but for the width, 12.
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

/// The pretrained network as `cifar10-squeezenet` uses it, with weights from a seed: how long it takes
/// does not depend on them.
pub fn squeezenet(input: usize, device: &Device) -> SqueezeNet {
    let random = &mut Random(rng());
    SqueezeNet::new(device).map(random).with_input(input)
}

/// Sides in pixels of the images whose positions are looked at.
const LARGE: usize = 256;
/// How often images are shrunk before their positions are looked at, one scale after the other.
const SHRINKS: [usize; 2] = [1, 2];
/// Fire modules of SqueezeNet that say what a position shows, and the features that they have together.
const LAYERS: [usize; 2] = [6, 7];
const FEATURES: usize = 768;
/// Gaussians of one covariance around what was seen.
const CENTRES: usize = 1000;
/// Their sizes in a file.
const TIED: DensitySizes = DensitySizes::Tied {
    components: FEATURES,
    gaussians: CENTRES,
};

/// The weights of [`positions`], from seeds.
pub fn position_weights(device: &Device) -> PositionWeights {
    let densities = (10..).zip(SHRINKS).map(|(seed, _)| {
        let rows = vectors(FEATURES, 2 * FEATURES, seed);
        let projection = Projection::fit(&rows, FEATURES, &mut rng(), device);
        let sizes = RealNvpConfig {
            base: BaseKind::Tied,
            ..RealNvpConfig::base_alone(FEATURES, CENTRES)
        };
        let latents = projection.forward(whole(&rows, device));
        let flow = sizes.init(&mut rng(), device);
        let flow = ComponentFlow::new(projection, flow.initialised_from(latents, 1, &mut rng()));
        let tied = TiedGaussians::of(&flow).expect("Gaussians of one covariance");
        PositionDensity::Tied(tied)
    });
    PositionWeights {
        densities: densities.collect(),
        encoder: MapEncoder::SqueezeNet(squeezenet(LARGE, device)),
    }
}

/// How unlikely every position of an image is, at two scales, by the density that `fit` takes without being asked.
pub fn positions(device: &Device) -> OnPositions {
    let scales = SHRINKS.map(|shrink| ScaleSizes {
        shrink,
        texture: false,
        density: TIED,
        images: Spread::UNIT,
        positions: Spread::UNIT,
    });
    let sizes = PositionSizes {
        config: PositionConfig {
            shape: [3, LARGE, LARGE],
            source: MapSource::SqueezeNet {
                layers: LAYERS.to_vec(),
            },
            intensity: true,
            pooling: 3,
            normalise: Normalisation::L2,
        },
        top: 0.1,
        tiles: 0,
        scales: scales.to_vec(),
    };
    let conversion = Conversion {
        channels: 3,
        height: LARGE,
        width: LARGE,
        fit: Framing::Resize,
    };
    OnPositions::new(conversion, sizes, position_weights(device), device)
}

/// `count` colour images of noise for [`positions`].
pub fn large_images(count: usize) -> Images {
    let mut pixels = vec![0; count * 3 * LARGE * LARGE];
    StdRng::seed_from_u64(2).fill_bytes(&mut pixels);
    Images::new([3, LARGE, LARGE], pixels).expect("whole images")
}

/// Draws weights that keep the variance of what passes (He et al., arXiv:1502.01852).
struct Random(StdRng);

impl ModuleMapper for Random {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weight| {
            let shape = weight.dims();
            let inputs: usize = shape.iter().skip(1).product();
            let scale = (2.0 / inputs as f32).sqrt();
            let drawn = StandardNormal.sample_iter(&mut self.0);
            let values: Vec<f32> = drawn
                .map(|value: f32| value * scale)
                .take(shape.iter().product())
                .collect();
            Tensor::from_data(TensorData::new(values, shape), &weight.device())
        })
    }
}

/// What the mixture of the study `mnist` is fitted with.
pub const MIXTURE: MixtureConfig = MixtureConfig {
    gaussians: 100,
    starts: 1,
    samples: 50_000,
};

/// Vectors around 100 centres, of 32 entries: what a mixture is fitted to.
pub fn clustered(count: usize) -> Vectors {
    let (centres, noise) = (vectors(32, 100, 6), vectors(32, count, 7));
    let mut rows = Vectors::new(32);
    for (index, row) in noise.values().chunks_exact(32).enumerate() {
        let centre = &centres.values()[index % 100 * 32..][..32];
        rows.extend(
            row.iter()
                .zip(centre)
                .map(|(noise, centre)| 0.5 * noise + centre),
        );
    }
    rows
}

/// Vectors of 896 entries with variances that fall, mixed by reflections: what principal components are
/// taken from.
pub fn correlated(count: usize) -> Vectors {
    const DIM: usize = 896;
    let (noise, direction) = (vectors(DIM, count, 8), vectors(DIM, 1, 9));
    let direction = direction.values();
    let square: f32 = direction.iter().map(|value| value * value).sum();
    let mut rows = Vectors::new(DIM);
    for row in noise.values().chunks_exact(DIM) {
        let scaled = (1..)
            .zip(row)
            .map(|(place, value)| value / (place as f32).sqrt());
        let scaled: Vec<f32> = scaled.collect();
        let along: f32 = scaled.iter().zip(direction).map(|(a, b)| a * b).sum();
        let along = 2.0 * along / square;
        rows.extend(scaled.iter().zip(direction).map(|(a, b)| a - along * b));
    }
    rows
}

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
pub fn latents(count: usize) -> Vectors {
    vectors(FLOW.dim, count, 3)
}

/// All of [`latents`] as one batch.
pub fn latent_batch(count: usize, device: &Device) -> Tensor<2> {
    whole(&latents(count), device)
}

/// `count` positions for [`POSITION_FLOW`], each followed by its context.
pub fn position_rows(count: usize) -> Vectors {
    vectors(POSITION_FLOW.dim + POSITION_FLOW.context, count, 12)
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
            adam: settings.optimisation().optimizer(),
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
