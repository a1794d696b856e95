//! An image without its own spectrum.

use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use burn::tensor::{Tensor, TensorData};

use super::fourier::{Complex, Waves, images, spectrum};

/// Side of the windows that the spectrum is the mean of, in pixels: what repeats within less is texture.
pub(super) const WINDOW: usize = 32;
/// Windows start so many pixels apart.
const STEP: usize = 8;
/// Power of noise, per pixel and channel, that is taken to be in every image: that of one level of brightness of 256.
const NOISE: f64 = 1.0 / (127.5 * 127.5);

/// Images without their own spectrum: every channel is filtered so that, in this image, all its frequencies have the
/// power of white noise of variance one, and what the channels before explain of it is taken out.
///
/// The filters are those of the image alone. An image's own texture, whatever its grain and direction, becomes noise, and
/// what is no part of it stays. Taking magnitudes out of a spectrum is an old way to find what is odd in a texture (Aiger
/// and Talbot, *The phase only transform for unsupervised surface defect detection*, CVPR 2010); here the spectrum is an
/// average (Welch, 1967), which a small defect hardly moves, and its channels are taken out of each other: what is
/// printed in colour explains its own brightness.
///
/// # Shapes
/// `[batch, channels, height, width]` in `[-1, 1]` to the same, sides of at least [`WINDOW`].
pub(super) fn without_spectrum(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let device = &x.device();
    let rows = x.reshape([batch * channels, height * width]);
    let rows = rows.clone() - rows.mean_dim(1);
    let x = rows.reshape([batch * channels, 1, height, width]);
    let filters = whitening(cross_spectra(x.clone(), [batch, channels]));

    // Kernels reach half a window each way, and so must the image.
    let reach = WINDOW / 2;
    let x: Tensor<3> = x.squeeze_dim(1);
    let x = mirrored(mirrored(x, reach).swap_dims(1, 2), reach).swap_dims(1, 2);
    let [_, down, along] = x.dims();
    let all = |samples: std::ops::Range<i64>| Waves::all(samples, down, device);
    let half = |samples: std::ops::Range<i64>| Waves::half(samples, along, device);
    let x = spectrum(x, &all(0..down as i64), &half(0..along as i64));
    let [_, columns, rows] = x.re.dims();
    let x = x.reshape([batch, channels, columns, rows]);
    let of = |channel: usize| x.channel(channel).reshape([batch, columns, rows]);
    let lags = -(reach as i64)..reach as i64;
    let own = (
        Waves::all(lags.clone(), WINDOW, device),
        Waves::half(lags.clone(), WINDOW, device),
    );
    let (kernel_down, kernel_along) = (all(lags.clone()), half(lags));
    let inner = |side: usize| reach as i64..(reach + side) as i64;
    let (out_down, out_along) = (all(inner(height)), half(inner(width)));
    let white = filters.into_iter().map(|row| {
        let parts = row.into_iter().enumerate().map(|(channel, filter)| {
            let kernel = images(filter, &own.0, &own.1);
            spectrum(kernel, &kernel_down, &kernel_along).times(of(channel))
        });
        let sum = parts.reduce(Complex::plus).expect("a channel has itself");
        images(sum, &out_down, &out_along).unsqueeze_dim(1)
    });
    Tensor::cat(white.collect(), 1)
}

