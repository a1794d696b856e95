//! Time of the parts of the pipeline that a run consists of: `cargo bench`.
//!
//! Sizes are those of the paper's networks (width 64, latent 100; flow of 8 couplings with two
//! hidden layers of 256), on images and latents made here.

use std::hint::black_box;
use std::sync::Arc;

use burn::optim::{AdamConfig, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::TrainStep;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use encoder_flow::backend::Backend;
use encoder_flow::data::{Conversion, Framing, Images, Samples};
use encoder_flow::encoder::{AutoEncoder, AutoEncoderConfig, EncoderSizes};
use encoder_flow::flow::{BaseKind, Mixing, RealNvp, RealNvpConfig, Standardizer};
use encoder_flow::method::Scorer;
use encoder_flow::method::encoder_flow::{EncoderFlow, Sizes};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FLOW: RealNvpConfig = RealNvpConfig {
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

fn autoencoder(channels: usize) -> AutoEncoderConfig {
    AutoEncoderConfig {
        channels,
        size: 32,
        width: 64,
        latent: 100,
    }
}

fn device() -> Device {
    Backend::choose(std::env::var("ENCODER_FLOW_DEVICE").ok().as_deref())
        .expect("a device")
        .device
}

fn images(channels: usize, count: usize) -> Images {
    let mut pixels = vec![0; count * channels * 1024];
    StdRng::seed_from_u64(1).fill_bytes(&mut pixels);
    Images::new([channels, 32, 32], pixels).expect("whole images")
}

fn latents(count: usize, device: &Device) -> Tensor<2> {
    let rng = StdRng::seed_from_u64(2);
    let values: Vec<f32> = StandardNormal
        .sample_iter(rng)
        .take(count * FLOW.dim)
        .collect();
    Tensor::from_data(TensorData::new(values, [count, FLOW.dim]), device)
}

/// One training step: forward, backward, Adam.
fn step<M: TrainStep + burn::module::Module>(
    model: M,
    adam: &mut ModuleOptimizer,
    input: M::Input,
) -> M {
    let output = TrainStep::step(&model, input);
    model.optimize(adam, 1e-4.into(), output.grads)
}

fn bench_autoencoder(criterion: &mut Criterion) {
    let device = device();
    let training = device.clone().autodiff();
    for (colour, channels) in [("grey", 1), ("colour", 3)] {
        let mut group = criterion.benchmark_group(format!("autoencoder {colour}"));
        group.sample_size(10).throughput(Throughput::Elements(64));
        let images = images(channels, 64);
        let all: Vec<usize> = (0..64).collect();
        let rng = &mut StdRng::seed_from_u64(3);
        let model: AutoEncoder = autoencoder(channels).init(rng, &training);
        let mut adam = AdamConfig::new().init();
        let batch = images.batch(&all, &training);
        let mut current = Some(model);
        group.bench_function("training step, batch 64", |bencher| {
            bencher.iter(|| {
                let model = current.take().expect("put back below");
                current = Some(step(model, &mut adam, batch.clone()));
                training.sync().expect("the device works");
            });
        });
        let model = autoencoder(channels).init(rng, &device);
        let batch = images.batch(&all, &device);
        group.bench_function("encode, batch 64", |bencher| {
            bencher.iter(|| black_box(model.encode(batch.clone()).into_data()));
        });
        group.finish();
    }
}

fn bench_flow(criterion: &mut Criterion) {
    let device = device();
    let training = device.clone().autodiff();
    let mut group = criterion.benchmark_group("flow");
    group.sample_size(20).throughput(Throughput::Elements(1024));
    let rng = &mut StdRng::seed_from_u64(4);
    let model: RealNvp = FLOW.init(rng, &training);
    let mut adam = AdamConfig::new().init();
    let batch = latents(1024, &training);
    let mut current = Some(model);
    group.bench_function("training step, batch 1024", |bencher| {
        bencher.iter(|| {
            let model = current.take().expect("put back below");
            current = Some(step(model, &mut adam, batch.clone()));
            training.sync().expect("the device works");
        });
    });
    let model = FLOW.init(rng, &device);
    let batch = latents(1024, &device);
    group.bench_function("log_prob, batch 1024", |bencher| {
        bencher.iter(|| black_box(model.log_prob(batch.clone(), None).into_data()));
    });
    group.finish();
}

fn bench_scoring(criterion: &mut Criterion) {
    let device = device();
    let rng = &mut StdRng::seed_from_u64(5);
    let sizes = Sizes {
        encoder: EncoderSizes::Autoencoder(autoencoder(1)),
        flow: FLOW,
    };
    let encoder = sizes.encoder.init(rng, &device).expect("an autoencoder");
    let values: Vec<f32> = latents(256, &device).into_data().iter::<f32>().collect();
    let conversion = Conversion {
        channels: 1,
        height: 32,
        width: 32,
        fit: Framing::Pad,
    };
    let detector = Arc::new(EncoderFlow::new(
        conversion,
        sizes,
        encoder,
        Standardizer::fit(&values, FLOW.dim, 0),
        FLOW.init(rng, &device),
        &device,
    ));
    let mut group = criterion.benchmark_group("scoring");
    group.sample_size(10);
    for count in [1, 256] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} images"), |bencher| {
            bencher.iter_batched(
                || images(1, count),
                |images| black_box(detector.score(&images).expect("images of the right shape")),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, bench_autoencoder, bench_flow, bench_scoring);
criterion_main!(benches);
