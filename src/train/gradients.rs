//! Work on a whole module's gradients: clipping their global norm, putting parts together.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use rayon::prelude::*;

use crate::ops;

/// Scales all gradients of `module` together so that their joint L2 norm is at most `max_norm`.
///
/// Burn's own `GradientClippingConfig::Norm` clips each parameter by itself, which changes the
/// direction of the step. The factor stays on the device: nothing is read back. On the CPU, where
/// reading costs nothing, gradients that are short enough are not touched.
pub fn clip_global_norm<M: Module>(
    module: &M,
    gradients: GradientsParams,
    max_norm: f64,
) -> GradientsParams {
    match known_factor(module, &gradients, max_norm) {
        Some(factor) if factor >= 1.0 => gradients,
        Some(factor) => {
            let mut scale = KnownScale { gradients, factor };
            module.visit(&mut scale);
            scale.gradients
        }
        None => clip_on_device(module, gradients, max_norm),
    }
}

/// `max_norm` over the joint norm, which may be more than 1; nothing where a gradient is on a device
/// to wait for. The same steps in the same precision as in [`clip_on_device`].
fn known_factor<M: Module>(module: &M, gradients: &GradientsParams, max_norm: f64) -> Option<f32> {
    let mut squares = KnownSquares {
        gradients,
        sum: Some(0.0),
    };
    module.visit(&mut squares);
    let norm = (squares.sum? as f32).sqrt();
    Some((norm + 1e-6).recip() * max_norm as f32)
}

/// [`clip_global_norm`] without reading anything.
fn clip_on_device<M: Module>(
    module: &M,
    gradients: GradientsParams,
    max_norm: f64,
) -> GradientsParams {
    let mut all = Flattened {
        gradients: &gradients,
        rows: Vec::new(),
    };
    module.visit(&mut all);
    if all.rows.is_empty() {
        return gradients;
    }
    // At once: on a GPU the sum of a small gradient takes as long as that of a large one.
    let sum = Tensor::cat(all.rows, 0).square().sum();
    let factor = (sum.sqrt().add_scalar(1e-6).recip() * max_norm).clamp_max(1.0);
    let mut scale = Scale { gradients, factor };
    module.visit(&mut scale);
    scale.gradients
}

/// Adds the gradients of `module`'s parameters in one container to those in another.
pub fn merge_gradients<M: Module>(module: &M, from: GradientsParams, into: &mut GradientsParams) {
    struct Merge<'a> {
        from: GradientsParams,
        into: &'a mut GradientsParams,
    }
    impl ModuleVisitor for Merge<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.from.remove::<D>(param.id) {
                let sum = match self.into.remove::<D>(param.id) {
                    Some(sum) => sum + gradient,
                    None => gradient,
                };
                self.into.register(param.id, sum);
            }
        }
    }
    module.visit(&mut Merge { from, into });
}

/// The gradients of the sum of what `loss` makes of every part of a batch, and what else it gives, in the order
/// of the parts.
///
/// Every part has a graph of its own, on a thread of its own: the parts must not see one another, as they
/// would by the statistics of a batch.
///
/// # Panics
/// When there is no part.
pub fn gradients_of_parts<M: Module + Sync, P: Send, R: Send>(
    module: &M,
    parts: Vec<P>,
    loss: impl Fn(&M, P) -> (Tensor<1>, R) + Sync,
) -> (GradientsParams, Vec<R>) {
    let parts = match <[P; 1]>::try_from(parts) {
        Ok([whole]) => {
            let (loss, found) = loss(module, whole);
            let gradients = GradientsParams::from_grads(loss.backward(), module);
            return (gradients, vec![found]);
        }
        Err(parts) => parts,
    };
    let of_part = |part: P| {
        // Graphs that share a parameter are one graph, which lets one thread in at a time.
        let own = module.clone().map(&mut OwnLeaves);
        let (loss, found) = loss(&own, part);
        (GradientsParams::from_grads(loss.backward(), &own), found)
    };
    let found: Vec<(GradientsParams, R)> = parts.into_par_iter().map(of_part).collect();
    let mut found = found.into_iter();
    let (mut sum, first) = found.next().expect("a batch has a part");
    let mut others = vec![first];
    for (gradients, other) in found {
        merge_gradients(module, gradients, &mut sum);
        others.push(other);
    }
    (sum, others)
}

