use super::*;
use crate::ops::tests::{assert_close, in_pool, normal, read};
use crate::ops::training;
use burn::module::Param;
use burn::tensor::{DType, Device, TensorData};

/// Units of a hidden layer.
const WIDTH: usize = 7;

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    dim: usize,
    context: usize,
    hidden: usize,
    first_passes: bool,
    clamp: f64,
}

const CASE: Case = Case {
    batch: 130,
    dim: 5,
    context: 3,
    hidden: 2,
    first_passes: true,
    clamp: 2.0,
};

/// More blocks than groups, so that some groups have two; the last block is not full.
const LARGE: Case = Case {
    batch: 1100,
    dim: 6,
    ..CASE
};

impl Case {
    fn affine(&self) -> Affine {
        let half = self.dim / 2;
        Affine {
            passing: match self.first_passes {
                true => half,
                false => self.dim - half,
            },
            first_passes: self.first_passes,
            clamp: self.clamp,
        }
    }

    fn layers(&self, device: &Device) -> Vec<Linear> {
        let passing = self.affine().passing;
        let mut from = passing + self.context;
        let outputs = std::iter::repeat_n(WIDTH, self.hidden);
        outputs
            .chain([2 * (self.dim - passing)])
            .zip(10..)
            .map(|(to, seed)| linear(std::mem::replace(&mut from, to), to, seed, device))
            .collect()
    }

    fn x(&self, device: &Device) -> Tensor<2> {
        normal([self.batch, self.dim], 1, device)
    }

    fn context(&self, device: &Device) -> Option<Tensor<2>> {
        (self.context > 0).then(|| normal([self.batch, self.context], 2, device))
    }
}

/// A layer that keeps most of its outputs, before their ReLU, away from 0 on either side: there
/// another order of the sums could switch a unit.
fn linear(from: usize, to: usize, seed: u64, device: &Device) -> Linear {
    let deviation = 0.4 / (from as f32).sqrt();
    // More of one sign, for sums over them not to cancel.
    let sign = |unit: usize| if unit.is_multiple_of(3) { -1.0f32 } else { 1.0 };
    let signs = (1..=to).map(sign);
    let bias = TensorData::new(signs.collect::<Vec<_>>(), [to]);
    Linear {
        weight: Param::from_tensor(normal([from, to], seed, device) * deviation),
        bias: Some(Param::from_tensor(Tensor::from_data(bias, device))),
    }
}

fn network(layers: &[Linear]) -> Network<'_> {
    let (last, hidden) = layers.split_last().expect("a layer");
    Network { hidden, last }
}

