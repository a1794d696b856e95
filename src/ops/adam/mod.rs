//! Adam's step: one pass over a parameter, its gradient and its moments.

pub(super) mod rule;

pub(crate) use rule::AdamRule;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::optim::{AdamState, AdaptiveMomentumState, Optimizer};
use burn::tensor::Tensor;
use rayon::prelude::*;

use self::rule::Factors;
#[cfg(feature = "wgpu")]
use super::gpu;
use super::{Home, contiguous, flex, tensor, values};

/// Values per task: those of all four tensors together fit the cache of a core.
const TASK: usize = 1 << 14;

/// The parameter and the state after a step of `rule.plain()`: bit for bit on flex, and nearly so on a GPU.
///
/// The result is written over the gradient and the moments where nobody else holds them. The
/// parameter is only read: the learner keeps a copy of the model during a step, so it is never ours
/// alone, and the gradient has served its purpose.
pub(crate) fn adam_step<const D: usize>(
    rule: &AdamRule,
    rate: f64,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    state: Option<AdamState<D>>,
) -> (Tensor<D>, Option<AdamState<D>>) {
    let shape = parameter.dims();
    let moments = state
        .iter()
        .flat_map(|AdamState { momentum }| [&momentum.moment_1, &momentum.moment_2]);
    let together = [&parameter, &gradient]
        .into_iter()
        .chain(moments)
        .all(|each| Home::of(each) == Home::Flex && each.dims() == shape);
    if !together {
        #[cfg(feature = "wgpu")]
        if is_gpu_step(&parameter, &gradient) {
            return gpu_step(rule, rate, parameter, gradient, state);
        }
        return rule.plain().step(rate, parameter, gradient, state);
    }

    let (time, mut first, mut second, max_moment_2) = match state {
        Some(AdamState { momentum }) => (
            momentum.time + 1,
            contiguous(flex(momentum.moment_1)),
            contiguous(flex(momentum.moment_2)),
            momentum.max_moment_2,
        ),
        None => (1, fresh(shape), fresh(shape), None),
    };
    let parameter = contiguous(flex(parameter));
    let mut updated = contiguous(flex(gradient));
    let rows = Rows {
        gradient: updated.storage_mut(),
        parameter: values(&parameter),
        first: first.storage_mut(),
        second: second.storage_mut(),
    };
    let factors = Factors::new(rule, rate, time);
    match rule.weight_decay {
        Some(penalty) => update(&factors, move |gradient, x| x * penalty + gradient, rows),
        None => update(&factors, |gradient, _| gradient, rows),
    }

    let momentum = AdaptiveMomentumState {
        time,
        moment_1: Tensor::from_primitive::<Flex>(first),
        moment_2: Tensor::from_primitive::<Flex>(second),
        max_moment_2,
    };
    (
        Tensor::from_primitive::<Flex>(updated),
        Some(AdamState { momentum }),
    )
}

/// Whether a kernel takes both.
#[cfg(feature = "wgpu")]
fn is_gpu_step<const D: usize>(parameter: &Tensor<D>, gradient: &Tensor<D>) -> bool {
    parameter.dims() == gradient.dims()
        && [parameter, gradient]
            .into_iter()
            .all(|tensor| gpu::is_on_gpu(tensor) && !tensor.device().is_autodiff())
}

#[cfg(feature = "wgpu")]
fn gpu_step<const D: usize>(
    rule: &AdamRule,
    rate: f64,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    state: Option<AdamState<D>>,
) -> (Tensor<D>, Option<AdamState<D>>) {
    let (time, moments, max_moment_2) = match state {
        Some(AdamState { momentum }) => {
            let moments = [momentum.moment_1, momentum.moment_2];
            (momentum.time + 1, moments, momentum.max_moment_2)
        }
        None => {
            let zeros = Tensor::zeros(parameter.dims(), &parameter.device());
            (1, [zeros.clone(), zeros], None)
        }
    };
    let factors = Factors::new(rule, rate, time);
    let decay = rule.weight_decay.unwrap_or(0.0);
    let stepped = gpu::adam::step(&factors, decay, [parameter, gradient], moments);
    let momentum = AdaptiveMomentumState {
        time,
        moment_1: stepped.first,
        moment_2: stepped.second,
        max_moment_2,
    };
    (stepped.parameter, Some(AdamState { momentum }))
}