/// Gives every parameter that is trained a node of its own in the graph.
struct OwnLeaves;

impl ModuleMapper for OwnLeaves {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let trained = tensor.is_require_grad();
            tensor.detach().set_require_grad(trained)
        })
    }
}

/// Sum of the squares of all gradients, while each of them can be read at no cost.
struct KnownSquares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<f64>,
}

impl ModuleVisitor for KnownSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(sum) = self.sum
            && let Some(gradient) = self.gradients.get::<D>(param.id)
        {
            self.sum = ops::sum_of_squares(gradient).map(|squares| sum + squares);
        }
    }
}

/// All gradients, each as one row of numbers.
struct Flattened<'a> {
    gradients: &'a GradientsParams,
    rows: Vec<Tensor<1>>,
}

impl ModuleVisitor for Flattened<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let numbers = gradient.shape().num_elements();
            self.rows.push(gradient.reshape([numbers]));
        }
    }
}

struct KnownScale {
    gradients: GradientsParams,
    factor: f32,
}

impl ModuleVisitor for KnownScale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let gradient = ops::scale(gradient, self.factor);
            self.gradients.register(param.id, gradient);
        }
    }
}

struct Scale {
    gradients: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let factor = self.factor.clone().reshape([1; D]);
            self.gradients.register(param.id, gradient * factor);
        }
    }
}

/// A model whose gradients are clipped by their global norm before the optimizer sees them.
#[derive(Module, Debug)]
pub(super) struct Clipped<M: Module> {
    model: M,
    /// 0 is no limit.
    max_norm: f64,
}

impl<M: Module> Clipped<M> {
    pub(super) fn new(model: M, max_norm: f64) -> Self {
        Self { model, max_norm }
    }

    pub(super) fn into_inner(self) -> M {
        self.model
    }
}

impl<M: Module + TrainStep> TrainStep for Clipped<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let mut output = TrainStep::step(&self.model, input);
        if self.max_norm > 0.0 {
            output.grads = clip_global_norm(&self.model, output.grads, self.max_norm);
        }
        output
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        Self {
            model: self.model.optimize(optimizer, rate, gradients),
            max_norm: self.max_norm,
        }
    }
}

