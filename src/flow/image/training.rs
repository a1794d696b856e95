//! The stage of a flow on images: maximise the likelihood of dequantised training images.

use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::ImageFlow;
use super::multi_scale::PART;
use crate::ops;
use crate::train::{Kind, Monitor, StepOutput, gradients_of_parts};

/// The stage, with the monitors in the order of its step's output.
pub const PIXEL_STAGE: Kind = Kind {
    name: "pixel-flow",
    monitors: &[
        Monitor {
            name: "Bits per dim",
            unit: "bits/dim",
        },
        Monitor {
            name: "Noise norm",
            unit: "",
        },
    ],
    throughput: "Images",
    adversarial: false,
};

impl ImageFlow {
    /// Bits per dimension of a batch and what the learner shows of it.
    fn loss(&self, images: Tensor<4>) -> (Tensor<1>, StepOutput) {
        let batch = images.dims()[0];
        let (log_prob, norm) = self.log_prob_and_norm(images);
        let loss = self.bits_per_dim(log_prob).mean();
        let output = StepOutput::new(batch, [loss.clone(), norm.mean()]);
        (loss, output)
    }
}

impl TrainStep for ImageFlow {
    type Input = Tensor<4>; // [batch, channels, height, width] in [0, 1]
    type Output = StepOutput;

    fn step(&self, images: Tensor<4>) -> TrainOutput<StepOutput> {
        if self.sees_the_batch() {
            let (loss, output) = self.loss(images);
            return TrainOutput::new(self, loss.backward(), output);
        }
        let batch = images.dims()[0];
        let parts = ops::training_parts(images, PART);
        let (grads, sums) = gradients_of_parts(self, parts, |flow, images| {
            let share = images.dims()[0] as f64 / batch as f64;
            let (log_prob, norm) = flow.log_prob_and_norm(images);
            let loss = flow.bits_per_dim(log_prob).mean() * share;
            (loss.clone(), [loss.detach(), norm.mean().detach() * share])
        });
        let sum = |index: usize| {
            let parts = sums.iter().map(|sums| sums[index].clone()).collect();
            Tensor::cat(parts, 0).sum()
        };
        let item = StepOutput::new(batch, [sum(0), sum(1)]);
        TrainOutput { grads, item }
    }
}

impl InferenceStep for ImageFlow {
    type Input = Tensor<4>; // [batch, channels, height, width] in [0, 1]
    type Output = StepOutput;

    fn step(&self, images: Tensor<4>) -> StepOutput {
        self.loss(images).1
    }
}
