//! The invariants of every transform, applied to those of images.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::TrainStep;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal, Uniform};

use super::*;
use crate::backend::test_device;
use crate::flow::transform_tests::{assert_close, assert_invertible, assert_log_det_is_autograd};
use crate::flow::{ActNorm, Transform};

/// Adds a little noise to every parameter: at their start many layers are the identity, and any formula
/// would pass.
struct Shake(StdRng, f32);

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = param.val();
        let shape = value.dims();
        let deviation = self.1;
        let noise: Vec<f32> = StandardNormal
            .sample_iter(&mut self.0)
            .map(|value: f32| deviation * value)
            .take(shape.iter().product())
            .collect();
        let noise = Tensor::from_data(TensorData::new(noise, shape), &value.device());
        Param::from_tensor((value + noise).detach())
    }
}

/// `module` with other parameters, in evaluation mode.
fn shaken<M: Module>(module: M) -> M {
    shaken_by(module, 0.1)
}

/// `module` with parameters that differ by noise of this standard deviation, in evaluation mode.
pub(crate) fn shaken_by<M: Module>(module: M, deviation: f32) -> M {
    let rng = StdRng::seed_from_u64(11);
    module.map(&mut Shake(rng, deviation)).valid()
}

/// Values in `[0.02, 0.98]`.
fn pixels(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let uniform = Uniform::new(0.02f32, 0.98).unwrap();
    let values: Vec<f32> = uniform
        .sample_iter(StdRng::seed_from_u64(5))
        .take(shape.iter().product())
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn assert_transform(transform: &impl Transform<4>, shape: [usize; 3]) {
    let [channels, height, width] = shape;
    let x = pixels([2, channels, height, width], &test_device());
    assert_invertible(transform, x.clone(), None);
    assert_log_det_is_autograd(transform, x, None);
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

#[test]
fn every_layer_keeps_its_promises() {
    let (device, rng) = (test_device(), &mut rng());
    for domain in [Domain::Logit, Domain::Centred] {
        assert_transform(&domain, [2, 2, 3]);
    }
    for order in [Order::Channels, Order::Checkerboard] {
        assert_transform(&Squeeze::new(order), [2, 4, 2]);
    }
    assert_transform(&shaken(ActNorm::new(3, &device)), [3, 2, 2]);
    for channels in [1, 2, 5] {
        let layer = shaken(InvertibleConv::new(channels, rng, &device));
        assert_transform(&layer, [channels, 2, 2]);
    }
    for channels in [2, 3, 4] {
        let layer = shaken(ChannelCoupling::new(channels, 5, rng, &device));
        assert_transform(&layer, [channels, 3, 2]);
    }
    for mask in [
        Mask::Checkerboard(true),
        Mask::Checkerboard(false),
        Mask::Channels(true),
        Mask::Channels(false),
        Mask::Horizontal(true),
        Mask::Quadrant(1),
    ] {
        let shape = [4, 2, 2];
        for bottleneck in [0, 2] {
            let sizes = ResidualSizes {
                width: 3,
                blocks: 1,
                bottleneck,
            };
            let layer = MaskedCoupling::new(shape, mask, sizes, rng, &device);
            assert_transform(&shaken(layer), shape);
        }
    }
}

/// Whole flows of 4x4 grey and colour images, with dequantised pixels as their input.
fn flows(channels: usize, device: &Device) -> Vec<ImageFlow> {
    let rng = &mut rng();
    let shape = [channels, 4, 4];
    let masks = [
        Masking::MultiScale,
        Masking::Checkerboard,
        Masking::Horizontal,
        Masking::Cycle,
    ];
    let real_nvp = |masks| ImageRealNvpConfig {
        shape,
        masks,
        scales: 2,
        width: 2,
        blocks: 1,
        bottleneck: 0,
    };
    let glow = GlowConfig {
        shape,
        levels: 2,
        steps: 2,
        width: 3,
    };
    let mut flows: Vec<ImageFlow> = masks
        .into_iter()
        .map(|masks| real_nvp(masks).init(rng, device))
        .collect();
    flows.push(glow.init(rng, device));
    flows
}

#[test]
fn whole_flows_keep_their_promises() {
    for channels in [1, 3] {
        for flow in flows(channels, &test_device()) {
            assert_transform(&shaken(flow), [channels, 4, 4]);
        }
    }
}

#[test]
fn whatever_shape_is_not_refused_has_a_flow() {
    let device = test_device();
    for masks in [
        Masking::MultiScale,
        Masking::Checkerboard,
        Masking::Horizontal,
        Masking::Cycle,
    ] {
        for (scales, shape) in [
            (1, [1, 5, 7]),
            (2, [2, 6, 10]),
            (2, [1, 5, 6]),
            (3, [1, 4, 8]),
            (3, [1, 6, 4]),
        ] {
            let config = ImageRealNvpConfig {
                shape,
                masks,
                scales,
                width: 2,
                blocks: 1,
                bottleneck: 3,
            };
            if config.check().is_ok() {
                let [channels, height, width] = shape;
                let flow = shaken(config.init(&mut rng(), &device));
                let images = pixels([2, channels, height, width], &device);
                assert_invertible(&flow, images, None);
            } else {
                let even = shape[1].is_multiple_of(2) && shape[2].is_multiple_of(2);
                assert!(
                    !even || (masks == Masking::MultiScale && scales == 3),
                    "{config:?}"
                );
            }
        }
    }
    let glow = |shape| GlowConfig {
        shape,
        levels: 2,
        steps: 1,
        width: 2,
    };
    assert!(glow([1, 6, 8]).check().is_err());
    let flow = shaken(glow([1, 4, 8]).init(&mut rng(), &device));
    assert_invertible(&flow, pixels([2, 1, 4, 8], &device), None);
}

#[test]
fn the_log_likelihood_is_that_of_the_noise_and_the_volume() {
    let x = pixels([5, 3, 4, 4], &test_device());
    for flow in flows(3, &test_device()) {
        let flow = shaken(flow);
        let (z, log_det) = flow.forward(x.clone(), None);
        let squares = sum_per_image(z.square());
        let expected = squares.clone() * -0.5 + log_det - 24.0 * std::f64::consts::TAU.ln();
        let (log_prob, norm) = flow.log_prob_and_norm(x.clone());
        assert_close(log_prob.clone(), expected, 1e-5, "log-likelihood");
        assert_close(norm, squares.sqrt(), 1e-5, "norm");
        let bits = flow.bits_per_dim(log_prob.clone());
        let expected = log_prob / (-48.0 * std::f64::consts::LN_2) + 8.0;
        assert_close(bits, expected, 1e-6, "bits per dimension");
    }
}

#[test]
fn a_uniform_density_has_eight_bits() {
    // Glow's pixels are uniform on an interval of length one; so is the density of a level.
    let flow = ImageFlow::new([1, 2, 2], Domain::Centred, vec![Level::last(Vec::new())]);
    let bits = flow.bits_per_dim(Tensor::zeros([1], &test_device()));
    assert_eq!(bits.into_scalar::<f32>(), 8.0);
}

#[test]
fn squeezing_brings_squares_together() {
    let values: Vec<f32> = (0..16).map(|value| value as f32).collect();
    let x = Tensor::<4>::from_data(TensorData::new(values, [1, 1, 4, 4]), &test_device());
    let read = |order| -> Vec<f32> {
        let squeezed = Squeeze::new(order).squeeze(x.clone());
        assert_eq!(squeezed.dims(), [1, 4, 2, 2]);
        squeezed.into_data().iter::<f32>().collect()
    };
    assert_eq!(
        read(Order::Channels),
        [
            0., 2., 8., 10., 1., 3., 9., 11., 4., 6., 12., 14., 5., 7., 13., 15.
        ]
    );
    assert_eq!(
        read(Order::Checkerboard),
        [
            0., 2., 8., 10., 5., 7., 13., 15., 1., 3., 9., 11., 4., 6., 12., 14.
        ]
    );
}

#[test]
fn a_new_convolution_is_a_rotation() {
    let device = test_device();
    let layer = InvertibleConv::new(6, &mut rng(), &device);
    let x = pixels([3, 6, 2, 2], &device);
    let (y, log_det) = layer.forward(x.clone(), None);
    assert_close(
        sum_per_image(y.clone().square()),
        sum_per_image(x.clone().square()),
        1e-5,
        "length",
    );
    assert_close(log_det, Tensor::zeros([3], &device), 1e-5, "volume");
    assert!((y - x).abs().max().into_scalar::<f32>() > 0.1);
}

#[test]
fn glow_starts_from_the_data() {
    let device = test_device();
    let x = pixels([40, 3, 8, 8], &device);
    let sizes = GlowConfig {
        shape: [3, 8, 8],
        levels: 2,
        steps: 2,
        width: 4,
    };
    let flow = sizes.init(&mut rng(), &device).initialised_from(x.clone());
    let (z, _) = flow.forward(x.clone(), None);
    // The last scale ends with a normalisation; the rest starts with the norm of its maps.
    let (parts, _) = flow.parts(x);
    let last = parts.last().unwrap().clone();
    let rows: Tensor<2> = last.swap_dims(0, 1).reshape([24, -1]);
    let variance = rows.clone().var_bias(1).reshape([24]);
    assert_close(variance, Tensor::ones([24], &device), 1e-3, "variance");
    let mean = rows.mean_dim(1).reshape([24]);
    assert_close(mean, Tensor::zeros([24], &device), 1e-3, "mean");
    assert!(z.is_finite().all().into_scalar::<bool>());
}

#[test]
fn a_new_real_nvp_only_has_the_domain_s_volume() {
    let device = test_device();
    let x = pixels([3, 1, 4, 4], &device);
    let (y, log_det) = Domain::Logit.forward(x.clone(), None);
    for flow in &flows(1, &device)[..4] {
        let (z, found) = flow.forward(x.clone(), None);
        assert_close(found, log_det.clone(), 1e-6, "volume");
        assert_close(z.reshape([-1]), y.clone().reshape([-1]), 1e-6, "identity");
    }
}

#[test]
fn gradients_reach_every_parameter_of_a_flow() {
    struct Missing<'a>(&'a burn::tensor::Gradients, usize, Vec<String>, Vec<String>);
    impl ModuleVisitor for Missing<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.3.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.3.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.3.join(".");
            if path.contains("running") {
                return;
            }
            self.1 += 1;
            if param.val().grad(self.0).is_none() {
                self.2.push(path);
            }
        }
    }
    let device = test_device().autodiff();
    let x = pixels([4, 3, 4, 4], &device);
    for flow in flows(3, &device) {
        let gradients = flow.log_prob(x.clone()).mean().backward();
        let mut missing = Missing(&gradients, 0, Vec::new(), Vec::new());
        flow.visit(&mut missing);
        assert!(missing.1 > 20 && missing.2.is_empty(), "{:?}", missing.2);
    }
}