type Operation =
    fn(Tensor<2>, Option<&Tensor<2>>, Network<'_>, Affine, Direction) -> (Tensor<2>, Tensor<1>);

/// A name, and what was computed if it was.
type Part = (String, Option<Vec<f32>>);

/// Outputs and the gradients of a random linear function of those outputs that are `used`, by those
/// of x, context, first weight, first bias, ... that are `tracked`.
fn measure(
    case: Case,
    operation: Operation,
    used: [bool; 2],
    tracked: &dyn Fn(usize) -> bool,
) -> Vec<Part> {
    let device = Device::flex().autodiff();
    let x = case.x(&device).set_require_grad(tracked(0));
    let context = case.context(&device);
    let context = context.map(|context| context.set_require_grad(tracked(1)));
    let layers: Vec<Linear> = case
        .layers(&device)
        .into_iter()
        .zip((2..).step_by(2))
        .map(|(layer, place)| Linear {
            weight: layer.weight.set_require_grad(tracked(place)),
            bias: layer
                .bias
                .map(|bias| bias.set_require_grad(tracked(place + 1))),
        })
        .collect();

    let forward = Direction::Forward;
    let network = network(&layers);
    let (y, log_det) = operation(x.clone(), context.as_ref(), network, case.affine(), forward);
    let by_y = (y.clone() * normal(y.dims(), 3, &device)).sum();
    let by_log_det = (log_det.clone() * normal(log_det.dims(), 4, &device)).sum();
    let loss = match used {
        [true, true] => by_y + by_log_det,
        [true, false] => by_y,
        _ => by_log_det,
    };
    let gradients = loss.backward();

    let mut parts = vec![
        ("y".to_owned(), Some(read(y))),
        ("log-determinant".to_owned(), Some(read(log_det))),
        ("x gradient".to_owned(), x.grad(&gradients).map(read)),
    ];
    if let Some(context) = context {
        let gradient = context.grad(&gradients).map(read);
        parts.push(("context gradient".to_owned(), gradient));
    }
    for (index, layer) in layers.iter().enumerate() {
        let gradient = layer.weight.val().grad(&gradients).map(read);
        parts.push((format!("weight gradient {index}"), gradient));
        let bias = layer.bias.as_ref().expect("a bias");
        let gradient = bias.val().grad(&gradients).map(read);
        parts.push((format!("bias gradient {index}"), gradient));
    }
    parts
}

fn measure_all(case: Case, operation: Operation) -> Vec<Part> {
    measure(case, operation, [true, true], &|_| true)
}

/// The same parts, and what there is agrees.
fn assert_parts_close(found: &[Part], expected: &[Part], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let what = format!("{what} {name}");
        match (found, expected) {
            (Some(found), Some(expected)) => assert_close(found, expected, &what),
            _ => assert_eq!(found, expected, "{what}"),
        }
    }
}

/// Outputs without automatic differentiation.
fn evaluated(case: Case, operation: Operation, direction: Direction) -> [Vec<f32>; 2] {
    let device = Device::flex();
    let (layers, context) = (case.layers(&device), case.context(&device));
    let (x, network) = (case.x(&device), network(&layers));
    let (y, log_det) = operation(x, context.as_ref(), network, case.affine(), direction);
    [read(y), read(log_det)]
}

fn is_served(case: Case, device: &Device) -> bool {
    let (layers, context) = (case.layers(device), case.context(device));
    let (x, network) = (case.x(device), network(&layers));
    served(&x, context.as_ref(), network, case.affine()).is_some()
}

fn assert_like_burn(case: Case) {
    assert!(is_served(case, &Device::flex()), "{case:?}");
    assert!(is_served(case, &Device::flex().autodiff()), "{case:?}");
    let found = measure_all(case, affine_coupling);
    assert_parts_close(&found, &measure_all(case, plain), &format!("{case:?}"));
    // The same without automatic differentiation, and the way back.
    let forward = evaluated(case, affine_coupling, Direction::Forward);
    for (forward, (name, found)) in forward.into_iter().zip(found) {
        assert_eq!(Some(forward), found, "{case:?} {name}");
    }
    let inverse = evaluated(case, affine_coupling, Direction::Inverse);
    let expected = evaluated(case, plain, Direction::Inverse);
    for (found, expected) in inverse.iter().zip(&expected) {
        assert_close(found, expected, &format!("{case:?} inverse"));
    }
}

