//! Batch normalisation and the activation after it: what a network does between its convolutions.

mod kernel;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::nn::BatchNorm;
use burn::tensor::{Device, Tensor, TensorData};

use self::kernel::{
    Channel, Sums, channels, gradient_sums, input_gradient, normalise, normalise_in_place,
};
use super::activation::{Activation, with_gate};
#[cfg(feature = "wgpu")]
use super::gpu;
use super::graph::{Differentiate, noted};
use super::{Home, Training, contiguous, flex, tensor, training, values};

/// Normalises each channel, then applies the activation: `activation(norm.forward(input))`.
///
/// As there, a batch on a training device is normalised by its own statistics, which enter the
/// running ones, and any other by the running ones.
///
/// # Shapes
/// `[batch, channels, height, width]`, in and out.
pub(crate) fn batch_norm(norm: &BatchNorm, input: Tensor<4>, activation: Activation) -> Tensor<4> {
    let home = Home::of(&input);
    let [gamma, beta] = [norm.gamma.val(), norm.beta.val()];
    let together = [&gamma, &beta]
        .into_iter()
        .all(|parameter| Home::of(parameter) == home && parameter.dims()[0] == input.dims()[1]);
    // Burn says what is wrong with an empty tensor.
    let whole = input.dims().iter().all(|size| *size > 0);
    match home {
        Home::Flex if together && whole => {
            let statistics = running_statistics(norm, &input);
            let [gamma, beta] = [gamma, beta].map(flex_values);
            let channels = channels(&gamma, &beta, &statistics, norm.epsilon);
            Tensor::from_primitive::<Flex>(evaluate(flex(input), &channels, activation))
        }
        Home::Training if together && whole => {
            let statistics = match norm.training.is_enabled() {
                true => Statistics::OfBatch,
                false => Statistics::Running,
            };
            record(norm, statistics, [gamma, beta], input, activation)
        }
        #[cfg(feature = "wgpu")]
        _ if gamma.dims() == [input.dims()[1]] && gpu::has_room(&input) => {
            let trains = input.device().is_autodiff();
            let is_plain = |parameter: &Tensor<1>| !parameter.device().is_autodiff();
            match (trains, norm.training.is_enabled()) {
                (true, true) => gpu::normalise_by_batch(norm, input, activation),
                (false, _) if is_plain(&gamma) && is_plain(&beta) => {
                    gpu::normalise_by_running(norm, input, activation)
                }
                // A part of a network that is frozen while another trains.
                _ => activation.plain(norm.forward(input)),
            }
        }
        _ => activation.plain(norm.forward(input)),
    }
}

/// Which statistics a batch is normalised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statistics {
    /// Its own, which then have a part in the gradient.
    OfBatch,
    /// The running ones, which are constants.
    Running,
}

/// The running mean and variance of every channel.
fn running_statistics(norm: &BatchNorm, input: &Tensor<4>) -> [Vec<f32>; 2] {
    [&norm.running_mean, &norm.running_var].map(|state| {
        let value = state.value().to_device(&input.device());
        flex_values(value.without_autodiff())
    })
}

/// The values of a parameter or statistic without automatic differentiation.
fn flex_values(parameter: Tensor<1>) -> Vec<f32> {
    values(&contiguous(flex(parameter))).to_vec()
}

/// Normalises with given statistics, in place where nobody else holds the input.
fn evaluate(input: FlexTensor, channels: &[Channel], activation: Activation) -> FlexTensor {
    let shape = input.layout().shape().dims::<4>();
    let mut output = contiguous(input);
    let values = output.storage_mut::<f32>();
    with_gate!(activation, |gate| normalise_in_place(
        gate, values, channels, shape
    ));
    output
}

/// Lets the statistics of a batch enter the running ones, as Burn's module does.
fn blend(norm: &BatchNorm, batch: [Vec<f32>; 2], device: &Device) {
    let running = [&norm.running_mean, &norm.running_var];
    for (state, batch) in running.into_iter().zip(batch) {
        let channels = batch.len();
        let batch: Tensor<1> = Tensor::from_data(TensorData::new(batch, [channels]), device);
        let running = state.value_sync().to_device(&batch.device());
        let running = running.mul_scalar(1.0 - norm.momentum);
        state.update(running.add(batch.mul_scalar(norm.momentum)).detach());
    }
}

