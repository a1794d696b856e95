//! Where an image departs from normal: one value per position, at any size, and drawn over the picture.

mod colours;
mod mask;
mod overlay;
mod taps;

pub use self::mask::MaskLevels;
use self::taps::{Taps, gaussian, interpolation, mean, reflected};
use crate::data::Framing;

/// One value per position of an image: higher = more anomalous. Unit of the score it belongs to.
///
/// # Shape
/// `[height, width]`, row-major, no side zero. Values that are not finite are kept, and spread when
/// the map is resized or smoothed.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Heatmap {
    /// Wraps `values` `[height, width]`; `None` when a side is zero or the number is another.
    pub fn new(height: usize, width: usize, values: Vec<f32>) -> Option<Self> {
        let fits = !values.is_empty() && height.checked_mul(width) == Some(values.len());
        fits.then_some(Self {
            height,
            width,
            values,
        })
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, `[height, width]`, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The map at another size (a side of zero counts as one): bilinear, corners not aligned, edges
    /// repeated. When shrinking, every value has its share in the mean, as in the conversion of
    /// images, so that a narrow peak is lowered but not passed over.
    ///
    /// Enlarging is `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`,
    /// shrinking the same with `antialias=True`.
    pub fn resized(&self, height: usize, width: usize) -> Self {
        let [height, width] = [height.max(1), width.max(1)];
        self.weighted(
            [height, width],
            |row| interpolation(row, self.height, height),
            |column| interpolation(column, self.width, width),
        )
    }

    /// The map after a Gaussian filter of the standard deviations `sigma`, down and across, in pixels of
    /// this map, cut off at 4 sigma, the map being reflected at its borders (`d c b a | a b c d | d c b
    /// a`): the mean of all values stays. Along an axis, zero, less or NaN changes nothing; more than
    /// the longer side counts as that.
    ///
    /// The same as `scipy.ndimage.gaussian_filter`. Its time grows with the pixels times sigma:
    /// smooth first, enlarge afterwards.
    pub fn smoothed(&self, sigma: [f32; 2]) -> Self {
        let longer = self.height.max(self.width) as f64;
        let kernels = sigma.map(|sigma| match sigma > 0.0 {
            true => gaussian(f64::from(sigma).min(longer)),
            // NaN too.
            false => vec![1.0],
        });
        self.weighted(
            [self.height, self.width],
            |row| reflected(row, self.height, &kernels[0]),
            |column| reflected(column, self.width, &kernels[1]),
        )
    }

    /// Brings the map of a converted image back to the `original` image, `[height, width]`: what
    /// [`Conversion`](crate::data::Conversion) did to the pixels, undone. With [`Framing::Pad`], the map must
    /// have the size of the converted image; otherwise it may have any.
    ///
    /// What [`Framing::Crop`] cut away was not looked at and has the lowest value of the map.
    pub fn onto_original(&self, fit: Framing, original: [usize; 2]) -> Self {
        let original = original.map(|side| side.max(1));
        let (seen, lands) = fit.place(original, [self.height, self.width]);
        let part = if seen.sides() == lands.sides() {
            // Within the map for every image that could be padded; edges repeated beyond.
            Self::from_fn(lands.sides(), |row, column| {
                let row = (lands.top + row).min(self.height - 1);
                self.at(row, (lands.left + column).min(self.width - 1))
            })
        } else {
            // Around what was kept lie repeated edges.
            let kept = Self::from_fn(lands.sides(), |row, column| {
                self.at(lands.top + row, lands.left + column)
            });
            kept.resized(seen.height, seen.width)
        };
        if seen.sides() == original {
            return part;
        }
        // NaN only when all are.
        let lowest = self.values.iter().copied().fold(f32::NAN, f32::min);
        Self::from_fn(original, |row, column| {
            if seen.contains(row, column) {
                part.at(row - seen.top, column - seen.left)
            } else {
                lowest
            }
        })
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.width + column]
    }

    fn from_fn([height, width]: [usize; 2], value: impl Fn(usize, usize) -> f32) -> Self {
        let values = (0..height * width)
            .map(|at| value(at / width, at % width))
            .collect();
        Self {
            height,
            width,
            values,
        }
    }

    /// A map of `[height, width]` whose values are weighted means of these, first along each row
    /// by the taps of `columns`, then along each column by those of `rows`.
    fn weighted(
        &self,
        [height, width]: [usize; 2],
        rows: impl Fn(usize) -> Taps,
        columns: impl Fn(usize) -> Taps,
    ) -> Self {
        let taps: Vec<Taps> = (0..width).map(columns).collect();
        let mut wide = Vec::with_capacity(self.height * width);
        for row in self.values.chunks_exact(self.width) {
            wide.extend(taps.iter().map(|taps| mean(taps, |source| row[source])));
        }
        let mut values = Vec::with_capacity(height * width);
        for row in 0..height {
            let taps = rows(row);
            values.extend(
                (0..width).map(|column| mean(&taps, |source| wide[source * width + column])),
            );
        }
        Self {
            height,
            width,
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Conversion, Images};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const FITS: [Framing; 3] = [Framing::Pad, Framing::Resize, Framing::Crop];

    fn map<const W: usize>(rows: &[[f32; W]]) -> Heatmap {
        Heatmap::new(rows.len(), W, rows.concat()).unwrap()
    }

    fn noise(height: usize, width: usize, seed: u64) -> Heatmap {
        let rng = &mut StdRng::seed_from_u64(seed);
        let values = (0..height * width).map(|_| rng.random()).collect();
        Heatmap::new(height, width, values).unwrap()
    }

    fn sides(map: &Heatmap) -> [usize; 2] {
        [map.height(), map.width()]
    }

    /// Row and column of the highest value.
    fn peak(map: &Heatmap) -> [usize; 2] {
        let values = map.values().iter().enumerate();
        let (at, _) = values
            .max_by(|left, right| left.1.total_cmp(right.1))
            .unwrap();
        [at / map.width(), at % map.width()]
    }

    #[track_caller]
    fn assert_close(left: f32, right: f32) {
        assert!((left - right).abs() < 2e-6, "{left} is not {right}");
    }

    #[test]
    fn values_must_fill_the_sides() {
        assert!(Heatmap::new(2, 2, vec![0.0; 3]).is_none());
        assert!(Heatmap::new(0, 3, Vec::new()).is_none());
        assert!(Heatmap::new(usize::MAX, 2, vec![0.0; 2]).is_none());
        let map = Heatmap::new(1, 2, vec![0.0, 1.0]).unwrap();
        assert_eq!((sides(&map), map.values()), ([1, 2], &[0.0, 1.0][..]));
    }

    #[test]
    fn a_constant_stays_a_constant() {
        let map = Heatmap::new(32, 32, vec![-1234.567; 32 * 32]).unwrap();
        let mut changed = vec![
            map.resized(7, 100),
            map.resized(0, 1),
            map.smoothed([2.3; 2]),
            map.smoothed([f32::MAX; 2]),
        ];
        for fit in FITS {
            changed.push(map.onto_original(fit, [27, 30]));
            changed.push(map.onto_original(fit, [100, 41]));
            changed.push(map.onto_original(fit, [0, 5]));
        }
        for changed in changed {
            assert_eq!(changed.values().len(), changed.height() * changed.width());
            assert!(changed.values().iter().all(|&value| value == -1234.567));
        }
    }

    #[test]
    fn enlarging_is_bilinear_without_aligned_corners() {
        // torch.nn.functional.interpolate(torch.tensor([[[[0., 1.], [2., 3.]]]]), size=(4, 4),
        //                                 mode="bilinear", align_corners=False)
        let expected = map(&[
            [0.0, 0.25, 0.75, 1.0],
            [0.5, 0.75, 1.25, 1.5],
            [1.5, 1.75, 2.25, 2.5],
            [2.0, 2.25, 2.75, 3.0],
        ]);
        assert_eq!(map(&[[0.0, 1.0], [2.0, 3.0]]).resized(4, 4), expected);
        let map = noise(5, 7, 1);
        assert_eq!(map.resized(5, 7), map);
        assert_eq!(sides(&map.resized(3, 20)), [3, 20]);
    }

    #[test]
    fn shrinking_passes_nothing_over() {
        for at in 0..64 {
            let mut values = vec![0.0; 64];
            values[at] = 1.0;
            let shrunk = Heatmap::new(1, 64, values).unwrap().resized(1, 8);
            let [_, column] = peak(&shrunk);
            assert!(column.abs_diff(at / 8) <= 1, "{at} is at {column}");
            assert!(shrunk.values()[column] > 0.05, "{at}");
        }
    }

    #[test]
    fn smoothing_is_a_gaussian_reflected_at_the_borders() {
        // 1, exp(-1/2), exp(-2), exp(-9/2), exp(-8) over their sum, each but the first twice.
        let weights = [0.398_943, 0.241_971, 0.053_991, 0.004_432];
        let mut values = vec![0.0; 9];
        values[0] = 1.0;
        let border = Heatmap::new(1, 9, values).unwrap().smoothed([1.0; 2]);
        for (pair, &value) in weights.windows(2).zip(border.values()) {
            assert_close(value, pair[0] + pair[1]);
        }

        let mut values = vec![0.0; 11 * 11];
        values[5 * 11 + 5] = 1.0;
        let centre = Heatmap::new(11, 11, values).unwrap().smoothed([1.0; 2]);
        assert_eq!(peak(&centre), [5, 5]);
        for (down, first) in weights.iter().enumerate() {
            for (right, second) in weights.iter().enumerate() {
                for [row, column] in [[5 + down, 5 + right], [5 - down, 5 - right]] {
                    assert_close(centre.at(row, column), first * second);
                }
            }
        }
    }

    #[test]
    fn each_axis_has_a_filter_of_its_own() {
        let noise = noise(9, 7, 4);
        let rows = noise.smoothed([1.5, 0.0]);
        let (apart, together) = (rows.smoothed([0.0, 0.7]), noise.smoothed([1.5, 0.7]));
        for (left, right) in apart.values().iter().zip(together.values()) {
            assert_close(*left, *right);
        }
        for column in 0..7 {
            let values = (0..9).map(|row| noise.at(row, column)).collect();
            let alone = Heatmap::new(9, 1, values).unwrap().smoothed([1.5, 0.0]);
            for row in 0..9 {
                assert_close(rows.at(row, column), alone.at(row, 0));
            }
        }
    }

    #[test]
    fn smoothing_keeps_the_mean_and_evens_out() {
        let noise = noise(13, 20, 2);
        let mean = |map: &Heatmap| {
            let sum: f64 = map.values().iter().copied().map(f64::from).sum();
            sum / map.values().len() as f64
        };
        let spread = |map: &Heatmap| {
            let highest = map.values().iter().copied().fold(f32::MIN, f32::max);
            highest - map.values().iter().copied().fold(f32::MAX, f32::min)
        };
        let mut before = spread(&noise);
        for sigma in [0.5, 1.0, 3.0, 20.0, f32::INFINITY] {
            let smooth = noise.smoothed([sigma; 2]);
            assert!((mean(&smooth) - mean(&noise)).abs() < 1e-6, "{sigma}");
            assert!(spread(&smooth) <= before, "{sigma}");
            before = spread(&smooth);
        }
        assert!(before < 0.05, "{before}");
        for sigma in [0.0, -1.0, f32::NAN, 1e-30] {
            assert_eq!(noise.smoothed([sigma; 2]), noise);
        }
    }

    /// An image of the given sides with one soft spot.
    fn spot([height, width]: [usize; 2], [row, column]: [usize; 2]) -> Vec<u8> {
        (0..height * width)
            .map(|at| {
                let [down, right] = [(at / width).abs_diff(row), (at % width).abs_diff(column)];
                let distance = (down as f32).hypot(right as f32);
                (20.0 + 200.0 * (-distance * distance / 32.0).exp()) as u8
            })
            .collect()
    }

    /// The spot after a conversion to 32x32 grey, as a map.
    fn converted(fit: Framing, sides: [usize; 2], pixels: Vec<u8>) -> Heatmap {
        let conversion = Conversion {
            channels: 1,
            height: 32,
            width: 32,
            fit,
        };
        let images = Images::new([1, sides[0], sides[1]], pixels).unwrap();
        let images = conversion.apply(images).unwrap();
        let values = images.get(0).iter().copied().map(f32::from).collect();
        Heatmap::new(32, 32, values).unwrap()
    }

    #[test]
    fn a_spot_returns_to_its_place_in_the_original() {
        for (fit, original, place) in [
            (Framing::Pad, [27, 30], [8, 21]),
            (Framing::Pad, [32, 5], [30, 1]),
            (Framing::Resize, [90, 120], [31, 90]),
            (Framing::Resize, [25, 40], [20, 7]),
            (Framing::Crop, [60, 101], [35, 67]),
            (Framing::Crop, [120, 64], [40, 10]),
            (Framing::Crop, [20, 30], [10, 20]),
        ] {
            let pixels = spot(original, place);
            let map = converted(fit, original, pixels).onto_original(fit, original);
            assert_eq!(sides(&map), original);
            let found = peak(&map);
            let off = [0, 1].map(|axis| found[axis].abs_diff(place[axis]));
            assert!(
                off[0] <= 2 && off[1] <= 2,
                "{fit:?} {original:?}: {found:?}, not {place:?}"
            );
        }
    }

    #[test]
    fn padding_is_cut_off_and_what_was_cropped_is_lowest() {
        let pixels = spot([27, 30], [8, 21]);
        let original: Vec<f32> = pixels.iter().copied().map(f32::from).collect();
        let map = converted(Framing::Pad, [27, 30], pixels).onto_original(Framing::Pad, [27, 30]);
        assert_eq!(map.values(), original);

        // Of 35 columns, those from 1 to 32 were looked at.
        let noise = noise(32, 32, 3);
        let map = noise.onto_original(Framing::Crop, [32, 35]);
        let lowest = noise.values().iter().copied().fold(f32::MAX, f32::min);
        for row in 0..32 {
            for column in 0..35 {
                let expected = match column {
                    1..33 => noise.at(row, column - 1),
                    _ => lowest,
                };
                assert_eq!(map.at(row, column), expected);
            }
        }
    }
}
