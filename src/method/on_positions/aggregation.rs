//! From the scores of an image's positions to the image's.

use crate::encoder::Grid;

/// How an image's score comes from those of its positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregation {
    /// Share of the positions, the least likely ones, whose mean is the score; 0 for the least likely one.
    pub top: f64,
    /// Side in pixels of the overlapping squares whose scores are taken so, the least likely of which
    /// gives the image its own: a small defect in a large picture is then a large part of its square.
    /// 0 for the image as one.
    pub tiles: usize,
}

impl Aggregation {
    /// The score of an image whose positions in `grid` have these scores.
    ///
    /// # Shapes
    /// `map` is `[rows * columns]`.
    pub fn score(&self, map: &[f32], grid: &Grid) -> f32 {
        let [rows, columns] = grid.sides;
        let [down, across] = [0, 1].map(|axis| {
            let side = grid.sides[axis];
            let tile = match self.tiles {
                0 => side,
                pixels => ((pixels as f64 / grid.stride[axis]).round() as usize).clamp(1, side),
            };
            (starts(side, tile), tile)
        });
        if down.1 == rows && across.1 == columns {
            return mean_of_largest(map.to_vec(), self.top);
        }
        let tile = |top: usize, left: usize| {
            let rows = map[top * columns..].chunks(columns).take(down.1);
            let values = rows.flat_map(|row| &row[left..left + across.1]);
            mean_of_largest(values.copied().collect(), self.top)
        };
        let scores = down.0.iter().flat_map(|&top| {
            let lefts = across.0.iter();
            lefts.map(move |&left| tile(top, left))
        });
        // `f32::max` passes over NaN: a tile that cannot be scored would be hidden by the others.
        scores.fold(f32::NEG_INFINITY, |largest, score| {
            if largest.is_nan() || largest > score {
                largest
            } else {
                score
            }
        })
    }
}

/// Where tiles begin of which neighbours overlap by half at least, and which reach both ends.
fn starts(side: usize, tile: usize) -> Vec<usize> {
    let rest = side - tile;
    let steps = rest.div_ceil((tile / 2).max(1));
    (0..=steps)
        .map(|step| (rest * step).checked_div(steps).unwrap_or(0))
        .collect()
}

/// Mean of the largest share of the values, at least of one; NaN where one of them is.
fn mean_of_largest(mut values: Vec<f32>, share: f64) -> f32 {
    if values.iter().any(|value| value.is_nan()) {
        return f32::NAN;
    }
    let count = (values.len() as f64 * share).ceil() as usize;
    let count = count.clamp(1, values.len());
    if count < values.len() {
        values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    }
    let largest = &mut values[..count];
    // The sum of floats depends on their order.
    largest.sort_unstable_by(f32::total_cmp);
    let sum: f64 = largest.iter().map(|&value| f64::from(value)).sum();
    (sum / count as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(rows: usize, columns: usize) -> Grid {
        Grid {
            sides: [rows, columns],
            stride: [8.0; 2],
            first: [4.0; 2],
        }
    }

    #[test]
    fn the_score_is_that_of_the_least_likely_positions() {
        let values: Vec<f32> = (0..200).map(|index| index as f32).collect();
        assert_eq!(mean_of_largest(values, 0.01), 198.5);
        assert_eq!(mean_of_largest(vec![3.0, 1.0], 0.0), 3.0);
        assert_eq!(mean_of_largest(vec![3.0, 1.0], 1.0), 2.0);
    }

    #[test]
    fn tiles_overlap_by_half_and_reach_both_ends() {
        assert_eq!(starts(8, 8), [0]);
        assert_eq!(starts(9, 4), [0, 1, 3, 5]);
        assert_eq!(starts(12, 4), [0, 2, 4, 6, 8]);
        assert_eq!(starts(3, 1), [0, 1, 2]);
    }

    #[test]
    fn with_tiles_a_small_defect_counts_as_much_in_a_large_picture() {
        let of = |rows: usize, columns: usize, tiles: usize| {
            let mut map = vec![0.0; rows * columns];
            // A defect of 2x2 positions near the lower right corner.
            for place in [(2, 2), (2, 3), (3, 2), (3, 3)] {
                map[(rows - place.0) * columns + columns - place.1] = 1.0;
            }
            Aggregation { top: 0.1, tiles }.score(&map, &grid(rows, columns))
        };
        // Four of seven positions of one tile, whatever lies around it.
        let small = of(8, 8, 64);
        assert!((small - 4.0 / 7.0).abs() < 1e-6, "{small}");
        assert_eq!(of(8, 8, 0), small);
        assert_eq!(of(64, 8, 64), small);
        assert_eq!(of(40, 100, 64), small);
        assert!(of(40, 100, 0) < 0.1 * small);
        // What cannot be scored shows, wherever it lies.
        let mut map = vec![0.0; 40 * 100];
        map[1234] = -f32::NAN;
        let tiled = Aggregation {
            top: 0.1,
            tiles: 64,
        };
        assert!(tiled.score(&map, &grid(40, 100)).is_nan());
        // A tile larger than the picture is the picture.
        assert_eq!(of(8, 8, 4096), small);
    }
}
