//! Batch normalisation and the activation after it: what a network does between its convolutions.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::module::RunningState;
use burn::nn::BatchNorm;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::activation::{Activation, Gate, with_gate};
use super::{Home, Training, contiguous, flex, tensor, training, values};

/// Lanes of a sum: the compiler keeps them in vector registers.
const LANES: usize = 8;

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
            let [mean, variance] = [&norm.running_mean, &norm.running_var].map(|state| {
                let value = state.value();
                value.to_device(&input.device()).without_autodiff()
            });
            let [gamma, beta, mean, variance] = [gamma, beta, mean, variance].map(flex_values);
            let channels = channels(&gamma, &beta, &mean, &variance, norm.epsilon);
            Tensor::from_primitive::<Flex>(evaluate(flex(input), &channels, activation))
        }
        Home::Training if together && whole && norm.training.is_enabled() => {
            train(norm, [gamma, beta], input, activation)
        }
        _ => activation.plain(norm.forward(input)),
    }
}

/// What is done to a channel.
#[derive(Clone, Copy, Debug)]
struct Channel {
    mean: f32,
    /// One over the standard deviation.
    precision: f32,
    /// The precision times gamma.
    scale: f32,
    beta: f32,
}

impl Channel {
    /// What the activation is applied to.
    #[inline(always)]
    fn normalise(&self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.beta
    }
}

fn channels(
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    variance: &[f32],
    epsilon: f64,
) -> Vec<Channel> {
    let statistics = mean.iter().zip(variance);
    let parameters = gamma.iter().zip(beta);
    statistics
        .zip(parameters)
        .map(|((&mean, &variance), (&gamma, &beta))| {
            let precision = 1.0 / (variance + epsilon as f32).sqrt();
            Channel {
                mean,
                precision,
                scale: gamma * precision,
                beta,
            }
        })
        .collect()
}

/// The values of a parameter or statistic without automatic differentiation.
fn flex_values(parameter: Tensor<1>) -> Vec<f32> {
    values(&contiguous(flex(parameter))).to_vec()
}

/// Normalises with given statistics, in place where nobody else holds the input.
fn evaluate(input: FlexTensor, channels: &[Channel], activation: Activation) -> FlexTensor {
    let [_, _, height, width] = input.layout().shape().dims::<4>();
    let mut output = contiguous(input);
    let images = output
        .storage_mut::<f32>()
        .par_chunks_mut(channels.len() * height * width);
    with_gate!(activation, |gate| images.for_each(|image| {
        let maps = image.chunks_exact_mut(height * width);
        for (map, channel) in maps.zip(channels) {
            map.iter_mut()
                .for_each(|x| *x = gate.value(channel.normalise(*x)));
        }
    }));
    output
}

