//! Training without labels: two random views of an image are to be alike, and unlike all others
//! (SimCLR, Chen et al., arXiv:2002.05709).

use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData, activation};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use rand::Rng;

use super::initialisation::he_initialised;
use super::{ResNet, ResNetConfig};
use crate::train::{Kind, Monitor, StepOutput};

/// The stage, with the monitors in the order of its step's output.
pub const SIMCLR_STAGE: Kind = Kind {
    name: "simclr",
    section: "simclr",
    monitors: &[
        Monitor {
            name: "NT-Xent",
            unit: "nats",
        },
        Monitor {
            name: "Found",
            unit: "",
        },
        Monitor {
            name: "Likeness",
            unit: "",
        },
    ],
    throughput: "Images",
    adversarial: false,
};

/// In place of a view's similarity to itself, which is no candidate.
const EXCLUDED: f32 = -1e9;
/// Added to a projection's squared norm: the root of zero has no slope.
const LEAST_SQUARE: f32 = 1e-12;

/// A network with the head that is trained with it and left behind.
#[derive(Module, Debug)]
pub struct SimClr {
    /// What is kept.
    pub network: ResNet,
    hidden: Linear,
    projection: Linear,
    temperature: f64,
}

impl SimClr {
    /// The network of these sizes and a head of two layers that brings its features to `projection`
    /// entries, with initial weights drawn from `rng`.
    pub fn new(
        sizes: ResNetConfig,
        projection: usize,
        temperature: f64,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let features = sizes.features();
        let linear = |from, to| {
            let zeros = LinearConfig::new(from, to).with_initializer(Initializer::Zeros);
            zeros.init(device)
        };
        Self {
            network: sizes.init(rng, device),
            hidden: he_initialised(linear(features, features), rng),
            projection: he_initialised(linear(features, projection), rng),
            temperature,
        }
    }

    /// Loss of a batch and what the learner shows of it.
    ///
    /// # Shapes
    /// `[2 images, channels, size, size]`: the first views of all images, then their second views.
    fn contrast(&self, views: Tensor<4>) -> (Tensor<1>, StepOutput) {
        let features = self.network.encode(views);
        let hidden = activation::relu(self.hidden.forward(features));
        let projected = self.projection.forward(hidden);
        let contrast = nt_xent(projected, self.temperature);
        let images = contrast.loss.dims()[0] / 2;
        let loss = contrast.loss.mean();
        let output = StepOutput::new(images, [loss.clone(), contrast.found, contrast.likeness]);
        (loss, output)
    }
}

/// What [`nt_xent`] finds.
struct Contrast {
    /// Of every view.
    loss: Tensor<1>,
    /// Share of the views to which their own other view is the most alike, in one element.
    found: Tensor<1>,
    /// Mean cosine of the two views of an image, in one element.
    likeness: Tensor<1>,
}

/// The normalised, temperature-scaled cross-entropy: which of all other views, by the cosine of
/// their projections, is of the same image? (Equation 1.)
///
/// # Shapes
/// `[2 images, entries]`, the first views before the second ones; the loss is `[2 images]`.
fn nt_xent(projected: Tensor<2>, temperature: f64) -> Contrast {
    let [views, _] = projected.dims();
    let device = projected.device();
    let norm = (projected.clone().square().sum_dim(1) + LEAST_SQUARE).sqrt();
    let unit = projected / norm;
    let cosines = unit.clone().matmul(unit.transpose()) / temperature;
    let pair = views / 2;
    let mut excluded = vec![0.0f32; views * views];
    let mut own = vec![0.0f32; views * views];
    for view in 0..views {
        excluded[view * views + view] = EXCLUDED;
        own[view * views + (view + pair) % views] = 1.0;
    }
    let [excluded, own] = [excluded, own]
        .map(|values| Tensor::<2>::from_data(TensorData::new(values, [views, views]), &device));
    let candidates = cosines + excluded;
    let own_cosine = (candidates.clone() * own.clone()).sum_dim(1); // [views, 1]
    let log_shares = activation::log_softmax(candidates.clone(), 1);
    let loss = (log_shares * own).sum_dim(1).neg().squeeze_dim(1);
    let best = candidates.detach().max_dim(1);
    let found = own_cosine.clone().detach().greater_equal(best).float();
    Contrast {
        loss,
        found: found.mean(),
        likeness: own_cosine.detach().mean() * temperature,
    }
}

