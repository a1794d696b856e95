//! The energy of images by ring and orientation of the frequency.

use burn::tensor::{Device, Tensor, TensorData};

/// Rings of equal ratio that the frequencies of an image are divided into.
pub(super) const RINGS: usize = 8;
/// Energy, of pixels in `[0, 1]`, below which a band counts as empty.
const LEAST_ENERGY: f64 = 1e-6;
/// Luminance and the two colour differences of ITU-R BT.601, by rows, from red, green and blue.
const YCBCR: [f32; 9] = [
    0.299, 0.587, 0.114, -0.168_736, -0.331_264, 0.5, 0.5, -0.418_688, -0.081_312,
];

/// `[batch, channels, height, width]` to `[batch, 1 or 3, height, width]`: luminance, and where there
/// are colours the two colour differences.
pub(super) fn ycbcr(images: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = images.dims();
    if channels != 3 {
        return images.mean_dim(1);
    }
    let device = images.device();
    let mixing = Tensor::<2>::from_data(TensorData::new(YCBCR.to_vec(), [3, 3]), &device);
    let mixed = mixing.unsqueeze::<3>().expand([batch, 3, 3]);
    let mixed = mixed.matmul(images.reshape([batch, 3, height * width]));
    mixed.reshape([batch, 3, height, width])
}

/// Log-energies by ring, of luminance by orientation as well, and the mean of every channel.
pub(super) fn bands(images: Tensor<4>) -> Tensor<2> {
    let images = ycbcr(images);
    let [batch, channels, height, width] = images.dims();
    let device = images.device();
    let (down, across) = (cosines(height, &device), cosines(width, &device));
    let means = images.clone().mean_dim(3).mean_dim(2).flatten::<2>(1, 3);
    let spectrum = down
        .unsqueeze::<4>()
        .matmul(images)
        .matmul(across.transpose().unsqueeze::<4>());
    let energy = spectrum.square().reshape([batch, channels, height * width]);
    let mut parts = vec![means];
    for channel in 0..channels {
        let rings = rings([height, width], channel == 0, &device);
        let energy = energy.clone().narrow(1, channel, 1).squeeze_dim::<2>(1);
        parts.push((energy.matmul(rings) + LEAST_ENERGY).log());
    }
    Tensor::cat(parts, 1)
}

/// Orthonormal discrete cosine transform (type II) of `size` values, `[frequency, position]`.
fn cosines(size: usize, device: &Device) -> Tensor<2> {
    let value = |frequency: usize, position: usize| {
        let angle = std::f64::consts::PI * (position as f64 + 0.5) * frequency as f64 / size as f64;
        let scale = if frequency == 0 { 1.0 } else { 2.0 };
        ((scale / size as f64).sqrt() * angle.cos()) as f32
    };
    let values = (0..size).flat_map(|frequency| (0..size).map(move |at| value(frequency, at)));
    Tensor::from_data(
        TensorData::new(values.collect::<Vec<_>>(), [size, size]),
        device,
    )
}

/// Mean over the frequencies of each ring, `[height * width, rings]`; with `oriented`, those that vary
/// more from left to right apart from the others.
fn rings([height, width]: [usize; 2], oriented: bool, device: &Device) -> Tensor<2> {
    let columns = if oriented { 2 * RINGS } else { RINGS };
    let mut members = vec![Vec::new(); columns];
    // The frequencies of the longest side, in rings of equal ratio.
    let highest = (height.max(width) as f64).ln();
    for (down, across) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
        let radius = ((down * down + across * across) as f64).sqrt();
        // The constant part is the mean, which has an entry of its own.
        if radius == 0.0 {
            continue;
        }
        let ring = (radius.ln() / highest * RINGS as f64) as usize;
        let half = usize::from(oriented && across > down) * RINGS;
        members[half + ring.min(RINGS - 1)].push(down * width + across);
    }
    let mut values = vec![0.0f32; height * width * columns];
    for (column, members) in members.iter().enumerate() {
        for &member in members {
            values[member * columns + column] = 1.0 / members.len() as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [height * width, columns]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;

    #[test]
    fn the_cosine_transform_is_that_of_scipy() {
        // The definition in plain Python, which is scipy.fft.dct([1, 2, 4, 8], norm="ortho"):
        // [sqrt((1 if k == 0 else 2) / 4) * sum(x * cos(pi * (i + 0.5) * k / 4)
        //     for i, x in enumerate([1, 2, 4, 8])) for k in range(4)]
        let rows = Tensor::<2>::from_data([[1.0], [2.0], [4.0], [8.0]], &test_device());
        let found = cosines(4, &test_device()).matmul(rows);
        let expected = [[7.5], [-5.11417], [1.5], [-0.587623]];
        let expected = Tensor::from_data(expected, &test_device());
        let difference = (found - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-4, "{difference}");
    }

    #[test]
    fn a_wave_has_its_energy_in_its_own_band() {
        // The fifth cosine from left to right, and the same from top to bottom.
        let wave: Vec<f32> = (0..8)
            .map(|at| (std::f32::consts::PI * (at as f32 + 0.5) * 5.0 / 8.0).cos())
            .collect();
        let across: Vec<f32> = (0..64).map(|at| wave[at % 8]).collect();
        let down: Vec<f32> = (0..64).map(|at| wave[at / 8]).collect();
        let bands = |values: Vec<f32>| -> Vec<f32> {
            let data = TensorData::new(values, [1, 1, 8, 8]);
            let image = Tensor::from_data(data, &test_device());
            super::bands(image).into_data().iter().collect()
        };
        let strongest = |values: Vec<f32>| {
            let bands = values[1..].iter().enumerate();
            bands.max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
        };
        let ring = (5f64.ln() / 8f64.ln() * RINGS as f64) as usize;
        assert_eq!(strongest(bands(across)), RINGS + ring);
        assert_eq!(strongest(bands(down)), ring);
    }
}
