//! Activation normalisation: a trained scale and shift per entry of vectors, per channel of maps.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::Transform;
use super::image::per_channel;

/// `y = x * exp(s) + b` per entry, `ln |det J| = sum s`, which counts for every position of a map
/// (Kingma & Dhariwal, arXiv:1807.03039, section 3.1). [`new`](Self::new) is
/// the identity, [`initialised`](Self::initialised) starts from data.
#[derive(Module, Debug)]
pub struct ActNorm {
    log_scale: Param<Tensor<1>>,
    shift: Param<Tensor<1>>,
}

impl ActNorm {
    /// The identity on `dim` entries.
    pub fn new(dim: usize, device: &Device) -> Self {
        Self {
            log_scale: Param::from_tensor(Tensor::zeros([dim], device)),
            shift: Param::from_tensor(Tensor::zeros([dim], device)),
        }
    }

    /// Scale and shift with which the output of `x` has mean 0 and variance 1 per entry.
    ///
    /// # Shapes
    /// `x`: `[batch, dim]`, at least two rows.
    pub fn initialised(x: Tensor<2>) -> Self {
        // The floor keeps an entry that hardly varies from being blown up without bound.
        let deviation = x.clone().var_bias(0).sqrt().clamp_min(1e-3); // [1, dim]
        let mean = x.mean_dim(0);
        let shift = (mean / deviation.clone()).neg().squeeze_dim::<1>(0);
        let log_scale = deviation.log().neg().squeeze_dim::<1>(0);
        Self {
            log_scale: Param::from_tensor(log_scale.detach()),
            shift: Param::from_tensor(shift.detach()),
        }
    }

    /// [`initialised`](Self::initialised) for maps: per channel, over all images and positions.
    ///
    /// # Shapes
    /// `x`: `[batch, channels, height, width]`.
    pub fn initialised_from_maps(x: Tensor<4>) -> Self {
        let channels = x.dims()[1];
        Self::initialised(x.permute([0, 2, 3, 1]).reshape([-1, channels as i32]))
    }

    /// The log-determinant of maps of this shape.
    fn log_det_of_maps(&self, [batch, _, height, width]: [usize; 4]) -> Tensor<1> {
        let log_det = self.log_scale.val().sum() * (height * width) as f64;
        log_det.expand([batch])
    }

    /// The one log-determinant, for each of `batch` samples.
    fn log_det(&self, batch: usize) -> Tensor<1> {
        self.log_scale.val().sum().expand([batch])
    }
}

impl Transform<2> for ActNorm {
    fn forward(&self, x: Tensor<2>, _context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        let log_det = self.log_det(x.dims()[0]);
        let scale = self.log_scale.val().exp().unsqueeze::<2>();
        (x * scale + self.shift.val().unsqueeze(), log_det)
    }

    fn inverse(&self, z: Tensor<2>, _context: Option<&Tensor<2>>) -> (Tensor<2>, Tensor<1>) {
        let log_det = self.log_det(z.dims()[0]).neg();
        let scale = self.log_scale.val().neg().exp().unsqueeze::<2>();
        ((z - self.shift.val().unsqueeze()) * scale, log_det)
    }
}

impl Transform<4> for ActNorm {
    fn forward(&self, x: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let log_det = self.log_det_of_maps(x.dims());
        let scale = per_channel(self.log_scale.val().exp());
        (x * scale + per_channel(self.shift.val()), log_det)
    }

    fn inverse(&self, z: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let log_det = self.log_det_of_maps(z.dims()).neg();
        let scale = per_channel(self.log_scale.val().neg().exp());
        ((z - per_channel(self.shift.val())) * scale, log_det)
    }
}
