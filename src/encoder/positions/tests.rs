use super::*;
use crate::backend::test_device;
use crate::encoder::{AutoEncoderConfig, PatchSizes};
use burn::module::Module;
use burn::tensor::TensorData;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn patches(components: usize) -> MapSource {
    MapSource::Patches(PatchSizes {
        components,
        smallest: 0,
    })
}

fn config(source: MapSource) -> PositionConfig {
    PositionConfig {
        shape: [3, 32, 64],
        source,
        intensity: true,
        pooling: 3,
        normalise: Normalisation::None,
    }
}

#[test]
fn every_source_describes_every_position() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(0);
    let layers = |layers: &[usize]| MapSource::SqueezeNet {
        layers: layers.to_vec(),
    };
    for (source, shrink, sides) in [
        (patches(5), 1, [8, 16]),
        (MapSource::Texture, 1, [8, 16]),
        (layers(&[3]), 1, [7, 15]),
        (layers(&[5, 7]), 1, [3, 7]),
        (layers(&[2]), 2, [7, 15]),
    ] {
        let config = PositionConfig {
            shape: [3, 32 * shrink, 64 * shrink],
            ..config(source)
        };
        config.check().unwrap();
        config.check_scale(shrink).unwrap();
        let encoder = config.source.empty(3, None, rng, &device).unwrap();
        let [_, height, width] = config.shape;
        let images = config.prepared(Tensor::ones([2, 3, height, width], &device));
        let grid = config.grid(shrink);
        assert_eq!(grid.sides, sides, "{config:?}");
        let rows = config.describe(&encoder, images, shrink);
        assert_eq!(
            rows.dims(),
            [2 * grid.len(), config.features()],
            "{config:?}"
        );
    }
    let autoencoder = AutoEncoderConfig {
        channels: 3,
        size: 32,
        width: 4,
        latent: 6,
    };
    let config = PositionConfig {
        shape: [3, 32, 32],
        ..config(MapSource::Autoencoder(autoencoder))
    };
    config.check().unwrap();
    let encoder = config.source.empty(3, None, rng, &device).unwrap();
    let rows = config.describe(&encoder, Tensor::ones([2, 3, 32, 32], &device), 1);
    assert_eq!(rows.dims(), [2 * 64, config.features()]);
}

#[test]
fn what_cannot_be_described_is_refused() {
    let layers = |layers: &[usize]| MapSource::SqueezeNet {
        layers: layers.to_vec(),
    };
    for source in [layers(&[]), layers(&[1]), layers(&[10]), layers(&[7, 5])] {
        assert!(config(source.clone()).check().is_err(), "{source:?}");
    }
    assert!(config(patches(5)).check_scale(2).is_err());
    assert!(
        config(layers(&[7])).check_scale(2).is_err(),
        "16 pixels are too few"
    );
    let thin = PositionConfig {
        shape: [3, 28, 64],
        ..config(MapSource::Texture)
    };
    assert!(thin.check().unwrap_err().contains("it needs 32"));
    for smallest in [1024, usize::MAX] {
        let huge = PositionConfig {
            shape: [3, 16, 4096],
            ..config(MapSource::Patches(PatchSizes {
                components: 5,
                smallest,
            }))
        };
        assert!(huge.check().unwrap_err().contains("encoder.patch_side"));
    }
    let even = PositionConfig {
        pooling: 2,
        ..config(layers(&[7]))
    };
    assert!(even.check().is_err());
}

#[test]
fn brightness_and_contrast_do_not_matter_where_they_are_taken_out() {
    let device = test_device();
    let pixels: Vec<f32> = (0..2048)
        .map(|at| ((at * 37) % 101) as f32 / 101.0 - 0.5)
        .collect();
    let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 32, 64]), &device);
    let config = config(patches(5));
    let dark = config.prepared(image.clone() * 0.5 - 0.3);
    let difference = (dark.clone() - config.prepared(image)).abs().max();
    assert!(difference.into_scalar::<f32>() < 1e-4);
    let deviation = (dark.clone() - dark.mean().reshape([1, 1, 1, 1]))
        .square()
        .mean()
        .sqrt();
    assert!((deviation.into_scalar::<f32>() - 0.4).abs() < 1e-3);
    // Nothing but noise stays near nothing.
    let flat = config.prepared(Tensor::<4>::ones([1, 1, 32, 64], &device) * 0.7);
    assert!((flat + 0.1).abs().max().into_scalar::<f32>() < 1e-3);
}

