//! A flow on images: layers, scale by scale.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

use super::channel_coupling::halves;
use super::{
    ChannelCoupling, Domain, InvertibleConv, MaskedCoupling, SplitPrior, Squeeze, sum_per_image,
};
use crate::flow::{ActNorm, Transform};
use crate::ops::by_parts;

/// Bits that a value in `[0, 1)` has more than the level of 256 that it was made from.
const BITS_PER_LEVEL: f64 = 8.0;
/// Images that a core looks at side by side: their maps fit its cache.
pub(super) const PART: usize = 8;

/// One step of the flow.
// A flow has some dozens of them: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Layer {
    /// Positions to channels.
    Squeeze(Squeeze),
    /// Scale and shift per channel.
    ActNorm(ActNorm),
    /// The channels, turned.
    InvertibleConv(InvertibleConv),
    /// Glow's coupling.
    ChannelCoupling(ChannelCoupling),
    /// RealNVP's coupling.
    MaskedCoupling(MaskedCoupling),
}

impl Layer {
    pub(super) fn transform(&self) -> &dyn Transform<4> {
        match self {
            Self::Squeeze(layer) => layer,
            Self::ActNorm(layer) => layer,
            Self::InvertibleConv(layer) => layer,
            Self::ChannelCoupling(layer) => layer,
            Self::MaskedCoupling(layer) => layer,
        }
    }

    /// True when images of a batch see one another in training.
    fn sees_the_batch(&self) -> bool {
        match self {
            // By the batch normalisation in its network.
            Self::MaskedCoupling(_) => true,
            Self::Squeeze(_)
            | Self::ActNorm(_)
            | Self::InvertibleConv(_)
            | Self::ChannelCoupling(_) => false,
        }
    }

    /// With what starts from data set from `x`.
    fn initialised(self, x: &Tensor<4>) -> Self {
        match self {
            Self::ActNorm(_) => Self::ActNorm(ActNorm::initialised_from_maps(x.clone())),
            Self::ChannelCoupling(layer) => Self::ChannelCoupling(layer.initialised(x.clone())),
            other => other,
        }
    }
}

/// Layers of one scale.
#[derive(Module, Debug)]
pub struct Level {
    pub(super) layers: Vec<Layer>,
    /// True when half of the channels is noise after the last layer, and the rest goes on (Dinh et al.,
    /// arXiv:1605.08803, section 3.6).
    splits: bool,
    /// The density of that half, given the rest; a standard normal where there is none.
    prior: Option<SplitPrior>,
}

impl Level {
    /// The last one.
    pub fn last(layers: Vec<Layer>) -> Self {
        Self {
            layers,
            splits: false,
            prior: None,
        }
    }

    /// One after which half of the channels goes on.
    pub fn splitting(layers: Vec<Layer>, prior: Option<SplitPrior>) -> Self {
        Self {
            layers,
            splits: true,
            prior,
        }
    }

    fn squeezes(&self) -> impl DoubleEndedIterator<Item = &Squeeze> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Squeeze(squeeze) => Some(squeeze),
            _ => None,
        })
    }

    /// What goes on, and what is put aside.
    fn split(&self, x: Tensor<4>) -> (Tensor<4>, Option<Tensor<4>>) {
        match self.splits {
            true => {
                let [stays, aside] = halves(x);
                (stays, Some(aside))
            }
            false => (x, None),
        }
    }
}

/// A chain of levels from pixels in `[0, 1]` to noise of the same shape.
///
/// What a level puts aside lies in the noise where its pixels were: the noise is put together as
/// unsqueezed maps again.
#[derive(Module, Debug)]
pub struct ImageFlow {
    pub(super) levels: Vec<Level>,
    #[module(skip)]
    pub(super) domain: Domain,
    /// `[channels, height, width]` of an image.
    shape: [usize; 3],
}

impl ImageFlow {
    /// Of images of this shape, `[channels, height, width]`.
    pub fn new(shape: [usize; 3], domain: Domain, levels: Vec<Level>) -> Self {
        Self {
            levels,
            domain,
            shape,
        }
    }

    /// Numbers of an image.
    pub fn dim(&self) -> usize {
        self.shape.iter().product()
    }

    /// True when images of a batch see one another in training. (In the priors of splits they do not.)
    pub(super) fn sees_the_batch(&self) -> bool {
        let mut layers = self.levels.iter().flat_map(|level| &level.layers);
        layers.any(Layer::sees_the_batch)
    }

    /// The noise in the parts in which it comes out, and the log-determinant.
    pub(super) fn parts(&self, x: Tensor<4>) -> (Vec<Tensor<4>>, Tensor<1>) {
        let (mut x, mut log_det) = self.domain.forward(x, None);
        let mut parts = Vec::new();
        for level in &self.levels {
            for layer in &level.layers {
                let (y, change) = layer.transform().forward(x, None);
                (x, log_det) = (y, log_det + change);
            }
            let (stays, aside) = level.split(x);
            if let Some(aside) = aside {
                let aside = match &level.prior {
                    Some(prior) => {
                        let (noise, change) = prior.forward(stays.clone(), aside);
                        log_det = log_det + change;
                        noise
                    }
                    None => aside,
                };
                parts.push(aside);
            }
            x = stays;
        }
        parts.push(x);
        (parts, log_det)
    }

