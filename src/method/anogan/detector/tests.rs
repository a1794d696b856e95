use super::*;
use crate::backend::test_device;
use crate::method::detector::scorer::tests::{
    Enlarge, assert_score_of_image_alone, grey_32, noise,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

const RULE: SearchRule = SearchRule {
    starts: 5,
    learning_rate: 0.01,
    steps: 30,
    patience: 0,
    feature_weight: 0.1,
};

/// The detector of random networks.
fn with(rule: SearchRule) -> AnoganDetector {
    let device = test_device();
    let config = AutoEncoderConfig {
        channels: 1,
        size: 32,
        width: 2,
        latent: 6,
    };
    let model = Anogan::new(&config, rule.starts, &mut StdRng::seed_from_u64(1), &device);
    // DCGAN's initial weights make everything grey.
    let model = model.map(&mut Enlarge(20.0));
    let conversion = grey_32();
    AnoganDetector::new(conversion, model, rule, &device)
}

pub fn detector() -> AnoganDetector {
    with(RULE)
}

#[test]
fn a_score_depends_on_its_image_alone() {
    // More images than are searched for at once, some of which end sooner than others.
    let patient = SearchRule {
        steps: 60,
        patience: 7,
        ..RULE
    };
    assert_score_of_image_alone(&with(patient), &noise(70, 2));
}

#[test]
fn the_score_is_the_sum_of_its_two_terms() {
    let scores = detector().score(&noise(5, 3)).unwrap();
    let [losses, residuals, features] = scores.columns() else {
        panic!("three scores")
    };
    for ((loss, residual), features) in losses.iter().zip(residuals).zip(features) {
        let sum = 0.9 * residual + 0.1 * features;
        assert!((loss - sum).abs() < 1e-3 * sum, "{loss} is not {sum}");
    }
}

#[test]
fn an_image_that_the_generator_makes_is_found() {
    let rule = SearchRule { steps: 400, ..RULE };
    let detector = with(rule);
    let made = detector.sample(3, 5).unwrap();
    let found = detector.score(&made).unwrap();
    let short = with(SearchRule { steps: 1, ..rule }).score(&made).unwrap();
    for (far, near) in short.columns()[1].iter().zip(&found.columns()[1]) {
        assert!(near < &(0.5 * far), "{near} of {far}");
    }
    let other = detector.score(&noise(3, 4)).unwrap();
    assert!(other.columns()[0][0] > 3.0 * found.columns()[0][0]);
}

#[test]
fn a_search_starts_from_the_noise_whose_image_is_nearest() {
    let detector = with(SearchRule { steps: 1, ..RULE });
    let latent = detector.model.config().latent;
    let values: Vec<f32> = detector.model.starts().into_data().iter::<f32>().collect();
    let mut noises = Vectors::new(latent);
    noises.extend(values.iter().copied());
    let pixels = detector.generate(&noises).into_iter().flat_map(to_bytes);
    let made = Images::new([1, 32, 32], pixels.collect()).unwrap();
    let found = detector.search(&made);
    assert_eq!(found.len(), RULE.starts);
    for (found, start) in found.iter().zip(values.chunks_exact(latent)) {
        assert_eq!(found.latent, start);
    }
}

#[test]
fn patience_ends_a_search_that_makes_no_progress() {
    let images = noise(3, 6);
    let all = detector().search(&images);
    let hasty = with(SearchRule {
        patience: 1,
        ..RULE
    });
    for (hasty, all) in hasty.search(&images).iter().zip(&all) {
        assert!(all.loss <= hasty.loss);
    }
}
