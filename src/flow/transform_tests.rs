//! The invariants of every transform, applied to every implementation.
//!
//! The list is that of nflows' and zuko's test suites: round trip, cancelling log-determinants,
//! log-determinant against the autograd Jacobian, gradients for every parameter.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::backend::test_device;

const DIM: usize = 5;

fn normal(shape: [usize; 2], rng: &mut impl Rng, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = StandardNormal
        .sample_iter(rng)
        .take(shape[0] * shape[1])
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Replaces every float parameter by random numbers: at their start the layers are the identity, and
/// any formula would pass.
struct Randomise(StdRng);

impl ModuleMapper for Randomise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        let values: Vec<f32> = StandardNormal
            .sample_iter(&mut self.0)
            .map(|value: f32| 0.4 * value)
            .take(shape.iter().product())
            .collect();
        let device = param.val().device();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &device))
    }
}

/// `module` with random parameters.
pub(crate) fn randomised<M: Module>(module: M) -> M {
    module.map(&mut Randomise(StdRng::seed_from_u64(11)))
}

/// Asserts that no parameter of `module` has a gradient.
fn assert_fixed<M: Module>(module: &M, gradients: &Gradients) {
    struct Fixed<'a>(&'a Gradients, usize);
    impl ModuleVisitor for Fixed<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            assert!(param.val().grad(self.0).is_none());
            self.1 += 1;
        }
    }
    let mut visitor = Fixed(gradients, 0);
    module.visit(&mut visitor);
    assert!(visitor.1 > 0);
}

fn config(mixing: Mixing, actnorm: bool) -> RealNvpConfig {
    RealNvpConfig {
        dim: DIM,
        couplings: 3,
        hidden: 7,
        layers: 2,
        clamp: 2.0,
        mixing,
        actnorm,
        gaussians: 0,
        base: BaseKind::Trained,
        context: 0,
    }
}

pub(crate) fn assert_close(left: Tensor<1>, right: Tensor<1>, tolerance: f32, what: &str) {
    let values = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(left.dims(), right.dims(), "{what}");
    for (left, right) in values(left).into_iter().zip(values(right)) {
        let error = (left - right).abs();
        assert!(
            error <= tolerance * (1.0 + right.abs()),
            "{what}: {left} is not {right}"
        );
    }
}

/// `inverse(forward(x))` is `x`, `forward(inverse(z))` is `z`, and the log-determinants cancel.
pub(crate) fn assert_invertible<const RANK: usize>(
    transform: &impl Transform<RANK>,
    x: Tensor<RANK>,
    context: Option<&Tensor<2>>,
) {
    let (z, forward) = transform.forward(x.clone(), context);
    let (back, inverse) = transform.inverse(z.clone(), context);
    assert_close(back.reshape([-1]), x.reshape([-1]), 1e-5, "round trip");
    assert_close(forward, inverse.neg(), 1e-5, "log-determinants");
    let noise = z * 0.9;
    let (back, _) = transform.inverse(noise.clone(), context);
    let (again, _) = transform.forward(back, context);
    assert_close(
        again.reshape([-1]),
        noise.reshape([-1]),
        1e-5,
        "round trip from noise",
    );
}

/// `ln |det J|` of each sample from autograd: one backward pass per output entry, then Gaussian
/// elimination in f64.
pub(crate) fn assert_log_det_is_autograd<const RANK: usize>(
    transform: &impl Transform<RANK>,
    x: Tensor<RANK>,
    context: Option<&Tensor<2>>,
) {
    let device = x.device().autodiff();
    let batch = x.dims()[0];
    let dim = x.dims()[1..].iter().product::<usize>();
    let data = x.into_data();
    let mut jacobians = vec![vec![vec![0.0f64; dim]; dim]; batch];
    for output in 0..dim {
        let input = Tensor::<RANK>::from_data(data.clone(), &device).require_grad();
        let (z, _) = transform.forward(input.clone(), context);
        let z: Tensor<2> = z.reshape([batch, dim]);
        let gradients = z.narrow(1, output, 1).sum().backward();
        let rows: Vec<f32> = input
            .grad(&gradients)
            .unwrap()
            .into_data()
            .try_to_vec()
            .unwrap();
        for (jacobian, row) in jacobians.iter_mut().zip(rows.chunks(dim)) {
            jacobian[output] = row.iter().map(|&value| f64::from(value)).collect();
        }
    }
    let expected: Vec<f32> = jacobians
        .into_iter()
        .map(|j| log_abs_det(j) as f32)
        .collect();
    let device = device.inner();
    let (_, log_det) = transform.forward(Tensor::from_data(data, &device), context);
    let expected = Tensor::from_data(TensorData::new(expected, [batch]), &device);
    assert_close(log_det, expected, 1e-4, "log-determinant against autograd");
}

