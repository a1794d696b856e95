//! What holds for the position-wise detector.

use super::super::{DensitySizes, ScaleSizes};
use super::*;
use crate::backend::test_device;
use crate::data::Framing;
use crate::encoder::{MapSource, Normalisation, PatchSizes, PositionConfig};
use crate::flow::transform_tests::randomised;
use crate::flow::{BaseKind, Mixing, RealNvpConfig};
use crate::method::detector::scorer::tests::noise;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// What a scale looks at.
#[derive(Clone, Copy)]
enum Seen {
    /// The image as the encoder describes it.
    Image,
    /// Its texture residual.
    Texture,
}

/// A detector of 32x32 grey images with random weights.
fn of(config: PositionConfig, densities: &[(Seen, DensitySizes)]) -> OnPositions {
    with_network(config, None, densities)
}

/// The same, with the ONNX file of its network where it has one.
fn with_network(
    config: PositionConfig,
    onnx: Option<&[u8]>,
    densities: &[(Seen, DensitySizes)],
) -> OnPositions {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(1);
    let parts = densities.iter().map(|(seen, density)| {
        let config = match seen {
            Seen::Image => config.clone(),
            Seen::Texture => config.texture_residual(),
        };
        let places = config.grid(1).len();
        randomised(density.empty(config.features(), places, &device))
    });
    let weights = PositionWeights {
        densities: parts.collect(),
        encoder: randomised(
            config
                .source
                .empty(config.shape[0], onnx.map(<[u8]>::to_vec), rng, &device)
                .unwrap(),
        ),
    };
    let scales = densities.iter().map(|&(seen, density)| ScaleSizes {
        shrink: 1,
        texture: matches!(seen, Seen::Texture),
        density,
        images: Spread::UNIT,
        positions: Spread::UNIT,
    });
    let sizes = PositionSizes {
        config,
        top: 0.1,
        tiles: 0,
        scales: scales.collect(),
    };
    let conversion = Conversion {
        channels: 1,
        height: 32,
        width: 32,
        fit: Framing::Resize,
    };
    let mut detector = OnPositions::new(conversion, sizes, weights, &device);
    detector.standardise(&noise(40, 9));
    detector
}

const FLOW: RealNvpConfig = RealNvpConfig {
    dim: 6,
    couplings: 3,
    hidden: 8,
    layers: 1,
    clamp: 2.0,
    mixing: Mixing::Permutation,
    actnorm: false,
    gaussians: 0,
    base: BaseKind::Trained,
    context: 16,
};

fn patches(density: DensitySizes) -> OnPositions {
    of(of_patches(0), &[(Seen::Image, density)])
}

/// Patches of images that are enlarged to this side.
fn of_patches(smallest: usize) -> PositionConfig {
    PositionConfig {
        shape: [1, 32, 32],
        source: MapSource::Patches(PatchSizes {
            components: 4,
            smallest,
        }),
        intensity: true,
        pooling: 3,
        normalise: Normalisation::None,
    }
}

/// One of every kind, one of tiles, and one that looks at the texture as well.
pub fn detectors() -> Vec<OnPositions> {
    let network = PositionConfig {
        shape: [1, 64, 64],
        source: MapSource::SqueezeNet { layers: vec![2, 3] },
        intensity: true,
        pooling: 3,
        normalise: Normalisation::L2,
    };
    let bank = DensitySizes::Bank { patches: 30 };
    let flow = DensitySizes::Flow {
        components: 8,
        flow: FLOW,
    };
    let tied = DensitySizes::Flow {
        components: 8,
        flow: RealNvpConfig {
            base: BaseKind::Tied,
            ..RealNvpConfig::base_alone(6, 9)
        },
    };
    let mut two = of(
        PositionConfig {
            shape: [1, 32, 32],
            ..network
        },
        &[(Seen::Image, flow)],
    );
    two.sizes.top = 0.0;
    two.sizes.tiles = 16;
    two.standardise(&noise(40, 9));
    vec![
        patches(flow),
        patches(tied),
        patches(DensitySizes::Tied {
            components: 8,
            gaussians: 9,
        }),
        patches(DensitySizes::Kernel { centres: 30 }),
        patches(bank),
        patches(DensitySizes::Places { dimensions: 5 }),
        two,
        of(
            of_patches(48),
            &[(Seen::Image, flow), (Seen::Texture, bank)],
        ),
        #[cfg(feature = "onnx")]
        exported(bank),
    ]
}

