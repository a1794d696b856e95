//! EGBAD's training: a BiGAN (Donahue et al., arXiv:1605.09782) on normal images, and the exponential
//! average of its weights, which scores.

use std::any::Any;
use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use rand::Rng;

use super::{BiGan, BiGanConfig};
use crate::method::derive;
use crate::method::fitting::adversarial::{Round, against_made, against_real};
use crate::train::{Kind, Monitor, StepOutput, merge_gradients};

/// What a step leaves of the averages in the long run (the authors').
const DECAY: f64 = 0.999;

/// EGBAD's one stage, with the monitors in the order of its step's output.
///
/// The losses of networks that play against each other do not say which epoch is a good one; how well
/// the averaged networks bring normal validation images back does.
pub const EGBAD_STAGE: Kind = Kind {
    name: "bigan",
    section: "egbad",
    monitors: &[
        Monitor {
            name: "Reconstruction error",
            unit: "",
        },
        Monitor {
            name: "Generator loss",
            unit: "",
        },
        Monitor {
            name: "Encoder loss",
            unit: "",
        },
        Monitor {
            name: "Discriminator loss",
            unit: "",
        },
    ],
    throughput: "Images",
    adversarial: true,
};

/// The networks that are trained, and those that score.
#[derive(Module, Debug)]
pub struct Egbad {
    networks: BiGan,
    /// Exponential averages of their weights, with their running statistics.
    average: BiGan,
    /// `[1]`: [`DECAY`] to the power of the steps, what a plain average would still have of the initial weights.
    undecayed: Param<Tensor<1>>,
}

impl Egbad {
    /// Builds the networks of these sizes with initial weights drawn from `rng`.
    pub fn new(config: &BiGanConfig, rng: &mut impl Rng, device: &Device) -> Self {
        let networks = config.init(rng, device);
        // Not a clone: gradients find parameters by their ids.
        let average = config.init(rng, device).no_grad();
        let whole = Tensor::ones([1], device);
        Self {
            average: follow(average, &networks, whole.clone()),
            networks,
            undecayed: Param::from_tensor(whole).set_require_grad(false),
        }
    }

    /// The networks that score.
    pub fn into_average(self) -> BiGan {
        self.average
    }

    fn losses(&self, round: Round, dropout: bool) -> Losses {
        let Round {
            images,
            noise,
            seed,
        } = round;
        let batch = images.dims()[0];
        let [real, made] = ["images", "noise"].map(|pairs| dropout.then(|| derive(seed, pairs)));
        let latents = self.networks.encoder.forward(images.clone());
        let fakes = self.networks.generator.forward(noise.clone());
        let tell = &self.networks.discriminator;
        let discriminator =
            against_real(tell.forward(images.clone(), latents.clone().detach(), real))
                + against_made(tell.forward(fakes.clone().detach(), noise.clone(), made));
        // In evaluation mode in training as well.
        let scoring = self.average.valid();
        let pixels = images.clone().without_autodiff();
        let back = scoring
            .generator
            .forward(scoring.encoder.forward(pixels.clone()));
        Losses {
            batch,
            reconstruction: (pixels - back).abs().mean(),
            generator: against_real(tell.forward(fakes, noise, made)),
            encoder: against_made(tell.forward(images, latents, real)),
            discriminator,
        }
    }
}

/// What a batch gives, each a one-element tensor.
struct Losses {
    batch: usize,
    reconstruction: Tensor<1>,
    generator: Tensor<1>,
    encoder: Tensor<1>,
    discriminator: Tensor<1>,
}

impl Losses {
    fn output(&self) -> StepOutput {
        let values = [
            &self.reconstruction,
            &self.generator,
            &self.encoder,
            &self.discriminator,
        ];
        let plain = values.map(|value| value.clone().without_autodiff());
        StepOutput::new(self.batch, plain)
    }
}

impl TrainStep for Egbad {
    type Input = Round;
    type Output = StepOutput;

    /// All losses on the same weights; each reaches its own network alone. (The authors update the
    /// discriminator first, and show the other two another batch.)
    fn step(&self, round: Round) -> TrainOutput<StepOutput> {
        let losses = self.losses(round, true);
        let item = losses.output();
        let BiGan {
            encoder,
            generator,
            discriminator,
        } = &self.networks;
        let mut together = (losses.generator + losses.encoder).backward();
        let mut grads = GradientsParams::from_module(&mut together, generator);
        let part = GradientsParams::from_module(&mut together, encoder);
        merge_gradients(encoder, part, &mut grads);
        let own = losses.discriminator.backward();
        let part = GradientsParams::from_grads(own, discriminator);
        merge_gradients(discriminator, part, &mut grads);
        TrainOutput { grads, item }
    }

    /// Updates the networks, then their averages: those of the weights after each step, without the initial ones (the
    /// correction of Adam's averages, Kingma & Ba, arXiv:1412.6980, section 3). The authors' average starts from these, of
    /// which a training of a hundred steps would leave 90 %.
    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let mut model = optimizer.step(rate, self, gradients);
        model.undecayed = model.undecayed.map(|share| share.detach() * DECAY);
        let undecayed = model.undecayed.val().without_autodiff();
        let share = (undecayed.neg() + 1.0).recip() * (1.0 - DECAY);
        model.average = follow(model.average, &model.networks, share);
        model
    }
}

impl InferenceStep for Egbad {
    type Input = Round;
    type Output = StepOutput;

    fn step(&self, round: Round) -> StepOutput {
        self.losses(round, false).output()
    }
}

/// Moves averages by a `share` `[1]` towards what `networks` are now; one of 1 makes them the same. Running
/// statistics are averages already, and are taken over.
fn follow(average: BiGan, networks: &BiGan, share: Tensor<1>) -> BiGan {
    let mut present = Present(VecDeque::new());
    networks.visit(&mut present);
    average.map(&mut Follow {
        present,
        share,
        path: Vec::new(),
    })
}

/// The tensors of a module in their order.
struct Present(VecDeque<Box<dyn Any>>);

impl ModuleVisitor for Present {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push_back(Box::new(param.val().without_autodiff()));
    }
}

struct Follow {
    present: Present,
    share: Tensor<1>,
    path: Vec<String>,
}

impl ModuleMapper for Follow {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let present = self.present.0.pop_front();
        let Some(present) = present.and_then(|tensor| tensor.downcast::<Tensor<D>>().ok()) else {
            unreachable!("both modules are of one type")
        };
        let statistics = ["running_mean", "running_var"];
        let is_statistic = self
            .path
            .last()
            .is_some_and(|name| statistics.contains(&name.as_str()));
        param.map(|average| {
            let device = average.device();
            let present = present.to_device(&device);
            if is_statistic {
                return present;
            }
            let share = self.share.clone().to_device(&device).reshape([1; D]);
            // A share of 1 is the present to the last bit.
            average.detach() * (share.clone().neg() + 1.0) + present * share
        })
    }
}

#[cfg(test)]
mod tests;
