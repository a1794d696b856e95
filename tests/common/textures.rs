//! Small industrial-like data sets in the layout of MVTec AD: printed cloth or stone, some of it
//! damaged.

use std::array;
use std::f32::consts::TAU;
use std::fs;
use std::ops::Range;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Height and width of every image, in pixels.
pub const SIDE: u32 = 96;

/// Colours, 0..=255, and how much of the cloth the ink covers.
const GROUND: [f32; 3] = [142.0, 128.0, 104.0];
const INK: [f32; 3] = [52.0, 58.0, 88.0];
/// By how much the threads or grains are brighter or darker than the ground, at most, and the
/// camera's noise (standard deviation, grey and of each colour), 0..=255.
const TEXTURE: f32 = 28.0;
const NOISE: [f32; 2] = [3.0, 1.5];
/// Waves that the grain of a stone is the sum of, and their lengths in pixels.
const WAVES: usize = 64;
const WAVE_LENGTHS: [f32; 2] = [4.0, 20.0];
/// Distances between threads along both axes, and the printed structure, in pixels.
const PERIODS: [f32; 2] = [8.0, 5.0];
const RING_RADIUS: f32 = 30.0;
const RING_HALF_WIDTH: f32 = 1.8;
const DOTS: usize = 6;
const DOT_RADIUS: f32 = 3.5;
const DOT_DISTANCE: f32 = 17.0;

/// A place in an image, x and y in pixels.
type Point = [f32; 2];

/// What is photographed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloth {
    /// Regular threads in even light, printed with ink that covers well. Easy.
    Woven,
    /// Stone or leather: irregular grains, whose size and direction differ from image to image, in
    /// uneven light; the print is pale and nowhere quite at its place; defects have less contrast.
    Granite,
}

impl Cloth {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Woven, Self::Granite];

    /// How much of the ground the ink covers.
    fn ink_opacity(self) -> f32 {
        match self {
            Self::Woven => 0.85,
            Self::Granite => 0.55,
        }
    }

    /// How much brighter or darker than the ground spots and scratches are, least and most, 0..=255.
    fn contrast(self) -> Range<f32> {
        match self {
            Self::Woven => 35.0..60.0,
            Self::Granite => 25.0..45.0,
        }
    }

    /// How much finer than elsewhere the texture of a wrong patch is, and what is left of its
    /// contrast.
    fn wrong_texture(self) -> [f32; 2] {
        match self {
            Self::Woven => [1.6, 0.1],
            Self::Granite => [1.6, 0.3],
        }
    }
}

/// What can be wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A dark or bright spot, 2 to 5 px in radius.
    Spot,
    /// A dark or bright line, 1 to 2 px wide and 15 to 40 px long.
    Scratch,
    /// A patch of 14 to 24 px in which the texture runs across, is finer or is blurred.
    Texture,
    /// One of the printed dots is not there.
    Missing,
}

impl Defect {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Spot, Self::Scratch, Self::Texture, Self::Missing];

    /// Name of the folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Scratch => "scratch",
            Self::Texture => "texture",
            Self::Missing => "missing",
        }
    }
}

/// Numbers of images.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Normal ones in `train/good`.
    pub train: usize,
    /// Normal ones in `test/good`.
    pub good: usize,
    /// Those with each [`Defect`], in `test/<defect>`.
    pub defective: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            train: 250,
            good: 60,
            defective: 25,
        }
    }
}

/// Writes a data set into `folder`: `train/good`, `test/good`, `test/<defect>` and
/// `ground_truth/<defect>`, files `000.png`, ... and `000_mask.png`, ... Every image depends on
/// `seed`, its folder and its number alone.
pub fn write(folder: &Path, cloth: Cloth, seed: u64, counts: Counts) {
    let save_normal = |set: u64, place: &str, count: usize| {
        let place = folder.join(place);
        fs::create_dir_all(&place).unwrap();
        for number in 0..count {
            let image = normal(cloth, image_seed(seed, set, number));
            image.save(place.join(format!("{number:03}.png"))).unwrap();
        }
    };
    save_normal(0, "train/good", counts.train);
    save_normal(1, "test/good", counts.good);
    for (set, defect) in (2..).zip(Defect::ALL) {
        let images = folder.join("test").join(defect.name());
        let masks = folder.join("ground_truth").join(defect.name());
        fs::create_dir_all(&images).unwrap();
        fs::create_dir_all(&masks).unwrap();
        for number in 0..counts.defective {
            let (image, mask) = defective(cloth, image_seed(seed, set, number), defect);
            image.save(images.join(format!("{number:03}.png"))).unwrap();
            mask.save(masks.join(format!("{number:03}_mask.png")))
                .unwrap();
        }
    }
}

