//! What holds for the detector of views.

use super::*;
use crate::backend::test_device;
use crate::encoder::{
    AutoEncoderConfig, Look, NetworkSizes, Normalisation, ResNetConfig, View, VisualWordsConfig,
};
use crate::flow::transform_tests::randomised;
use crate::flow::{BaseKind, Mixing, RealNvpConfig};
use crate::method::detector::scorer::tests::{assert_gradient_is_slope, grey_32, noise};
use crate::method::views::ViewFlow;
use rand::SeedableRng;
use rand::rngs::StdRng;

pub fn detector() -> Views {
    let looks = [
        (Look::Pixels, Normalisation::L2),
        (Look::Bands, Normalisation::None),
        (Look::Gradients, Normalisation::L2),
        (Look::SqueezeNet, Normalisation::Sqrt),
        (Look::SimClr, Normalisation::L2),
        (Look::Autoencoder, Normalisation::L2),
        (Look::Patches, Normalisation::None),
    ];
    with_looks(&looks, None)
}

/// Looking through the tiny network of `tests/fixtures/onnx`.
#[cfg(feature = "onnx")]
pub fn exported() -> Views {
    let looks = [
        (Look::Onnx, Normalisation::Sqrt),
        (Look::Onnx, Normalisation::L2),
        (Look::Pixels, Normalisation::L2),
    ];
    let network = crate::encoder::onnx_tests::tiny(&["early", "late"], 1);
    with_looks(&looks, Some(network))
}

fn with_looks(looks: &[(Look, Normalisation)], onnx: Option<OnnxNetwork>) -> Views {
    let device = test_device();
    let conversion = grey_32();
    let flow = RealNvpConfig {
        dim: 4,
        couplings: 2,
        hidden: 8,
        layers: 1,
        clamp: 2.0,
        mixing: Mixing::Permutation,
        actnorm: false,
        gaussians: 2,
        base: BaseKind::Fitted,
        context: 0,
    };
    let images = noise(300, 3);
    let rng = &mut StdRng::seed_from_u64(1);
    // SqueezeNet is asked about a few images only: it is slow.
    let network = randomised(SqueezeNet::new(&device).with_input(64));
    let trained = ResNetConfig {
        channels: 1,
        size: 32,
        width: 4,
        blocks: 1,
        first_stride: 2,
    };
    let simclr = trained.init(rng, &device);
    let encoder = AutoEncoderConfig {
        channels: 1,
        size: 32,
        width: 2,
        latent: 6,
    };
    let autoencoder = encoder.init(rng, &device);
    let dictionary = VisualWordsConfig {
        channels: 1,
        words: 5,
    };
    let fitted = dictionary.fit(&images, rng, &device);
    let networks = Networks {
        squeezenet: Some(&network),
        onnx: onnx.as_ref(),
        autoencoder: Some(&autoencoder),
        simclr: Some(&simclr),
        dictionary: Some(&fitted),
    };
    let (mut views, mut sizes) = (Vec::new(), Vec::new());
    let chosen: Vec<usize> = (0..40).collect();
    let batch = Batch::new(images.batch(&chosen, &device), networks);
    let network_sizes = NetworkSizes {
        onnx: onnx.as_ref().map(OnnxNetwork::features),
        autoencoder: Some(encoder.latent),
        simclr: Some(trained),
        dictionary: Some(dictionary),
    };
    for &(of, normalise) in looks {
        let view = View { of, normalise };
        let description = view.describe(&batch);
        let dim = view.dim([1, 32, 32], network_sizes);
        let mut rows = Vectors::new(dim);
        rows.extend(description.clone().into_data().iter::<f32>());
        let projection = Projection::fit(&rows, 4, rng, &device);
        let latents = projection.forward(description);
        // One of them remembers images.
        let base = match of {
            Look::Gradients => BaseKind::Kernel,
            _ => BaseKind::Fitted,
        };
        let flow = RealNvpConfig { base, ..flow };
        let fitted = flow.init(rng, &device).initialised_from(latents, 1, rng);
        views.push(ViewWeights {
            projection,
            flow: fitted,
        });
        sizes.push(ViewFlow {
            view,
            flow,
            mean: 0.0,
            deviation: 1.0,
            guard: None,
        });
    }
    let sees = |look: Look| looks.iter().any(|(of, _)| *of == look);
    let stored = onnx.as_ref().map(|network| network.sizes().clone());
    let weights = Weights {
        network: sees(Look::SqueezeNet).then_some(network),
        onnx,
        autoencoder: Some(autoencoder),
        simclr: Some(simclr),
        dictionary: Some(fitted),
        views,
    };
    let sizes = ViewSizes {
        shape: [1, 32, 32],
        input: 64,
        onnx: stored,
        autoencoder: Some(encoder),
        simclr: Some(trained),
        dictionary: Some(dictionary),
        views: sizes,
    };
    let mut views = Views::new(conversion, sizes, weights, &device);
    let nll = views.nll(&noise(40, 9), None);
    views.standardise(&nll, &vec![None; looks.len()]);
    views
}

