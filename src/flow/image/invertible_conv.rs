//! The invertible 1x1 convolution.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};
use nalgebra::{DMatrix, DVector};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::flow::Transform;
use crate::ops;

/// The channels of every position times one matrix `W = P L (U + diag(s))`: `ln |det J| = h w sum ln |s|`
/// (Kingma & Dhariwal, arXiv:1807.03039, section 3.2).
///
/// `W` starts as a random rotation. The permutation `P` and the signs of `s` stay as they are; `L` (unit
/// lower triangle), `U` (strict upper triangle) and `ln |s|` are trained.
#[derive(Module, Debug)]
pub struct InvertibleConv {
    /// Row `i` of `W` is row `order[i]` of `L (U + diag(s))`.
    order: Param<Tensor<1, Int>>,
    /// -1 or 1.
    sign: Param<Tensor<1, Int>>,
    /// Only what is below its diagonal counts.
    lower: Param<Tensor<2>>,
    /// Only what is above its diagonal counts.
    upper: Param<Tensor<2>>,
    log_scale: Param<Tensor<1>>,
}

impl InvertibleConv {
    /// A random rotation of `channels` channels.
    pub fn new(channels: usize, rng: &mut impl Rng, device: &Device) -> Self {
        let values: Vec<f64> = StandardNormal
            .sample_iter(rng)
            .take(channels * channels)
            .collect();
        let rotation = DMatrix::from_vec(channels, channels, values).qr().q();
        let (permutation, lower, upper) = rotation.lu().unpack();
        let mut order = DVector::from_iterator(channels, 0..channels as i32);
        permutation.inv_permute_rows(&mut order);
        let scale = upper.diagonal();
        let matrix = |values: &DMatrix<f64>| {
            // nalgebra's matrices are column-major.
            let values: Vec<f32> = values.transpose().iter().map(|&x| x as f32).collect();
            let data = TensorData::new(values, [channels, channels]);
            Param::from_tensor(Tensor::from_data(data, device))
        };
        let fixed = |values: Vec<i32>| {
            let data = TensorData::new(values, [channels]);
            Param::initialized(ParamId::new(), Tensor::from_data(data, device))
        };
        let log_scale: Vec<f32> = scale.iter().map(|s| s.abs().ln() as f32).collect();
        let data = TensorData::new(log_scale, [channels]);
        Self {
            order: fixed(order.iter().copied().collect()),
            sign: fixed(
                scale
                    .iter()
                    .map(|s| if *s < 0.0 { -1 } else { 1 })
                    .collect(),
            ),
            lower: matrix(&lower),
            upper: matrix(&upper),
            log_scale: Param::from_tensor(Tensor::from_data(data, device)),
        }
    }

    /// `W`, `[channels, channels]`.
    fn matrix(&self) -> Tensor<2> {
        let lower = self.lower.val();
        let [channels, _] = lower.dims();
        let identity = Tensor::<2>::eye(channels, &lower.device());
        let scale = self.log_scale.val().exp() * self.sign.val().float();
        let lower = lower.tril(-1) + identity.clone();
        let upper = self.upper.val().triu(1) + identity * scale.unsqueeze::<2>();
        lower.matmul(upper).select(0, self.order.val())
    }

    /// `W` to the power of -1, in f64; not a number where it has none.
    fn inverse_matrix(&self) -> Tensor<2> {
        let matrix = self.matrix();
        let (shape, device) = (matrix.dims(), matrix.device());
        let values: Vec<f64> = matrix.into_data().iter::<f64>().collect();
        let inverse = DMatrix::from_row_slice(shape[0], shape[1], &values).try_inverse();
        let values: Vec<f32> = match inverse {
            Some(inverse) => inverse.transpose().iter().map(|&x| x as f32).collect(),
            None => vec![f32::NAN; values.len()],
        };
        Tensor::from_data(TensorData::new(values, shape), &device)
    }

    /// Every position times the matrix.
    fn apply(&self, x: Tensor<4>, matrix: Tensor<2>) -> Tensor<4> {
        let [channels, _] = matrix.dims();
        let bias = Tensor::zeros([channels], &x.device());
        ops::conv2d_same(x, matrix.reshape([channels, channels, 1, 1]), bias)
    }

    fn log_det(&self, x: &Tensor<4>) -> Tensor<1> {
        let [batch, _, height, width] = x.dims();
        let log_det = self.log_scale.val().sum() * (height * width) as f64;
        log_det.expand([batch])
    }
}

impl Transform<4> for InvertibleConv {
    fn forward(&self, x: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let log_det = self.log_det(&x);
        (self.apply(x, self.matrix()), log_det)
    }

    /// Without gradients of its own parameters, which no training step asks for.
    fn inverse(&self, z: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let log_det = self.log_det(&z).neg();
        (self.apply(z, self.inverse_matrix()), log_det)
    }
}
