//! The measurements by name. `benches/pytorch/worker.py` has the same ones.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, bail};
use burn::module::Module;
use burn::tensor::Device;
use burn::train::TrainStep;
use encoder_flow::data::{EpochOrder, Noisy, SampleLoader, Samples};
use encoder_flow::encoder::{AutoEncoderConfig, Projection};
use encoder_flow::flow::FullMixture;
use encoder_flow::flow::image::ImageFlow;
use encoder_flow::method::Scorer;
use encoder_flow::method::ganomaly::Ganomaly;
use encoder_flow::method::knn::Knn;
use encoder_flow::train::StepOutput;

use super::cases::{
    CONVOLUTIONAL, FLOW, GLOW, LIKELIHOOD, MIXTURE, PIXEL_LIKELIHOOD, PIXEL_REAL_NVP,
    POSITION_FLOW, Training, autoencoder, clustered, correlated, image_batch, images, large_images,
    latent_batch, pixel_batch, position_rows, positions, rng, squeezenet, vectors,
};

/// Repetitions before the first that counts: on a GPU kernels are compiled in them.
const WARM_UP: usize = 3;
/// Vectors that a mixture is fitted to, and that principal components are taken from.
const FITTED: usize = 50_000;
/// Principal components that are taken.
const COMPONENTS: usize = 512;
/// Training images of `mnist` with one digit left out, about.
const EPOCH_IMAGES: usize = 54_432;
/// Positions that the flow of the variant `scratch` of the study `folder` trains on at most, as many as are in a batch, and the noise on
/// them.
const EPOCH_POSITIONS: usize = 100_000;
const POSITION_BATCH: usize = 1024;
const POSITION_NOISE: f32 = 0.1;

/// Work that can be repeated.
pub struct Measurement {
    work: Box<dyn FnMut()>,
    warm_up: usize,
}

impl Measurement {
    fn new(work: impl FnMut() + 'static) -> Self {
        Self {
            work: Box::new(work),
            warm_up: WARM_UP,
        }
    }

    /// `knn`, `gmm`, `components`, `epoch`, `position-epoch`, or `<network>-<work>-<batch size>`: `autoencoder-grey-encode-64`.
    pub fn named(name: &str, device: &Device) -> anyhow::Result<Self> {
        match name {
            "knn" => return Ok(knn(device)),
            "gmm" => return Ok(gmm(device)),
            "components" => return Ok(components(device)),
            "epoch" => return Ok(image_epoch(device)),
            "position-epoch" => return Ok(position_epoch(device)),
            _ => {}
        }
        let unknown = || format!("{name} is no measurement");
        let (kind, batch) = name.rsplit_once('-').with_context(unknown)?;
        let batch: usize = batch.parse().with_context(unknown)?;
        Ok(match kind {
            "autoencoder-grey-step" => autoencoder_step(1, batch, device),
            "autoencoder-colour-step" => autoencoder_step(3, batch, device),
            "autoencoder-grey-encode" => encode(1, batch, device),
            "autoencoder-colour-encode" => encode(3, batch, device),
            "flow-step" => flow_step(batch, device),
            "flow-log_prob" => log_prob(batch, device),
            "ganomaly-step" => ganomaly_step(batch, device),
            "squeezenet-128-encode" => describe(128, batch, device),
            "squeezenet-256-encode" => describe(256, batch, device),
            "positions-256-score" => score(batch, device),
            "realnvp-colour-step" => pixel_step(realnvp, batch, device),
            "realnvp-colour-bits_per_dim" => bits_per_dim(realnvp, batch, device),
            "glow-colour-step" => pixel_step(glow, batch, device),
            "glow-colour-bits_per_dim" => bits_per_dim(glow, batch, device),
            _ => bail!(unknown()),
        })
    }

    pub fn run(&mut self) {
        (self.work)();
    }

    pub fn warm_up(&mut self) {
        for _ in 0..self.warm_up {
            self.run();
        }
    }
}

/// Steps on one batch.
fn steps<M>(mut training: Training<M>, batch: M::Input, device: Device) -> Measurement
where
    M: Module + TrainStep<Output = StepOutput> + 'static,
    M::Input: Clone,
{
    Measurement::new(move || {
        black_box(training.step(batch.clone()));
        device.sync().expect("the device works");
    })
}

fn autoencoder_step(channels: usize, batch: usize, device: &Device) -> Measurement {
    let device = device.clone().autodiff();
    let model = autoencoder(channels).init(&mut rng(), &device);
    let batch = image_batch(channels, batch, &device);
    steps(Training::new(model, CONVOLUTIONAL), batch, device)
}

fn flow_step(batch: usize, device: &Device) -> Measurement {
    let device = device.clone().autodiff();
    let model = FLOW.init(&mut rng(), &device);
    let batch = latent_batch(batch, &device);
    steps(Training::new(model, LIKELIHOOD), batch, device)
}

fn ganomaly_step(batch: usize, device: &Device) -> Measurement {
    let device = device.clone().autodiff();
    let model = Ganomaly::new(&autoencoder(1), &mut rng(), &device);
    let batch = image_batch(1, batch, &device);
    steps(Training::new(model, CONVOLUTIONAL), batch, device)
}