    /// Squared norm of each image's noise, and the log-determinant.
    fn squares_and_log_det(&self, x: Tensor<4>) -> (Tensor<1>, Tensor<1>) {
        let parts = by_parts(x, PART, |x| self.squares_and_log_det_of_part(x));
        let (squares, log_dets): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        (Tensor::cat(squares, 0), Tensor::cat(log_dets, 0))
    }

    fn squares_and_log_det_of_part(&self, x: Tensor<4>) -> (Tensor<1>, Tensor<1>) {
        let (parts, log_det) = self.parts(x);
        let zeros = Tensor::zeros([log_det.dims()[0]], &log_det.device());
        let squares = parts
            .into_iter()
            .fold(zeros, |sum, part| sum + sum_per_image(part.square()));
        (squares, log_det)
    }

    /// `-ln` of the standard normal's density at the mode, in nats.
    fn constant(&self) -> f64 {
        0.5 * self.dim() as f64 * std::f64::consts::TAU.ln()
    }

    /// Log-density of each image in nats, and the norm of its noise.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[0, 1]` to `[batch]` both.
    pub fn log_prob_and_norm(&self, x: Tensor<4>) -> (Tensor<1>, Tensor<1>) {
        let (squares, log_det) = self.squares_and_log_det(x);
        let log_prob = squares.clone() * -0.5 + log_det - self.constant();
        (log_prob, squares.sqrt())
    }

    /// The two terms of [`bits_per_dim`](Self::bits_per_dim) of each image: of the noise under the base
    /// distribution, and of the log-determinant, that of the map from levels to `[0, 1]` included.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[0, 1]` to `[batch]` both.
    pub fn bits_per_dim_terms(&self, x: Tensor<4>) -> (Tensor<1>, Tensor<1>) {
        let (squares, log_det) = self.squares_and_log_det(x);
        let per_nat = 1.0 / (self.dim() as f64 * std::f64::consts::LN_2);
        let base = (squares * 0.5 + self.constant()) * per_nat;
        (base, self.bits_per_dim(log_det))
    }

    /// Log-density of each image in nats.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[0, 1]` to `[batch]`.
    pub fn log_prob(&self, x: Tensor<4>) -> Tensor<1> {
        self.log_prob_and_norm(x).0
    }

    /// A log-density in nats as the negative log-likelihood of the image's levels of 256 in bits per
    /// number (Theis et al., arXiv:1511.01844, section 3.1).
    pub fn bits_per_dim(&self, log_prob: Tensor<1>) -> Tensor<1> {
        log_prob / (-(self.dim() as f64) * std::f64::consts::LN_2) + BITS_PER_LEVEL
    }

    /// Draws `count` images; a `temperature` below 1 keeps to what is likely (Kingma & Dhariwal,
    /// arXiv:1807.03039, section 6).
    ///
    /// # Shapes
    /// To `[count, channels, height, width]`; values outside `[0, 1]` are possible.
    pub fn sample(
        &self,
        count: usize,
        temperature: f64,
        rng: &mut StdRng,
        device: &Device,
    ) -> Tensor<4> {
        let [channels, height, width] = self.shape;
        let values: Vec<f32> = StandardNormal
            .sample_iter(rng)
            .take(count * self.dim())
            .collect();
        let data = TensorData::new(values, [count, channels, height, width]);
        let noise = Tensor::from_data(data, device) * temperature;
        self.inverse(noise, None).0
    }

    /// Sets what starts from data, front to back, from images.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[0, 1]`, at least two images.
    pub fn initialised_from(mut self, images: Tensor<4>) -> Self {
        let mut x = self.domain.forward(images, None).0;
        for level in &mut self.levels {
            let layers = std::mem::take(&mut level.layers);
            level.layers = layers
                .into_iter()
                .map(|layer| {
                    let layer = layer.initialised(&x);
                    x = layer.transform().forward(x.clone(), None).0;
                    layer
                })
                .collect();
            x = level.split(x.clone()).0;
        }
        self
    }
}

impl Transform<4> for ImageFlow {
    fn forward(&self, x: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let (mut parts, log_det) = self.parts(x);
        let mut z = parts.pop().expect("the last part is always there");
        for level in self.levels.iter().rev() {
            if level.splits {
                z = Tensor::cat(std::iter::once(z).chain(parts.pop()).collect(), 1);
            }
            z = level
                .squeezes()
                .rev()
                .fold(z, |z, squeeze| squeeze.unsqueeze(z));
        }
        (z, log_det)
    }

    fn inverse(&self, z: Tensor<4>, _context: Option<&Tensor<2>>) -> (Tensor<4>, Tensor<1>) {
        let mut aside = Vec::new();
        let mut x = z;
        for level in &self.levels {
            x = level.squeezes().fold(x, |x, squeeze| squeeze.squeeze(x));
            let (stays, noise) = level.split(x);
            aside.push(noise);
            x = stays;
        }
        let mut log_det = Tensor::zeros([x.dims()[0]], &x.device());
        for level in self.levels.iter().rev() {
            if let Some(Some(noise)) = aside.pop() {
                let values = match &level.prior {
                    Some(prior) => {
                        let (values, change) = prior.inverse(x.clone(), noise);
                        log_det = log_det + change;
                        values
                    }
                    None => noise,
                };
                x = Tensor::cat(vec![x, values], 1);
            }
            for layer in level.layers.iter().rev() {
                let (y, change) = layer.transform().inverse(x, None);
                (x, log_det) = (y, log_det + change);
            }
        }
        let (x, change) = self.domain.inverse(x, None);
        (x, log_det + change)
    }
}