/// A moment before the first step.
fn fresh<const D: usize>(shape: [usize; D]) -> FlexTensor {
    // The zero that, added to anything, leaves even the sign of a zero as it is: Burn has no moment
    // to add in its first step.
    tensor(vec![-0.0; shape.iter().product()], shape)
}

/// The same places of everything that takes part.
struct Rows<'a> {
    /// Replaced by the new parameter.
    gradient: &'a mut [f32],
    parameter: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

/// Takes the step; `decay` makes the gradient that counts of a gradient and its parameter.
fn update(factors: &Factors, decay: impl Fn(f32, f32) -> f32 + Sync, rows: Rows<'_>) {
    // Most parameters are biases and the like: not worth waking a thread.
    if rows.gradient.len() <= TASK {
        update_task(factors, &decay, rows);
        return;
    }
    let moments = rows
        .first
        .par_chunks_mut(TASK)
        .zip(rows.second.par_chunks_mut(TASK));
    rows.gradient
        .par_chunks_mut(TASK)
        .zip(rows.parameter.par_chunks(TASK))
        .zip(moments)
        .for_each(|((gradient, parameter), (first, second))| {
            let rows = Rows {
                gradient,
                parameter,
                first,
                second,
            };
            update_task(factors, &decay, rows);
        });
}