fn image_seed(seed: u64, set: u64, number: usize) -> u64 {
    seed.wrapping_mul(1_000_003).wrapping_add(set << 32) ^ number as u64
}

/// A flawless image.
pub fn normal(cloth: Cloth, seed: u64) -> RgbImage {
    let rng = &mut StdRng::seed_from_u64(seed);
    let piece = Piece::new(cloth, rng);
    render(&piece, &Damage::over(|_| 0.0), rng).0
}

/// An image with a defect, and its mask: 255 where the defect changes the picture, else 0.
pub fn defective(cloth: Cloth, seed: u64, defect: Defect) -> (RgbImage, GrayImage) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let piece = Piece::new(cloth, rng);
    let damage = Damage::new(defect, &piece, rng);
    render(&piece, &damage, rng)
}

/// What differs from one flawless image to the next.
struct Piece {
    cloth: Cloth,
    phase: Point,
    brightness: f32,
    contrast: f32,
    /// Brightness gained from the centre to the right and the lower border.
    slope: [f32; 2],
    ring: Point,
    dots: [Point; DOTS],
    /// Waves of the grain; none where there are threads.
    grain: Vec<Wave>,
    /// Wave of the light, and its height in levels of brightness.
    light: Option<(Wave, f32)>,
}

/// A plane wave.
struct Wave {
    /// Change of the phase with x and with y, in radians per pixel.
    rate: Point,
    phase: f32,
}

impl Wave {
    fn new(direction: f32, length: f32, rng: &mut StdRng) -> Self {
        let (sin, cos) = direction.sin_cos();
        Self {
            rate: [cos, sin].map(|part| TAU * part / length),
            phase: TAU * rng.random::<f32>(),
        }
    }

    /// Its height at a place, -1..=1.
    fn at(&self, [x, y]: Point) -> f32 {
        (self.rate[0] * x + self.rate[1] * y + self.phase).sin()
    }
}

impl Piece {
    /// The numbers of a woven piece are drawn first, in an order that must stay: published results
    /// rest on these images.
    fn new(cloth: Cloth, rng: &mut StdRng) -> Self {
        let mut piece = Self::woven(rng);
        if cloth == Cloth::Granite {
            piece.cloth = cloth;
            piece.slope = piece.slope.map(|slope| 3.0 * slope);
            let length = rng.random_range(1.0_f32..2.0) * SIDE as f32;
            let light = Wave::new(TAU * rng.random::<f32>(), length, rng);
            piece.light = Some((light, 8.0));
            piece.displace([jitter(rng, 3.0), jitter(rng, 3.0)], jitter(rng, 0.25));
            piece.grain = grain(rng);
        }
        piece
    }

    fn woven(rng: &mut StdRng) -> Self {
        let ring = [jitter(rng, 1.5), jitter(rng, 1.5)].map(|offset| SIDE as f32 / 2.0 + offset);
        Self {
            cloth: Cloth::Woven,
            phase: [jitter(rng, 3.0), jitter(rng, 3.0)],
            brightness: jitter(rng, 8.0),
            contrast: 1.0 + jitter(rng, 0.15),
            slope: [jitter(rng, 5.0), jitter(rng, 5.0)],
            ring,
            dots: array::from_fn(|dot| {
                let (sin, cos) = (TAU * dot as f32 / DOTS as f32).sin_cos();
                let x = ring[0] + DOT_DISTANCE * cos + jitter(rng, 0.7);
                [x, ring[1] + DOT_DISTANCE * sin + jitter(rng, 0.7)]
            }),
            grain: Vec::new(),
            light: None,
        }
    }

