//! What couplings predict of an image, and what lies between two images.

use burn::tensor::Tensor;

use super::{ImageFlow, Layer};
use crate::flow::Transform;

impl Layer {
    /// Log-scale and shift of every pixel, if it is a coupling.
    fn predictions(&self, x: Tensor<4>) -> Option<[Tensor<4>; 2]> {
        match self {
            Self::MaskedCoupling(layer) => Some(layer.parameters(x)),
            Self::ChannelCoupling(layer) => Some(layer.predictions(x)),
            Self::Squeeze(_) | Self::ActNorm(_) | Self::InvertibleConv(_) => None,
        }
    }
}

impl ImageFlow {
    /// Log-scale and shift by which each coupling of the first scale changes every pixel, zero where it
    /// passes: where they look like the image, the coupling has told pixels from their neighbours
    /// (Kirichenko et al., arXiv:2006.08545).
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[0, 1]`, to the same.
    pub fn predictions(&self, images: Tensor<4>) -> Vec<[Tensor<4>; 2]> {
        let mut x = self.domain.forward(images, None).0;
        let mut squeezes = Vec::new();
        let mut found = Vec::new();
        for layer in self.levels.iter().take(1).flat_map(|level| &level.layers) {
            if let Layer::Squeeze(squeeze) = layer {
                squeezes.push(squeeze);
            }
            if let Some(predictions) = layer.predictions(x.clone()) {
                let unsqueezed = predictions.map(|maps| {
                    let outwards = squeezes.iter().rev();
                    outwards.fold(maps, |maps, squeeze| squeeze.unsqueeze(maps))
                });
                found.push(unsqueezed);
            }
            x = layer.transform().forward(x, None).0;
        }
        found
    }

    /// The images whose noise lies on the line between those of `from` and `to`, both included.
    ///
    /// # Shapes
    /// `[1, channels, height, width]` in `[0, 1]` both, to `[steps, channels, height, width]`; values
    /// outside `[0, 1]` are possible.
    pub fn interpolated(&self, from: Tensor<4>, to: Tensor<4>, steps: usize) -> Tensor<4> {
        let [from, to] = [from, to].map(|image| self.forward(image, None).0);
        let last = steps.saturating_sub(1).max(1) as f64;
        let between = (0..steps).map(|step| {
            let share = step as f64 / last;
            from.clone() * (1.0 - share) + to.clone() * share
        });
        self.inverse(Tensor::cat(between.collect(), 0), None).0
    }
}
