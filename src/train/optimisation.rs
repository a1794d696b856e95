//! How a stage optimises: Adam, its step sizes, and when it ends.

use burn::optim::ModuleOptimizer;
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::optim::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use serde::{Deserialize, Serialize};

use super::adam::Adam;
use crate::ops::AdamRule;

/// How the learning rate changes over a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The same for every step.
    Constant,
    /// Half a cosine from the learning rate down to zero, one point per step.
    Cosine,
}

/// Settings of a stage's optimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimisation {
    /// Passes over the training share, at most.
    pub epochs: usize,
    /// Samples per step.
    pub batch_size: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// How the step size changes.
    pub schedule: Schedule,
    /// Adam's first momentum (DCGAN: 0.5).
    pub beta_1: f64,
    /// L2 penalty added to the gradient; 0 is none.
    pub weight_decay: f64,
    /// Largest L2 norm of the whole gradient; 0 is no limit.
    pub clip_norm: f64,
    /// Epochs without a better validation loss after which the stage ends; 0 is never.
    pub patience: usize,
}

impl Optimisation {
    /// Adam with these settings, as a stage uses it.
    pub fn optimizer(&self) -> ModuleOptimizer {
        let decay = self.weight_decay as f32;
        let rule = AdamRule {
            beta_1: self.beta_1 as f32,
            beta_2: 0.999,
            // Burn's default is 1e-5; PyTorch's is what the published settings were tuned with.
            epsilon: 1e-8,
            weight_decay: (decay > 0.0).then_some(decay),
        };
        Adam::new(rule).into()
    }

    /// Its step sizes over `steps` steps in every epoch.
    ///
    /// # Errors
    /// What keeps the schedule from being one.
    pub(super) fn scheduler(&self, steps: usize) -> Result<ModuleLrScheduler, String> {
        let rate = self.learning_rate;
        match self.schedule {
            Schedule::Constant => Ok(ConstantLr::new(rate).into()),
            Schedule::Cosine => {
                let steps = (steps * self.epochs).max(1);
                CosineAnnealingLrSchedulerConfig::new(rate, steps).init()
            }
        }
    }
}