    /// Turns the print about its middle, by `angle` in radians, and moves it by `shift`.
    fn displace(&mut self, shift: Point, angle: f32) {
        let (sin, cos) = angle.sin_cos();
        let [x0, y0] = self.ring;
        self.ring = [x0 + shift[0], y0 + shift[1]];
        for dot in &mut self.dots {
            let [x, y] = [dot[0] - x0, dot[1] - y0];
            *dot = [
                self.ring[0] + cos * x - sin * y,
                self.ring[1] + sin * x + cos * y,
            ];
        }
    }

    /// How far ink covers the place, 0..=1, when the dot number `missing` is not printed.
    fn ink(&self, at: Point, missing: Option<usize>) -> f32 {
        let from_ring = (distance(at, self.ring) - RING_RADIUS).abs();
        let dots = self.dots.iter().enumerate();
        dots.filter(|(dot, _)| Some(*dot) != missing)
            .map(|(_, dot)| covers(DOT_RADIUS, distance(at, *dot)))
            .fold(covers(RING_HALF_WIDTH, from_ring), f32::max)
    }

    /// Brightness of the threads or the grains, -1..=1.
    fn texture(&self, at: Point) -> f32 {
        if !self.grain.is_empty() {
            let sum: f32 = self.grain.iter().map(|wave| wave.at(at)).sum();
            // The sum has a variance of half its number of waves, this one of 1.
            return (sum * (2.0 / self.grain.len() as f32).sqrt()).tanh();
        }
        let wave = |axis: usize| (TAU * (at[axis] + self.phase[axis]) / PERIODS[axis]).sin();
        wave(0) * (0.7 + 0.3 * wave(1))
    }

    /// Brightness of the texture where it is wrong.
    fn wrong_texture(&self, wrong: Wrong, [x, y]: Point) -> f32 {
        let [finer, left] = self.cloth.wrong_texture();
        match wrong {
            Wrong::Across => self.texture([y, x]),
            Wrong::Finer => self.texture([finer * x, finer * y]),
            Wrong::Blurred => left * self.texture([x, y]),
        }
    }
}

/// Noise within a band of wave lengths, with a size and a direction of its own.
fn grain(rng: &mut StdRng) -> Vec<Wave> {
    let size = 1.0 + jitter(rng, 0.2);
    let along = jitter(rng, 0.4);
    let [shortest, longest] = WAVE_LENGTHS;
    let waves = (0..WAVES).map(|_| {
        let length = shortest * (longest / shortest).powf(rng.random());
        // Neither all alike nor all the same: leather has creases.
        Wave::new(along + jitter(rng, 0.9), size * length, rng)
    });
    waves.collect()
}

/// What can be wrong with a texture.
#[derive(Clone, Copy)]
enum Wrong {
    Across,
    Finer,
    Blurred,
}

/// A defect at its place.
struct Damage {
    /// How far every pixel is damaged, 0..=1, row by row.
    covered: Vec<f32>,
    /// Brightness gained there.
    change: f32,
    /// Another texture seen there.
    texture: Option<Wrong>,
    /// A dot that is not printed.
    missing: Option<usize>,
}

impl Damage {
    /// One that shows nowhere by itself.
    fn over(covered: impl Fn(Point) -> f32) -> Self {
        let points = (0..SIDE * SIDE).map(|at| [(at % SIDE) as f32, (at / SIDE) as f32]);
        Self {
            covered: points.map(covered).collect(),
            change: 0.0,
            texture: None,
            missing: None,
        }
    }

