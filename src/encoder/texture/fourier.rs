//! Discrete Fourier transforms of images as matrix products, which every backend has.

use std::f64::consts::TAU;
use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

/// Complex numbers, entry by entry.
#[derive(Clone, Debug)]
pub(super) struct Complex<const D: usize> {
    pub re: Tensor<D>,
    pub im: Tensor<D>,
}

impl<const D: usize> Complex<D> {
    /// Real numbers.
    pub fn real(re: Tensor<D>) -> Self {
        let im = re.zeros_like();
        Self { re, im }
    }

    pub fn conjugate(self) -> Self {
        Self {
            re: self.re,
            im: -self.im,
        }
    }

    pub fn times(self, other: Self) -> Self {
        Self {
            re: self.re.clone() * other.re.clone() - self.im.clone() * other.im.clone(),
            im: self.re * other.im + self.im * other.re,
        }
    }

    pub fn minus(self, other: Self) -> Self {
        Self {
            re: self.re - other.re,
            im: self.im - other.im,
        }
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            re: self.re + other.re,
            im: self.im + other.im,
        }
    }

    /// Every number times a real one.
    pub fn scaled(self, by: Tensor<D>) -> Self {
        Self {
            re: self.re * by.clone(),
            im: self.im * by,
        }
    }

    /// Squares of the absolute values.
    pub fn power(&self) -> Tensor<D> {
        self.re.clone().square() + self.im.clone().square()
    }

    pub fn reshape<const E: usize>(self, shape: [usize; E]) -> Complex<E> {
        Complex {
            re: self.re.reshape(shape),
            im: self.im.reshape(shape),
        }
    }
}

impl Complex<4> {
    /// One of the channels, which are the second axis.
    pub fn channel(&self, channel: usize) -> Self {
        Self {
            re: self.re.clone().narrow(1, channel, 1),
            im: self.im.clone().narrow(1, channel, 1),
        }
    }
}

/// The waves along one axis: cosines and sines `[samples, frequencies]`.
pub(super) struct Waves {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Waves {
    /// Waves of all frequencies of a signal of `period` samples, at these of them.
    pub fn all(samples: Range<i64>, period: usize, device: &Device) -> Self {
        Self::of(samples, period, period, device)
    }

    /// Those of a real signal alone, of an even period: the other half are their conjugates.
    pub fn half(samples: Range<i64>, period: usize, device: &Device) -> Self {
        Self::of(samples, period, period / 2 + 1, device)
    }

    fn of(samples: Range<i64>, period: usize, frequencies: usize, device: &Device) -> Self {
        let angle = |step: usize| TAU * step as f64 / period as f64;
        let circle: Vec<(f64, f64)> = (0..period).map(|step| angle(step).sin_cos()).collect();
        let shape = [(samples.end - samples.start) as usize, frequencies];
        let table = |part: fn(&(f64, f64)) -> f64| {
            let values = samples.clone().flat_map(|sample| {
                let circle = &circle;
                (0..frequencies as i64).map(move |frequency| {
                    let step = (sample * frequency).rem_euclid(period as i64);
                    part(&circle[step as usize]) as f32
                })
            });
            Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
        };
        Self {
            cos: table(|&(_, cos)| cos),
            sin: table(|&(sin, _)| sin),
        }
    }