impl<M: Module + InferenceStep> InferenceStep for Clipped<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, input: Self::Input) -> Self::Output {
        InferenceStep::step(&self.model, input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use burn::tensor::{Device, TensorData};

    #[derive(Module, Debug)]
    struct Pair {
        a: Param<Tensor<1>>,
        b: Param<Tensor<2>>,
    }

    /// Gradients (3, 0) and [[4]]: joint norm 5.
    fn clipped(max_norm: f64) -> (Vec<f32>, Vec<f32>) {
        let device = test_device();
        let pair = Pair {
            a: Param::from_tensor(Tensor::zeros([2], &device)),
            b: Param::from_tensor(Tensor::zeros([1, 1], &device)),
        };
        let mut gradients = GradientsParams::new();
        gradients.register(pair.a.id, Tensor::<1>::from_data([3.0, 0.0], &device));
        gradients.register(pair.b.id, Tensor::<2>::from_data([[4.0]], &device));
        let gradients = clip_global_norm(&pair, gradients, max_norm);
        let values = |data: TensorData| data.try_to_vec().unwrap();
        (
            values(gradients.get::<1>(pair.a.id).unwrap().into_data()),
            values(gradients.get::<2>(pair.b.id).unwrap().into_data()),
        )
    }

    #[test]
    fn gradients_of_parts_are_those_of_the_sum_and_what_is_frozen_has_none() {
        let device = Device::flex().autodiff();
        let frozen = Tensor::<2>::from_data([[2.0f32]], &device);
        let pair = Pair {
            a: Param::from_tensor(Tensor::from_data([1.0f32, -1.0], &device)),
            b: Param::from_tensor(frozen).set_require_grad(false),
        };
        let parts = |parts: &[&[f32]]| {
            let parts: Vec<Vec<f32>> = parts.iter().map(|part| part.to_vec()).collect();
            gradients_of_parts(&pair, parts, |pair, part| {
                let factors = Tensor::<1>::from_data(TensorData::new(part.clone(), [2]), &device);
                let loss = (pair.a.val() * factors * pair.b.val().squeeze_dim::<1>(0)).sum();
                (loss, part.len())
            })
        };
        for (given, expected) in [
            (&[&[1.0f32, 2.0][..]][..], [2.0, 4.0]),
            (&[&[1.0, 2.0], &[10.0, 0.0], &[0.0, 5.0]], [22.0, 14.0]),
        ] {
            let (found, others) = parts(given);
            let found_a = found.get::<1>(pair.a.id).unwrap().into_data();
            assert_eq!(found_a.try_to_vec::<f32>().unwrap(), expected);
            assert!(found.get::<2>(pair.b.id).is_none());
            assert_eq!(others, vec![2; given.len()]);
        }
    }

    #[test]
    fn a_long_gradient_is_shortened_as_a_whole() {
        let (a, b) = clipped(1.0);
        for (value, expected) in a.iter().chain(&b).zip([0.6, 0.0, 0.8]) {
            assert!((value - expected).abs() < 1e-5, "{value} is not {expected}");
        }
    }

    #[test]
    fn a_short_gradient_is_left_alone() {
        assert_eq!(clipped(10.0), (vec![3.0, 0.0], vec![4.0]));
    }

    /// A pair with gradients of some size, of joint norm 200.7.
    fn long() -> (Pair, GradientsParams) {
        let device = test_device();
        let waves = |count: usize| -> Vec<f32> {
            (0..count).map(|index| (0.3 * index as f32).sin()).collect()
        };
        let pair = Pair {
            a: Param::from_tensor(Tensor::zeros([80_000], &device)),
            b: Param::from_tensor(Tensor::zeros([30, 20], &device)),
        };
        let a = Tensor::<1>::from_data(TensorData::new(waves(80_000), [80_000]), &device);
        let b = Tensor::<2>::from_data(TensorData::new(waves(600), [20, 30]), &device);
        let mut gradients = GradientsParams::new();
        gradients.register(pair.a.id, a);
        // A view.
        gradients.register(pair.b.id, b.transpose());
        (pair, gradients)
    }

    fn values(pair: &Pair, gradients: &GradientsParams) -> Vec<f32> {
        let a = gradients.get::<1>(pair.a.id).unwrap().into_data();
        let b = gradients.get::<2>(pair.b.id).unwrap().into_data();
        a.iter::<f32>().chain(b.iter::<f32>()).collect()
    }

    #[test]
    fn gradients_in_reach_are_clipped_as_on_a_device() {
        for max_norm in [1e-3, 1.0, 200.0, 202.0, 1e6] {
            let (pair, gradients) = long();
            let expected = values(&pair, &clip_on_device(&pair, gradients, max_norm));
            let (pair, gradients) = long();
            assert!(known_factor(&pair, &gradients, max_norm).is_some());
            let found = values(&pair, &clip_global_norm(&pair, gradients, max_norm));
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= 1e-5 * expected.abs(),
                    "{max_norm}: {found} is not {expected}"
                );
            }
        }
    }

    #[test]
    fn a_gradient_that_is_not_a_number_spoils_all_of_them() {
        let (pair, mut gradients) = long();
        let broken = Tensor::<2>::full([30, 20], f32::NAN, &test_device());
        gradients.register(pair.b.id, broken);
        let found = values(&pair, &clip_global_norm(&pair, gradients, 1.0));
        assert!(found.iter().all(|value| value.is_nan()));
    }

    #[test]
    fn a_module_without_gradients_is_left_alone() {
        let (pair, _) = long();
        let gradients = clip_global_norm(&pair, GradientsParams::new(), 1.0);
        assert!(gradients.is_empty());
    }
}