#[test]
fn colder_samples_are_nearer_to_the_mode() {
    let device = test_device();
    let flow = shaken(flows(3, &device).swap_remove(4));
    let norm = |temperature: f64| {
        let drawn = flow.sample(50, temperature, &mut rng(), &device);
        flow.log_prob_and_norm(drawn).1.mean().into_scalar::<f32>()
    };
    // The norm of 48 standard normal numbers is 6.9 on average.
    assert!((norm(1.0) - 6.9).abs() < 0.3, "{}", norm(1.0));
    assert!((norm(0.5) - 3.45).abs() < 0.15, "{}", norm(0.5));
}

#[test]
fn what_couplings_predict_is_what_they_do() {
    let device = test_device();
    let x = pixels([2, 3, 4, 4], &device);
    for (flow, couplings) in flows(3, &device).into_iter().zip([6, 8, 8, 8, 2]) {
        let flow = shaken(flow);
        let found = flow.predictions(x.clone());
        assert_eq!(found.len(), couplings);
        for [log_scale, shift] in found {
            assert_eq!((log_scale.dims(), shift.dims()), (x.dims(), x.dims()));
            assert!(shift.abs().max().into_scalar::<f32>() > 0.0);
        }
    }
    // A flow of couplings alone has no other volume.
    let flow = shaken(flows(3, &device).swap_remove(1));
    let (_, domain) = Domain::Logit.forward(x.clone(), None);
    let sum = flow
        .predictions(x.clone())
        .into_iter()
        .map(|[log_scale, _]| sum_per_image(log_scale));
    let sum = sum.fold(domain, |sum, part| sum + part);
    assert_close(flow.forward(x, None).1, sum, 1e-5, "volume");
}