/// The mean over windows of the product of the spectra of two channels, the second one's conjugate, per pixel: of every
/// channel with itself and those before.
///
/// # Shapes
/// `[batch * channels, 1, height, width]` to `[batch, half of WINDOW and one, WINDOW]` for every pair.
fn cross_spectra(x: Tensor<4>, [batch, channels]: [usize; 2]) -> Vec<Vec<Complex<3>>> {
    let device = &x.device();
    let hann = hann();
    let norm: f64 = hann.iter().map(|&value| f64::from(value).powi(2)).sum();
    let window = Tensor::<3>::from_data(TensorData::new(hann, [1, WINDOW, WINDOW]), device);
    let windows = unfold4d(
        x,
        [WINDOW; 2],
        UnfoldOptions::new([STEP; 2], [0, 0], [1, 1]),
    ); // [batch * channels, WINDOW^2, windows]
    let count = windows.dims()[2];
    let windows = windows.swap_dims(1, 2);
    let windows = windows.reshape([batch * channels * count, WINDOW, WINDOW]) * window;
    let period = 0..WINDOW as i64;
    let spectra = spectrum(
        windows,
        &Waves::all(period.clone(), WINDOW, device),
        &Waves::half(period, WINDOW, device),
    );
    let half = WINDOW / 2 + 1;
    let spectra = spectra.reshape([batch, channels, count, half * WINDOW]);
    let mean = |x: Tensor<4>| {
        let mean = x.mean_dim(2) / norm;
        mean.reshape([batch, half, WINDOW])
    };
    let pair = |one: usize, other: usize| {
        let Complex { re, im } = spectra
            .channel(one)
            .times(spectra.channel(other).conjugate());
        Complex {
            re: mean(re),
            im: mean(im),
        }
    };
    (0..channels)
        .map(|one| (0..=one).map(|other| pair(one, other)).collect())
        .collect()
}

/// Filters, the inverse of the cross spectra's Cholesky factor: of every channel those that it and the channels before go
/// through to make its whitened self.
fn whitening(cross: Vec<Vec<Complex<3>>>) -> Vec<Vec<Complex<3>>> {
    // L D L*, the unit triangle L inverted row by row, and its rows divided by the roots of D.
    let mut triangle: Vec<Vec<Complex<3>>> = Vec::new();
    let mut powers: Vec<Tensor<3>> = Vec::new();
    let mut inverse: Vec<Vec<Complex<3>>> = Vec::new();
    for (channel, cross) in cross.into_iter().enumerate() {
        // L D, and L.
        let (mut own, mut factors): (Vec<Complex<3>>, Vec<Complex<3>>) = (Vec::new(), Vec::new());
        for (before, cross) in cross[..channel].iter().enumerate() {
            let known = own.iter().zip(&triangle[before]);
            let left = known.fold(cross.clone(), |left, (own, factor)| {
                left.minus(own.clone().times(factor.clone().conjugate()))
            });
            factors.push(left.clone().scaled(powers[before].clone().recip()));
            own.push(left);
        }
        let power = cross[channel].re.clone() + NOISE;
        let power = own.iter().zip(&powers).fold(power, |power, (own, before)| {
            power - own.power() / before.clone()
        });
        let power = power.clamp_min(NOISE);
        let mut row: Vec<Complex<3>> = vec![Complex::real(power.zeros_like()); channel];
        for (factor, before) in factors.iter().zip(&inverse) {
            for (sum, entry) in row.iter_mut().zip(before) {
                *sum = sum.clone().minus(factor.clone().times(entry.clone()));
            }
        }
        row.push(Complex::real(power.ones_like()));
        inverse.push(row);
        triangle.push(factors);
        powers.push(power);
    }
    let rows = inverse.into_iter().zip(powers);
    rows.map(|(row, power)| {
        let scale = power.sqrt().recip();
        let entries = row.into_iter().map(|entry| entry.scaled(scale.clone()));
        entries.collect()
    })
    .collect()
}

/// Hann's window, periodic, row by row.
fn hann() -> Vec<f32> {
    let value = |at: usize| {
        let angle = std::f64::consts::TAU * at as f64 / WINDOW as f64;
        0.5 - 0.5 * angle.cos()
    };
    (0..WINDOW * WINDOW)
        .map(|at| (value(at / WINDOW) * value(at % WINDOW)) as f32)
        .collect()
}

/// Continued by so many columns on both sides, turned by half about the last pixel, so that neither brightness nor its
/// slope has an edge there.
fn mirrored(x: Tensor<3>, by: usize) -> Tensor<3> {
    let width = x.dims()[2];
    let turned = |edge: usize, from: usize| {
        let part = x.clone().narrow(2, from, by).flip([2]);
        x.clone().narrow(2, edge, 1) * 2.0 - part
    };
    let (before, after) = (turned(0, 1), turned(width - 1, width - 1 - by));
    Tensor::cat(vec![before, x.clone(), after], 2)
}
