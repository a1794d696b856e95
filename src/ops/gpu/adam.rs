//! The step on a GPU: one kernel for each parameter, where Burn's operations are fourteen.
//!
//! A parameter is small and a launch is not: with eight couplings, a third of a flow's training step was this
//! and the norm of its gradients (docs/performance.md).

use burn::backend::Wgpu;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::Tensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::{LinearView, LinearViewMut};

use super::primitive;
use crate::ops::adam::rule::Factors;

/// A parameter after its step, and its moments.
pub(in crate::ops) struct Stepped<const D: usize> {
    pub parameter: Tensor<D>,
    pub first: Tensor<D>,
    pub second: Tensor<D>,
}

/// Takes the step; moments before the first step are zeros.
///
/// # Panics
/// When a tensor is not on the GPU, or trains.
pub(in crate::ops) fn step<const D: usize>(
    factors: &Factors,
    weight_decay: f32,
    [parameter, gradient]: [Tensor<D>; 2],
    moments: [Tensor<D>; 2],
) -> Stepped<D> {
    let shape = parameter.dims();
    let device = parameter.device();
    let fresh = || primitive(Tensor::<D>::empty(shape, &device));
    let updated = [fresh(), fresh(), fresh()];
    let [parameter, gradient] = [parameter, gradient].map(primitive);
    let [first, second] = moments.map(primitive);
    let client = parameter.client.clone();
    let values: usize = shape.iter().product();
    let dim = CubeDim::new(&client, values);
    let count = calculate_cube_count_elemwise(&client, values, dim);
    let [to_parameter, to_first, to_second] = updated.clone().map(CubeTensor::into_linear_view);
    adam::launch(
        &client,
        count,
        dim,
        parameter.into_linear_view(),
        gradient.into_linear_view(),
        first.into_linear_view(),
        second.into_linear_view(),
        to_parameter,
        to_first,
        to_second,
        factors.beta_1,
        factors.rest_1,
        factors.beta_2,
        factors.rest_2,
        factors.correction,
        factors.epsilon,
        factors.rate,
        weight_decay,
    );
    let [parameter, first, second] = updated.map(Tensor::from_primitive::<Wgpu>);
    Stepped {
        parameter,
        first,
        second,
    }
}

/// One number of the parameter for each thread, in the order of operations of the CPU's.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn adam(
    parameter: LinearView<'_, f32>,
    gradient: LinearView<'_, f32>,
    first: LinearView<'_, f32>,
    second: LinearView<'_, f32>,
    mut to_parameter: LinearViewMut<'_, f32>,
    mut to_first: LinearViewMut<'_, f32>,
    mut to_second: LinearViewMut<'_, f32>,
    beta_1: f32,
    rest_1: f32,
    beta_2: f32,
    rest_2: f32,
    correction: f32,
    epsilon: f32,
    rate: f32,
    weight_decay: f32,
) {
    if !to_parameter.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let x = parameter.read(ABSOLUTE_POS);
    let slope = x * weight_decay + gradient.read(ABSOLUTE_POS);
    let mean = first.read(ABSOLUTE_POS) * beta_1 + slope * rest_1;
    let square = second.read(ABSOLUTE_POS) * beta_2 + slope * slope * rest_2;
    let direction = mean * correction / (square.sqrt() + epsilon);
    to_parameter.write(ABSOLUTE_POS, x - direction * rate);
    to_first.write(ABSOLUTE_POS, mean);
    to_second.write(ABSOLUTE_POS, square);
}
