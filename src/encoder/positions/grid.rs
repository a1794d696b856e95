//! Where positions lie, and maps of other sides brought there.

use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;

use crate::encoder::preparation::resize;

/// Where the positions of a grid lie in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// `[rows, columns]`.
    pub sides: [usize; 2],
    /// Pixels between neighbours, downwards and to the right.
    pub stride: [f64; 2],
    /// Place of the first position's centre, in pixels from the image's edges.
    pub first: [f64; 2],
}

impl Grid {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

    /// Without positions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A map brought to other sides: averaged when they divide its own, interpolated otherwise.
pub(super) fn on_grid(map: Tensor<4>, sides: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = map.dims();
    if [height, width] == sides {
        return map;
    }
    let factor = height / sides[0].max(1);
    if factor > 1 && [sides[0] * factor, sides[1] * factor] == [height, width] {
        return avg_pool2d(map, AvgPoolOptions::new([factor; 2]));
    }
    resize(map, sides)
}
