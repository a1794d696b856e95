//! Normal images with a made-up defect: what settings may be chosen on, for no anomaly has been seen.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::data::Images;

/// Smallest and largest side of the square that a defect lies in, as a share of the image's shorter one.
const SIDES: (f32, f32) = (0.06, 0.4);
/// Smallest and largest share of the defect in what is seen in its place.
const OPACITY: (f32, f32) = (0.4, 1.0);
/// How often it is brighter or darker than where it was taken from.
const LIT: f64 = 0.5;
/// Smallest and largest change of light, as a share of white.
const LIGHT: (f32, f32) = (0.08, 0.4);
/// Waves of the outline's noise across the square.
const WAVES: (f32, f32) = (1.5, 5.0);
/// Width of the outline's soft edge, in units of the noise.
const EDGE: f32 = 0.15;

/// Every image with one defect: a patch of another image, or of another place in the same one, in a
/// random outline.
///
/// The outline is that of DRAEM (Zavrtanik et al., arXiv:2108.07610, section 3.3: a threshold on
/// Perlin's noise), the content that of CutPaste (Li et al., arXiv:2104.04015: what images of the same
/// kind show elsewhere), so that nothing but normal images is needed.
pub fn with_defects(images: &Images, rng: &mut StdRng) -> Images {
    let shape = images.shape();
    let mut pixels = Vec::with_capacity(images.len() * shape.iter().product::<usize>());
    for index in 0..images.len() {
        let source = images.get(rng.random_range(0..images.len()));
        let mut image = images.get(index).to_vec();
        spoil(&mut image, source, shape, rng);
        pixels.extend(image);
    }
    Images::new(shape, pixels).expect("as many pixels as before")
}

/// Pastes a patch of `source` into `image`, both `[channels, height, width]`.
fn spoil(image: &mut [u8], source: &[u8], [channels, height, width]: [usize; 3], rng: &mut StdRng) {
    let shorter = height.min(width) as f32;
    let side = (shorter * rng.random_range(SIDES.0..=SIDES.1)).max(3.0) as usize;
    let side = side.min(height).min(width);
    let mut corner = || {
        let top = rng.random_range(0..=height - side);
        (top, rng.random_range(0..=width - side))
    };
    let ((top, left), (from_top, from_left)) = (corner(), corner());
    let turns = rng.random_range(0..4);
    let opacity = rng.random_range(OPACITY.0..=OPACITY.1);
    let light = match rng.random_bool(LIT) {
        true => {
            let light = 255.0 * rng.random_range(LIGHT.0..=LIGHT.1);
            if rng.random_bool(0.5) { light } else { -light }
        }
        false => 0.0,
    };
    let outline = outline(side, rng);
    for (place, weight) in outline.into_iter().enumerate() {
        let (row, column) = (place / side, place % side);
        let last = side - 1;
        let (from_row, from_column) = match turns {
            0 => (row, column),
            1 => (column, last - row),
            2 => (last - row, last - column),
            _ => (last - column, row),
        };
        for channel in 0..channels {
            let plane = channel * height * width;
            let to = plane + (top + row) * width + left + column;
            let from = plane + (from_top + from_row) * width + from_left + from_column;
            let pasted = f32::from(source[from]) + light;
            let was = f32::from(image[to]);
            image[to] = (was + weight * opacity * (pasted - was)).clamp(0.0, 255.0) as u8;
        }
    }
}

/// How much of every pixel of a square belongs to a random shape in it, from 0 to 1.
///
/// # Shapes
/// To `[side * side]`.
fn outline(side: usize, rng: &mut StdRng) -> Vec<f32> {
    let waves = rng.random_range(WAVES.0..=WAVES.1);
    let noise = Noise::new(waves.ceil() as usize + 2, rng);
    // Shapes are round on average, and never reach the square's edge.
    let middle = (side as f32 - 1.0) / 2.0;
    let values = (0..side * side).map(|place| {
        let [y, x] = [place / side, place % side].map(|at| at as f32);
        let radius = ((y - middle).hypot(x - middle) / (middle + 1.0)).min(1.0);
        let at = [y, x].map(|at| at / side as f32 * waves);
        let inside = 0.55 - radius + 0.7 * noise.at(at) * (1.0 - radius);
        (inside / EDGE).clamp(0.0, 1.0)
    });
    values.collect()
}

