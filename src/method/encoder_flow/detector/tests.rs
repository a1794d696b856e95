//! What holds for the paper's detector.

use super::*;
use crate::backend::test_device;
use crate::encoder::{AutoEncoderConfig, Normalisation};
use crate::flow::transform_tests::randomised;
use crate::flow::{BaseKind, Mixing};
use crate::method::detector::scorer::tests::{
    assert_gradient_is_slope, assert_score_of_image_alone, grey_32, noise,
};

pub fn detector() -> EncoderFlow {
    let device = test_device();
    let sizes = Sizes {
        encoder: EncoderSizes::Autoencoder(AutoEncoderConfig {
            channels: 1,
            size: 32,
            width: 4,
            latent: 6,
        }),
        flow: RealNvpConfig {
            dim: 6,
            couplings: 3,
            hidden: 8,
            layers: 1,
            clamp: 2.0,
            mixing: Mixing::Permutation,
            actnorm: true,
            gaussians: 0,
            base: BaseKind::Trained,
            context: 0,
        },
    };
    let rng = &mut StdRng::seed_from_u64(1);
    let encoder = sizes.encoder.init(rng, &device).unwrap();
    let flow = randomised(sizes.flow.init(rng, &device));
    let representation = Representation::of(&encoder, 6, &noise(300, 2), &device);
    let standardizer = Standardizer::fit(representation.latents.values(), 6, 0);
    let conversion = grey_32();
    EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, &device)
}

/// The same with a base distribution of three Gaussians.
pub fn on_base(base: BaseKind) -> EncoderFlow {
    let device = test_device();
    let other = detector();
    let sizes = Sizes {
        flow: RealNvpConfig {
            gaussians: 3,
            base,
            ..other.sizes.flow
        },
        ..other.sizes.clone()
    };
    let latents = other.represent(&noise(300, 2)).latents;
    let all: Vec<usize> = (0..latents.len()).collect();
    let (rows, _) = other
        .standardizer
        .forward(latents.batch(&all, &device), None);
    let rng = &mut StdRng::seed_from_u64(3);
    let flow = sizes.flow.init(rng, &device).initialised_from(rows, 1, rng);
    let EncoderFlowWeights { encoder, .. } = other.weights.clone();
    let (conversion, scale) = (other.conversion, other.standardizer.clone());
    EncoderFlow::new(conversion, sizes, encoder, scale, flow, &device)
}

/// Looking through the tiny network of `tests/fixtures/onnx`.
#[cfg(feature = "onnx")]
pub fn exported() -> EncoderFlow {
    use crate::encoder::onnx_tests::tiny;
    use crate::encoder::{OnnxEncoder, Projection};
    let device = test_device();
    let other = detector();
    let network = tiny(&["late", "vector"], 1);
    let sizes = Sizes {
        encoder: EncoderSizes::Onnx {
            shape: [1, 32, 32],
            network: network.sizes().clone(),
            components: 6,
            normalise: Normalisation::Sqrt,
        },
        flow: other.sizes.flow,
    };
    let projection = randomised(Projection::empty(network.features(), 6, &device));
    let encoder = Encoder::Onnx(OnnxEncoder {
        network,
        normalise: Normalisation::Sqrt,
        projection,
    });
    let rng = &mut StdRng::seed_from_u64(3);
    let flow = randomised(sizes.flow.init(rng, &device));
    let representation = Representation::of(&encoder, 6, &noise(300, 2), &device);
    let standardizer = Standardizer::fit(representation.latents.values(), 6, 0);
    let conversion = other.conversion();
    EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, &device)
}

#[test]
fn a_score_depends_on_its_image_alone() {
    assert_score_of_image_alone(&detector(), &noise(300, 3));
}

#[cfg(feature = "onnx")]
#[test]
fn an_exported_network_has_scores_and_no_gradients() {
    let detector = exported();
    assert_score_of_image_alone(&detector, &noise(300, 3));
    assert!(detector.heat_sources().is_empty());
    assert!(detector.heat(&noise(1, 3), HeatSource::Gradient).is_none());
}

#[test]
fn gradients_and_residuals_have_one_value_per_pixel() {
    let detector = detector();
    let images = noise(3, 5);
    for &source in detector.heat_sources() {
        let maps = detector.heat(&images, source).unwrap();
        assert_eq!(maps.len(), 3, "{source}");
        assert_eq!((maps[0].height(), maps[0].width()), (32, 32));
        // Scored one at a time, an image has the same map.
        let alone = detector.heat(&images.select(&[2]), source).unwrap();
        for (left, right) in maps[2].values().iter().zip(alone[0].values()) {
            assert!(
                (left - right).abs() <= 1e-4 * (1.0 + right.abs()),
                "{source}"
            );
        }
    }
}

#[test]
fn the_gradient_goes_through_a_pretrained_network() {
    let device = test_device();
    let other = detector();
    let sizes = Sizes {
        encoder: EncoderSizes::SqueezeNet {
            shape: [1, 32, 32],
            input: 64,
            components: 6,
            pixels: 4,
            normalise: Normalisation::L2,
        },
        flow: RealNvpConfig {
            dim: 10,
            ..other.sizes.flow
        },
    };
    let rng = &mut StdRng::seed_from_u64(2);
    let encoder = randomised(sizes.encoder.init(rng, &device).unwrap());
    let flow = randomised(sizes.flow.init(rng, &device));
    let images = noise(20, 7);
    let representation = Representation::of(&encoder, 10, &images, &device);
    let standardizer = Standardizer::fit(representation.latents.values(), 10, 0);
    let conversion = other.conversion();
    let detector = EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, &device);
    assert_eq!(detector.heat_sources(), [HeatSource::Gradient]);
    let maps = detector.heat(&images.select(&[0, 1]), HeatSource::Gradient);
    for map in maps.unwrap() {
        assert_eq!((map.height(), map.width()), (32, 32));
        assert!(map.values().iter().all(|value| value.is_finite()));
        assert!(map.values().iter().any(|&value| value > 0.0));
    }
}

#[test]
fn the_gradient_is_the_score_s_slope() {
    assert_gradient_is_slope(&detector(), 1);
}