/// Normalises on a training device, and notes the gradient.
fn record(
    norm: &BatchNorm,
    statistics: Statistics,
    parameters: [Tensor<1>; 2],
    input: Tensor<4>,
    activation: Activation,
) -> Tensor<4> {
    let device = input.device();
    let shape = input.dims();
    let running = match statistics {
        Statistics::OfBatch => None,
        Statistics::Running => Some(running_statistics(norm, &input)),
    };
    let (input, input_node) = training(input).into_parts();
    let [(gamma, gamma_node), (beta, beta_node)] =
        parameters.map(|parameter| training(parameter).into_parts());
    let [input, gamma, beta] = [input, gamma, beta].map(contiguous);

    let used = running.unwrap_or_else(|| kernel::statistics(values(&input), shape));
    let channels = channels(values(&gamma), values(&beta), &used, norm.epsilon);
    let output = with_gate!(activation, |gate| normalise(
        gate,
        values(&input),
        &channels,
        shape
    ));
    let output = tensor(output, shape);
    if statistics == Statistics::OfBatch {
        blend(norm, used, &device);
    }

    let saved = Saved {
        input,
        shape,
        channels,
        statistics,
        activation,
    };
    let inputs = [input_node, gamma_node, beta_node];
    let output = noted(Normalisation, inputs, saved, output);
    Tensor::from_primitive::<Training>(output)
}

#[derive(Debug)]
struct Normalisation;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved {
    input: FlexTensor,
    shape: [usize; 4],
    channels: Vec<Channel>,
    statistics: Statistics,
    activation: Activation,
}

impl Differentiate<Flex, 3> for Normalisation {
    type Saved = Saved;

    fn gradients(
        self,
        saved: Saved,
        by_output: FlexTensor,
        [by_input, by_gamma, by_beta]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let mut gradient = contiguous(by_output);
        let Saved {
            input,
            shape,
            channels,
            statistics,
            activation,
        } = saved;
        let input = values(&input);
        let is_constant = statistics == Statistics::Running;
        let sums = match is_constant && !by_gamma && !by_beta {
            true => Vec::new(),
            false => with_gate!(activation, |gate| gradient_sums(
                gate,
                input,
                values(&gradient),
                &channels,
                shape
            )),
        };
        // How much of a gradient goes back through the statistics.
        let back = match is_constant {
            true => vec![Sums::ZERO; channels.len()],
            false => sums.clone(),
        };
        if by_input {
            let gradient_values = gradient.storage_mut::<f32>();
            with_gate!(activation, |gate| input_gradient(
                gate,
                input,
                gradient_values,
                &channels,
                &back,
                shape
            ));
        }
        let collect = |of: fn(&Sums) -> f32| tensor(sums.iter().map(of).collect(), [sums.len()]);
        [
            by_input.then_some(gradient),
            by_gamma.then(|| collect(|sums| sums.projected)),
            by_beta.then(|| collect(|sums| sums.plain)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, devices, in_pool, normal, read};
    use burn::module::{Module, Param};
    use burn::nn::BatchNormConfig;

    const ACTIVATIONS: [Activation; 3] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.2),
    ];
    const SHAPES: [[usize; 4]; 5] = [
        [8, 5, 4, 4],
        [3, 2, 16, 16],
        [2, 3, 1, 5],
        [4, 70, 1, 1],
        // Sums by parts of the images on a GPU, of which the last is smaller.
        [37, 3, 16, 16],
    ];

    fn module(channels: usize, device: &Device) -> BatchNorm {
        let mut norm = BatchNormConfig::new(channels).init(device);
        norm.gamma = Param::from_tensor(normal([channels], 4, device) + 1.5);
        norm.beta = Param::from_tensor(normal([channels], 5, device));
        norm
    }

    fn plain(norm: &BatchNorm, input: Tensor<4>, activation: Activation) -> Tensor<4> {
        activation.plain(norm.forward(input))
    }

    type Operation = fn(&BatchNorm, Tensor<4>, Activation) -> Tensor<4>;

