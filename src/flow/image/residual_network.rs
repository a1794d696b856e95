//! The network of RealNVP's couplings on images.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, Uniform};

use super::bottleneck::Bottleneck;
use super::constant_parameter;
use crate::ops::{self, Activation};

/// Sizes of a [`ResidualNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidualSizes {
    /// Channels of the blocks.
    pub width: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Numbers through which everything goes before the last layer; 0 for no such bottleneck.
    pub bottleneck: usize,
}

/// A residual network with weight normalisation, whose every block adds to the output by a convolution
/// of its own (Dinh et al., arXiv:1605.08803, section 4.1; sizes and order as in the code of chrischute
/// and of Kirichenko et al.). Its output is zero at first.
///
/// The batch normalisation within uses running statistics outside of training.
///
/// # Shapes
/// `[batch, from, height, width]` to `[batch, to, height, width]`.
#[derive(Module, Debug)]
pub struct ResidualNetwork {
    norm: BatchNorm,
    first: WeightNormConv,
    blocks: Vec<Block>,
    /// What the first convolution and every block add to the output.
    skips: Vec<WeightNormConv>,
    last_norm: BatchNorm,
    bottleneck: Option<Bottleneck>,
    last: WeightNormConv,
}

/// Two convolutions beside which the input passes.
#[derive(Module, Debug)]
struct Block {
    norms: [BatchNorm; 2],
    convs: [WeightNormConv; 2],
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let layers = self.norms.iter().zip(&self.convs);
        let change = layers.fold(x.clone(), |x, (norm, conv)| {
            conv.forward(ops::batch_norm(norm, x, Activation::Relu))
        });
        x + change
    }
}

impl ResidualNetwork {
    /// From maps of the shape `[from, height, width]` to so many channels.
    pub fn new(
        [from, height, across]: [usize; 3],
        to: usize,
        sizes: ResidualSizes,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let ResidualSizes {
            width,
            blocks,
            bottleneck,
        } = sizes;
        let bottleneck = (bottleneck > 0)
            .then(|| Bottleneck::new([width, height, across], bottleneck, &mut *rng, device));
        let norm = |channels: usize| BatchNormConfig::new(channels).init(device);
        let mut conv =
            |from, to, kernel| WeightNormConv::new([to, from, kernel, kernel], &mut *rng, device);
        Self {
            norm: norm(from),
            first: conv(2 * from, width, 3),
            blocks: (0..blocks)
                .map(|_| Block {
                    norms: [norm(width), norm(width)],
                    convs: [conv(width, width, 3), conv(width, width, 3)],
                })
                .collect(),
            skips: (0..=blocks).map(|_| conv(width, width, 1)).collect(),
            last_norm: norm(width),
            bottleneck,
            last: conv(width, to, 1).silent(),
        }
    }

    /// # Shapes
    /// `[batch, from, height, width]` to `[batch, to, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = ops::batch_norm(&self.norm, x, Activation::Identity);
        // Both signs pass the ReLU.
        let x = Tensor::cat(vec![x.clone(), x.neg()], 1);
        let mut x = self.first.forward(ops::activate(x, Activation::Relu));
        let mut sum = self.skips[0].forward(x.clone());
        for (block, skip) in self.blocks.iter().zip(&self.skips[1..]) {
            x = block.forward(x);
            sum = sum + skip.forward(x.clone());
        }
        let x = ops::batch_norm(&self.last_norm, sum, Activation::Relu);
        let x = match &self.bottleneck {
            Some(bottleneck) => bottleneck.forward(x),
            None => x,
        };
        self.last.forward(x)
    }
}

/// A convolution whose kernels have a trained length and a trained direction (Salimans & Kingma,
/// arXiv:1602.07868).
#[derive(Module, Debug)]
struct WeightNormConv {
    direction: Param<Tensor<4>>,
    length: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl WeightNormConv {
    /// With the kernels and biases that PyTorch's convolution starts with.
    fn new(shape: [usize; 4], rng: &mut impl Rng, device: &Device) -> Self {
        let [to, from, kernel, _] = shape;
        let window = from * kernel * kernel;
        let bound = 1.0 / (window as f32).sqrt();
        let uniform = Uniform::new_inclusive(-bound, bound).expect("a finite interval");
        let mut draw =
            |count: usize| -> Vec<f32> { uniform.sample_iter(&mut *rng).take(count).collect() };
        let weights = draw(to * window);
        let bias = TensorData::new(draw(to), [to]);
        let lengths: Vec<f32> = weights
            .chunks(window)
            .map(|kernel| kernel.iter().map(|x| x * x).sum::<f32>().sqrt())
            .collect();
        let parameter = |data| Param::from_tensor(Tensor::from_data(data, device));
        Self {
            direction: Param::from_tensor(Tensor::from_data(
                TensorData::new(weights, shape),
                device,
            )),
            length: parameter(TensorData::new(lengths, [to])),
            bias: parameter(bias),
        }
    }

    /// With an output of zero at first.
    fn silent(self) -> Self {
        let [to] = self.length.dims();
        let device = self.length.val().device();
        Self {
            direction: self.direction,
            length: constant_parameter([to], 0.0, &device),
            bias: constant_parameter([to], 0.0, &device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let direction = self.direction.val();
        let [to, ..] = direction.dims();
        let squares = direction.clone().square().reshape([to as i32, -1]);
        let norm: Tensor<1> = squares.sum_dim(1).sqrt().squeeze_dim(1);
        let scale = (self.length.val() / norm).reshape([to, 1, 1, 1]);
        ops::conv2d_same(x, direction * scale, self.bias.val())
    }
}
