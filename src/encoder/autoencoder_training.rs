//! The encoder stage's step: reproduce normal images, L1 loss (paper, second paragraph).

use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::AutoEncoder;
use crate::train::{Kind, Monitor, StepOutput};

/// The encoder stage, with the monitors in the order of its step's output.
pub const ENCODER_STAGE: Kind = Kind {
    name: "encoder",
    section: "encoder",
    monitors: &[
        Monitor {
            name: "L1",
            unit: "",
        },
        Monitor {
            name: "Latent mean",
            unit: "",
        },
        Monitor {
            name: "Latent deviation",
            unit: "",
        },
    ],
    throughput: "Images",
    adversarial: false,
};

impl AutoEncoder {
    /// Loss of a batch and what the learner shows of it.
    fn reconstruct(&self, images: Tensor<4>) -> (Tensor<1>, StepOutput) {
        let latents = self.encode(images.clone());
        let reconstructions = self.decode(latents.clone());
        let loss = Self::reconstruction_error(images, reconstructions); // [batch]
        let batch = loss.dims()[0];
        let output = StepOutput::new(
            batch,
            [
                loss.clone().mean(),
                latents.clone().mean(),
                latents.var_bias(0).mean().sqrt(),
            ],
        );
        (loss.mean(), output)
    }
}

impl TrainStep for AutoEncoder {
    type Input = Tensor<4>; // [batch, channels, size, size]
    type Output = StepOutput;

    fn step(&self, images: Tensor<4>) -> TrainOutput<StepOutput> {
        let (loss, output) = self.reconstruct(images);
        TrainOutput::new(self, loss.backward(), output)
    }
}

impl InferenceStep for AutoEncoder {
    type Input = Tensor<4>; // [batch, channels, size, size]
    type Output = StepOutput;

    fn step(&self, images: Tensor<4>) -> StepOutput {
        self.reconstruct(images).1
    }
}
