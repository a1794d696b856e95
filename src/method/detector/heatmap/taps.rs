//! What a pixel of a resized or smoothed row is made of: pixels of the row before, with weights.

/// Input positions along one axis and their weights, which sum to 1.
pub(super) type Taps = Vec<(usize, f64)>;

/// The weighted mean; in double precision, so that that of equal values is that value.
pub(super) fn mean(taps: &[(usize, f64)], value: impl Fn(usize) -> f32) -> f32 {
    let weighted = taps
        .iter()
        .map(|&(source, weight)| weight * f64::from(value(source)));
    weighted.sum::<f64>() as f32
}

/// Of a row of `from` pixels brought to `to` pixels: what pixel `index` is made of, by a triangle
/// as wide as two pixels of whichever row has the larger ones.
pub(super) fn interpolation(index: usize, from: usize, to: usize) -> Taps {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let centre = (index as f64 + 0.5) * scale - 0.5;
    // A cast saturates: what lies before the row begins at its first pixel.
    let first = (centre - reach).ceil() as usize;
    let last = ((centre + reach).floor() as usize).min(from - 1);
    let weight = |source: usize| 1.0 - (source as f64 - centre).abs() / reach;
    let taps = (first..=last).map(|source| (source, weight(source)));
    normalised(taps.filter(|tap| tap.1 > 0.0).collect())
}

/// Weights at the distances 0, 1, ... up to 4 `sigma`, not normalised.
pub(super) fn gaussian(sigma: f64) -> Vec<f64> {
    let radius = (4.0 * sigma + 0.5) as usize;
    (0..=radius)
        .map(|distance| (-0.5 * (distance as f64 / sigma).powi(2)).exp())
        .collect()
}

/// What pixel `index` of a row of `length` is made of under the half `kernel`.
pub(super) fn reflected(index: usize, length: usize, kernel: &[f64]) -> Taps {
    let period = 2 * length;
    let place = |position: usize| {
        let position = position % period;
        position.min(period - 1 - position)
    };
    let mut taps = vec![(index, kernel[0])];
    for (distance, &weight) in kernel.iter().enumerate().skip(1) {
        taps.push((place(index + distance), weight));
        taps.push((place(index + period - distance % period), weight));
    }
    normalised(taps)
}

fn normalised(mut taps: Taps) -> Taps {
    let sum: f64 = taps.iter().map(|tap| tap.1).sum();
    for tap in &mut taps {
        tap.1 /= sum;
    }
    taps
}