/// The gradients of all parameters, in the order of the module.
fn gradients(flow: &ImageFlow, found: &GradientsParams) -> Vec<f32> {
    struct Read<'a>(&'a GradientsParams, Vec<f32>);
    impl ModuleVisitor for Read<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1.extend(gradient.into_data().iter::<f32>());
            }
        }
    }
    let mut read = Read(found, Vec::new());
    flow.visit(&mut read);
    read.1
}

#[test]
fn a_step_in_parts_is_that_of_the_whole_batch_whatever_the_threads() {
    let device = Device::flex().autodiff();
    // Parts of 8, 8 and 3.
    let images = || pixels([19, 1, 4, 4], &device);
    for flow in flows(1, &device) {
        let flow = flow.map(&mut Shake(StdRng::seed_from_u64(11), 0.1));
        let loss = flow.bits_per_dim(flow.log_prob(images())).mean();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        let whole = GradientsParams::from_grads(loss.backward(), &flow);
        let whole = gradients(&flow, &whole);
        assert!(whole.iter().any(|gradient| *gradient != 0.0));
        let step = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let output = pool
                .build()
                .unwrap()
                .install(|| TrainStep::step(&flow, images()));
            let found = gradients(&flow, &output.grads);
            (found, output.item.values().unwrap()[0])
        };
        let (one, three) = (step(1), step(3));
        assert_eq!(one, three);
        let scale = whole.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        assert_eq!(one.0.len(), whole.len());
        for (found, expected) in one.0.iter().zip(&whole) {
            assert!(
                (found - expected).abs() <= 1e-5 * scale,
                "{found} is not {expected}"
            );
        }
        assert!(
            (one.1 - value).abs() <= 1e-5 * value.abs(),
            "{} is not {value}",
            one.1
        );
    }
}

#[test]
fn a_flow_holds_what_its_sizes_say_at_least() {
    let rng = &mut StdRng::seed_from_u64(3);
    let shape = [1, 8, 8];
    let glow = GlowConfig {
        shape,
        levels: 2,
        steps: 2,
        width: 8,
    };
    let numbers = glow.init(rng, &test_device()).num_params();
    assert!((1..=numbers).contains(&glow.least_numbers()));
    for (masks, scales) in [
        (Masking::MultiScale, 1),
        (Masking::MultiScale, 3),
        (Masking::Cycle, 1),
    ] {
        let realnvp = ImageRealNvpConfig {
            shape,
            masks,
            scales,
            width: 4,
            blocks: 2,
            bottleneck: 0,
        };
        let numbers = realnvp.init(rng, &test_device()).num_params();
        assert!((numbers / 3..=numbers).contains(&realnvp.least_numbers()));
    }
}
