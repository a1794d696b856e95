use super::*;
use crate::backend::test_device;
use burn::optim::AdamConfig;
use burn::tensor::TensorData;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

fn normal<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = StandardNormal.sample_iter(StdRng::seed_from_u64(seed));
    let values: Vec<f32> = values.take(shape.iter().product()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn model(device: &Device) -> Egbad {
    let config = BiGanConfig {
        channels: 1,
        size: 32,
        width: 2,
        hidden: 8,
        latent: 4,
    };
    Egbad::new(&config, &mut StdRng::seed_from_u64(1), device)
}

fn round(device: &Device) -> Round {
    Round {
        images: normal([4, 1, 32, 32], 2, device).tanh(),
        noise: normal([4, 4], 3, device),
        seed: 5,
    }
}

/// Sum of all parameters' absolute gradients.
fn gradients<M: Module>(module: &M, gradients: &GradientsParams) -> f32 {
    struct Sum<'a>(&'a GradientsParams, f32);
    impl ModuleVisitor for Sum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1 += gradient.abs().sum().into_scalar::<f32>();
            }
        }
    }
    let mut sum = Sum(gradients, 0.0);
    module.visit(&mut sum);
    sum.1
}

/// All values with the last part of their names.
fn values(networks: &BiGan) -> Vec<(String, Vec<f32>)> {
    struct Values(Vec<(String, Vec<f32>)>, Vec<String>);
    impl ModuleVisitor for Values {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.1.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.1.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().into_data().iter::<f32>().collect();
            self.0
                .push((self.1.last().cloned().unwrap_or_default(), values));
        }
    }
    let mut all = Values(Vec::new(), Vec::new());
    networks.visit(&mut all);
    all.0
}

#[test]
fn each_loss_reaches_its_own_network_alone() {
    let device = test_device().autodiff();
    let model = model(&device);
    let found = TrainStep::step(&model, round(&device)).grads;
    let networks = &model.networks;
    let alone = |loss: Tensor<1>| {
        let mut grads = loss.backward();
        let of = GradientsParams::from_module(&mut grads, &networks.encoder);
        let encoder = gradients(&networks.encoder, &of);
        let of = GradientsParams::from_module(&mut grads, &networks.generator);
        let generator = gradients(&networks.generator, &of);
        let of = GradientsParams::from_module(&mut grads, &networks.discriminator);
        [encoder, generator, gradients(&networks.discriminator, &of)]
    };
    let losses = || model.losses(round(&device), true);
    let [_, generator, _] = alone(losses().generator);
    let [encoder, none, _] = alone(losses().encoder);
    assert_eq!(none, 0.0);
    let [none, nothing, discriminator] = alone(losses().discriminator);
    assert_eq!([none, nothing], [0.0, 0.0]);
    for (found, expected) in [
        (gradients(&networks.encoder, &found), encoder),
        (gradients(&networks.generator, &found), generator),
        (gradients(&networks.discriminator, &found), discriminator),
    ] {
        assert!(expected > 0.0);
        assert!(
            (found - expected).abs() < 1e-3 * expected,
            "{found} is not {expected}"
        );
    }
    // What scores is not trained by gradients.
    assert_eq!(gradients(&model.average, &found), 0.0);
}

#[test]
fn averages_follow_the_weights_and_statistics_are_taken_over() {
    let device = test_device().autodiff();
    let start = model(&device);
    let before = values(&start.average);
    assert_eq!(before, values(&start.networks));
    let output = TrainStep::step(&start, round(&device));
    let after = start.optimize(&mut AdamConfig::new().init(), 0.01.into(), output.grads);
    let (average, networks) = (values(&after.average), values(&after.networks));
    assert_ne!(networks, before);
    for (((name, average), (_, before)), (_, networks)) in
        average.iter().zip(&before).zip(&networks)
    {
        if name.starts_with("running") {
            assert_eq!(average, networks);
            continue;
        }
        for ((average, before), networks) in average.iter().zip(before).zip(networks) {
            let expected = 0.999 * before + 0.001 * networks;
            assert!((average - expected).abs() < 1e-6, "{name}");
        }
    }
}

#[test]
fn a_step_is_repeated_by_its_seed_and_dropout_is_for_training() {
    let device = test_device().autodiff();
    let loss = |round: Round, dropout| {
        let losses = model(&device).losses(round, dropout);
        losses.discriminator.into_scalar::<f32>()
    };
    let other = || Round {
        seed: 6,
        ..round(&device)
    };
    assert_eq!(loss(round(&device), true), loss(round(&device), true));
    assert_ne!(loss(round(&device), true), loss(other(), true));
    assert_eq!(loss(round(&device), false), loss(other(), false));
}