#[test]
fn couplings_of_every_shape_are_burns() {
    for batch in [1, 3, 130, 700] {
        for dim in [2, 3, 5, 100] {
            for context in [0, 3] {
                for hidden in 0..=3 {
                    for (first_passes, clamp) in [(true, 2.0), (false, 5.0)] {
                        assert_like_burn(Case {
                            batch,
                            dim,
                            context,
                            hidden,
                            first_passes,
                            clamp,
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn groups_of_several_blocks_are_burns() {
    assert_like_burn(LARGE);
}

#[test]
fn either_output_may_be_used_alone() {
    for used in [[true, false], [false, true]] {
        for case in [CASE, Case { hidden: 0, ..CASE }] {
            let found = measure(case, affine_coupling, used, &|_| true);
            let expected = measure(case, plain, used, &|_| true);
            assert_parts_close(&found, &expected, &format!("{used:?}"));
        }
    }
}

#[test]
fn couplings_follow_each_other() {
    // Both outputs of the first matter, its vectors in two ways.
    let gradients = |operation: Operation| {
        let device = Device::flex().autodiff();
        let case = Case { context: 0, ..CASE };
        let layers = case.layers(&device);
        let x = case.x(&device).require_grad();
        let run = |x: Tensor<2>| {
            let affine = case.affine();
            operation(x, None, network(&layers), affine, Direction::Forward)
        };
        let (y, first) = run(x.clone());
        let (z, second) = run(y.clone());
        let loss = (z * y).sum() + (first * second).sum();
        let gradients = loss.backward();
        let mut found = vec![read(x.grad(&gradients).expect("a gradient"))];
        for layer in &layers {
            found.push(read(
                layer.weight.val().grad(&gradients).expect("a gradient"),
            ));
        }
        found
    };
    for (found, expected) in gradients(affine_coupling).iter().zip(gradients(plain)) {
        assert_close(found, &expected, "a chain");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for case in [Case { batch: 700, ..CASE }, LARGE] {
        let [one, three] =
            [1, 3].map(|threads| in_pool(threads, || measure_all(case, affine_coupling)));
        assert_eq!(one, three);
    }
}

#[test]
fn frozen_parents_get_nothing() {
    let all = measure_all(CASE, affine_coupling);
    // Outputs come first.
    for chosen in 2..all.len() {
        let found = measure(CASE, affine_coupling, [true, true], &|place| {
            place + 2 == chosen
        });
        for (index, (found, all)) in found.iter().zip(&all).enumerate() {
            match index < 2 || index == chosen {
                true => assert_eq!(found, all),
                false => assert_eq!(found.1, None, "{}", found.0),
            }
        }
    }
}

#[test]
fn nothing_is_recorded_for_frozen_parents_alone() {
    let device = Device::flex().autodiff();
    let layers: Vec<Linear> = CASE
        .layers(&device)
        .into_iter()
        .map(burn::module::Module::freeze)
        .collect();
    let (x, context) = (CASE.x(&device), CASE.context(&device));
    let affine = CASE.affine();
    let forward = Direction::Forward;
    let (y, log_det) = affine_coupling(x, context.as_ref(), network(&layers), affine, forward);
    assert!(!training(y.clone()).is_tracked());
    assert!(!training(log_det.clone()).is_tracked());
    let expected = evaluated(CASE, affine_coupling, forward);
    assert_eq!([read(y), read(log_det)], expected);
}

#[test]
fn views_are_read_in_their_own_order() {
    let device = Device::flex();
    let layers = CASE.layers(&device);
    // Vectors and contexts side by side, as in a training row.
    let rows = normal([CASE.batch, CASE.dim + CASE.context], 1, &device);
    let x = rows.clone().narrow(1, 0, CASE.dim);
    let context = rows.narrow(1, CASE.dim, CASE.context);
    let [found, expected] = [affine_coupling as Operation, plain].map(|operation| {
        let (network, affine) = (network(&layers), CASE.affine());
        let (y, log_det) = operation(
            x.clone(),
            Some(&context),
            network,
            affine,
            Direction::Forward,
        );
        [read(y), read(log_det)]
    });
    for (found, expected) in found.iter().zip(&expected) {
        assert_close(found, expected, "views");
    }
    // The vectors are still what they were.
    let again = normal([CASE.batch, CASE.dim + CASE.context], 1, &device);
    assert_eq!(read(x), read(again.narrow(1, 0, CASE.dim)));
}

#[test]
fn what_is_no_number_stays_in_its_row() {
    let case = Case {
        batch: 3,
        context: 0,
        ..CASE
    };
    for device in [Device::flex(), Device::flex().autodiff()] {
        let layers = case.layers(&device);
        let mut values = read(case.x(&device));
        values[case.dim] = f32::NAN; // passes in the second row
        let x = Tensor::from_data(TensorData::new(values, [case.batch, case.dim]), &device);
        let affine = case.affine();
        let (y, log_det) = affine_coupling(x, None, network(&layers), affine, Direction::Forward);
        let (y, log_det) = (read(y), read(log_det));
        for (row, log_det) in log_det.iter().enumerate() {
            assert_eq!(log_det.is_nan(), row == 1);
            let changed = &y[row * case.dim..][affine.passing..case.dim];
            assert!(changed.iter().all(|y| y.is_nan() == (row == 1)));
        }
    }
    // Nor do the gradients panic.
    let device = Device::flex().autodiff();
    let layers = case.layers(&device);
    let x = (case.x(&device) * f32::NAN).require_grad();
    let (affine, forward) = (case.affine(), Direction::Forward);
    let (y, _) = affine_coupling(x.clone(), None, network(&layers), affine, forward);
    let gradient = x.grad(&y.sum().backward()).expect("a gradient");
    assert!(read(gradient)[0].is_nan());
}

#[test]
fn other_couplings_are_left_to_burn() {
    let deep = Case {
        hidden: HIDDEN + 1,
        ..CASE
    };
    for device in [Device::flex(), Device::flex().autodiff()] {
        assert!(is_served(CASE, &device));
        assert!(!is_served(deep, &device));
        let (x, layers) = (CASE.x(&device), CASE.layers(&device));
        let served = |x: &Tensor<2>, context: Option<&Tensor<2>>, affine: Affine| {
            served(x, context, network(&layers), affine).is_some()
        };
        let (context, affine) = (CASE.context(&device), CASE.affine());
        let context = context.as_ref();
        assert!(served(&x, context, affine));
        // The network is for a context of another width.
        assert!(!served(&x, None, affine));
        let short = context.map(|context| context.clone().narrow(0, 0, 5));
        assert!(!served(&x, short.as_ref(), affine));
        assert!(!served(&x.clone().cast(DType::F64), context, affine));
        let none = Tensor::zeros([0, CASE.dim], &device);
        let no_context = Tensor::zeros([0, CASE.context], &device);
        assert!(!served(&none, Some(&no_context), affine));
        for clamp in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(!served(&x, context, Affine { clamp, ..affine }));
        }
        for passing in [0, CASE.dim, CASE.dim + 1] {
            assert!(!served(&x, context, Affine { passing, ..affine }));
        }
    }
    assert!(!is_served(
        CASE,
        &Device::flex().autodiff().gradient_checkpointing()
    ));
    let found = measure_all(deep, affine_coupling);
    assert_eq!(found, measure_all(deep, plain));
}

#[test]
fn layers_without_a_bias_are_left_to_burn() {
    let device = Device::flex();
    let mut layers = CASE.layers(&device);
    layers[0].bias = None;
    let (x, context) = (CASE.x(&device), CASE.context(&device));
    let [found, expected] = [affine_coupling as Operation, plain].map(|operation| {
        let (network, affine) = (network(&layers), CASE.affine());
        let (y, log_det) = operation(
            x.clone(),
            context.as_ref(),
            network,
            affine,
            Direction::Inverse,
        );
        [read(y), read(log_det)]
    });
    assert_eq!(found, expected);
}

#[test]
fn gradient_checkpointing_is_left_to_burn() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    let (layers, context) = (CASE.layers(&device), CASE.context(&device));
    let x = CASE.x(&device).require_grad();
    let (affine, forward) = (CASE.affine(), Direction::Forward);
    let network = network(&layers);
    let (y, log_det) = affine_coupling(x.clone(), context.as_ref(), network, affine, forward);
    let gradients = (y.sum() + log_det.sum()).backward();
    assert!(x.grad(&gradients).is_some());
}