    fn new(defect: Defect, piece: &Piece, rng: &mut StdRng) -> Self {
        let mut damage = match defect {
            Defect::Spot => {
                let radius = rng.random_range(2.0..5.0);
                let mut centre = anywhere(rng);
                // On ink, a dark spot would not be seen.
                while piece.ink(centre, None) > 0.0 {
                    centre = anywhere(rng);
                }
                Self::over(|at| covers(radius, distance(at, centre)))
            }
            Defect::Scratch => {
                let half_width = rng.random_range(0.5..1.0);
                let mut ends: [Point; 2] = [[0.0; 2]; 2];
                while ends
                    .iter()
                    .flatten()
                    .any(|side| !(4.0..=92.0).contains(side))
                {
                    let (sin, cos) = (TAU * rng.random::<f32>()).sin_cos();
                    let half: f32 = rng.random_range(7.5..20.0);
                    let [x, y] = anywhere(rng);
                    ends = [-half, half].map(|along| [x + along * cos, y + along * sin]);
                }
                Self::over(|at| covers(half_width, from_line(at, ends)))
            }
            Defect::Texture => {
                let side = rng.random_range(14..=24_u16);
                let corner = [0; 2].map(|_: u16| f32::from(rng.random_range(4..92 - side)));
                let across = 0.0..f32::from(side);
                let inside = |at: Point| {
                    (0..2).all(|axis| across.contains(&(at[axis] - corner[axis])))
                        // Below the ink, the texture is hardly seen.
                        && piece.ink(at, None) < 0.5
                };
                let wrong = [Wrong::Across, Wrong::Finer, Wrong::Blurred];
                Self {
                    texture: Some(wrong[rng.random_range(0..wrong.len())]),
                    ..Self::over(|at| f32::from(u8::from(inside(at))))
                }
            }
            Defect::Missing => {
                let dot = rng.random_range(0..DOTS);
                Self {
                    missing: Some(dot),
                    ..Self::over(|at| covers(DOT_RADIUS, distance(at, piece.dots[dot])))
                }
            }
        };
        if matches!(defect, Defect::Spot | Defect::Scratch) {
            let strength: f32 = rng.random_range(piece.cloth.contrast());
            damage.change = if rng.random() { strength } else { -strength };
        }
        damage
    }
}

fn render(piece: &Piece, damage: &Damage, rng: &mut StdRng) -> (RgbImage, GrayImage) {
    let mut image = RgbImage::new(SIDE, SIDE);
    let mut mask = GrayImage::new(SIDE, SIDE);
    for ((x, y, pixel), &damaged) in image.enumerate_pixels_mut().zip(&damage.covered) {
        if damaged >= 0.5 {
            mask.put_pixel(x, y, Luma([255]));
        }
        let at = [x as f32, y as f32];
        let texture = match damage.texture {
            Some(wrong) if damaged > 0.0 => piece.wrong_texture(wrong, at),
            _ => piece.texture(at),
        };
        let [right, down] = at.map(|side| 2.0 * side / SIDE as f32 - 1.0);
        let mut light = piece.brightness + piece.slope[0] * right + piece.slope[1] * down;
        if let Some((wave, height)) = &piece.light {
            light += height * wave.at(at);
        }
        let level = light + piece.contrast * TEXTURE * texture;
        let ink = piece.cloth.ink_opacity() * piece.ink(at, damage.missing);
        let grey = damaged * damage.change + noise(rng, NOISE[0]);
        *pixel = Rgb(array::from_fn(|part| {
            let colour = GROUND[part] + level;
            let printed = colour + ink * (INK[part] - colour);
            // The cast saturates.
            (printed + grey + noise(rng, NOISE[1])).round() as u8
        }));
    }
    (image, mask)
}

fn anywhere(rng: &mut StdRng) -> Point {
    [0; 2].map(|_: u8| rng.random_range(8.0..88.0))
}

/// 1 within a shape that reaches `radius` from its middle, 0 outside, a border one pixel soft.
fn covers(radius: f32, distance: f32) -> f32 {
    (radius + 0.5 - distance).clamp(0.0, 1.0)
}

fn distance(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Distance from the line between two points.
fn from_line(at: Point, [from, to]: [Point; 2]) -> f32 {
    let along = [to[0] - from[0], to[1] - from[1]];
    let dot = (at[0] - from[0]) * along[0] + (at[1] - from[1]) * along[1];
    let share = (dot / (along[0].powi(2) + along[1].powi(2))).clamp(0.0, 1.0);
    distance(at, [from[0] + share * along[0], from[1] + share * along[1]])
}

fn jitter(rng: &mut StdRng, by: f32) -> f32 {
    rng.random_range(-by..by)
}

/// Nearly Gaussian: the sum of three uniform numbers, whose variance is 1.
fn noise(rng: &mut StdRng, deviation: f32) -> f32 {
    deviation * (0..3).map(|_| jitter(rng, 1.0)).sum::<f32>()
}
