//! The stage of a flow on images: maximise the likelihood of dequantised training images.

use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::ImageFlow;
use crate::train::{Kind, Monitor, StepOutput};

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
        let (loss, output) = self.loss(images);
        TrainOutput::new(self, loss.backward(), output)
    }
}

impl InferenceStep for ImageFlow {
    type Input = Tensor<4>; // [batch, channels, height, width] in [0, 1]
    type Output = StepOutput;

    fn step(&self, images: Tensor<4>) -> StepOutput {
        self.loss(images).1
    }
}
