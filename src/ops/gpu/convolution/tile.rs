//! The part of a matrix product that a workgroup makes, from tiles of both factors in shared memory.

use cubecl::prelude::*;

/// Workgroups that keep a large GPU busy.
const ENOUGH: usize = 264;

/// The part of a product that a workgroup makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Rows of the result.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
    /// Summands that lie in shared memory at a time.
    pub depth: usize,
    /// Rows of a thread.
    pub each_rows: usize,
    /// Columns of a thread.
    pub each_columns: usize,
}

impl Tile {
    const fn new(rows: usize, columns: usize, depth: usize, each: [usize; 2]) -> Self {
        let [each_rows, each_columns] = each;
        Self {
            rows,
            columns,
            depth,
            each_rows,
            each_columns,
        }
    }

    /// Threads.
    pub const fn units(self) -> usize {
        (self.rows / self.each_rows) * (self.columns / self.each_columns)
    }

    /// For a result of so many rows and columns, `copies` times: as large as leaves every core of a large GPU two.
    pub fn of_windows(rows: usize, columns: usize, copies: usize) -> Self {
        let tiles: &[Self] = match rows {
            0..=4 => &[Self::new(4, 64, 16, [4, 1])],
            5..=8 => &[Self::new(8, 128, 16, [4, 2])],
            9..=16 => &[
                Self::new(16, 256, 16, [4, 4]),
                Self::new(16, 128, 16, [4, 2]),
            ],
            17..=32 => &[
                Self::new(32, 128, 16, [4, 4]),
                Self::new(32, 64, 16, [4, 2]),
            ],
            _ => &[
                Self::new(64, 128, 16, [8, 4]),
                Self::new(64, 64, 16, [4, 4]),
                Self::new(32, 64, 16, [4, 2]),
            ],
        };
        let fills = |tile: &&Self| {
            rows.div_ceil(tile.rows) * columns.div_ceil(tile.columns) * copies >= ENOUGH
        };
        let smallest = &tiles[tiles.len() - 1];
        *tiles.iter().find(fills).unwrap_or(smallest)
    }

    /// For the gradient by a weight of so many small maps.
    pub const fn of_gradient(small: usize) -> Self {
        match small {
            0..=16 => Self::new(16, 128, 32, [4, 2]),
            17..=32 => Self::new(32, 128, 32, [4, 4]),
            _ => Self::new(64, 64, 32, [4, 4]),
        }
    }
}

/// Adds to the sums of a thread what lies in shared memory: `sums[row, column] += left[summand, row] * right[summand,
/// column]`, of the thread's consecutive rows, and of its columns that are a thread's share apart.
#[cube]
pub(super) fn accumulate(
    sums: &mut Array<f32>,
    left: &Shared<[f32]>,
    right: &Shared<[f32]>,
    own_row: u32,
    own_column: u32,
    #[comptime] tile: Tile,
    #[comptime] steps: [u32; 2],
) {
    let each_rows = comptime!(tile.each_rows as u32);
    let each_columns = comptime!(tile.each_columns as u32);
    let apart = comptime!((tile.columns / tile.each_columns) as u32);
    let left_step = comptime!(steps[0]);
    let right_step = comptime!(steps[1]);
    let mut of_rows = Array::<f32>::new(tile.each_rows);
    let mut of_columns = Array::<f32>::new(tile.each_columns);
    for summand in 0..comptime!(tile.depth as u32) {
        #[unroll]
        for row in 0..each_rows {
            of_rows[row as usize] = left[(summand * left_step + own_row + row) as usize];
        }
        #[unroll]
        for column in 0..each_columns {
            let place = summand * right_step + own_column + column * apart;
            of_columns[column as usize] = right[place as usize];
        }
        #[unroll]
        for row in 0..each_rows {
            #[unroll]
            for column in 0..each_columns {
                sums[(row * each_columns + column) as usize] +=
                    of_rows[row as usize] * of_columns[column as usize];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gpu::{SHARED_MEMORY, UNITS};

    #[test]
    fn every_tile_has_room_and_is_shared_out_evenly() {
        let sizes =
            || (1..=130).flat_map(|rows| [1, 5_000, 500_000].map(|columns| (rows, columns)));
        let of_windows = sizes().map(|(rows, columns)| Tile::of_windows(rows, columns, 1));
        let of_gradients = sizes().map(|(rows, _)| Tile::of_gradient(rows));
        for tile in of_windows.chain(of_gradients) {
            let entries = tile.depth * (tile.rows + 1 + tile.columns + 1);
            assert!(size_of::<f32>() * entries <= SHARED_MEMORY, "{tile:?}");
            assert!(tile.units() <= UNITS as usize, "{tile:?}");
            assert!(tile.rows.is_multiple_of(tile.each_rows), "{tile:?}");
            assert!(tile.columns.is_multiple_of(tile.each_columns), "{tile:?}");
            for side in [tile.rows, tile.columns] {
                assert!((side * tile.depth).is_multiple_of(tile.units()), "{tile:?}");
            }
        }
        // A thread gathers the windows of one pixel, or one summand of several rows.
        for (rows, columns) in sizes() {
            let tile = Tile::of_windows(rows, columns, 1);
            assert!(tile.units().is_multiple_of(tile.columns), "{tile:?}");
            let tile = Tile::of_gradient(rows);
            assert!(tile.units().is_multiple_of(tile.depth), "{tile:?}");
        }
    }

    #[test]
    fn few_columns_are_cut_small() {
        let [few, many] = [1_024, 1 << 20].map(|columns| Tile::of_windows(256, columns, 1));
        assert!(few.columns * few.rows < many.columns * many.rows);
    }
}