    fn frequencies(&self) -> usize {
        self.cos.dims()[1]
    }
}

/// Spectrum of real images, which are zero where the waves have no samples.
///
/// # Shapes
/// `[images, rows, columns]` to `[images, half the frequencies along, all frequencies down]`.
pub(super) fn spectrum(images: Tensor<3>, down: &Waves, along: &Waves) -> Complex<3> {
    let even = on_last(images.clone(), along.cos.clone()).swap_dims(1, 2);
    let odd = on_last(images, along.sin.clone()).swap_dims(1, 2);
    // (even - i odd) (cos - i sin)
    Complex {
        re: on_last(even.clone(), down.cos.clone()) - on_last(odd.clone(), down.sin.clone()),
        im: -(on_last(even, down.sin.clone()) + on_last(odd, down.cos.clone())),
    }
}

/// The real images of a spectrum, at the samples of the waves.
///
/// # Shapes
/// The reverse of [`spectrum`]'s.
pub(super) fn images(spectrum: Complex<3>, down: &Waves, along: &Waves) -> Tensor<3> {
    let Complex { re, im } = spectrum;
    let (cos, sin) = (down.cos.clone().transpose(), down.sin.clone().transpose());
    // (re + i im) (cos + i sin)
    let even = on_last(re.clone(), cos.clone()) - on_last(im.clone(), sin.clone());
    let odd = on_last(re, sin) + on_last(im, cos);
    // Frequencies between the lowest and the highest stand for their conjugates as well.
    let period = down.frequencies();
    let half = along.frequencies();
    let whole = 2 * (half - 1);
    let weights = (0..half).map(|frequency| match frequency {
        0 => 1.0,
        frequency if frequency + 1 == half => 1.0,
        _ => 2.0,
    });
    let weights: Vec<f32> = weights
        .map(|weight: f32| weight / (period * whole) as f32)
        .collect();
    let weights = TensorData::new(weights, [half, 1]);
    let weights = Tensor::<2>::from_data(weights, &even.device());
    let cos = along.cos.clone().transpose() * weights.clone();
    let sin = along.sin.clone().transpose() * weights;
    on_last(even.swap_dims(1, 2), cos) - on_last(odd.swap_dims(1, 2), sin)
}

/// One product for all: `[a, b, c]` by `[c, d]` to `[a, b, d]`.
pub(super) fn on_last(x: Tensor<3>, matrix: Tensor<2>) -> Tensor<3> {
    let [a, b, c] = x.dims();
    let [_, d] = matrix.dims();
    x.reshape([a * b, c]).matmul(matrix).reshape([a, b, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn spectra_are_those_of_numpy() {
        // numpy: x = (np.arange(24) * 7 % 11).reshape(4, 6) / 11.; np.fft.rfft2(x).T
        let device = test_device();
        let pixels: Vec<f32> = (0..24).map(|at| (at * 7 % 11) as f32 / 11.0).collect();
        let image = Tensor::<3>::from_data(TensorData::new(pixels, [1, 4, 6]), &device);
        let (down, along) = (Waves::all(0..4, 4, &device), Waves::half(0..6, 6, &device));
        let found = spectrum(image.clone(), &down, &along);
        for (found, expected) in [(found.re.clone(), RE), (found.im.clone(), IM)] {
            for (found, expected) in values(found).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
            }
        }
        let back = images(found, &down, &along);
        let error = (back - image).abs().max().into_scalar::<f32>();
        assert!(error < 1e-5, "{error}");
    }

    #[test]
    fn samples_may_lie_before_the_first_and_be_few_of_many() {
        // A kernel of three around the origin, and the same written out to the whole period.
        let device = test_device();
        let row = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [1, 1, values.len()]);
            Tensor::<3>::from_data(data, &device)
        };
        let down = Waves::all(0..1, 1, &device);
        let few = spectrum(
            row(&[1.0, 5.0, 2.0]),
            &down,
            &Waves::half(-1..2, 8, &device),
        );
        let whole = row(&[5.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let whole = spectrum(whole, &down, &Waves::half(0..8, 8, &device));
        let error = few.minus(whole).power().max().into_scalar::<f32>();
        assert!(error < 1e-8, "{error}");
    }

    const RE: [f32; 16] = [
        10.63636, -0.81818, 1.18182, -0.81818, -0.63636, -1.0, -1.0, -1.0, 1.36364, -1.73205, -1.0,
        1.73205, -0.63636, -1.0, -1.0, -1.0,
    ];
    const IM: [f32; 16] = [
        0.0, -0.18182, 0.0, 0.18182, -0.62984, 0.0, 0.0, 0.0, 0.94476, -2.73205, 0.0, -0.73205,
        0.0, 0.0, 0.0, 0.0,
    ];
}
