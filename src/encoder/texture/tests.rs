use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::backend::test_device;

const SIDE: usize = 96;

/// RGB noise over waves of one direction, as no two images have it, with a bright disc at `[y, x]`.
fn surface(seed: u64, disc: Option<[f32; 2]>) -> Tensor<4> {
    let rng = &mut StdRng::seed_from_u64(seed);
    let waves: Vec<[f32; 3]> = (0..24)
        .map(|_| {
            let (sin, cos) = rng.random_range(0.0f32..0.8).sin_cos();
            let rate = std::f32::consts::TAU / rng.random_range(5.0..20.0);
            [rate * cos, rate * sin, rng.random_range(0.0..6.0)]
        })
        .collect();
    let contrast = rng.random_range(0.5f32..1.5);
    let mut pixels = vec![0.0f32; 3 * SIDE * SIDE];
    for at in 0..SIDE * SIDE {
        let (y, x) = ((at / SIDE) as f32, (at % SIDE) as f32);
        let height: f32 = waves
            .iter()
            .map(|[a, b, phase]| (a * x + b * y + phase).sin())
            .sum();
        let inside = disc.is_some_and(|[cy, cx]| (y - cy).hypot(x - cx) < 3.5);
        for channel in 0..3 {
            pixels[channel * SIDE * SIDE + at] = contrast * 0.05 * height
                + 0.03 * (rng.random::<f32>() - 0.5)
                + if inside { 0.25 } else { 0.0 };
        }
    }
    Tensor::from_data(TensorData::new(pixels, [1, 3, SIDE, SIDE]), &test_device())
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

#[test]
fn whitened_images_are_those_of_numpy() {
    // An independent implementation with numpy's FFT, Cholesky factor and inverse of whole 3 x 3 matrices:
    //     P = np.einsum("kiab,kjab->abij", S, S.conj()) / len(S) / (w ** 2).sum() + np.eye(c) / 127.5 ** 2
    //     K = np.fft.ifft2(np.linalg.inv(np.linalg.cholesky(P)), axes=(0, 1)).real
    // with S the spectra of windows w * x, applied to np.pad(x, mode="reflect", reflect_type="odd").
    let device = test_device();
    let [height, width] = [40, 48];
    let pixels = (0..3 * height * width).map(|at| {
        let noise = (at as f64 * 12.9898).sin() * 43_758.545_3;
        let noise = 0.5 * (noise - noise.floor() - 0.5);
        let (y, x) = (at / width % height, at % width);
        let wave = (0.9 * x as f64 + 0.4 * y as f64).sin();
        (noise + 0.3 * [1.0, 0.7, 0.4][at / (height * width)] * wave) as f32
    });
    let data = TensorData::new(pixels.collect::<Vec<_>>(), [1, 3, height, width]);
    let image = Tensor::<4>::from_data(data, &device);
    let colour = without_spectrum(opponent(image.clone()));
    let grey = without_spectrum(image.narrow(1, 0, 1));
    let pixel =
        |x: &Tensor<4>, y: usize, at: usize| values(x.clone().narrow(2, y, 1).narrow(3, at, 1));
    let found = [
        pixel(&colour, 0, 0),
        pixel(&colour, 20, 30),
        pixel(&colour, 39, 5),
        pixel(&colour, 17, 47),
        pixel(&grey, 20, 30),
        pixel(&grey, 0, 47),
    ];
    for (found, expected) in found.concat().iter().zip(EXPECTED) {
        assert!((found - expected).abs() < 2e-3, "{found} is not {expected}");
    }
}

#[test]
fn a_texture_becomes_noise_whatever_its_direction_and_contrast() {
    for seed in 0..3 {
        let upright = surface(seed, None);
        let images = [upright.clone(), upright.swap_dims(2, 3) * 1.6];
        for image in images {
            let white = without_spectrum(opponent(image));
            let inner = white.narrow(2, 8, 80).narrow(3, 8, 80);
            let power = inner.square().mean().into_scalar::<f32>();
            assert!((0.3..1.2).contains(&power), "{power}");
        }
    }
}

#[test]
fn an_image_is_described_by_itself() {
    let encoder = TextureEnergies::default();
    let images = [surface(1, None), surface(2, Some([30.0, 50.0]))];
    // Not square.
    let images = images.map(|image| image.narrow(2, 0, 64));
    let both = encoder.maps(Tensor::cat(images.to_vec(), 0));
    let alone = Tensor::cat(images.map(|image| encoder.maps(image)).to_vec(), 0);
    assert_eq!(both.dims(), [2, TextureEnergies::features(3), 16, 24]);
    let error = (both - alone).abs().max().into_scalar::<f32>();
    assert!(error < 1e-4, "{error}");
}

#[test]
fn a_spot_stands_out_of_every_texture() {
    let encoder = TextureEnergies::default();
    for seed in 0..4 {
        let [y, x] = [44, 60];
        let maps = encoder.maps(surface(seed, Some([y as f32, x as f32])));
        assert_eq!(maps.dims(), [1, TextureEnergies::features(3), 24, 24]);
        // Brightness, near.
        let map = values(maps.narrow(1, 2, 1));
        let largest = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b]));
        let largest = largest.unwrap();
        let place = [largest / 24 * STRIDE, largest % 24 * STRIDE];
        assert!(
            place[0].abs_diff(y) <= 6 && place[1].abs_diff(x) <= 6,
            "{place:?}"
        );
    }
}

#[test]
fn what_is_printed_in_colour_explains_its_brightness() {
    // Discs of one ink, which changes the channels by fixed shares; one of them of the same brightness and no colour is
    // odd.
    let encoder = TextureEnergies::default();
    let plain = surface(7, None);
    let disc = |place: [f32; 2]| surface(7, Some(place)) - plain.clone();
    let shares = Tensor::<1>::from_floats([-1.6, -1.0, -0.4], &test_device());
    let others = [
        [20.0, 20.0],
        [20.0, 70.0],
        [70.0, 20.0],
        [70.0, 70.0],
        [60.0, 44.0],
    ];
    let others = others.map(disc).into_iter().reduce(|sum, disc| sum + disc);
    let shares = shares.reshape([1, 3, 1, 1]);
    let printed = plain.clone() + others.unwrap() * shares.clone();
    let odd = disc([40.0, 40.0]);
    let near = |image: Tensor<4>| {
        let map = encoder.maps(image).narrow(1, 2, 1);
        map.narrow(2, 8, 4)
            .narrow(3, 8, 4)
            .max()
            .into_scalar::<f32>()
    };
    let [none, ink, grey] = [
        printed.clone(),
        printed.clone() + odd.clone() * shares,
        printed - odd,
    ]
    .map(near);
    assert!(ink - none < 0.5 * (grey - none), "{none} {ink} {grey}");
}

#[test]
fn grey_has_one_channel_and_nothing_stays_nothing() {
    let encoder = TextureEnergies::default();
    let grey = encoder.maps(surface(1, None).narrow(1, 0, 1));
    assert_eq!(grey.dims(), [1, TextureEnergies::features(1), 24, 24]);
    let flat = encoder.maps(Tensor::ones([1, 3, 32, 64], &test_device()));
    let error = (flat - FLOOR.ln()).abs().max().into_scalar::<f32>();
    assert!(error < 1e-3, "{error}");
}

const EXPECTED: [f32; 14] = [
    0.05142, -6.80819, 1.05087, 1.08005, 0.77637, 0.66086, -0.40314, -0.94346, 3.89387, -0.0132,
    -0.74903, 2.97264, -0.55689, -0.47024,
];
