use super::*;
use crate::backend::test_device;
use crate::encoder::initialisation::he_initialised;
use burn::tensor::TensorData;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::PathBuf;

const MOMENTS: PretrainedLook = PretrainedLook {
    input: 64,
    moments: true,
};

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &test_device())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
            "{found} {expected}"
        );
    }
}

#[test]
fn layers_have_the_published_sizes() {
    let network = SqueezeNet::new(&test_device());
    // in * out * kernel + out, for the three convolutions of each module.
    assert_eq!(network.stem.num_params(), 1_792);
    let count = |fires: &[Fire]| -> Vec<usize> { fires.iter().map(Fire::num_params).collect() };
    assert_eq!(count(&network.first), [11_408, 12_432]);
    assert_eq!(count(&network.second), [45_344, 49_440]);
    assert_eq!(count(&network.third), [104_880, 111_024, 188_992, 197_184]);
    assert_eq!(network.num_params(), 722_496);
}

#[test]
fn maps_and_latents_have_the_documented_shapes() {
    let network = SqueezeNet::new(&test_device());
    let images = tensor(vec![0.5; 2 * 32 * 32], [2, 1, 32, 32]);
    let shapes: Vec<_> = (2..=9)
        .flat_map(|layer| network.maps(images.clone(), &[layer]))
        .map(|map| map.dims())
        .collect();
    let sides = [31, 31, 15, 15, 7, 7, 7, 7];
    let expected = (2..)
        .zip(sides)
        .map(|(layer, side)| [2, SqueezeNet::channels(layer), side, side]);
    assert_eq!(shapes, expected.collect::<Vec<_>>());
    assert_eq!(
        network.encode(images.clone()).dims(),
        [2, SqueezeNet::LATENT]
    );
    let network = network.with(MOMENTS);
    assert_eq!(network.encode(images).dims(), [2, SqueezeNet::MOMENTS]);
}

#[test]
fn moments_are_means_and_deviations_of_the_maps() {
    let rng = &mut StdRng::seed_from_u64(4);
    let network = SqueezeNet::new(&test_device()).with_input(64);
    let network = he_initialised(network, rng);
    let pixels = (0..2 * 3 * 32 * 32).map(|_| rng.random_range(-1.0..1.0));
    let images = tensor(pixels.collect(), [2, 3, 32, 32]);
    let means = network.encode(images.clone());
    let maps = network.maps(images.clone(), &MOMENT_LAYERS);
    let moments = network
        .with(PretrainedLook {
            input: 64,
            ..MOMENTS
        })
        .encode(images);
    assert_close(
        &values(SqueezeNet::means_of(moments.clone())),
        &values(means),
    );
    // Of the third map's channel 5 of the second image, in plain arithmetic.
    let map = values(maps[2].clone().narrow(0, 1, 1).narrow(1, 5, 1));
    let mean = map.iter().sum::<f32>() / map.len() as f32;
    let squares: f32 = map.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / map.len() as f32).sqrt();
    let row = values(moments.narrow(0, 1, 1));
    let place = 128 + 256 + 5;
    assert_close(&[row[place], row[1280 + place]], &[mean, deviation]);
}

#[test]
fn even_sides_keep_their_last_row() {
    let network = SqueezeNet::new(&test_device());
    // 66 -> 32 by the first convolution, then three poolings; 15, 7 and 3 without ceil mode.
    let images = tensor(vec![0.5; 3 * 66 * 66], [1, 3, 66, 66]);
    let sides = network.forward(images, &MEAN_LAYERS).into_iter();
    assert_eq!(
        sides.map(|map| map.dims()[3]).collect::<Vec<_>>(),
        [16, 8, 4]
    );
}

#[test]
fn the_smallest_input_leaves_one_position() {
    let network = SqueezeNet::new(&test_device()).with_input(0);
    let images = tensor(vec![0.5; 3 * 8 * 8], [1, 3, 8, 8]);
    let sides = network.maps(images, &MEAN_LAYERS).into_iter();
    assert_eq!(
        sides.map(|map| map.dims()[3]).collect::<Vec<_>>(),
        [6, 3, 1]
    );
}

#[test]
fn grey_images_become_normalised_colours() {
    let images = tensor(vec![-1.0, 1.0], [1, 1, 1, 2]);
    let found = normalise(to_rgb(images), &MEAN, &DEVIATION);
    assert_eq!(found.dims(), [1, 3, 1, 2]);
    // (0 - 0.485) / 0.229, (1 - 0.485) / 0.229, ...
    let expected = [
        -2.117_904, 2.248_908, -2.035_714, 2.428_571, -1.804_444, 2.64,
    ];
    assert_close(&values(found), &expected);
}

#[test]
fn resizing_interpolates_between_pixel_centres() {
    let images = tensor(vec![0.0, 1.0, 0.0, 1.0], [1, 1, 2, 2]);
    let found = resize(images.clone(), [4, 4]);
    assert_close(&values(found), &[0.0f32, 0.25, 0.75, 1.0].repeat(4));
    assert_eq!(values(resize(images, [2, 2])), [0.0, 1.0, 0.0, 1.0]);
}

/// Where the weights lie: `ENCODER_FLOW_BACKBONES` (the file or its folder), or beside the
/// repository.
fn weights_file() -> PathBuf {
    let path = std::env::var_os("ENCODER_FLOW_BACKBONES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/backbones"),
        PathBuf::from,
    );
    if path.is_dir() {
        path.join(SqueezeNet::FILE)
    } else {
        path
    }
}

/// The reference values were delivered with the weights.
#[test]
fn pretrained_weights_give_the_reference_outputs() {
    let path = weights_file();
    if !path.is_file() {
        println!("skipped: no pretrained weights at {}", path.display());
        return;
    }
    let network = SqueezeNet::load(&path, &test_device()).unwrap();
    let input = (0..3 * 64 * 64).map(|index| (index % 97) as f32 / 97.0);
    let output = network
        .forward(tensor(input.collect(), [1, 3, 64, 64]), &[9])
        .remove(0);
    assert_eq!(output.dims(), [1, 512, 3, 3]);
    let output = values(output);
    assert_close(
        &output[..6],
        &[0.0, 12.589_659, 9.546_684, 2.828_797, 0.0, 0.0],
    );
    let max = output.iter().copied().fold(0.0, f32::max);
    assert_close(&[output.iter().sum::<f32>(), max], &[4139.217, 76.851_08]);

    let zeros = tensor(vec![0.0; 3 * 64 * 64], [1, 3, 64, 64]);
    let output = network.forward(zeros, &[9]).remove(0);
    assert_close(&[values(output).iter().sum::<f32>()], &[3401.61]);
}
