//! The two operations as matrix products, for GPUs.
//!
//! With Burn's convolutions, the scores of a small `encoder-flow` on an NVIDIA H200 under Vulkan differed from the
//! CPU's by 2.8e-2, with these by 1.6e-6; alone, on random maps, Burn's agreed there to 3e-6, and the cause was not
//! found. A map is folded into blocks of 2x2 pixels; then the stride is 1 and the kernel 2, and four views of the
//! blocks, side by side, are all windows.

use burn::tensor::Tensor;
use burn::tensor::ops::PadMode;

/// The convolution, `[n, large, h, w]` and `[small, large, 4, 4]` to `[n, small, h / 2, w / 2]`.
pub(super) fn down(input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let [images, _, height, width] = input.dims();
    let [small, large, ..] = weight.dims();
    let [rows, columns] = [height / 2, width / 2];
    let padded = input.pad((1, 1, 1, 1), PadMode::Constant(0.0));
    let blocks = padded
        .reshape([images, large, rows + 1, 2, columns + 1, 2])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([images, rows + 1, columns + 1, 4 * large]);
    let views = CORNERS.map(|[down, right]| {
        let view = blocks.clone().narrow(1, down, rows);
        view.narrow(2, right, columns)
    });
    let windows = Tensor::cat(views.to_vec(), 3).reshape([images * rows * columns, 16 * large]);
    windows
        .matmul(matrix(weight))
        .reshape([images, rows, columns, small])
        .permute([0, 3, 1, 2])
}

/// Its transpose, `[n, small, h / 2, w / 2]` and `[small, large, 4, 4]` to `[n, large, h, w]`.
pub(super) fn up(input: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let [images, small, rows, columns] = input.dims();
    let [_, large, ..] = weight.dims();
    let pixels = input
        .permute([0, 2, 3, 1])
        .reshape([images * rows * columns, small]);
    let windows = pixels.matmul(matrix(weight).transpose());
    let windows = windows.reshape([images, rows, columns, 16 * large]);
    let parts = CORNERS.iter().enumerate().map(|(index, &[down, right])| {
        let part = windows.clone().narrow(3, 4 * large * index, 4 * large);
        // Where the block lies among those of the whole map.
        let padding = [(0, 0), (down, 1 - down), (right, 1 - right), (0, 0)];
        part.pad(padding, PadMode::Constant(0.0))
    });
    let blocks = parts.reduce(|sum, part| sum + part);
    let Some(blocks) = blocks else {
        unreachable!("a window has corners")
    };
    blocks
        .reshape([images, rows + 1, columns + 1, large, 2, 2])
        .permute([0, 3, 1, 4, 2, 5])
        .reshape([images, large, 2 * rows + 2, 2 * columns + 2])
        .narrow(2, 1, 2 * rows)
        .narrow(3, 1, 2 * columns)
}

/// The blocks of a window of 4x4 pixels, by rows and columns.
const CORNERS: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// The weight with a column per small channel, in the order of a window: block, channel, pixel of the block.
fn matrix(weight: Tensor<4>) -> Tensor<2> {
    let [small, large, ..] = weight.dims();
    weight
        .reshape([small, large, 2, 2, 2, 2])
        .permute([2, 4, 1, 3, 5, 0])
        .reshape([16 * large, small])
}