fn log_abs_det(mut matrix: Vec<Vec<f64>>) -> f64 {
    let size = matrix.len();
    let mut sum = 0.0;
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))
            .unwrap();
        matrix.swap(column, pivot);
        sum += matrix[column][column].abs().ln();
        let (upper, lower) = matrix.split_at_mut(column + 1);
        for row in lower {
            let factor = row[column] / upper[column][column];
            for (value, above) in row.iter_mut().zip(&upper[column]) {
                *value -= factor * above;
            }
        }
    }
    sum
}

fn assert_transform(transform: &impl Transform<2>) {
    let x = normal([4, DIM], &mut StdRng::seed_from_u64(5), &test_device());
    assert_invertible(transform, x.clone(), None);
    assert_log_det_is_autograd(transform, x, None);
}

#[test]
fn every_transform_keeps_its_promises() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(1);
    for first_passes in [true, false] {
        let coupling = AffineCoupling::new(
            &config(Mixing::Alternate, false),
            first_passes,
            rng,
            &device,
        );
        assert_transform(&randomised(coupling));
    }
    assert_transform(&randomised(ActNorm::new(DIM, &device)));
    assert_transform(&Permutation::new(DIM, rng, &device));
    let latents: Vec<f32> = StandardNormal
        .sample_iter(&mut *rng)
        .take(40 * DIM)
        .collect();
    assert_transform(&Standardizer::fit(&latents, DIM, 0));
    for mixing in [Mixing::Permutation, Mixing::Alternate] {
        for actnorm in [false, true] {
            assert_transform(&randomised(config(mixing, actnorm).init(rng, &device)));
        }
    }
}

#[test]
fn a_flow_given_a_context_keeps_its_promises() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(7);
    let sizes = RealNvpConfig {
        context: 3,
        gaussians: 2,
        ..config(Mixing::Permutation, true)
    };
    let flow = randomised(sizes.init(rng, &device));
    let x = normal([4, DIM], rng, &device);
    let context = normal([4, 3], rng, &device);
    assert_invertible(&flow, x.clone(), Some(&context));
    let log_prob = flow.log_prob(x.clone(), Some(&context));
    let rows = Tensor::cat(vec![x.clone(), context.clone()], 1);
    let (apart, found) = flow.split_context(rows);
    assert_close(apart.flatten(0, 1), x.clone().flatten(0, 1), 0.0, "vectors");
    assert_close(
        flow.log_prob(x.clone(), found.as_ref()),
        log_prob.clone(),
        0.0,
        "density of a row",
    );
    let elsewhere = flow.log_prob(x, Some(&(context + 1.0)));
    let change = (elsewhere - log_prob).abs().min().into_scalar::<f32>();
    assert!(change > 1e-3, "the context does not matter: {change}");
}

#[test]
fn the_log_det_given_a_context_is_autograd_s() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(12);
    let sizes = RealNvpConfig {
        context: 3,
        ..config(Mixing::Permutation, true)
    };
    let flow = randomised(sizes.init(rng, &device));
    let x = normal([4, DIM], rng, &device);
    let context = normal([4, 3], rng, &device);
    assert_log_det_is_autograd(&flow, x, Some(&context));
}

#[test]
fn a_new_flow_is_the_identity_up_to_order() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(2);
    let x = normal([6, DIM], rng, &device);
    let flow = config(Mixing::Alternate, true).init(rng, &device);
    let (z, log_det) = flow.forward(x.clone(), None);
    assert_close(z.flatten(0, 1), x.clone().flatten(0, 1), 0.0, "identity");
    assert_close(log_det, Tensor::zeros([6], &device), 0.0, "volume");
    let flow = config(Mixing::Permutation, false).init(rng, &device);
    assert_close(
        flow.log_prob(x.clone(), None),
        flow.base_log_prob(x),
        1e-6,
        "density",
    );
}

#[test]
fn actnorm_starts_from_the_data() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(3);
    let x = normal([500, DIM], rng, &device) * 3.0 + 7.0;
    let (z, _) = ActNorm::initialised(x.clone()).forward(x.clone(), None);
    let mean = z.clone().mean_dim(0).squeeze_dim(0);
    assert_close(mean, Tensor::zeros([DIM], &device), 1e-4, "mean");
    let variance = z.var_bias(0).squeeze_dim(0);
    assert_close(variance, Tensor::ones([DIM], &device), 1e-3, "variance");
    let flow = config(Mixing::Permutation, true)
        .init(rng, &device)
        .initialised_from(x.clone(), 1, &mut StdRng::seed_from_u64(1));
    let (z, _) = flow.forward(x, None);
    let variance = z.var_bias(0).squeeze_dim(0);
    assert_close(
        variance,
        Tensor::ones([DIM], &device),
        1e-3,
        "variance after the whole flow",
    );
}