fn encode(channels: usize, batch: usize, device: &Device) -> Measurement {
    let model = autoencoder(channels).init(&mut rng(), device);
    let batch = image_batch(channels, batch, device);
    Measurement::new(move || {
        black_box(model.encode(batch.clone()).into_data());
    })
}

/// Features of a pretrained network, of colour images that are brought to so many pixels.
fn describe(input: usize, batch: usize, device: &Device) -> Measurement {
    let model = squeezenet(input, device);
    let batch = image_batch(3, batch, device);
    Measurement {
        warm_up: 1,
        ..Measurement::new(move || {
            black_box(model.encode(batch.clone()).into_data());
        })
    }
}

/// Scores of photographs by their positions, from bytes on.
fn score(batch: usize, device: &Device) -> Measurement {
    let detector = positions(device);
    let images = large_images(batch);
    Measurement::new(move || {
        black_box(detector.score(&images).expect("images of its shape"));
    })
}

fn log_prob(batch: usize, device: &Device) -> Measurement {
    let model = FLOW.init(&mut rng(), device);
    let batch = latent_batch(batch, device);
    Measurement::new(move || {
        black_box(model.log_prob(batch.clone(), None).into_data());
    })
}

fn realnvp(device: &Device) -> ImageFlow {
    PIXEL_REAL_NVP.init(&mut rng(), device)
}

fn glow(device: &Device) -> ImageFlow {
    GLOW.init(&mut rng(), device)
}

fn pixel_step(model: fn(&Device) -> ImageFlow, batch: usize, device: &Device) -> Measurement {
    let device = device.clone().autodiff();
    let batch = pixel_batch(batch, &device);
    steps(
        Training::new(model(&device), PIXEL_LIKELIHOOD),
        batch,
        device,
    )
}

fn bits_per_dim(model: fn(&Device) -> ImageFlow, batch: usize, device: &Device) -> Measurement {
    let model = model(device).valid();
    let batch = pixel_batch(batch, device);
    Measurement::new(move || {
        let log_prob = model.log_prob(batch.clone());
        black_box(model.bits_per_dim(log_prob).into_data());
    })
}

/// Distances of 10,000 queries to their 5 nearest of 50,000 vectors of 64 entries.
fn knn(device: &Device) -> Measurement {
    let knn = Knn::fit(&vectors(64, 50_000, 4), 5, device);
    let queries = vectors(64, 10_000, 5);
    Measurement {
        warm_up: 1,
        ..Measurement::new(move || {
            black_box(knn.distances(&queries));
        })
    }
}

/// A mixture of 100 Gaussians with full covariances of 50,000 vectors of 32 entries, k-means included.
fn gmm(device: &Device) -> Measurement {
    let (rows, device) = (clustered(FITTED), device.clone());
    Measurement {
        warm_up: 0,
        ..Measurement::new(move || {
            black_box(FullMixture::fit(&rows, MIXTURE, &mut rng(), &device));
        })
    }
}

/// 512 whitened principal components of 50,000 vectors of 896 entries.
fn components(device: &Device) -> Measurement {
    let (rows, device) = (correlated(FITTED), device.clone());
    Measurement {
        warm_up: 0,
        ..Measurement::new(move || {
            black_box(Projection::fit(&rows, COMPONENTS, &mut rng(), &device));
        })
    }
}

/// One pass over as many images as an `mnist` experiment trains on, with a small network.
fn image_epoch(device: &Device) -> Measurement {
    let device = device.clone().autodiff();
    let sizes = AutoEncoderConfig {
        width: 16,
        latent: 32,
        ..autoencoder(1)
    };
    let training = Training::new(sizes.init(&mut rng(), &device), CONVOLUTIONAL);
    epoch(training, images(1, EPOCH_IMAGES), 64, device)
}

/// One pass over as many positions as a flow of the study `folder` trains on.
fn position_epoch(device: &Device) -> Measurement {
    let device = device.clone().autodiff();
    let training = Training::new(POSITION_FLOW.init(&mut rng(), &device), LIKELIHOOD);
    let rows = position_rows(EPOCH_POSITIONS);
    let rows = Noisy::new(rows, POSITION_FLOW.dim, POSITION_NOISE, 0);
    epoch(training, rows, POSITION_BATCH, device)
}

/// One pass over samples, in the crate's order and batches: from memory to the device, a step for each batch.
fn epoch<M, S>(
    mut training: Training<M>,
    samples: S,
    batch_size: usize,
    device: Device,
) -> Measurement
where
    M: Module + TrainStep<Input = S::Batch, Output = StepOutput> + 'static,
    S: Samples + 'static,
{
    let order = EpochOrder::shuffled(samples.count(), batch_size, 0, 0);
    let loader = SampleLoader::shared(Arc::new(samples), order, &device);
    Measurement {
        // The first steps of about a hundred and more do not show.
        warm_up: 0,
        ..Measurement::new(move || {
            for batch in loader.iter() {
                black_box(training.step(batch.expect("samples in memory")));
            }
            device.sync().expect("the device works");
        })
    }
}