/// Looking through the tiny network of `tests/fixtures/onnx`.
#[cfg(feature = "onnx")]
fn exported(density: DensitySizes) -> OnPositions {
    use crate::encoder::onnx_tests::{CONVOLUTIONS, tiny};
    let config = PositionConfig {
        shape: [1, 32, 32],
        source: MapSource::Onnx(tiny(&["early", "late"], 1).sizes().clone()),
        intensity: true,
        pooling: 3,
        normalise: Normalisation::None,
    };
    with_network(config, Some(CONVOLUTIONS), &[(Seen::Image, density)])
}

#[test]
fn scores_are_standard_on_what_they_were_standardised_on() {
    for detector in detectors() {
        let scores = detector.score(&noise(40, 9)).unwrap();
        let column = &scores.columns()[1];
        let spread = Spread::of(column);
        assert!(spread.mean.abs() < 1e-3, "{spread:?}");
        assert!((spread.deviation - 1.0).abs() < 1e-2, "{spread:?}");
    }
}

#[test]
fn the_share_is_chosen_that_tells_the_defects() {
    const SHARES: [f64; 2] = [0.0, 0.5];
    let mut detector = patches(DensitySizes::Bank { patches: 30 });
    let positions = detector.sizes.config.grid(1).len();
    // Images of one map each: so many positions of a value, one of another, and nothing elsewhere.
    let image = |(many, one): (f32, f32)| {
        let mut map = vec![0.0; positions];
        map[..positions / 2].fill(many);
        map[positions - 1] = one;
        map
    };
    let images =
        |of: fn(usize) -> (f32, f32)| -> Vec<f32> { (0..8).map(of).flat_map(image).collect() };
    // Large and faint, where every image has a speck that is odder.
    let normal = images(|index| (index as f32 / 8.0, 9.0 + index as f32));
    let faint = images(|index| (2.0 + index as f32 / 8.0, 9.0 + index as f32));
    let chosen = detector.choose_top_by(&[normal], &[vec![faint]], &SHARES);
    assert_eq!(chosen.unwrap(), told(0.5, 1.0));
    assert_eq!(detector.sizes.top, 0.5);
    // A speck, where images differ in what is large and faint.
    let normal = images(|index| (index as f32, 8.0));
    let speck = images(|index| (index as f32, 8.5));
    let chosen = detector.choose_top_by(&[normal], &[vec![speck]], &SHARES);
    assert_eq!(chosen.unwrap(), told(0.0, 1.0));
    assert_eq!(detector.sizes.top, 0.0);
}

fn told(top: f64, by_encoder: f64) -> ChosenTop {
    ChosenTop {
        top,
        auroc: 1.0,
        by_encoder,
    }
}

#[test]
fn what_the_encoder_tells_is_told_apart_from_what_the_texture_does() {
    let bank = DensitySizes::Bank { patches: 30 };
    let mut detector = of(of_patches(0), &[(Seen::Image, bank), (Seen::Texture, bank)]);
    let positions = detector.sizes.config.grid(1).len();
    let images = |values: [f32; 8]| -> Vec<f32> {
        values
            .iter()
            .flat_map(|&value| vec![value; positions])
            .collect()
    };
    let normal = images([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let odd = images([90.0; 8]);
    let normal_maps = [normal.clone(), normal.clone()];
    // The encoder sees nothing of the defects.
    let chosen = detector.choose_top_by(&normal_maps, &[vec![normal, odd]], &[0.5]);
    assert_eq!(chosen.unwrap(), told(0.5, 0.5));
}