/// The same, whose last view is a guard.
pub fn guarded() -> Views {
    let mut views = detector();
    let nll = views.nll(&noise(40, 9), None);
    views.standardise(&nll, &[None, None, None, None, None, None, Some(0.95)]);
    views
}

/// A network from an ONNX file gives no gradients.
#[cfg(feature = "onnx")]
#[test]
fn heat_maps_are_of_networks_that_give_gradients() {
    assert_eq!(detector().heat_sources(), [HeatSource::Gradient]);
    assert_eq!(exported().heat_sources(), []);
    assert!(
        exported()
            .heat(&noise(1, 6), HeatSource::Gradient)
            .is_none()
    );
}

#[test]
fn the_gradient_is_the_score_s_slope() {
    assert_gradient_is_slope(&detector(), 1);
    assert_gradient_is_slope(&guarded(), 1);
}

#[test]
fn the_deciding_score_is_the_mean_of_the_views_and_the_sum_of_the_guards() {
    let detector = guarded();
    let scores = detector.score(&noise(40, 9)).unwrap();
    assert_eq!(
        scores.names(),
        [
            "views", "view_1", "view_2", "view_3", "view_4", "view_5", "view_6", "view_7"
        ]
    );
    assert_eq!(detector.deciding(), ["views"]);
    let [all, views @ .., guard] = scores.columns() else {
        panic!("no scores");
    };
    for column in views {
        let mean = column.iter().sum::<f32>() / 40.0;
        let squares: f32 = column.iter().map(|value| (value - mean).powi(2)).sum();
        assert!(
            mean.abs() < 1e-3 && (squares / 40.0 - 1.0).abs() < 1e-2,
            "{mean}"
        );
    }
    // Of these images it was standardised on, a guard says nothing but of one in twenty.
    let silent = guard.iter().filter(|&&part| part == 0.0).count();
    assert!((37..=39).contains(&silent), "{silent}");
    assert!(guard.iter().all(|part| *part >= 0.0));
    for (row, score) in all.iter().enumerate() {
        let mean = views.iter().map(|column| column[row]).sum::<f32>() / 6.0;
        assert!((score - mean - guard[row]).abs() < 1e-5);
    }
}

#[test]
fn a_guard_counts_by_the_square_of_its_excess() {
    let view = ViewFlow {
        mean: 10.0,
        deviation: 2.0,
        guard: Some(1.5),
        ..detector().sizes.views[0]
    };
    for (nll, expected) in [(4.0, 0.0), (13.0, 0.0), (15.0, 1.0), (19.0, 9.0)] {
        assert_eq!(view.part(nll), expected, "{nll}");
    }
    assert!(view.part(f32::NAN).is_nan());
    assert_eq!(view.part(f32::INFINITY), f32::INFINITY);
}
