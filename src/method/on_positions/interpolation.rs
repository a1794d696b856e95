//! From the positions of an image to a map of it.

use crate::encoder::Grid;

/// The scores of the positions at the centres of the image's cells: linear between four positions,
/// constant outside of them.
///
/// # Shapes
/// `map` is `[rows * columns]` of the grid; to `sides[0] * sides[1]` cells of `cell` pixels a side.
pub(super) fn between_positions(
    map: &[f32],
    grid: &Grid,
    sides: [usize; 2],
    cell: usize,
) -> Vec<f32> {
    let place = |axis: usize, index: usize| {
        let pixel = (index as f64 + 0.5) * cell as f64;
        (pixel - grid.first[axis]) / grid.stride[axis]
    };
    let [rows, columns] = [0, 1].map(|axis| {
        let cells = (0..sides[axis]).map(|index| taps(place(axis, index), grid.sides[axis]));
        cells.collect::<Vec<_>>()
    });
    let mut values = Vec::with_capacity(sides[0] * sides[1]);
    for row in &rows {
        for column in &columns {
            let mut value = 0.0;
            for (row, down) in row {
                for (column, across) in column {
                    value += down * across * map[row * grid.sides[1] + column];
                }
            }
            values.push(value);
        }
    }
    values
}

/// The two positions on an axis that lie around `place`, with their shares; outside of the first and
/// the last, these.
fn taps(place: f64, positions: usize) -> [(usize, f32); 2] {
    let place = place.clamp(0.0, (positions - 1) as f64);
    let before = place.floor() as usize;
    let share = (place - before as f64) as f32;
    [
        (before, 1.0 - share),
        ((before + 1).min(positions - 1), share),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_positions_both_have_their_share() {
        assert_eq!(taps(1.25, 4), [(1, 0.75), (2, 0.25)]);
        assert_eq!(taps(-3.0, 4), [(0, 1.0), (1, 0.0)]);
        assert_eq!(taps(9.0, 4), [(3, 1.0), (3, 0.0)]);
    }

    #[test]
    fn a_cell_over_a_position_has_its_score() {
        let grid = Grid {
            sides: [2, 2],
            stride: [8.0; 2],
            first: [2.0; 2],
        };
        let map = between_positions(&[1.0, 2.0, 3.0, 5.0], &grid, [4, 4], 4);
        assert_eq!([map[0], map[2], map[8], map[10]], [1.0, 2.0, 3.0, 5.0]);
        assert_eq!([map[1], map[5]], [1.5, 2.75]);
        assert_eq!(map[15], 5.0);
        // Positions lie closer from left to right.
        let grid = Grid {
            stride: [8.0, 4.0],
            ..grid
        };
        let map = between_positions(&[1.0, 2.0, 3.0, 5.0], &grid, [4, 4], 4);
        assert_eq!([map[0], map[1], map[8], map[9]], [1.0, 2.0, 3.0, 5.0]);
        assert_eq!([map[4], map[7]], [2.0, 3.5]);
    }
}
