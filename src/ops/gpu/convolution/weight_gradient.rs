//! The gradient by the weight of a convolution as a product over the pixels of all images, which several workgroups share.

use burn::backend::Wgpu;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::Tensor;
use cubecl::prelude::{Tensor as OnGpu, *};

use super::geometry::Window;
use super::tile::{Tile, accumulate};
use crate::ops::gpu::{empty_beside, primitive};

/// Workgroups to cut the work for: a few for every core of a large GPU.
const WANTED: usize = 2048;
/// Pixels of a workgroup at least, so that there are not more sums to add up than products.
const LEAST: usize = 512;

/// The gradient by the weight, from the maps of both sides: one of them is the input, the other the gradient of the output.
///
/// # Shapes
/// `[batch, large, height, width]` and `[batch, small, rows, columns]` to `[small, large, kernel, kernel]`.
pub(super) fn weight_gradient(
    window: Window,
    large: &CubeTensor,
    small: &CubeTensor,
) -> CubeTensor {
    let [_, channels, ..] = large.meta.shape().dims::<4>();
    let [images, to, rows, columns] = small.meta.shape().dims::<4>();
    let entries = channels * window.kernel * window.kernel;
    let tile = Tile::of_gradient(to);
    let across = entries.div_ceil(tile.columns);
    let down = to.div_ceil(tile.rows);
    let pixels = images * rows * columns;
    let share = pixels.div_ceil((WANTED / (across * down)).max(1));
    let share = share.max(LEAST).next_multiple_of(tile.depth);
    let parts = pixels.div_ceil(share);
    let output = empty_beside(large, [parts, to, entries]);
    multiply::launch(
        &large.client,
        CubeCount::Static(across as u32, down as u32, parts as u32),
        CubeDim::new_1d(tile.units() as u32),
        large.clone().into_tensor_arg(),
        small.clone().into_tensor_arg(),
        output.clone().into_tensor_arg(),
        share as u32,
        window,
        tile,
    );
    let output = Tensor::<3>::from_primitive::<Wgpu>(output);
    let shape = [to, channels, window.kernel, window.kernel];
    primitive(output.sum_dim(0).reshape(shape))
}

/// One tile of the gradient for each workgroup, from its share of the pixels: rows are small maps, columns are the
/// entries of a window, summands are pixels.
#[cube(launch)]
fn multiply(
    large: &OnGpu<f32>,
    small: &OnGpu<f32>,
    output: &mut OnGpu<f32>,
    share: u32,
    #[comptime] window: Window,
    #[comptime] tile: Tile,
) {
    let tile_rows = comptime!(tile.rows as u32);
    let tile_columns = comptime!(tile.columns as u32);
    let tile_depth = comptime!(tile.depth as u32);
    let each_rows = comptime!(tile.each_rows as u32);
    let each_columns = comptime!(tile.each_columns as u32);
    let kernel = comptime!(window.kernel as u32);
    let area = comptime!((window.kernel * window.kernel) as u32);
    let stride = comptime!(window.stride as u32);
    let padding = comptime!(window.padding as u32);

    let height = large.shape(2) as u32;
    let width = large.shape(3) as u32;
    let to = small.shape(1) as u32;
    let rows = small.shape(2) as u32;
    let columns = small.shape(3) as u32;
    let entries = output.shape(2) as u32;
    let first_entry = CUBE_POS_X * tile_columns;
    let first_row = CUBE_POS_Y * tile_rows;

    // One more than a row, so that threads that write a column meet different banks.
    let left_step = comptime!(tile.rows as u32 + 1);
    let right_step = comptime!(tile.columns as u32 + 1);
    let mut left = Shared::<[f32]>::new_slice(comptime!(tile.depth * (tile.rows + 1)));
    let mut right = Shared::<[f32]>::new_slice(comptime!(tile.depth * (tile.columns + 1)));

    // The summand that this thread gathers, of every so many rows and columns.
    let gathered = UNIT_POS % tile_depth;
    let first_line = UNIT_POS / tile_depth;
    let lines = comptime!((tile.units() / tile.depth) as u32);

    // The part of the tile that it sums.
    let columns_of_units = comptime!((tile.columns / tile.each_columns) as u32);
    let own_column = UNIT_POS % columns_of_units;
    let own_row = UNIT_POS / columns_of_units * each_rows;
    let mut sums = Array::<f32>::new(comptime!(tile.each_rows * tile.each_columns));
    #[unroll]
    for index in 0..comptime!(tile.each_rows * tile.each_columns) {
        sums[index] = 0.0f32;
    }

    let mut start = CUBE_POS_Z * share;
    let end = min(start + share, small.shape(0) as u32 * rows * columns);
    while start < end {
        let pixel = start + gathered;
        let is_inside = pixel < end;
        let image = (pixel / (rows * columns)) as usize;
        let place = pixel % (rows * columns);
        let row = place / columns;
        let column = place % columns;
        let in_small = image * small.stride(0)
            + row as usize * small.stride(2)
            + column as usize * small.stride(3);
        let in_large = image * large.stride(0);
        #[unroll]
        for index in 0..comptime!((tile.rows * tile.depth / tile.units()) as u32) {
            let line = first_line + index * lines;
            let mut value = 0.0f32;
            if is_inside && first_row + line < to {
                value = small[in_small + (first_row + line) as usize * small.stride(1)];
            }
            left[(gathered * left_step + line) as usize] = value;
        }
        #[unroll]
        for index in 0..comptime!((tile.columns * tile.depth / tile.units()) as u32) {
            let line = first_line + index * lines;
            let entry = first_entry + line;
            let y = row * stride + entry % area / kernel;
            let x = column * stride + entry % kernel;
            let mut value = 0.0f32;
            if is_inside
                && entry < entries
                && y >= padding
                && y < height + padding
                && x >= padding
                && x < width + padding
            {
                value = large[in_large
                    + (entry / area) as usize * large.stride(1)
                    + (y - padding) as usize * large.stride(2)
                    + (x - padding) as usize * large.stride(3)];
            }
            right[(gathered * right_step + line) as usize] = value;
        }
        sync_cube();
        accumulate(
            &mut sums,
            &left,
            &right,
            own_row,
            own_column,
            tile,
            comptime!([left_step, right_step]),
        );
        sync_cube();
        start += tile_depth;
    }

    #[unroll]
    for column in 0..each_columns {
        let entry = first_entry + own_column + column * columns_of_units;
        if entry < entries {
            #[unroll]
            for row in 0..each_rows {
                let map = first_row + own_row + row;
                if map < to {
                    let place = CUBE_POS_Z as usize * output.stride(0)
                        + map as usize * output.stride(1)
                        + entry as usize;
                    output[place] = sums[(row * each_columns + column) as usize];
                }
            }
        }
    }
}