fn update_task(factors: &Factors, decay: &impl Fn(f32, f32) -> f32, rows: Rows<'_>) {
    let Factors {
        beta_1,
        rest_1,
        beta_2,
        rest_2,
        correction,
        epsilon,
        rate,
    } = *factors;
    let values = rows.gradient.iter_mut().zip(rows.parameter);
    let moments = rows.first.iter_mut().zip(rows.second.iter_mut());
    for ((value, &parameter), (first, second)) in values.zip(moments) {
        let gradient = decay(*value, parameter);
        *first = *first * beta_1 + gradient * rest_1;
        *second = *second * beta_2 + gradient * gradient * rest_2;
        let direction = *first * correction / (second.sqrt() + epsilon);
        *value = parameter - direction * rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{assert_close, devices, in_pool, normal, read};
    use burn::tensor::{DType, Device, FloatDType};

    const RATE: f64 = 0.01;
    const RULE: AdamRule = AdamRule {
        beta_1: 0.5,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: None,
    };

    /// Gradients of one step after the other.
    fn gradients<const D: usize>(shape: [usize; D]) -> impl Fn(u64) -> Tensor<D> {
        move |step| normal(shape, 10 + step, &Device::flex())
    }

    /// Parameter and moments after five steps, by the kernel or by Burn.
    fn five_steps<const D: usize>(
        rule: &AdamRule,
        kernel: bool,
        gradients: impl Fn(u64) -> Tensor<D>,
    ) -> [Vec<f32>; 3] {
        let mut parameter = normal(gradients(0).dims(), 1, &Device::flex());
        let mut state = None;
        for step in 0..5 {
            let gradient = gradients(step);
            (parameter, state) = if kernel {
                adam_step(rule, RATE, parameter, gradient, state)
            } else {
                rule.plain().step(RATE, parameter, gradient, state)
            };
        }
        let AdamState { momentum } = state.expect("a state");
        assert_eq!(momentum.time, 5);
        [parameter, momentum.moment_1, momentum.moment_2].map(read)
    }

    fn compare<const D: usize>(gradients: impl Fn(u64) -> Tensor<D>) {
        for weight_decay in [None, Some(0.1)] {
            let rule = AdamRule {
                weight_decay,
                ..RULE
            };
            let [found, expected] =
                [true, false].map(|kernel| five_steps(&rule, kernel, &gradients));
            // Not `assert_eq`: it would print them all.
            assert!(
                found == expected,
                "{:?} with weight decay {weight_decay:?}",
                gradients(0).dims()
            );
        }
    }

    #[test]
    fn steps_are_burns_to_the_last_bit() {
        for size in [1, 1000, TASK, 100_003] {
            compare(gradients([size]));
        }
        compare(gradients([200, 300]));
        compare(gradients([8, 3, 4, 4]));
    }

    #[test]
    fn gradients_may_be_views() {
        let device = Device::flex();
        compare(|step| normal([300, 200], step, &device).transpose());
        compare(|step| normal([4, 3, 8, 4], step, &device).permute([2, 1, 0, 3]));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let [one, three] = [1, 3]
            .map(|threads| in_pool(threads, || five_steps(&RULE, true, gradients([100_003]))));
        assert!(one == three);
    }

    /// A parameter that has made a step, with its state.
    fn started() -> (Tensor<1>, AdamState<1>) {
        let [parameter, gradient] = [1, 2].map(|seed| normal([100], seed, &Device::flex()));
        let (parameter, state) = adam_step(&RULE, RATE, parameter, gradient, None);
        (parameter, state.expect("a state"))
    }

    #[test]
    fn buffers_that_nobody_else_holds_are_used_again() {
        fn address(tensor: &Tensor<1>) -> *const f32 {
            values(&flex(tensor.clone())).as_ptr()
        }
        let (parameter, state) = started();
        let gradient = normal([100], 3, &Device::flex());
        let AdamState { momentum } = &state;
        let before = [&gradient, &momentum.moment_1, &momentum.moment_2].map(address);
        let (updated, state) = adam_step(&RULE, RATE, parameter, gradient, Some(state));
        let AdamState { momentum } = state.expect("a state");
        let after = [&updated, &momentum.moment_1, &momentum.moment_2].map(address);
        assert_eq!(before, after);
    }

    #[test]
    fn tensors_that_others_hold_stay_as_they_are() {
        let (parameter, state) = started();
        let gradient = normal([100], 3, &Device::flex());
        let held = [
            parameter.clone(),
            gradient.clone(),
            state.momentum.moment_1.clone(),
            state.momentum.moment_2.clone(),
        ];
        let before = held.clone().map(read);
        let (updated, _) = adam_step(&RULE, RATE, parameter, gradient, Some(state));
        assert_eq!(held.map(read), before);
        assert_ne!(read(updated), before[0]);
    }

    #[test]
    fn other_types_and_training_tensors_are_left_to_burn() {
        let double = |seed| normal([5], seed, &Device::flex()).cast(FloatDType::F64);
        let (found, _) = adam_step(&RULE, RATE, double(1), double(2), None);
        let (expected, _) = RULE.plain().step(RATE, double(1), double(2), None);
        assert_eq!(found.dtype(), DType::F64);
        found.into_data().assert_eq(&expected.into_data(), true);

        let training = Device::flex().autodiff();
        let [parameter, gradient] = [1, 2].map(|seed| normal([5], seed, &training));
        let (found, _) = adam_step(&RULE, RATE, parameter.clone(), gradient.clone(), None);
        let (expected, _) = RULE.plain().step(RATE, parameter, gradient, None);
        assert!(found.is_autodiff());
        assert_eq!(read(found), read(expected));
    }

    /// With and without moments and decay.
    #[test]
    fn a_step_on_a_gpu_is_the_one_on_the_cpu() {
        let rules = [
            RULE,
            AdamRule {
                weight_decay: Some(0.01),
                ..RULE
            },
        ];
        for rule in rules {
            let run = |device: &Device| {
                let parameter = normal([3, 5, 7], 1, device);
                // A view, as gradients of convolutions are.
                let gradient = || normal([7, 3, 5], 2, device).permute([1, 2, 0]);
                let (parameter, state) = adam_step(&rule, RATE, parameter, gradient(), None);
                let (parameter, state) = adam_step(&rule, RATE, parameter, gradient() * 0.5, state);
                let momentum = state.expect("a state").momentum;
                assert_eq!(momentum.time, 2);
                [parameter, momentum.moment_1, momentum.moment_2].map(read)
            };
            let expected = run(&Device::flex());
            for device in devices() {
                for (found, expected) in run(&device).iter().zip(&expected) {
                    assert_close(found, expected, &format!("a step on {device:?}"));
                }
            }
        }
    }
}