/// Normalises with the batch's statistics and notes the gradient.
fn train(
    norm: &BatchNorm,
    parameters: [Tensor<1>; 2],
    input: Tensor<4>,
    activation: Activation,
) -> Tensor<4> {
    let device = input.device();
    let shape = input.dims();
    let (input, input_node) = training(input).into_parts();
    let [(gamma, gamma_node), (beta, beta_node)] =
        parameters.map(|parameter| training(parameter).into_parts());
    let [input, gamma, beta] = [input, gamma, beta].map(contiguous);

    let (mean, variance) = statistics(values(&input), shape);
    let channels = channels(
        values(&gamma),
        values(&beta),
        &mean,
        &variance,
        norm.epsilon,
    );
    let output = with_gate!(activation, |gate| normalise(
        gate,
        values(&input),
        &channels,
        shape
    ));
    let output = tensor(output, shape);

    // As Burn's module does.
    let blend = |state: &RunningState<Tensor<1>>, batch: Vec<f32>| {
        let batch = TensorData::new(batch, [channels.len()]);
        let batch = Tensor::<1>::from_data(batch, &device).mul_scalar(norm.momentum);
        let running = state.value_sync().to_device(&device);
        let running = running.mul_scalar(1.0 - norm.momentum).add(batch);
        state.update(running.detach());
    };
    blend(&norm.running_mean, mean);
    blend(&norm.running_var, variance);

    let prepared = BatchNormBackward
        .prepare::<NoCheckpointing>([input_node, gamma_node, beta_node])
        .compute_bound()
        .stateful();
    let output = match prepared {
        OpsKind::Tracked(prepared) => {
            let saved = Saved {
                input,
                shape,
                channels,
                activation,
            };
            prepared.finish(saved, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Training>(output)
}

#[derive(Debug)]
struct BatchNormBackward;

/// What the gradients need of the operation.
#[derive(Clone, Debug)]
struct Saved {
    input: FlexTensor,
    shape: [usize; 4],
    channels: Vec<Channel>,
    activation: Activation,
}

impl Backward<Flex, 3> for BatchNormBackward {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Saved, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [input_node, gamma_node, beta_node] = ops.parents;
        let mut gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let Saved {
            input,
            shape,
            channels,
            activation,
        } = ops.state;
        let input = values(&input);
        let sums = with_gate!(activation, |gate| gradient_sums(
            gate,
            input,
            values(&gradient),
            &channels,
            shape
        ));
        if let Some(node) = input_node {
            let gradient_values = gradient.storage_mut::<f32>();
            with_gate!(activation, |gate| input_gradient(
                gate,
                input,
                gradient_values,
                &channels,
                &sums,
                shape
            ));
            gradients.register::<Flex>(node.id, gradient);
        }
        let collect = |of: fn(&Sums) -> f32| tensor(sums.iter().map(of).collect(), [sums.len()]);
        if let Some(node) = gamma_node {
            gradients.register::<Flex>(node.id, collect(|sums| sums.projected));
        }
        if let Some(node) = beta_node {
            gradients.register::<Flex>(node.id, collect(|sums| sums.plain));
        }
    }
}

/// A channel's maps, image by image.
fn maps(values: &[f32], shape: [usize; 4], channel: usize) -> impl Iterator<Item = &[f32]> {
    let [_, channels, height, width] = shape;
    let area = height * width;
    values
        .chunks_exact(channels * area)
        .map(move |image| &image[channel * area..][..area])
}

/// Mean and variance of every channel, the variance divided by the number of values.
fn statistics(input: &[f32], shape: [usize; 4]) -> (Vec<f32>, Vec<f32>) {
    let [images, channels, height, width] = shape;
    let count = (images * height * width) as f64;
    (0..channels)
        .into_par_iter()
        .map(|channel| {
            let sum: f64 = maps(input, shape, channel)
                .map(|map| sum_over([map], |[x]| [x])[0])
                .sum();
            let mean = (sum / count) as f32;
            let squares: f64 = maps(input, shape, channel)
                .map(|map| sum_over([map], |[x]| [(x - mean) * (x - mean)])[0])
                .sum();
            (mean, (squares / count) as f32)
        })
        .unzip()
}

/// Sums over a channel for its gradients, of the gradient before the activation.
#[derive(Clone, Copy, Debug)]
struct Sums {
    /// The gradient itself: beta's.
    plain: f32,
    /// The gradient times the normalised input: gamma's.
    projected: f32,
}

fn gradient_sums(
    gate: impl Gate,
    input: &[f32],
    gradient: &[f32],
    channels: &[Channel],
    shape: [usize; 4],
) -> Vec<Sums> {
    channels
        .par_iter()
        .enumerate()
        .map(|(index, channel)| {
            let inputs = maps(input, shape, index);
            let gradients = maps(gradient, shape, index);
            let [mut plain, mut projected] = [0.0f64; 2];
            for (inputs, gradients) in inputs.zip(gradients) {
                let [of_map, projected_of_map] = sum_over([inputs, gradients], |[x, gradient]| {
                    let gradient = gate.gradient(channel.normalise(x), gradient);
                    [gradient, gradient * (x - channel.mean) * channel.precision]
                });
                plain += of_map;
                projected += projected_of_map;
            }
            Sums {
                plain: plain as f32,
                projected: projected as f32,
            }
        })
        .collect()
}

/// Turns the gradient by the result into that by the input, in place.
fn input_gradient(
    gate: impl Gate,
    input: &[f32],
    gradient: &mut [f32],
    channels: &[Channel],
    sums: &[Sums],
    shape: [usize; 4],
) {
    let [images, _, height, width] = shape;
    let area = height * width;
    let count = (images * area) as f32;
    let image = channels.len() * area;
    gradient
        .par_chunks_mut(image)
        .zip(input.par_chunks(image))
        .for_each(|(gradients, inputs)| {
            let maps = gradients
                .chunks_exact_mut(area)
                .zip(inputs.chunks_exact(area));
            for ((gradients, inputs), (channel, sums)) in maps.zip(channels.iter().zip(sums)) {
                let mean = sums.plain / count;
                let slope = sums.projected / count * channel.precision;
                for (gradient, &x) in gradients.iter_mut().zip(inputs) {
                    let before = gate.gradient(channel.normalise(x), *gradient);
                    *gradient = channel.scale * (before - mean - (x - channel.mean) * slope);
                }
            }
        });
}

fn normalise(
    gate: impl Gate,
    input: &[f32],
    channels: &[Channel],
    [_, _, height, width]: [usize; 4],
) -> Vec<f32> {
    let area = height * width;
    let image = channels.len() * area;
    let mut output = vec![0.0; input.len()];
    output
        .par_chunks_mut(image)
        .zip(input.par_chunks(image))
        .for_each(|(outputs, inputs)| {
            let maps = outputs
                .chunks_exact_mut(area)
                .zip(inputs.chunks_exact(area));
            for ((outputs, inputs), channel) in maps.zip(channels) {
                for (output, &x) in outputs.iter_mut().zip(inputs) {
                    *output = gate.value(channel.normalise(x));
                }
            }
        });
    output
}

/// Sums of what `terms` makes of the values at each place of `maps`, which are all of one length.
#[inline(always)]
fn sum_over<const N: usize>(maps: [&[f32]; N], terms: impl Fn([f32; N]) -> [f32; N]) -> [f64; N] {
    let mut sums = [[0.0f32; LANES]; N];
    let length = maps.iter().map(|map| map.len()).min().unwrap_or(0);
    let whole = length / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let maps = maps.map(|map| &map[start..][..LANES]);
        for lane in 0..LANES {
            let terms = terms(maps.map(|map| map[lane]));
            for (sum, term) in sums.iter_mut().zip(terms) {
                sum[lane] += term;
            }
        }
    }
    for index in whole..length {
        let terms = terms(maps.map(|map| map[index]));
        for (sum, term) in sums.iter_mut().zip(terms) {
            sum[0] += term;
        }
    }
    sums.map(|lanes| lanes.iter().map(|&sum| f64::from(sum)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, in_pool, normal, read};
    use burn::module::{Module, Param};
    use burn::nn::BatchNormConfig;
    use burn::tensor::Device;

    const ACTIVATIONS: [Activation; 2] = [Activation::Relu, Activation::LeakyRelu(0.2)];
    const SHAPES: [[usize; 4]; 4] = [[8, 5, 4, 4], [3, 2, 16, 16], [2, 3, 1, 5], [4, 70, 1, 1]];

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
    fn measure(shape: [usize; 4], activation: Activation, operation: Operation) -> [Vec<f32>; 7] {
        let device = Device::flex().autodiff();
        let norm = module(shape[1], &device);
        operation(&norm, normal(shape, 6, &device) * 2.0 + 1.0, activation);
        // A mean that is far from 0 against the deviation.
        let input = (normal(shape, 1, &device) + 3.0).require_grad();
        let output = operation(&norm, input.clone(), activation);
        let probe = normal(shape, 2, &device);
        let gradients = (output.clone() * probe).sum().backward();
        let evaluated = operation(&norm.valid(), normal(shape, 3, &Device::flex()), activation);
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
                let found = measure(shape, activation, batch_norm);
                let expected = measure(shape, activation, plain);
                for ((found, expected), part) in found.iter().zip(&expected).zip(parts) {
                    assert_close(found, expected, &format!("{activation:?} {shape:?} {part}"));
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for activation in ACTIVATIONS {
            let [one, three] = [1, 3]
                .map(|threads| in_pool(threads, || measure([8, 5, 4, 4], activation, batch_norm)));
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

    #[test]
    fn a_frozen_module_keeps_its_statistics() {
        let device = Device::flex().autodiff();
        let norm = module(2, &device).freeze();
        let input = normal([2, 2, 4, 4], 1, &device).require_grad();
        let found = batch_norm(&norm, input.clone(), Activation::Relu);
        let expected = plain(&norm, input.clone(), Activation::Relu);
        assert_close(&read(found.clone()), &read(expected), "output");
        assert!(input.grad(&found.sum().backward()).is_some());
        assert_eq!(read(norm.running_mean.value_sync()), [0.0; 2]);
    }

    #[test]
    fn sums_take_the_rest_of_a_row_too() {
        for length in [0, 1, 7, 8, 9, 20] {
            let row: Vec<f32> = (0..length).map(|value| value as f32).collect();
            let [sum, squares] = sum_over([&row, &row], |[x, y]| [x, x * y]);
            let n = f64::from(length);
            assert_eq!(sum, n * (n - 1.0) / 2.0);
            assert_eq!(squares, (n - 1.0) * n * (2.0 * n - 1.0) / 6.0);
        }
    }
}