#[test]
fn with_a_fitted_base_a_new_flow_is_the_mixture() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(5);
    let left = normal([300, DIM], rng, &device) * 0.5 + 3.0;
    let x = Tensor::cat(vec![left, normal([300, DIM], rng, &device)], 0);
    let sizes = RealNvpConfig {
        gaussians: 2,
        base: BaseKind::Fitted,
        ..config(Mixing::Permutation, false)
    };
    let flow = sizes.init(rng, &device);
    let flow = flow.initialised_from(x.clone(), 1, &mut StdRng::seed_from_u64(8));
    let mut vectors = crate::data::Vectors::new(DIM);
    vectors.extend(x.clone().into_data().iter::<f32>());
    let config = MixtureConfig {
        gaussians: 2,
        starts: 1,
        samples: 600,
    };
    let mixture = FullMixture::fit(&vectors, config, &mut StdRng::seed_from_u64(9), &device);
    let nll = flow.log_prob(x.clone(), None).neg();
    let expected = super::Distribution::log_prob(&mixture, x.clone()).neg();
    // Another order of entries and another start find the same two clusters.
    assert_close(nll.clone(), expected, 1e-2, "density");
    // Far better than one normal: the base has seen the data.
    let plain = RealNvpConfig {
        gaussians: 0,
        ..sizes
    };
    let plain = plain.init(rng, &device).log_prob(x.clone(), None).neg();
    let gain = (plain - nll).mean().into_scalar::<f32>();
    assert!(gain > 5.0, "{gain} nats");
    // A step of training leaves the base as it was fitted.
    let autodiff = device.clone().autodiff();
    let flow = flow.train().to_device(&autodiff);
    let loss = flow.log_prob(x.to_device(&autodiff), None).mean();
    let gradients = loss.backward();
    let Base::Fitted(base) = flow.base() else {
        panic!("the base is not fitted");
    };
    assert_fixed(base, &gradients);
    let samples = flow.valid().sample(50, rng, &device);
    assert!(samples.is_finite().all().into_scalar::<bool>());
}

#[test]
fn with_a_tied_base_a_new_flow_is_the_mixture_and_leaves_it_as_it_is() {
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(5);
    let left = normal([300, DIM], rng, &device) * 0.5 + 3.0;
    let x = Tensor::cat(vec![left, normal([300, DIM], rng, &device)], 0);
    // Without permutations the flow is the identity, and the base is fitted to the rows themselves.
    let sizes = RealNvpConfig {
        gaussians: 20,
        base: BaseKind::Tied,
        ..config(Mixing::Alternate, false)
    };
    let flow = sizes.init(rng, &device);
    let flow = flow.initialised_from(x.clone(), 1, &mut StdRng::seed_from_u64(8));
    let mut vectors = crate::data::Vectors::new(DIM);
    vectors.extend(x.clone().into_data().iter::<f32>());
    let mixture = TiedMixture::fit(vectors, 20, &mut StdRng::seed_from_u64(8), &device);
    let expected = super::Distribution::log_prob(&mixture, x.clone());
    assert_close(flow.log_prob(x.clone(), None), expected, 1e-4, "density");
    let autodiff = device.clone().autodiff();
    let flow = flow.train().to_device(&autodiff);
    let gradients = flow
        .log_prob(x.to_device(&autodiff), None)
        .mean()
        .backward();
    let Base::Tied(base) = flow.base() else {
        panic!("the base is not tied");
    };
    assert_fixed(base, &gradients);
}

#[test]
fn gradients_reach_every_parameter() {
    struct Missing<'a>(&'a burn::tensor::Gradients, usize, usize);
    impl ModuleVisitor for Missing<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1 += 1;
            self.2 += usize::from(param.val().grad(self.0).is_none());
        }
    }
    let device = test_device().autodiff();
    let rng = &mut StdRng::seed_from_u64(4);
    let flow = randomised(config(Mixing::Permutation, true).init(rng, &device));
    let x = normal([8, DIM], rng, &device);
    let gradients = flow.log_prob(x, None).mean().backward();
    let mut missing = Missing(&gradients, 0, 0);
    flow.visit(&mut missing);
    assert_eq!((missing.1, missing.2), (3 * (2 + 6), 0));
}

