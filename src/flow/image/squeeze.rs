//! Every 2x2 square of positions as channels of one position.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::flow::Transform;

/// The order of the channels after a [`Squeeze`], for channels `c` and places `k` in the square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `4 c + k` (Kingma & Dhariwal's code).
    Channels,
    /// All channels of one place, then of the next, and first the two places of one colour of a
    /// checkerboard: a half of the channels is an even sample of the whole image (Dinh et al.'s code,
    /// before a split).
    Checkerboard,
}

/// `[batch, c, h, w]` to `[batch, 4 c, h / 2, w / 2]`, without a change of volume (Dinh et al.,
/// arXiv:1605.08803, section 3.6). Height and width are even.
#[derive(Module, Debug)]
pub struct Squeeze {
    #[module(skip)]
    order: Order,
}

impl Squeeze {
    /// With the channels in this order.
    pub fn new(order: Order) -> Self {
        Self { order }
    }

    /// Moves values only.
    ///
    /// # Shapes
    /// `[batch, c, h, w]` to `[batch, 4 c, h / 2, w / 2]`.
    pub(super) fn squeeze(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let squares = x.reshape([batch, channels, height / 2, 2, width / 2, 2]);
        let shape = [batch, 4 * channels, height / 2, width / 2];
        match self.order {
            Order::Channels => squares.permute([0, 1, 3, 5, 2, 4]).reshape(shape),
            Order::Checkerboard => {
                let by_place = squares.permute([0, 3, 5, 1, 2, 4]).reshape(shape);
                quarters(by_place, [0, 3, 1, 2])
            }
        }
    }

    /// Undoes [`squeeze`](Self::squeeze).
    ///
    /// # Shapes
    /// `[batch, 4 c, h, w]` to `[batch, c, 2 h, 2 w]`.
    pub(super) fn unsqueeze(&self, z: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = z.dims();
        let channels = channels / 4;
        let squares = match self.order {
            Order::Channels => z
                .reshape([batch, channels, 2, 2, height, width])
                .permute([0, 1, 4, 2, 5, 3]),
            Order::Checkerboard => quarters(z, [0, 2, 3, 1])
                .reshape([batch, 2, 2, channels, height, width])
                .permute([0, 3, 4, 1, 5, 2]),
        };
        squares.reshape([batch, channels, 2 * height, 2 * width])
    }
}

/// The four quarters of the channels in another order.
fn quarters(x: Tensor<4>, order: [usize; 4]) -> Tensor<4> {
    let quarter = x.dims()[1] / 4;
    let parts = order.map(|place| x.clone().narrow(1, place * quarter, quarter));
    Tensor::cat(parts.to_vec(), 1)
}

impl Transform<4> for Squeeze {
    fn forward(&self, x: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let log_det = Tensor::zeros([x.dims()[0]], &x.device());
        (self.squeeze(x), log_det)
    }

    fn inverse(&self, z: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let log_det = Tensor::zeros([z.dims()[0]], &z.device());
        (self.unsqueeze(z), log_det)
    }
}