impl TrainStep for SimClr {
    type Input = Tensor<4>; // [2 images, channels, size, size]
    type Output = StepOutput;

    fn step(&self, views: Tensor<4>) -> TrainOutput<StepOutput> {
        let (loss, output) = self.contrast(views);
        TrainOutput::new(self, loss.backward(), output)
    }
}

impl InferenceStep for SimClr {
    type Input = Tensor<4>; // [2 images, channels, size, size]
    type Output = StepOutput;

    fn step(&self, views: Tensor<4>) -> StepOutput {
        self.contrast(views).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn the_loss_is_the_paper_s() {
        // In plain Python, with numpy, for z = [[3, 4], [1, 0], [0, 2], [5, 0]] and t = 0.5:
        // u = z / norm(z); s = u @ u.T / t; own = [2, 3, 0, 1]
        // [-log(exp(s[i, own[i]]) / sum(exp(s[i, k]) for k in range(4) if k != i)) for i in range(4)]
        let projected = [[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [5.0, 0.0]];
        let contrast = nt_xent(Tensor::from_data(projected, &test_device()), 0.5);
        let expected = [0.850_424, 0.460_373, 0.339_178, 0.460_373];
        for (found, expected) in values(contrast.loss).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        // Cosines .8, 1, .8, 1; every view finds its own.
        assert!((values(contrast.likeness)[0] - 0.9).abs() < 1e-6);
        assert_eq!(values(contrast.found), [1.0]);
    }

    #[test]
    fn views_that_are_mixed_up_are_not_found() {
        let projected = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]];
        let contrast = nt_xent(Tensor::from_data(projected, &test_device()), 0.1);
        assert_eq!(values(contrast.found), [0.0]);
        assert!(values(contrast.loss)[0] > 5.0);
    }

    #[test]
    fn a_zero_projection_has_a_finite_loss_and_gradient() {
        let device = test_device().autodiff();
        let projected = Tensor::<2>::zeros([4, 3], &device).require_grad();
        let loss = nt_xent(projected.clone(), 0.2).loss.mean();
        assert!((loss.clone().into_scalar::<f32>() - 3f32.ln()).abs() < 1e-5);
        let gradient = projected.grad(&loss.backward()).expect("a gradient");
        assert!(gradient.into_data().iter::<f32>().all(f32::is_finite));
    }

    #[test]
    fn a_step_reaches_every_weight_and_lowers_the_loss() {
        use burn::optim::{AdamConfig, GradientsParams};
        let device = test_device().autodiff();
        let rng = &mut StdRng::seed_from_u64(1);
        let sizes = ResNetConfig {
            channels: 1,
            size: 16,
            width: 4,
            blocks: 1,
            first_stride: 2,
        };
        let mut model = SimClr::new(sizes, 8, 0.5, rng, &device);
        // Two views of eight images of noise: the second is a little darker.
        let first: Vec<f32> = (0..8 * 256).map(|_| rng.random_range(-1.0..1.0)).collect();
        let second = first.iter().map(|value| 0.9 * value - 0.05);
        let pixels: Vec<f32> = first.iter().copied().chain(second).collect();
        let views = Tensor::from_data(TensorData::new(pixels, [16, 1, 16, 16]), &device);
        let mut optimizer = AdamConfig::new().init();
        let mut losses = Vec::new();
        for _ in 0..12 {
            let (loss, _) = model.contrast(views.clone());
            losses.push(loss.clone().into_scalar::<f32>());
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            assert_eq!(gradients.len(), trained(&model));
            model = optimizer.step(5e-3, model, gradients);
        }
        assert!(losses[11] < 0.8 * losses[0], "{losses:?}");
    }

    /// Tensors that are trained: not the running statistics.
    fn trained(model: &SimClr) -> usize {
        struct Count(usize);
        impl burn::module::ModuleVisitor for Count {
            fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
                self.0 += usize::from(param.val().is_require_grad());
            }
        }
        let mut count = Count(0);
        model.visit(&mut count);
        count.0
    }
}
