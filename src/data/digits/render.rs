//! From strokes to pixels: the slant and sway of the writing, the pen, the scan.

use super::strokes::{Point, Stroke};
use super::{Hand, SIDE};

/// Curve pieces between two given points.
const PIECES: usize = 6;

/// Draws `strokes` into `image`, 28x28, as a scanned digit: at most 20 pixels high and wide and
/// centred on its ink like those of MNIST, give or take a little.
pub(super) fn draw(strokes: Vec<Stroke>, hand: &mut Hand, image: &mut [u8]) {
    let mut curves: Vec<Vec<Point>> = strokes.iter().map(|stroke| smooth(stroke)).collect();
    deform(&mut curves, hand);
    place(&mut curves, hand);
    let segments = ink(&curves, hand);
    scan(&segments, hand, image);
}

/// A Catmull-Rom curve through the points, broken where a point is given twice.
fn smooth(stroke: &[Point]) -> Vec<Point> {
    let mut curve = Vec::with_capacity(stroke.len() * PIECES);
    for run in stroke.chunk_by(|a, b| a != b) {
        for (at, pair) in run.windows(2).enumerate() {
            let before = if at == 0 { pair[0] } else { run[at - 1] };
            let after = *run.get(at + 2).unwrap_or(&pair[1]);
            curve.extend((0..PIECES).map(|piece| {
                let t = piece as f32 / PIECES as f32;
                catmull_rom([before, pair[0], pair[1], after], t)
            }));
        }
    }
    curve.extend(stroke.last());
    curve
}

fn catmull_rom(p: [Point; 4], t: f32) -> Point {
    std::array::from_fn(|axis| {
        let [a, b, c, d] = p.map(|point| point[axis]);
        b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
    })
}

/// Bends, narrows, slants and turns the whole digit.
fn deform(curves: &mut [Vec<Point>], hand: &mut Hand) {
    // Two long waves across the paper in each direction: smooth, so that strokes stay strokes.
    let strength = hand.between(0.0, 0.05);
    let waves: [[f32; 4]; 4] = std::array::from_fn(|_| {
        [
            hand.normal(strength),
            hand.normal(4.0),
            hand.normal(4.0),
            hand.between(0.0, std::f32::consts::TAU),
        ]
    });
    let wave = |[size, x, y, phase]: [f32; 4], point: Point| {
        size * (x * point[0] + y * point[1] + phase).sin()
    };
    let width = hand.between(0.65, 1.05);
    let slant = 0.12 + hand.normal(0.22);
    let (sin, cos) = hand.normal(0.1).sin_cos();
    for point in curves.iter_mut().flatten() {
        let x = point[0] + wave(waves[0], *point) + wave(waves[1], *point) - 0.5;
        let y = point[1] + wave(waves[2], *point) + wave(waves[3], *point) - 0.5;
        let x = width * x - slant * y;
        *point = [cos * x - sin * y, sin * x + cos * y];
    }
}

/// Scales to about 20 pixels on the longer side and centres the ink in the image.
fn place(curves: &mut [Vec<Point>], hand: &mut Hand) {
    let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
    let (mut weight, mut centre) = (0.0, [0.0; 2]);
    for curve in &*curves {
        for pair in curve.windows(2) {
            let length = distance(pair[0], pair[1]);
            weight += length;
            for axis in 0..2 {
                centre[axis] += length * (pair[0][axis] + pair[1][axis]) / 2.0;
                low[axis] = low[axis].min(pair[0][axis]).min(pair[1][axis]);
                high[axis] = high[axis].max(pair[0][axis]).max(pair[1][axis]);
            }
        }
    }
    let extent = (high[0] - low[0]).max(high[1] - low[1]).max(1e-3);
    let scale = hand.between(15.5, 18.5) / extent;
    for axis in 0..2 {
        let centre = centre[axis] / f32::max(weight, 1e-3);
        let middle = (SIDE as f32 - 1.0) / 2.0 + hand.normal(0.5);
        for point in curves.iter_mut().flatten() {
            point[axis] = middle + scale * (point[axis] - centre);
        }
    }
}

