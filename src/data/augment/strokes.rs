//! Another hand: an affine map, a smooth bending, a thicker or a thinner pen.

use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

use super::Canvas;

/// Largest turn, in radians.
const TURN: f32 = 0.35;
/// Largest logarithm of a scale, for each axis of its own.
const SCALE: f32 = 0.2;
/// Largest slant, in columns per row.
const SLANT: f32 = 0.3;
/// Largest move along each axis, in sides of the image.
const MOVE: f32 = 0.08;
/// Nodes of the grid that is bent, along each axis.
const NODES: usize = 6;
/// Standard deviation of a node's displacement, in sides of the image.
const BEND: f32 = 0.03;

/// Draws the image as by another hand.
pub(super) fn change(canvas: &mut Canvas, rng: &mut StdRng) {
    let [_, height, width] = canvas.shape;
    let affine = affine([width, height], rng);
    let bending = Bending::draw([width, height], rng);
    canvas.resampled(|pixel| {
        let [dx, dy] = bending.at(pixel);
        let [x, y] = affine(pixel);
        [x + dx, y + dy]
    });
    thicken(canvas, rng.random_range(-1.0..=1.0));
}

/// A random affine map about the middle of an image of this width and height.
fn affine(
    [width, height]: [usize; 2],
    rng: &mut StdRng,
) -> impl Fn([usize; 2]) -> [f32; 2] + use<> {
    let mut within = |most: f32| rng.random_range(-most..=most);
    let (sin, cos) = within(TURN).sin_cos();
    let [scale_x, scale_y] = [within(SCALE).exp(), within(SCALE).exp()];
    let slant = within(SLANT);
    let [move_x, move_y] = [within(MOVE) * width as f32, within(MOVE) * height as f32];
    let middle = [width, height].map(|side| (side as f32 - 1.0) / 2.0);
    move |[x, y]| {
        let (x, y) = (x as f32 - middle[0], y as f32 - middle[1]);
        let (x, y) = (cos * x - sin * y, sin * x + cos * y);
        let (x, y) = (scale_x * (x + slant * y), scale_y * y);
        [middle[0] + x + move_x, middle[1] + y + move_y]
    }
}

/// Displacements of a grid of nodes, with smooth transitions between them.
struct Bending {
    /// Sides of the image.
    sides: [usize; 2],
    /// `[row, column]` of the nodes.
    nodes: [[[f32; 2]; NODES]; NODES],
}

impl Bending {
    fn draw(sides: [usize; 2], rng: &mut StdRng) -> Self {
        let mut node = |side: usize| {
            let normal: f32 = StandardNormal.sample(&mut *rng);
            BEND * side as f32 * normal
        };
        let nodes = std::array::from_fn(|_| std::array::from_fn(|_| sides.map(&mut node)));
        Self { sides, nodes }
    }

    /// The displacement of a pixel.
    fn at(&self, pixel: [usize; 2]) -> [f32; 2] {
        let [(column, across), (row, down)] = [0, 1].map(|axis| {
            let steps = (self.sides[axis] - 1).max(1) as f32;
            let place = pixel[axis] as f32 / steps * (NODES - 1) as f32;
            let node = (place as usize).min(NODES - 2);
            let rest = place - node as f32;
            // Level at the nodes, so that strokes have no corners there.
            (node, rest * rest * (3.0 - 2.0 * rest))
        });
        std::array::from_fn(|axis| {
            let along = |row: usize| {
                let (left, right) = (self.nodes[row][column], self.nodes[row][column + 1]);
                left[axis] + across * (right[axis] - left[axis])
            };
            let (above, below) = (along(row), along(row + 1));
            above + down * (below - above)
        })
    }
}

/// Goes from each pixel toward the brightest (`by` above 0) or the darkest (below) of it and its four
/// neighbours, all the way at 1 and -1: what is bright grows thicker, or thinner.
fn thicken(canvas: &mut Canvas, by: f32) {
    let [channels, height, width] = canvas.shape;
    let further = |a: f32, b: f32| if by > 0.0 { a.max(b) } else { a.min(b) };
    let before = canvas.pixels.clone();
    let area = height * width;
    for channel in 0..channels {
        let map = &before[channel * area..][..area];
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let at = y * width + x;
            let mut extreme = map[at];
            for (inside, neighbour) in [
                (x > 0, at.wrapping_sub(1)),
                (x + 1 < width, at + 1),
                (y > 0, at.wrapping_sub(width)),
                (y + 1 < height, at + width),
            ] {
                if inside {
                    extreme = further(extreme, map[neighbour]);
                }
            }
            canvas.pixels[channel * area + at] += by.abs() * (extreme - map[at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// A bar of three columns in an image of 15 x 15.
    fn bar() -> Canvas {
        let columns = (0..225).map(|at| f32::from(u8::from((6..9).contains(&(at % 15)))));
        Canvas {
            shape: [1, 15, 15],
            pixels: columns.collect(),
        }
    }

    #[test]
    fn the_pen_grows_thicker_and_thinner() {
        let ink = |by| {
            let mut canvas = bar();
            thicken(&mut canvas, by);
            canvas.pixels.iter().sum::<f32>()
        };
        assert_eq!(ink(0.0), 45.0);
        assert_eq!(ink(1.0), 75.0);
        assert_eq!(ink(0.5), 60.0);
        assert_eq!(ink(-1.0), 15.0);
    }

    #[test]
    fn displacements_are_small_and_smooth() {
        let rng = &mut StdRng::seed_from_u64(1);
        let bending = Bending::draw([15, 15], rng);
        for (x, y) in (0..14).flat_map(|x| (0..15).map(move |y| (x, y))) {
            let (here, next) = (bending.at([x, y]), bending.at([x + 1, y]));
            for axis in [0, 1] {
                assert!(here[axis].abs() < 4.0 * BEND * 15.0);
                // A pixel's step never turns back.
                assert!((here[axis] - next[axis]).abs() < 1.0, "{here:?} {next:?}");
            }
        }
        // At the corners, the nodes' own.
        let last = NODES - 1;
        for (corner, node) in [([0, 0], [0, 0]), ([14, 14], [last, last])] {
            let (found, expected) = (bending.at(corner), bending.nodes[node[1]][node[0]]);
            for axis in [0, 1] {
                assert!((found[axis] - expected[axis]).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn an_affine_map_keeps_lines_straight_and_the_middle_near() {
        for seed in 0..20 {
            let map = affine([15, 15], &mut StdRng::seed_from_u64(seed));
            let [a, b, c] = [[3, 2], [7, 7], [11, 12]].map(map);
            for axis in [0, 1] {
                assert!((a[axis] + c[axis] - 2.0 * b[axis]).abs() < 1e-4);
                assert!((b[axis] - 7.0).abs() <= MOVE * 15.0 + 1e-4);
            }
        }
    }
}
