//! The same weights and the same images give the same scores on every backend compiled in.

use encoder_flow::backend::{Backend, BackendError};
use encoder_flow::data::{Conversion, Fit, Images};
use encoder_flow::detector::{EncoderFlow, Model, Representation, Scores, Sizes};
use encoder_flow::encoder::{AutoEncoderConfig, EncoderSizes};
use encoder_flow::flow::{Mixing, RealNvpConfig, Standardizer};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SIZES: Sizes = Sizes {
    encoder: EncoderSizes::Autoencoder(AutoEncoderConfig {
        channels: 1,
        size: 32,
        width: 8,
        latent: 12,
    }),
    flow: RealNvpConfig {
        dim: 12,
        couplings: 4,
        hidden: 16,
        layers: 2,
        clamp: 2.0,
        mixing: Mixing::Permutation,
        actnorm: true,
        gaussians: 3,
        context: 0,
    },
};

fn images() -> Images {
    let mut pixels = vec![0; 24 * 1024];
    StdRng::seed_from_u64(3).fill_bytes(&mut pixels);
    Images::new([1, 32, 32], pixels).unwrap()
}

/// A detector made on the CPU, stored, and loaded on `backend`.
fn scores(folder: &std::path::Path, backend: Backend) -> Result<Scores, BackendError> {
    let device = backend.open()?.device;
    let (model, _) = Model::load(&folder.join("model.safetensors"), &device).unwrap();
    Ok(model.scorer().score(&images()).unwrap())
}

fn store_detector(folder: &std::path::Path) {
    let device = Backend::Flex.open().unwrap().device;
    let rng = &mut StdRng::seed_from_u64(7);
    let encoder = SIZES.encoder.init(rng, &device);
    let representation = Representation::of(&encoder, 12, &images(), &device);
    let standardizer = Standardizer::fit(representation.latents.values(), 12);
    // ActNorm set from other data than it sees makes the flow something else than the identity.
    let noise: Vec<f32> = (0..480)
        .map(|index| ((index * 37) % 101) as f32 / 25.0)
        .collect();
    let noise = burn::tensor::TensorData::new(noise, [40, 12]);
    let flow = SIZES
        .flow
        .init(rng, &device)
        .initialised_from(burn::tensor::Tensor::from_data(noise, &device));
    let conversion = Conversion {
        channels: 1,
        size: 32,
        fit: Fit::Pad,
    };
    let detector = EncoderFlow::new(conversion, SIZES, encoder, standardizer, flow, &device);
    let model = Model::EncoderFlow(detector);
    let description = model.describe(None, "a test");
    model
        .save(&description, &folder.join("model.safetensors"))
        .unwrap();
}

#[test]
fn every_backend_gives_the_same_scores() {
    let folder = tempfile::tempdir().unwrap();
    store_detector(folder.path());
    let expected = scores(folder.path(), Backend::Flex).unwrap();
    for backend in Backend::compiled() {
        let found = match scores(folder.path(), backend) {
            Ok(found) => found,
            Err(error) => {
                // CI installs a software adapter and asks for it.
                assert!(
                    std::env::var_os("ENCODER_FLOW_REQUIRE_GPU").is_none(),
                    "{error}"
                );
                println!("skipped {}: {error}", backend.name());
                continue;
            }
        };
        let mut worst = 0.0f32;
        for (found, expected) in found.columns().iter().zip(expected.columns()) {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                worst = worst.max((found - expected).abs() / (1.0 + expected.abs()));
            }
        }
        println!(
            "{}: largest relative difference to flex {worst:.1e}",
            backend.name()
        );
        assert!(worst < 1e-4, "{}: {worst}", backend.name());
    }
}