#[test]
fn a_position_lies_where_the_network_looks() {
    // One bright spot: the position with the largest response is the one whose centre is nearest,
    // in each of the layers, for a network whose kernels all add up.
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(0);
    let at = [63, 79];
    for layer in [3, 5, 7] {
        let mut pixels = vec![0.0f32; 128 * 128];
        pixels[at[0] * 128 + at[1]] = 1.0;
        let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 128, 128]), &device);
        let config = PositionConfig {
            shape: [1, 128, 128],
            source: MapSource::SqueezeNet {
                layers: vec![layer],
            },
            intensity: false,
            pooling: 1,
            normalise: Normalisation::None,
        };
        let encoder = summing(config.source.empty(1, None, rng, &device).unwrap());
        let response = config.describe(&encoder, image, 1).sum_dim(1);
        let response: Vec<f32> = response.into_data().iter().collect();
        let brightest = (0..response.len()).max_by(|&a, &b| response[a].total_cmp(&response[b]));
        let grid = config.grid(1);
        let place =
            |at: usize| ((at as f64 + 0.5 - grid.first[0]) / grid.stride[0]).round() as usize;
        let expected = place(at[0]) * grid.sides[1] + place(at[1]);
        assert_eq!(brightest, Some(expected), "layer {layer}");
    }
}

#[test]
fn normalised_positions_have_lost_their_size() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(3);
    let plain = config(MapSource::SqueezeNet { layers: vec![2, 3] });
    let encoder = summing(plain.source.empty(3, None, rng, &device).unwrap());
    let pixels = (0..3 * 32 * 64).map(|at| (at % 17) as f32 / 17.0);
    let pixels = TensorData::new(pixels.collect::<Vec<_>>(), [1, 3, 32, 64]);
    let images = plain.prepared(Tensor::from_data(pixels, &device));
    let described = |normalise: Normalisation| -> Vec<f32> {
        let config = PositionConfig {
            normalise,
            ..plain.clone()
        };
        let rows = config.describe(&encoder, images.clone(), 1).into_data();
        rows.iter::<f32>().collect()
    };
    let features = plain.features();
    let squares = |row: &[f32]| row.iter().map(|value| value * value).sum::<f32>();
    let raw = described(Normalisation::None);
    for (raw, found) in raw
        .chunks(features)
        .zip(described(Normalisation::L2).chunks(features))
    {
        let size = (squares(raw) / features as f32).sqrt();
        assert!(size > 0.0);
        for (raw, found) in raw.iter().zip(found) {
            assert!((raw / size - found).abs() < 1e-3, "{raw} / {size}, {found}");
        }
    }
    // Each of the two layers has the sum one, of which this is the root.
    for row in described(Normalisation::Sqrt).chunks(features / 2) {
        assert!((squares(row) - 1.0).abs() < 1e-3, "{row:?}");
    }
}

/// With small positive weights everywhere.
fn summing(encoder: MapEncoder) -> MapEncoder {
    struct Fill;
    impl burn::module::ModuleMapper for Fill {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            param.map(|tensor| Tensor::ones_like(&tensor) * 0.01)
        }
    }
    encoder.map(&mut Fill)
}

#[test]
fn rows_follow_the_image() {
    // A bright spot at (row 3, column 6) of the grid is at row 3 * 8 + 6 of the features.
    let device = test_device();
    let mut pixels = vec![-1.0f32; 1024];
    pixels[14 * 32 + 26] = 1.0;
    let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 32, 32]), &device);
    let map = on_grid(image, [8, 8])
        .permute([0, 2, 3, 1])
        .reshape([64, 1]);
    let values: Vec<f32> = map.into_data().iter::<f32>().collect();
    let brightest = (0..64).max_by(|&a, &b| values[a].total_cmp(&values[b]));
    assert_eq!(brightest, Some(3 * 8 + 6));
}
