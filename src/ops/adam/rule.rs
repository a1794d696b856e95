//! Adam's settings, and the numbers of a step that they come to.

use burn::optim::decay::WeightDecayConfig;
use burn::optim::{Adam, AdamConfig};

/// Adam's settings, without AMSGrad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdamRule {
    /// What is kept of the first moment from step to step.
    pub beta_1: f32,
    /// What is kept of the second moment from step to step.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// L2 penalty: this much of the parameter is added to its gradient.
    pub weight_decay: Option<f32>,
}

impl AdamRule {
    /// Burn's optimizer with these settings.
    pub(crate) fn plain(&self) -> Adam {
        AdamConfig::new()
            .with_beta_1(self.beta_1)
            .with_beta_2(self.beta_2)
            .with_epsilon(self.epsilon)
            .with_weight_decay(self.weight_decay.map(WeightDecayConfig::new))
            .build()
    }
}

/// What a step multiplies and adds, worked out in the order of Burn's Adam.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Factors {
    pub beta_1: f32,
    /// One minus `beta_1`.
    pub rest_1: f32,
    pub beta_2: f32,
    /// One minus `beta_2`.
    pub rest_2: f32,
    /// Makes up for both moments' start at zero.
    pub correction: f32,
    /// The setting times the second moment's part of the correction.
    pub epsilon: f32,
    pub rate: f32,
}

impl Factors {
    /// `time` counts the steps from 1.
    pub fn new(rule: &AdamRule, rate: f64, time: usize) -> Self {
        let AdamRule { beta_1, beta_2, .. } = *rule;
        let time = time as i32;
        let root = (1.0 - beta_2.powi(time)).sqrt();
        Self {
            beta_1,
            rest_1: 1.0 - beta_1,
            beta_2,
            rest_2: 1.0 - beta_2,
            correction: root / (1.0 - beta_1.powi(time)),
            epsilon: rule.epsilon * root,
            rate: rate as f32,
        }
    }
}
