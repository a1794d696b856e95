//! The flow stage's step: maximise the likelihood of the training latents.

use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::{RealNvp, Transform};
use crate::train::{Kind, Monitor, StepOutput};

/// The flow stage, with the monitors in the order of its step's output.
pub const FLOW_STAGE: Kind = Kind {
    name: "flow",
    section: "flow",
    monitors: &[
        Monitor {
            name: "NLL",
            unit: "nats",
        },
        Monitor {
            name: "Bits per dim",
            unit: "bits/dim",
        },
        Monitor {
            name: "Latent norm",
            unit: "",
        },
    ],
    throughput: "Latents",
    adversarial: false,
};

impl RealNvp {
    /// Negative log-likelihood of a batch in nats and what the learner shows of it.
    fn negative_log_likelihood(&self, rows: Tensor<2>) -> (Tensor<1>, StepOutput) {
        let batch = rows.dims()[0];
        let (latents, context) = self.split_context(rows);
        let (z, log_det) = self.forward(latents, context.as_ref());
        let norm = z.clone().square().sum_dim(1).sqrt().mean();
        let loss = (self.base_log_prob(z) + log_det).neg().mean();
        let bits_per_dim = loss.clone() / (self.dim() as f64 * std::f64::consts::LN_2);
        let output = StepOutput::new(batch, [loss.clone(), bits_per_dim, norm]);
        (loss, output)
    }
}

impl TrainStep for RealNvp {
    type Input = Tensor<2>; // [batch, dim + context]
    type Output = StepOutput;

    fn step(&self, rows: Tensor<2>) -> TrainOutput<StepOutput> {
        let (loss, output) = self.negative_log_likelihood(rows);
        TrainOutput::new(self, loss.backward(), output)
    }
}

impl InferenceStep for RealNvp {
    type Input = Tensor<2>; // [batch, dim + context]
    type Output = StepOutput;

    fn step(&self, rows: Tensor<2>) -> StepOutput {
        self.negative_log_likelihood(rows).1
    }
}
