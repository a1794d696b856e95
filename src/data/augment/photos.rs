//! Another photograph of the same thing: another detail, mirrored, in other light, without colour.

use rand::RngExt;
use rand::rngs::StdRng;

use super::Canvas;

/// Least area of a detail, as a share of the image. (SimCLR's 0.08 is for larger images.)
const LEAST_AREA: f32 = 0.25;
/// Largest logarithm of a detail's width over its height.
const ASPECT: f32 = 0.288; // ln(4 / 3)
/// How often light and colour change.
const JITTERED: f64 = 0.8;
/// How often the colour is gone.
const GREYED: f64 = 0.2;
/// Largest change of brightness, contrast and saturation, as a share.
const LIGHT: f32 = 0.4;
/// Largest turn of the hue, in radians: a tenth of the circle.
const HUE: f32 = 0.628;
/// Luminance of red, green and blue (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Takes another photograph.
pub(super) fn change(canvas: &mut Canvas, rng: &mut StdRng) {
    detail(canvas, rng);
    if rng.random_bool(JITTERED) {
        light(canvas, rng);
    }
    if rng.random_bool(GREYED) {
        saturate(canvas, 0.0);
    }
}

/// A random part of the image at its full size, in half of the cases mirrored.
fn detail(canvas: &mut Canvas, rng: &mut StdRng) {
    let [_, height, width] = canvas.shape;
    let area = rng.random_range(LEAST_AREA..=1.0);
    let aspect = rng.random_range(-ASPECT..=ASPECT).exp();
    let [share_x, share_y] = [area * aspect, area / aspect].map(|share| share.sqrt().min(1.0));
    let left = rng.random_range(0.0..=1.0 - share_x);
    let top = rng.random_range(0.0..=1.0 - share_y);
    let mirrored = rng.random_bool(0.5);
    let [width, height] = [width as f32, height as f32];
    canvas.resampled(|[x, y]| {
        let x = if mirrored {
            width - 1.0 - x as f32
        } else {
            x as f32
        };
        // From pixel centre to pixel centre.
        let across = left * width + (x + 0.5) * share_x - 0.5;
        let down = top * height + (y as f32 + 0.5) * share_y - 0.5;
        [across, down]
    });
}

/// Changes brightness, contrast, saturation and hue.
fn light(canvas: &mut Canvas, rng: &mut StdRng) {
    let mut around_one = || 1.0 + rng.random_range(-LIGHT..=LIGHT);
    let [brightness, contrast, saturation] = [around_one(), around_one(), around_one()];
    let hue = rng.random_range(-HUE..=HUE);
    for value in &mut canvas.pixels {
        *value *= brightness;
    }
    let mean = canvas.pixels.iter().sum::<f32>() / canvas.pixels.len() as f32;
    for value in &mut canvas.pixels {
        *value = mean + contrast * (*value - mean);
    }
    saturate(canvas, saturation);
    turn_hue(canvas, hue);
    for value in &mut canvas.pixels {
        *value = value.clamp(0.0, 1.0);
    }
}

/// Calls `work` with red, green and blue of every pixel; a grey image has no colour.
fn for_each_colour(canvas: &mut Canvas, work: impl Fn([f32; 3]) -> [f32; 3]) {
    let [channels, height, width] = canvas.shape;
    if channels != 3 {
        return;
    }
    let area = height * width;
    for at in 0..area {
        let colour = work([0, 1, 2].map(|channel| canvas.pixels[channel * area + at]));
        for (channel, value) in colour.into_iter().enumerate() {
            canvas.pixels[channel * area + at] = value;
        }
    }
}

fn luma(colour: [f32; 3]) -> f32 {
    colour
        .iter()
        .zip(LUMA)
        .map(|(value, share)| value * share)
        .sum()
}

/// Stretches the distances from grey; by 0 the image is grey.
fn saturate(canvas: &mut Canvas, by: f32) {
    for_each_colour(canvas, |colour| {
        let grey = luma(colour);
        colour.map(|value| grey + by * (value - grey))
    });
}

/// Turns the two colour differences (of blue and of red to the luminance) about grey.
fn turn_hue(canvas: &mut Canvas, by: f32) {
    let (sin, cos) = by.sin_cos();
    for_each_colour(canvas, |colour| {
        let grey = luma(colour);
        let blue = (colour[2] - grey) / (2.0 - 2.0 * LUMA[2]);
        let red = (colour[0] - grey) / (2.0 - 2.0 * LUMA[0]);
        let (blue, red) = (cos * blue - sin * red, sin * blue + cos * red);
        let red = grey + (2.0 - 2.0 * LUMA[0]) * red;
        let blue = grey + (2.0 - 2.0 * LUMA[2]) * blue;
        // What keeps the luminance.
        let green = (grey - LUMA[0] * red - LUMA[2] * blue) / LUMA[1];
        [red, green, blue]
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// A ramp from left to right, in orange.
    fn ramp() -> Canvas {
        let row: Vec<f32> = (0..8).map(|x| 0.1 + x as f32 / 10.0).collect();
        let channels = [1.0, 0.6, 0.2].into_iter();
        Canvas {
            shape: [3, 8, 8],
            pixels: channels
                .flat_map(|share| row.repeat(8).into_iter().map(move |value| value * share))
                .collect(),
        }
    }

    fn colour(canvas: &Canvas, at: usize) -> [f32; 3] {
        [0, 1, 2].map(|channel| canvas.pixels[channel * 64 + at])
    }

    #[test]
    fn a_detail_is_a_stretch_of_the_ramp_in_either_direction() {
        let mut mirrored = 0;
        for seed in 0..40 {
            let mut canvas = ramp();
            detail(&mut canvas, &mut StdRng::seed_from_u64(seed));
            let (first, last) = (canvas.pixels[0], canvas.pixels[7]);
            mirrored += i32::from(first > last);
            let stretch = (last - first).abs();
            // Half a side at least (a quarter of the area, and no narrower than 3 to 4), less the
            // repeated edge.
            assert!((0.2..=0.701).contains(&stretch), "{stretch}");
            assert_eq!(canvas.pixels[..8], canvas.pixels[8..16], "rows stay alike");
        }
        assert!((8..=32).contains(&mirrored), "{mirrored}");
    }

    #[test]
    fn hue_and_saturation_keep_the_luminance() {
        for by in [-0.6, 0.3] {
            let (mut turned, mut pale) = (ramp(), ramp());
            turn_hue(&mut turned, by);
            saturate(&mut pale, by);
            for at in 0..64 {
                let before = luma(colour(&ramp(), at));
                for after in [&turned, &pale] {
                    assert!((luma(colour(after, at)) - before).abs() < 1e-5);
                }
            }
            assert_ne!(colour(&turned, 3), colour(&ramp(), 3));
        }
        let mut back = ramp();
        turn_hue(&mut back, 0.5);
        turn_hue(&mut back, -0.5);
        for (found, expected) in back.pixels.iter().zip(&ramp().pixels) {
            assert!((found - expected).abs() < 1e-5);
        }
        let mut grey = ramp();
        saturate(&mut grey, 0.0);
        let [red, green, blue] = colour(&grey, 5);
        assert!((red - green).abs() < 1e-6 && (green - blue).abs() < 1e-6);
    }
}