#[test]
fn samples_follow_the_density() {
    // E[-ln p] over the flow's own samples equals the base's entropy minus E[ln |det dx/dz|].
    let device = test_device();
    let rng = &mut StdRng::seed_from_u64(6);
    let flow = randomised(config(Mixing::Permutation, true).init(rng, &device));
    let samples = flow.sample(4_000, rng, &device);
    let (z, log_det) = flow.forward(samples.clone(), None);
    let nll = flow.log_prob(samples, None).mean().neg();
    let entropy = DIM as f64 / 2.0 * (std::f64::consts::TAU * std::f64::consts::E).ln();
    let expected = log_det.mean().neg() + entropy;
    assert_close(nll, expected, 0.02, "entropy");
    let variance = z.var_bias(0).mean().reshape([1]);
    assert_close(variance, Tensor::ones([1], &device), 0.05, "base variance");
}

/// Trains a flow for `steps` full batches of `draw`n vectors, plain Adam.
fn fitted(
    config: RealNvpConfig,
    steps: usize,
    mut draw: impl FnMut(usize, &mut StdRng) -> Vec<f32>,
) -> RealNvp {
    use burn::optim::{AdamConfig, GradientsParams};
    let device = test_device().autodiff();
    let rng = &mut StdRng::seed_from_u64(8);
    let mut flow = config.init(rng, &device);
    let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
    for step in 0..steps {
        let batch = TensorData::new(draw(256, rng), [256, config.dim]);
        let loss = flow
            .log_prob(Tensor::from_data(batch, &device), None)
            .mean()
            .neg();
        let gradients = GradientsParams::from_grads(loss.backward(), &flow);
        let rate = 5e-3 * (1.0 - step as f64 / steps as f64);
        flow = adam.step(rate, flow, gradients);
    }
    flow.valid()
}

fn plane() -> RealNvpConfig {
    RealNvpConfig {
        dim: 2,
        couplings: 6,
        hidden: 24,
        ..config(Mixing::Alternate, false)
    }
}

#[test]
fn likelihood_of_a_gaussian_approaches_its_entropy() {
    // x = A n with n standard normal: entropy ln(2 pi e) + ln |det A|, here det A = 1.5 * 0.4.
    let draw = |count: usize, rng: &mut StdRng| {
        let noise: Vec<f32> = StandardNormal.sample_iter(rng).take(2 * count).collect();
        let rows = noise
            .chunks(2)
            .flat_map(|n| [1.5 * n[0], 0.9 * n[0] + 0.4 * n[1]]);
        rows.collect()
    };
    let flow = fitted(plane(), 400, draw);
    let test = TensorData::new(draw(20_000, &mut StdRng::seed_from_u64(9)), [20_000, 2]);
    let nll = flow
        .log_prob(Tensor::from_data(test, &test_device()), None)
        .mean()
        .neg();
    let entropy = (std::f64::consts::TAU * std::f64::consts::E).ln() + (1.5f64 * 0.4).ln();
    let nll = f64::from(nll.into_data().iter::<f32>().next().unwrap());
    assert!((nll - entropy).abs() < 0.03, "{nll} is not {entropy}");
}

#[test]
fn a_fitted_density_integrates_to_one() {
    // A ring of radius 2: nothing a Gaussian could fake.
    let mixture = RealNvpConfig {
        gaussians: 5,
        ..plane()
    };
    for sizes in [plane(), mixture] {
        assert_a_ring_s_density(sizes);
    }
}

fn assert_a_ring_s_density(sizes: RealNvpConfig) {
    let flow = fitted(sizes, 400, |count, rng| {
        let noise: Vec<f32> = StandardNormal.sample_iter(rng).take(2 * count).collect();
        let rows = noise.chunks(2).flat_map(|n| {
            let radius = 2.0 + 0.2 * n[0];
            let angle = n[1] * 7.0;
            [radius * angle.cos(), radius * angle.sin()]
        });
        rows.collect()
    });
    // Midpoint rule on [-8, 8]^2.
    let (cells, side) = (320usize, 16.0f32);
    let width = side / cells as f32;
    let at = |index: usize| (index as f32 + 0.5) * width - side / 2.0;
    let grid: Vec<f32> = (0..cells * cells)
        .flat_map(|cell| [at(cell / cells), at(cell % cells)])
        .collect();
    let grid = Tensor::from_data(TensorData::new(grid, [cells * cells, 2]), &test_device());
    let mass = flow
        .log_prob(grid, None)
        .exp()
        .into_data()
        .iter::<f32>()
        .map(f64::from)
        .sum::<f64>();
    let mass = mass * f64::from(width * width);
    assert!(
        (mass - 1.0).abs() < 0.02,
        "the density integrates to {mass}"
    );
    let ring = TensorData::new(vec![2.0f32, 0.0, 0.0, 0.0], [2, 2]);
    let density: Vec<f32> = flow
        .log_prob(Tensor::from_data(ring, &test_device()), None)
        .into_data()
        .try_to_vec()
        .unwrap();
    assert!(density[0] > density[1] + 1.0, "{density:?}");
}
