//! The stage of a flow on images: maximise the likelihood of dequantised training images.

use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::ImageFlow;
use super::multi_scale::PART;
use crate::ops;
use crate::train::{Kind, Monitor, StepOutput, gradients_of_parts};

/// The stage of a method with this section of the settings, with the monitors in the order of its step's output.
pub const fn pixel_stage(section: &'static str) -> Kind {
    Kind {
        name: "pixel-flow",
        section,
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
    }
}

impl ImageFlow {
    /// What is monitored of a batch, each a mean over its images: the bits per dimension, which are the loss,
    /// and the norm of the noise.
    fn means(&self, images: Tensor<4>) -> [Tensor<1>; 2] {
        let (log_prob, norm) = self.log_prob_and_norm(images);
        [self.bits_per_dim(log_prob), norm].map(Tensor::mean)
    }
}

impl TrainStep for ImageFlow {
    type Input = Tensor<4>; // [batch, channels, height, width] in [0, 1]
    type Output = StepOutput;

    fn step(&self, images: Tensor<4>) -> TrainOutput<StepOutput> {
        let batch = images.dims()[0];
        let parts = match self.sees_the_batch() {
            true => vec![images],
            false => ops::training_parts(images, PART),
        };
        let (grads, parts) = gradients_of_parts(self, parts, |flow, images| {
            let share = images.dims()[0] as f64 / batch as f64;
            let means = flow.means(images).map(|mean| mean * share);
            (means[0].clone(), means.map(Tensor::detach))
        });
        let sums = std::array::from_fn::<_, 2, _>(|index| {
            let of_parts = parts.iter().map(|means| means[index].clone());
            Tensor::cat(of_parts.collect(), 0).sum()
        });
        TrainOutput {
            grads,
            item: StepOutput::new(batch, sums),
        }
    }
}

impl InferenceStep for ImageFlow {
    type Input = Tensor<4>; // [batch, channels, height, width] in [0, 1]
    type Output = StepOutput;

    fn step(&self, images: Tensor<4>) -> StepOutput {
        StepOutput::new(images.dims()[0], self.means(images))
    }
}
