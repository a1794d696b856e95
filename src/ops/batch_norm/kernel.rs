//! The passes over the values of a batch, `[batch, channels, height, width]`, contiguous.

use rayon::prelude::*;

use crate::ops::activation::Gate;
use crate::ops::buffer::in_chunks;
use crate::ops::vectors::vectorised;

/// Lanes of a sum: the compiler keeps them in vector registers.
const LANES: usize = 16;

/// What is done to a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    mean: f32,
    /// One over the standard deviation.
    precision: f32,
    /// The precision times gamma.
    scale: f32,
    beta: f32,
}

impl Channel {
    /// What the activation is applied to.
    #[inline(always)]
    fn normalise(&self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.beta
    }
}

/// One of every channel, from the values of each.
pub(super) fn channels(
    gamma: &[f32],
    beta: &[f32],
    [mean, variance]: &[Vec<f32>; 2],
    epsilon: f64,
) -> Vec<Channel> {
    let statistics = mean.iter().zip(variance);
    let parameters = gamma.iter().zip(beta);
    statistics
        .zip(parameters)
        .map(|((&mean, &variance), (&gamma, &beta))| {
            let precision = 1.0 / (variance + epsilon as f32).sqrt();
            Channel {
                mean,
                precision,
                scale: gamma * precision,
                beta,
            }
        })
        .collect()
}

/// A channel's maps, image by image.
fn maps(values: &[f32], shape: [usize; 4], channel: usize) -> impl Iterator<Item = &[f32]> {
    let [_, channels, height, width] = shape;
    let area = height * width;
    values
        .chunks_exact(channels * area)
        .map(move |image| &image[channel * area..][..area])
}

/// Mean and variance of every channel, the variance divided by the number of values.
pub(super) fn statistics(input: &[f32], shape: [usize; 4]) -> [Vec<f32>; 2] {
    let [images, channels, height, width] = shape;
    let count = (images * height * width) as f64;
    let statistics: (Vec<f32>, Vec<f32>) = (0..channels)
        .into_par_iter()
        .map(|channel| {
            let maps = || maps(input, shape, channel);
            let sum: f64 = vectorised(|| maps().map(|map| sum_over([map], |[x]| [x])[0]).sum());
            let mean = (sum / count) as f32;
            let square = |[x]: [f32; 1]| [(x - mean) * (x - mean)];
            let squares: f64 = vectorised(|| maps().map(|map| sum_over([map], square)[0]).sum());
            (mean, (squares / count) as f32)
        })
        .unzip();
    statistics.into()
}

/// Sums over a channel for its gradients, of the gradient before the activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    /// The gradient itself: beta's.
    pub plain: f32,
    /// The gradient times the normalised input: gamma's.
    pub projected: f32,
}

impl Sums {
    pub const ZERO: Self = Self {
        plain: 0.0,
        projected: 0.0,
    };
}

/// The sums of every channel.
pub(super) fn gradient_sums(
    gate: impl Gate,
    input: &[f32],
    gradient: &[f32],
    channels: &[Channel],
    shape: [usize; 4],
) -> Vec<Sums> {
    channels
        .par_iter()
        .enumerate()
        .map(|(index, channel)| {
            let inputs = maps(input, shape, index);
            let gradients = maps(gradient, shape, index);
            let [mut plain, mut projected] = [0.0f64; 2];
            vectorised(|| {
                for (inputs, gradients) in inputs.zip(gradients) {
                    let [of_map, projected_of_map] =
                        sum_over([inputs, gradients], |[x, gradient]| {
                            let gradient = gate.gradient(channel.normalise(x), gradient);
                            [gradient, gradient * (x - channel.mean) * channel.precision]
                        });
                    plain += of_map;
                    projected += projected_of_map;
                }
            });
            Sums {
                plain: plain as f32,
                projected: projected as f32,
            }
        })
        .collect()
}

/// Turns the gradient by the result into that by the input, in place.
pub(super) fn input_gradient(
    gate: impl Gate,
    input: &[f32],
    gradient: &mut [f32],
    channels: &[Channel],
    sums: &[Sums],
    shape: [usize; 4],
) {
    let [images, _, height, width] = shape;
    let area = height * width;
    let count = (images * area) as f32;
    let image = channels.len() * area;
    gradient
        .par_chunks_mut(image)
        .zip(input.par_chunks(image))
        .for_each(|(gradients, inputs)| {
            let maps = gradients
                .chunks_exact_mut(area)
                .zip(inputs.chunks_exact(area));
            for ((gradients, inputs), (channel, sums)) in maps.zip(channels.iter().zip(sums)) {
                let mean = sums.plain / count;
                let slope = sums.projected / count * channel.precision;
                vectorised(|| {
                    for (gradient, &x) in gradients.iter_mut().zip(inputs) {
                        let before = gate.gradient(channel.normalise(x), *gradient);
                        *gradient = channel.scale * (before - mean - (x - channel.mean) * slope);
                    }
                });
            }
        });
}

/// The activation of the normalised input.
pub(super) fn normalise(
    gate: impl Gate,
    input: &[f32],
    channels: &[Channel],
    [_, _, height, width]: [usize; 4],
) -> Vec<f32> {
    let area = height * width;
    let image = channels.len() * area;
    in_chunks(input.len(), image, |index, outputs| {
        let inputs = input[index * image..].chunks_exact(area);
        let maps = outputs.chunks_exact_mut(area).zip(inputs);
        for ((outputs, inputs), channel) in maps.zip(channels) {
            vectorised(|| {
                for (output, &x) in outputs.iter_mut().zip(inputs) {
                    *output = gate.value(channel.normalise(x));
                }
            });
        }
    })
}

/// As [`normalise`], over the input itself.
pub(super) fn normalise_in_place(
    gate: impl Gate,
    values: &mut [f32],
    channels: &[Channel],
    [_, _, height, width]: [usize; 4],
) {
    let images = values.par_chunks_mut(channels.len() * height * width);
    images.for_each(|image| {
        let maps = image.chunks_exact_mut(height * width);
        for (map, channel) in maps.zip(channels) {
            vectorised(|| {
                for x in map {
                    *x = gate.value(channel.normalise(*x));
                }
            });
        }
    });
}

/// Sums of what `terms` makes of the values at each place of `maps`, which are all of one length.
#[inline(always)]
fn sum_over<const N: usize>(maps: [&[f32]; N], terms: impl Fn([f32; N]) -> [f32; N]) -> [f64; N] {
    let mut sums = [[0.0f32; LANES]; N];
    let length = maps.iter().map(|map| map.len()).min().unwrap_or(0);
    let whole = length / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let maps = maps.map(|map| &map[start..][..LANES]);
        for lane in 0..LANES {
            let terms = terms(maps.map(|map| map[lane]));
            for (sum, term) in sums.iter_mut().zip(terms) {
                sum[lane] += term;
            }
        }
    }
    for index in whole..length {
        let terms = terms(maps.map(|map| map[index]));
        for (sum, term) in sums.iter_mut().zip(terms) {
            sum[0] += term;
        }
    }
    sums.map(|lanes| lanes.iter().map(|&sum| f64::from(sum)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_take_the_rest_of_a_row_too() {
        for length in [0, 1, 7, 8, 9, 20] {
            let row: Vec<f32> = (0..length).map(|value| value as f32).collect();
            let [sum, squares] = sum_over([&row, &row], |[x, y]| [x, x * y]);
            let n = f64::from(length);
            assert_eq!(sum, n * (n - 1.0) / 2.0);
            assert_eq!(squares, (n - 1.0) * n * (2.0 * n - 1.0) / 6.0);
        }
    }
}
