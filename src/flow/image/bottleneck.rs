//! A bottleneck within a coupling's network.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use rand::Rng;

use crate::flow::linear;
use crate::ops::{self, Activation};

/// Most rows and columns of the grid to which maps are averaged before.
const GRID: usize = 8;

/// Maps through a few numbers and back: a network with it knows what an image is like as a whole, and no
/// longer what a pixel's neighbours are (Kirichenko et al., arXiv:2006.08545, the bottlenecks of their
/// conditioners; the average before it is ours, so that a large map costs no large matrix).
#[derive(Module, Debug)]
pub(super) struct Bottleneck {
    down: Linear,
    up: Linear,
}

impl Bottleneck {
    /// Of maps of this shape, `[channels, height, width]`, through so many numbers.
    pub fn new(shape: [usize; 3], numbers: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let [channels, height, width] = shape;
        let cells = channels * cells(height) * cells(width);
        Self {
            down: linear(cells, numbers, rng, device),
            up: linear(numbers, cells, rng, device),
        }
    }

    /// # Shapes
    /// `[batch, channels, height, width]`, in and out.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let [rows, columns] = [cells(height), cells(width)];
        let maps = batch * channels;
        let tiled = x.reshape([maps, rows, height / rows, columns, width / columns]);
        let means = tiled.mean_dim(4).mean_dim(2);
        let numbers = self
            .down
            .forward(means.reshape([batch, channels * rows * columns]));
        let cells = self.up.forward(ops::activate(numbers, Activation::Relu));
        let cells = ops::activate(cells, Activation::Relu);
        cells
            .reshape([maps, rows, 1, columns, 1])
            .expand([maps, rows, height / rows, columns, width / columns])
            .reshape([batch, channels, height, width])
    }
}

/// The largest number of parts, up to [`GRID`], that divides a side.
fn cells(side: usize) -> usize {
    (1..=GRID.min(side))
        .rev()
        .find(|cells| side.is_multiple_of(*cells))
        .unwrap_or(1)
}
