//! A convolution, or its transpose, as one product: the weight by the windows, which are gathered tile by tile.

use burn::backend::wgpu::CubeTensor;
use cubecl::prelude::{Tensor as OnGpu, *};

use super::geometry::Taps;
use super::tile::{Tile, accumulate};
use crate::ops::gpu::empty_beside;

/// Workgroups along one side of a launch.
const MOST: usize = u16::MAX as usize;

/// The output of so many rows and columns.
///
/// # Shapes
/// Down, `[batch, large, …]`, the weight `[small, large, kernel, kernel]` and the bias `[small]` to
/// `[batch, small, rows, columns]`; up, the other way.
pub(super) fn products(
    taps: Taps,
    [input, weight]: [&CubeTensor; 2],
    bias: Option<CubeTensor>,
    [rows, columns]: [usize; 2],
) -> CubeTensor {
    let [images, ..] = input.meta.shape().dims::<4>();
    let [small, large, ..] = weight.meta.shape().dims::<4>();
    let to = if taps.is_up() { large } else { small };
    let output = empty_beside(input, [images, to, rows, columns]);
    let phases = taps.phases();
    let grid = [rows, columns].map(|side| side.div_ceil(phases));
    let pixels = images * grid[0] * grid[1];
    let tile = Tile::of_windows(to, pixels, phases * phases);
    let tiles = pixels.div_ceil(tile.columns);
    let across = tiles.min(MOST);
    let count = CubeCount::Static(
        across as u32,
        tiles.div_ceil(across) as u32,
        (to.div_ceil(tile.rows) * phases * phases) as u32,
    );
    let has_bias = bias.is_some();
    // Something has to stand there.
    let bias = bias.unwrap_or_else(|| weight.clone());
    multiply::launch(
        &input.client,
        count,
        CubeDim::new_1d(tile.units() as u32),
        input.clone().into_tensor_arg(),
        weight.clone().into_tensor_arg(),
        bias.into_tensor_arg(),
        output.clone().into_tensor_arg(),
        grid[0] as u32,
        grid[1] as u32,
        has_bias,
        taps,
        tile,
    );
    output
}

/// Rows (or columns) by which the first window of a phase begins before the input.
#[cube]
fn before(phase: u32, #[comptime] taps: Taps) -> u32 {
    let padding = comptime!(taps.window.padding as u32);
    let last = comptime!(taps.count() as u32 - 1);
    if comptime!(taps.is_up()) {
        last - (phase + padding) / comptime!(taps.window.stride as u32)
    } else {
        padding.runtime()
    }
}

/// The row (or column) of the weight that a tap of a phase meets; none of it where that is `kernel` or more.
#[cube]
fn met(phase: u32, tap: u32, #[comptime] taps: Taps) -> u32 {
    let stride = comptime!(taps.window.stride as u32);
    let padding = comptime!(taps.window.padding as u32);
    let last = comptime!(taps.count() as u32 - 1);
    if comptime!(taps.is_up()) {
        stride * (last - tap) + (phase + padding) % stride
    } else {
        tap
    }
}