fn distance(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// A straight piece of a stroke with the pen's radius and ink at its two ends, in pixels and 0..1.
struct Segment {
    ends: [Point; 2],
    radius: [f32; 2],
    ink: [f32; 2],
}

/// Leads the pen along the curves: it is broad or fine, its nib may be flat, its pressure varies.
fn ink(curves: &[Vec<Point>], hand: &mut Hand) -> Vec<Segment> {
    let radius = (0.32 + hand.normal(0.28)).exp().clamp(0.65, 2.5);
    let nib = hand.between(0.0, std::f32::consts::PI);
    let flatness = hand.between(0.0, 0.35);
    let unevenness = hand.between(0.0, 0.22);
    let paleness = hand.between(0.0, 1.0).powi(3) * 0.4;
    let mut segments = Vec::new();
    for curve in curves {
        let phase = hand.between(0.0, std::f32::consts::TAU);
        let pace = hand.between(0.05, 0.35);
        let mut travelled = 0.0;
        for pair in curve.windows(2) {
            let step = distance(pair[0], pair[1]);
            let angle = (pair[1][1] - pair[0][1]).atan2(pair[1][0] - pair[0][0]);
            let broad = 1.0 - flatness * (angle - nib).cos().abs();
            let pressure = |at: f32| 1.0 + unevenness * (pace * at + phase).sin();
            let pressures = [pressure(travelled), pressure(travelled + step)];
            segments.push(Segment {
                ends: [pair[0], pair[1]],
                radius: pressures.map(|p| radius * broad * p),
                ink: pressures.map(|p| 1.0 - paleness * (1.4 - p).clamp(0.0, 1.0)),
            });
            travelled += step;
        }
    }
    segments
}

/// Rasterises by the distance of each pixel to the strokes, with the soft edge of a scan.
fn scan(segments: &[Segment], hand: &mut Hand, image: &mut [u8]) {
    let softness = hand.between(0.5, 1.1);
    let mut paper = [0f32; SIDE * SIDE];
    for segment in segments {
        let reach = segment.radius[0].max(segment.radius[1]) + softness;
        let [a, b] = segment.ends;
        let range = |axis: usize| {
            let low = (a[axis].min(b[axis]) - reach).ceil().max(0.0) as usize;
            let high = (a[axis].max(b[axis]) + reach).floor();
            low..(high + 1.0).clamp(0.0, SIDE as f32) as usize
        };
        let along = [b[0] - a[0], b[1] - a[1]];
        let length = (along[0] * along[0] + along[1] * along[1]).max(1e-6);
        for y in range(1) {
            for x in range(0) {
                let from = [x as f32 - a[0], y as f32 - a[1]];
                let t = ((from[0] * along[0] + from[1] * along[1]) / length).clamp(0.0, 1.0);
                let away = (from[0] - t * along[0]).hypot(from[1] - t * along[1]);
                let radius = segment.radius[0] + t * (segment.radius[1] - segment.radius[0]);
                let ink = segment.ink[0] + t * (segment.ink[1] - segment.ink[0]);
                let edge = (0.5 + (radius - away) / (2.0 * softness)).clamp(0.0, 1.0);
                let cell = &mut paper[y * SIDE + x];
                *cell = cell.max(ink * edge * edge * (3.0 - 2.0 * edge));
            }
        }
    }
    // Grain only where there is ink: the scanner's threshold leaves the background at zero.
    let grain = hand.between(0.0, 0.1);
    for (pixel, &value) in image.iter_mut().zip(&paper) {
        let value = if value > 0.03 {
            value * (1.0 + hand.normal(grain))
        } else {
            0.0
        };
        *pixel = (255.0 * value).round().clamp(0.0, 255.0) as u8;
    }
}
