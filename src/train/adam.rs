//! Adam on all parameters of a module.

use burn::optim::{AdamState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

use crate::ops::{AdamRule, adam_step};

/// Burn's Adam, in one pass over each parameter where our kernels run.
///
/// Results and state are Burn's own: either optimizer continues from the other's record as if it had
/// written it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adam {
    rule: AdamRule,
}

impl Adam {
    /// With these settings. `ModuleOptimizer::from` makes it one for a whole module.
    pub(super) fn new(rule: AdamRule) -> Self {
        Self { rule }
    }
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        adam_step(&self.rule, rate, parameter, gradient, state)
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        AdamState {
            momentum: state.momentum.to_device(device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use burn::module::{Module, Param};
    use burn::optim::{GradientsParams, ModuleOptimizer};
    use burn::tensor::TensorData;

    const RATE: f64 = 0.01;
    const RULE: AdamRule = AdamRule {
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: Some(0.1),
    };

    #[derive(Module, Debug)]
    struct Pair {
        a: Param<Tensor<1>>,
        b: Param<Tensor<2>>,
    }

    fn waves<const D: usize>(shape: [usize; D], speed: f32, device: &Device) -> Tensor<D> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|index| (speed * (index as f32 + 1.0)).sin())
            .collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn pair() -> Pair {
        let device = test_device().autodiff();
        Pair {
            a: Param::from_tensor(waves([5], 0.3, &device)),
            b: Param::from_tensor(waves([200, 300], 0.2, &device)),
        }
    }

    fn values(pair: &Pair) -> [Vec<f32>; 2] {
        [pair.a.val().into_data(), pair.b.val().into_data()]
            .map(|data| data.try_to_vec().expect("f32"))
    }

    /// Step number `step`, with gradients of its own.
    fn take(optimizer: &mut ModuleOptimizer, pair: Pair, step: usize) -> Pair {
        let speed = 0.1 + 0.01 * step as f32;
        let mut gradients = GradientsParams::new();
        gradients.register(pair.a.id, waves([5], speed, &test_device()));
        gradients.register(pair.b.id, waves([200, 300], speed, &test_device()));
        optimizer.step(RATE, pair, gradients)
    }

    fn ours() -> ModuleOptimizer {
        Adam::new(RULE).into()
    }

    fn burns() -> ModuleOptimizer {
        RULE.plain().into()
    }

    #[test]
    fn a_module_is_trained_as_by_burn() {
        let mut optimizers = [ours(), burns()];
        let start = pair();
        let [found, expected] = [0, 1].map(|which| {
            let optimizer = &mut optimizers[which];
            // As in the learner, which keeps the model of before the step.
            let trained = (0..4).fold(start.clone(), |pair, step| {
                take(optimizer, pair.clone(), step)
            });
            assert!(trained.a.val().is_require_grad());
            values(&trained)
        });
        assert!(found == expected);
        assert!(found != values(&start));
    }

    #[test]
    fn records_continue_bit_for_bit_whoever_wrote_them() {
        for (mut writer, reader) in [(ours(), ours()), (burns(), ours()), (ours(), burns())] {
            let trained = (0..3).fold(pair(), |pair, step| take(&mut writer, pair, step));
            let record = writer.into_bytes().expect("a record");
            let mut reader = reader.from_bytes(record).expect("the same record");
            let expected = take(&mut writer, trained.clone(), 3);
            let found = take(&mut reader, trained, 3);
            assert!(values(&found) == values(&expected));
        }
    }
}