/// One tile of the output for each workgroup: rows are maps, columns are pixels of all images, summands are the taps of
/// all maps of the input.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn multiply(
    input: &OnGpu<f32>,
    weight: &OnGpu<f32>,
    bias: &OnGpu<f32>,
    output: &mut OnGpu<f32>,
    rows: u32,
    columns: u32,
    #[comptime] has_bias: bool,
    #[comptime] taps: Taps,
    #[comptime] tile: Tile,
) {
    let units = comptime!(tile.units() as u32);
    let tile_rows = comptime!(tile.rows as u32);
    let tile_columns = comptime!(tile.columns as u32);
    let tile_depth = comptime!(tile.depth as u32);
    let each_rows = comptime!(tile.each_rows as u32);
    let each_columns = comptime!(tile.each_columns as u32);
    let side = comptime!(taps.count() as u32);
    let window = comptime!((taps.count() * taps.count()) as u32);
    let kernel = comptime!(taps.window.kernel as u32);
    let phases = comptime!(taps.phases() as u32);
    let step = comptime!(taps.step() as u32);

    let height = input.shape(2) as u32;
    let width = input.shape(3) as u32;
    let to = output.shape(1) as u32;
    let pixels = input.shape(0) as u32 * rows * columns;
    let depth = input.shape(1) as u32 * window;

    let phase = CUBE_POS_Z % comptime!((taps.phases() * taps.phases()) as u32);
    let phase_y = phase / phases;
    let phase_x = phase % phases;
    let before_y = before(phase_y, taps);
    let before_x = before(phase_x, taps);
    let first_row = CUBE_POS_Z / comptime!((taps.phases() * taps.phases()) as u32) * tile_rows;
    let first_pixel = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * tile_columns;

    // One more than a row, so that threads that write a column meet different banks.
    let left_step = comptime!(tile.rows as u32 + 1);
    let mut left = Shared::<[f32]>::new_slice(comptime!(tile.depth * (tile.rows + 1)));
    let mut right = Shared::<[f32]>::new_slice(comptime!(tile.depth * tile.columns));

    // The pixel whose windows this thread gathers.
    let gathered = UNIT_POS % tile_columns;
    let first_gathered = UNIT_POS / tile_columns;
    let gathered_step = comptime!(tile.units() as u32 / tile.columns as u32);
    let pixel = first_pixel + gathered;
    let is_inside = pixel < pixels;
    let place = pixel % (rows * columns);
    let window_y = (place / columns) * step;
    let window_x = (place % columns) * step;
    let image = (pixel / (rows * columns)) as usize * input.stride(0);

    // The part of the tile that it sums.
    let columns_of_units = comptime!((tile.columns / tile.each_columns) as u32);
    let own_column = UNIT_POS % columns_of_units;
    let own_row = UNIT_POS / columns_of_units * each_rows;
    let mut sums = Array::<f32>::new(comptime!(tile.each_rows * tile.each_columns));
    #[unroll]
    for index in 0..comptime!(tile.each_rows * tile.each_columns) {
        sums[index] = 0.0f32;
    }

    let mut start = 0u32;
    while start < depth {
        #[unroll]
        for index in 0..comptime!((tile.rows * tile.depth / tile.units()) as u32) {
            let entry = UNIT_POS + index * units;
            let summand = entry % tile_depth;
            let row = entry / tile_depth;
            let channel = (start + summand) / window;
            let tap = (start + summand) % window;
            let mut value = 0.0f32;
            if start + summand < depth && first_row + row < to {
                let y = met(phase_y, tap / side, taps);
                let x = met(phase_x, tap % side, taps);
                let mut small = first_row + row;
                let mut large = channel;
                if comptime!(taps.is_up()) {
                    small = channel;
                    large = first_row + row;
                }
                if y < kernel && x < kernel {
                    value = weight[small as usize * weight.stride(0)
                        + large as usize * weight.stride(1)
                        + y as usize * weight.stride(2)
                        + x as usize * weight.stride(3)];
                }
            }
            left[(summand * left_step + row) as usize] = value;
        }
        #[unroll]
        for index in 0..comptime!((tile.columns * tile.depth / tile.units()) as u32) {
            let summand = first_gathered + index * gathered_step;
            let channel = (start + summand) / window;
            let tap = (start + summand) % window;
            let y = window_y + tap / side;
            let x = window_x + tap % side;
            let mut value = 0.0f32;
            if is_inside
                && start + summand < depth
                && y >= before_y
                && y < height + before_y
                && x >= before_x
                && x < width + before_x
            {
                value = input[image
                    + channel as usize * input.stride(1)
                    + (y - before_y) as usize * input.stride(2)
                    + (x - before_x) as usize * input.stride(3)];
            }
            right[(summand * tile_columns + gathered) as usize] = value;
        }
        sync_cube();
        accumulate(
            &mut sums,
            &left,
            &right,
            own_row,
            own_column,
            tile,
            comptime!([left_step, tile_columns]),
        );
        sync_cube();
        start += tile_depth;
    }

    #[unroll]
    for column in 0..each_columns {
        let pixel = first_pixel + own_column + column * columns_of_units;
        let place = pixel % (rows * columns);
        let y = (place / columns) * phases + phase_y;
        let x = (place % columns) * phases + phase_x;
        if pixel < pixels && y < output.shape(2) as u32 && x < output.shape(3) as u32 {
            let at = (pixel / (rows * columns)) as usize * output.stride(0)
                + y as usize * output.stride(2)
                + x as usize * output.stride(3);
            #[unroll]
            for row in 0..each_rows {
                let map = (first_row + own_row + row) as usize;
                if map < to as usize {
                    let mut sum = sums[(row * each_columns + column) as usize];
                    if comptime!(has_bias) {
                        sum += bias[map * bias.stride(0)];
                    }
                    let place = at + map * output.stride(1);
                    output[place] = sum;
                }
            }
        }
    }
}
