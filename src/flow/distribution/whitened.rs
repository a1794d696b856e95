//! What mixtures of whitened Gaussians share, whether each has a covariance of its own or all have one.

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, StandardNormal};

/// Gaussians that can be drawn from: whitened, each is a standard normal around its centre.
pub(super) struct WhitenedSampler<'a> {
    /// Logarithms of the weights, up to a constant.
    pub log_weights: &'a [f64],
    /// `[gaussians, dim]`, row-major: the whitened means.
    pub centres: &'a [f64],
    /// For each Gaussian, or one for all, `[dim, dim]`: what makes of a whitened row a row. `None` where a whitening has
    /// no inverse; samples of that Gaussian are then no numbers.
    pub inverses: &'a [Option<DMatrix<f64>>],
}

impl WhitenedSampler<'_> {
    /// Draws so many rows of `dim` entries.
    ///
    /// # Shapes
    /// To `[count, dim]`.
    pub fn sample(&self, count: usize, dim: usize, rng: &mut StdRng, device: &Device) -> Tensor<2> {
        let weights = self.log_weights.iter().copied();
        let largest = weights.clone().fold(f64::NEG_INFINITY, f64::max);
        let choice = WeightedIndex::new(weights.map(|weight| (weight - largest).exp()));
        let mut values = Vec::with_capacity(count * dim);
        for _ in 0..count {
            // Weights that are no numbers: the samples are none either.
            let gaussian = choice.as_ref().map_or(0, |choice| choice.sample(rng));
            let centre = &self.centres[gaussian * dim..][..dim];
            let white = DMatrix::from_fn(1, dim, |_, entry| {
                let noise: f64 = StandardNormal.sample(&mut *rng);
                noise + centre[entry]
            });
            match &self.inverses[gaussian % self.inverses.len()] {
                Some(inverse) => values.extend((white * inverse).iter().map(|&value| value as f32)),
                None => values.extend(std::iter::repeat_n(f32::NAN, dim)),
            }
        }
        Tensor::from_data(TensorData::new(values, [count, dim]), device)
    }
}

/// The numbers of a tensor, row-major.
pub(super) fn numbers(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}