    /// Output, gradients of input, gamma and beta, the running statistics after two batches, and
    /// the output of the module out of training.
    fn measure(
        shape: [usize; 4],
        activation: Activation,
        plain_device: &Device,
        operation: Operation,
    ) -> [Vec<f32>; 7] {
        let device = plain_device.clone().autodiff();
        let norm = module(shape[1], &device);
        operation(&norm, normal(shape, 6, &device) * 2.0 + 1.0, activation);
        // A mean that is far from 0 against the deviation.
        let input = (normal(shape, 1, &device) + 3.0).require_grad();
        let output = operation(&norm, input.clone(), activation);
        let probe = normal(shape, 2, &device);
        let gradients = (output.clone() * probe).sum().backward();
        let evaluated = operation(&norm.valid(), normal(shape, 3, plain_device), activation);
        [
            read(output),
            read(input.grad(&gradients).expect("a gradient")),
            read(norm.gamma.val().grad(&gradients).expect("a gradient")),
            read(norm.beta.val().grad(&gradients).expect("a gradient")),
            read(norm.running_mean.value_sync()),
            read(norm.running_var.value_sync()),
            read(evaluated),
        ]
    }

    #[test]
    fn training_and_evaluation_are_burns() {
        let parts = [
            "output",
            "input gradient",
            "gamma gradient",
            "beta gradient",
            "running mean",
            "running variance",
            "evaluation",
        ];
        for shape in SHAPES {
            for activation in ACTIVATIONS {
                let expected = measure(shape, activation, &Device::flex(), plain);
                for device in devices() {
                    let found = measure(shape, activation, &device, batch_norm);
                    for ((found, expected), part) in found.iter().zip(&expected).zip(parts) {
                        let which = format!("{activation:?} {shape:?} {part} on {device:?}");
                        assert_close(found, expected, &which);
                    }
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for activation in ACTIVATIONS {
            let [one, three] = [1, 3].map(|threads| {
                in_pool(threads, || {
                    measure([8, 5, 4, 4], activation, &Device::flex(), batch_norm)
                })
            });
            assert_eq!(one, three);
        }
    }

    #[test]
    fn evaluation_leaves_its_input_alone() {
        let device = Device::flex();
        let norm = module(2, &device);
        let input = normal([2, 2, 4, 4], 1, &device);
        let before = read(input.clone());
        batch_norm(&norm, input.clone(), Activation::Relu);
        assert_eq!(read(input), before);
    }

    /// Output and gradients of input, gamma and beta of a module that is not trained, or of which only
    /// the statistics are fixed.
    fn measure_fixed(
        activation: Activation,
        device: &Device,
        operation: Operation,
        frozen: bool,
    ) -> Vec<Vec<f32>> {
        let device = device.clone().autodiff();
        let shape = [8, 5, 4, 4];
        let norm = module(shape[1], &device);
        operation(&norm, normal(shape, 6, &device) * 2.0 + 1.0, activation);
        let mut fixed = norm.clone().freeze();
        if !frozen {
            [fixed.gamma, fixed.beta] = [norm.gamma, norm.beta];
        }
        let input = normal(shape, 1, &device).require_grad();
        let output = operation(&fixed, input.clone(), activation);
        let gradients = (output.clone() * normal(shape, 2, &device))
            .sum()
            .backward();
        let parameters = [fixed.gamma.val(), fixed.beta.val()];
        let of_parameters = parameters.map(|value| value.grad(&gradients).map(read));
        assert_eq!(of_parameters.iter().all(Option::is_none), frozen);
        let mut found = vec![
            read(output),
            read(input.grad(&gradients).expect("a gradient")),
            read(fixed.running_mean.value_sync()),
            read(fixed.running_var.value_sync()),
        ];
        found.extend(of_parameters.into_iter().flatten());
        found
    }

    #[test]
    fn a_frozen_module_keeps_its_statistics() {
        for activation in ACTIVATIONS {
            for frozen in [true, false] {
                let expected = measure_fixed(activation, &Device::flex(), plain, frozen);
                for device in devices() {
                    let found = measure_fixed(activation, &device, batch_norm, frozen);
                    assert_eq!(found.len(), expected.len());
                    for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        let what = format!("{activation:?} {frozen} part {part} on {device:?}");
                        assert_close(found, expected, &what);
                    }
                }
            }
        }
    }
}
