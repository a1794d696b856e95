use super::*;
use crate::backend::test_device;
use crate::method::fitting::adversarial::tests::{
    assert_gradients_of, gradients, gradients_of, round,
};
use burn::optim::AdamConfig;
use rand::SeedableRng;
use rand::rngs::StdRng;

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
    // Graphs are consumed: each loss is computed anew.
    let losses = || model.losses(round(&device), true);
    assert_gradients_of(&networks.generator, &found, &losses().generator);
    assert_gradients_of(&networks.encoder, &found, &losses().encoder);
    assert_gradients_of(&networks.discriminator, &found, &losses().discriminator);
    assert_eq!(gradients_of(&networks.generator, &losses().encoder), 0.0);
    assert_eq!(
        gradients_of(&networks.generator, &losses().discriminator),
        0.0
    );
    assert_eq!(
        gradients_of(&networks.encoder, &losses().discriminator),
        0.0
    );
    // What scores is not trained by gradients.
    assert_eq!(gradients(&model.average, &found), (0.0, 0));
}

#[test]
fn averages_follow_the_weights_and_statistics_are_taken_over() {
    let device = test_device().autodiff();
    let start = model(&device);
    assert_eq!(values(&start.average), values(&start.networks));
    let optimizer = &mut AdamConfig::new().init();
    let mut step = |model: Egbad| {
        let output = TrainStep::step(&model, round(&device));
        model.optimize(optimizer, 0.01.into(), output.grads)
    };
    let once = step(start);
    let first = values(&once.networks);
    let twice = step(once);
    let (average, second) = (values(&twice.average), values(&twice.networks));
    assert_ne!(first, second);
    for (((name, average), (_, first)), (_, second)) in average.iter().zip(&first).zip(&second) {
        if name.starts_with("running") {
            assert_eq!(average, second);
            continue;
        }
        for ((average, first), second) in average.iter().zip(first).zip(second) {
            // Without the initial weights: 0.999 and 1 of the two steps'.
            let expected = (0.999 * first + second) / 1.999;
            assert!(
                (average - expected).abs() < 1e-5,
                "{name}: {average} {expected}"
            );
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