/// Perlin's gradient noise ("An image synthesizer", SIGGRAPH 1985), about -0.7 to 0.7.
struct Noise {
    nodes: usize,
    /// A direction for every node of the lattice.
    gradients: Vec<[f32; 2]>,
}

impl Noise {
    fn new(nodes: usize, rng: &mut StdRng) -> Self {
        let mut gradient = || {
            let angle: f32 = rng.random_range(0.0..std::f32::consts::TAU);
            [angle.sin(), angle.cos()]
        };
        Self {
            nodes,
            gradients: (0..nodes * nodes).map(|_| gradient()).collect(),
        }
    }

    /// The value at a place from 0 to `nodes - 1` on both axes, the last excluded.
    fn at(&self, place: [f32; 2]) -> f32 {
        let cell = place.map(|at| (at as usize).min(self.nodes - 2));
        let [y, x] = [0, 1].map(|axis| place[axis] - cell[axis] as f32);
        let corner = |down: usize, across: usize| {
            let gradient = self.gradients[(cell[0] + down) * self.nodes + cell[1] + across];
            gradient[0] * (y - down as f32) + gradient[1] * (x - across as f32)
        };
        // Perlin's smooth step: no edges at the lattice's lines.
        let [down, across] = [y, x].map(|t| t * t * t * (t * (6.0 * t - 15.0) + 10.0));
        let between = |a: f32, b: f32, share: f32| a + share * (b - a);
        between(
            between(corner(0, 0), corner(0, 1), across),
            between(corner(1, 0), corner(1, 1), across),
            down,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// Grey noise of 64x48 pixels.
    fn images(count: usize) -> Images {
        let mut rng = StdRng::seed_from_u64(4);
        let pixels = (0..count * 64 * 48).map(|_| rng.random_range(80..160));
        Images::new([1, 64, 48], pixels.collect()).unwrap()
    }

    #[test]
    fn every_image_gets_one_defect_that_is_smaller_than_itself() {
        let images = images(50);
        let spoilt = with_defects(&images, &mut StdRng::seed_from_u64(1));
        assert_eq!(spoilt.shape(), images.shape());
        let mut shares = Vec::new();
        for index in 0..images.len() {
            let pixels = images.get(index).iter().zip(spoilt.get(index));
            let changed: Vec<usize> = pixels
                .enumerate()
                .filter_map(|(at, (a, b))| (a != b).then_some(at))
                .collect();
            assert!(!changed.is_empty(), "image {index}");
            let rows = changed.iter().map(|at| at / 48);
            let height = rows.clone().max().unwrap() - rows.min().unwrap() + 1;
            assert!(height <= 20, "{height} rows of image {index}");
            shares.push(changed.len() as f64 / (64.0 * 48.0));
        }
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!((0.001..0.1).contains(&mean), "{mean}");
    }

    #[test]
    fn the_same_seed_makes_the_same_defects() {
        let images = images(5);
        let of = |seed| with_defects(&images, &mut StdRng::seed_from_u64(seed));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn small_images_and_colours_are_possible() {
        for shape in [[3, 16, 16], [1, 2, 2], [3, 4096, 16]] {
            let pixels = vec![100; 2 * shape.iter().product::<usize>()];
            let images = Images::new(shape, pixels).unwrap();
            let spoilt = with_defects(&images, &mut StdRng::seed_from_u64(1));
            assert_eq!(spoilt.len(), 2);
        }
    }

    #[test]
    fn the_noise_is_smooth_and_zero_at_the_nodes() {
        let noise = Noise::new(6, &mut StdRng::seed_from_u64(2));
        assert_eq!(noise.at([2.0, 3.0]), 0.0);
        let mut largest = 0.0f32;
        for step in 0..4000 {
            let at = step as f32 / 1000.0;
            let [here, there] = [at, at + 0.001].map(|at| noise.at([at, 0.7 * at]));
            largest = largest.max((here - there).abs());
        }
        assert!(largest < 0.01, "{largest}");
    }
}
