//! From pixels in `[0, 1]` to where a flow works.

use burn::tensor::{Tensor, activation};

use super::sum_per_image;
use crate::flow::Transform;

/// How far the logit stays from 0 and 1 (Dinh et al., arXiv:1605.08803, section 4.1).
const MARGIN: f64 = 0.05;

/// What is done to pixels before the first layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// `logit(a + (1 - 2a) x)` with `a = 0.05`: no bound is left that a density would have to know of
    /// (Dinh et al., section 4.1; the symmetrical form is that of the common PyTorch versions).
    Logit,
    /// `x - 0.5` (Kingma & Dhariwal's code).
    Centred,
}

impl Transform<4> for Domain {
    fn forward(&self, x: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        match self {
            Self::Logit => {
                let p = x * (1.0 - 2.0 * MARGIN) + MARGIN;
                let (ln_p, ln_q) = (p.clone().log(), (p.neg() + 1.0).log());
                // d logit(p) / dp = 1 / (p (1 - p))
                let slope = (ln_p.clone() + ln_q.clone()).neg() + (1.0 - 2.0 * MARGIN).ln();
                (ln_p - ln_q, sum_per_image(slope))
            }
            Self::Centred => {
                let batch = x.dims()[0];
                let log_det = Tensor::zeros([batch], &x.device());
                (x - 0.5, log_det)
            }
        }
    }

    fn inverse(&self, z: Tensor<4>, context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let x = match self {
            Self::Logit => (activation::sigmoid(z) - MARGIN) / (1.0 - 2.0 * MARGIN),
            Self::Centred => z + 0.5,
        };
        let (_, log_det) = self.forward(x.clone(), context);
        (x, log_det.neg())
    }
}
