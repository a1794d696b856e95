//! The gradients of the coupling, on slices: block by block, as the [`kernel`](super::kernel) goes forward.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Geometry, Inputs, matrix};
use super::kernel::{Coupling, Pass, ROWS, shares};
use super::layer::Layer;
use crate::ops::activation::Rectify;
use crate::ops::elementary::exp;
use crate::ops::matrix::{Matrix, multiply_views, with_scratch};
use crate::ops::pointwise::Curve;

/// Most tasks of the gradients. Each has sums of its own for all weights, so more would be dear.
const GROUPS: usize = 8;
/// Values of the weights' gradients that are added per task.
const SUMS: usize = 1 << 13;

/// Whose gradients are asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub x: bool,
    pub context: bool,
    /// Weight and bias of every layer.
    pub layers: Vec<[bool; 2]>,
}

impl Wanted {
    /// The first layer that gradients have to reach.
    fn lowest(&self) -> usize {
        let layers = &self.layers;
        match self.x || self.context {
            true => 0,
            false => layers
                .iter()
                .position(|layer| layer.contains(&true))
                .unwrap_or(layers.len()),
        }
    }
}

/// The gradients besides that by `x`; empty where they are not [`Wanted`].
pub(super) struct Gradients {
    /// `[batch, context]`
    pub context: Vec<f32>,
    /// By weight and bias of every layer, in their shapes.
    pub layers: Vec<[Vec<f32>; 2]>,
}

impl Coupling<'_> {
    /// Turns the gradient by the forward result, in place, into that by `x` where it is wanted, and
    /// into nothing of use where not. To the other gradients.
    ///
    /// A task is a group of blocks. Its part of the weights' sums is its own, and the parts are added
    /// in the order of the rows.
    pub fn backward(
        &self,
        pass: Pass<'_>,
        wanted: &Wanted,
        gradient: &mut [f32],
        by_log_det: &[f32],
    ) -> Gradients {
        let Geometry { dim, context, .. } = self.geometry;
        let batch = by_log_det.len();
        let group = batch.div_ceil(ROWS).div_ceil(GROUPS) * ROWS;
        let groups = batch.div_ceil(group);
        let sizes: Vec<[usize; 2]> = self
            .layers
            .iter()
            .zip(&wanted.layers)
            .map(|(layer, &[weight, bias])| {
                let weight = if weight { layer.weight.len() } else { 0 };
                let bias = if bias { layer.bias.len() } else { 0 };
                [weight, bias]
            })
            .collect();
        let total: usize = sizes.iter().flatten().sum();
        let mut sums = vec![0.0; groups * total];
        let context = if wanted.context { context } else { 0 };
        let mut by_context = vec![0.0; batch * context];

        gradient
            .par_chunks_mut(group * dim)
            .zip(shares(&mut sums, total, groups))
            .zip(shares(&mut by_context, group * context, groups))
            .enumerate()
            .for_each(|(index, ((gradient, sums), by_context))| {
                let mut sums = parts(sums, &sizes);
                for (block, gradient) in gradient.chunks_mut(ROWS * dim).enumerate() {
                    let rows = gradient.len() / dim;
                    let by_context = &mut by_context[block * ROWS * context..][..rows * context];
                    let first = index * group + block * ROWS;
                    let rows = first..first + rows;
                    let pass = self.part(pass, rows.clone());
                    let by_log_det = &by_log_det[rows];
                    self.block_gradient(pass, wanted, gradient, by_log_det, by_context, &mut sums);
                }
            });
        Gradients {
            context: by_context,
            layers: added(&sums, &sizes),
        }
    }

    /// What a pass left of some rows.
    fn part<'a>(&self, pass: Pass<'a>, rows: Range<usize>) -> Pass<'a> {
        let (dim, traced) = (self.geometry.dim, self.traced());
        Pass {
            x: &pass.x[rows.start * dim..rows.end * dim],
            context: self.geometry.contexts(pass.context, rows.clone()),
            trace: &pass.trace[rows.start * traced..rows.end * traced],
        }
    }

    /// What went into each layer, and the log-scales.
    fn recall<'a>(&self, pass: Pass<'a>, rows: usize) -> (Vec<Inputs<'a>>, &'a [f32]) {
        let mut rest = pass.trace;
        let mut inputs = vec![self.geometry.known(pass.x, pass.context)];
        for layer in self.hidden() {
            let (activations, tail) = rest.split_at(rows * layer.outputs());
            inputs.push([Some(matrix(activations, rows)), None]);
            rest = tail;
        }
        (inputs, rest)
    }

    /// [`backward`](Self::backward) for a block. Adds to `sums`, the gradients of the layers.
    fn block_gradient(
        &self,
        pass: Pass<'_>,
        wanted: &Wanted,
        gradient: &mut [f32],
        by_log_det: &[f32],
        by_context: &mut [f32],
        sums: &mut [[&mut [f32]; 2]],
    ) {
        let rows = by_log_det.len();
        let (inputs, log_scales) = self.recall(pass, rows);
        let widest = self.layers.iter().map(Layer::outputs).max().unwrap_or(0);
        with_scratch(
            [rows * widest; 2],
            |[mut by_outputs, mut by_inputs]: [&mut [f32]; 2]| {
                self.transform_gradient(pass.x, log_scales, gradient, by_log_det, by_outputs);
                let lowest = wanted.lowest();
                for index in (lowest..self.layers.len()).rev() {
                    let layer = &self.layers[index];
                    let by_output = matrix(&by_outputs[..rows * layer.outputs()], rows);
                    let [by_weight, by_bias] = &mut sums[index];
                    let [weight_wanted, bias_wanted] = wanted.layers[index];
                    if weight_wanted {
                        layer.add_weight_gradient(inputs[index], by_output.view(), by_weight);
                    }
                    if bias_wanted {
                        add_rows(by_output.values, by_bias);
                    }
                    if index == 0 {
                        self.known_gradient(wanted, by_output, gradient, by_context);
                    } else if index > lowest {
                        let width = layer.inputs();
                        let by_input = &mut by_inputs[..rows * width];
                        let weights = layer.weights(0..width).turned();
                        multiply_views(by_output.view(), weights, by_input, width, false);
                        for activations in inputs[index].into_iter().flatten() {
                            for (gradient, &x) in by_input.iter_mut().zip(activations.values) {
                                *gradient = Rectify.gradient(x, *gradient);
                            }
                        }
                        std::mem::swap(&mut by_outputs, &mut by_inputs);
                    }
                }
            },
        );
    }

    /// The gradient of [`transform`](Self::transform), forward: by the changed entries in place of
    /// that by their results, and by the network's outputs.
    fn transform_gradient(
        &self,
        x: &[f32],
        log_scales: &[f32],
        gradient: &mut [f32],
        by_log_det: &[f32],
        by_outputs: &mut [f32],
    ) {
        let Geometry { dim, clamp, .. } = self.geometry;
        let part = self.geometry.changed_part();
        let changed = part.len();
        let steepness = 1.0 / clamp;
        let vectors = x.chunks_exact(dim).zip(gradient.chunks_exact_mut(dim));
        let parameters = log_scales
            .chunks_exact(changed)
            .zip(by_outputs.chunks_exact_mut(2 * changed));
        for (((x, gradient), (log_scales, by_outputs)), &by_log_det) in
            vectors.zip(parameters).zip(by_log_det)
        {
            let (x, gradient) = (&x[part.clone()], &mut gradient[part.clone()]);
            let (by_raw, by_shifts) = by_outputs.split_at_mut(changed);
            by_shifts.copy_from_slice(gradient);
            let terms = x.iter().zip(log_scales);
            for ((by_raw, gradient), (&x, &log_scale)) in by_raw.iter_mut().zip(gradient).zip(terms)
            {
                let by_x = *gradient * exp(log_scale);
                let bent = log_scale * steepness; // the tanh
                *by_raw = (by_x * x + by_log_det) * (1.0 - bent * bent);
                *gradient = by_x;
            }
        }
    }

    /// From the gradient by the first layer's outputs to those by what it knows: added to that by
    /// the passing entries, and written for the context.
    fn known_gradient(
        &self,
        wanted: &Wanted,
        by_output: Matrix<'_>,
        gradient: &mut [f32],
        by_context: &mut [f32],
    ) {
        let Geometry {
            dim,
            passing,
            context,
            ..
        } = self.geometry;
        let first = &self.layers[0];
        if wanted.x {
            let weights = first.weights(0..passing).turned();
            let passed = &mut gradient[self.geometry.passing_part().start..];
            multiply_views(by_output.view(), weights, passed, dim, true);
        }
        if wanted.context {
            let weights = first.weights(passing..passing + context).turned();
            multiply_views(by_output.view(), weights, by_context, context, false);
        }
    }
}

/// The values in parts of these sizes, one after another.
fn parts<'a>(values: &'a mut [f32], sizes: &[[usize; 2]]) -> Vec<[&'a mut [f32]; 2]> {
    let mut rest = values;
    let mut take = |size: usize| {
        let (part, tail) = std::mem::take(&mut rest).split_at_mut(size);
        rest = tail;
        part
    };
    sizes.iter().map(|pair| pair.map(&mut take)).collect()
}

/// The sums of all groups, which lie one after another, as [`parts`] of these sizes.
fn added(groups: &[f32], sizes: &[[usize; 2]]) -> Vec<[Vec<f32>; 2]> {
    let total: usize = sizes.iter().flatten().sum();
    let mut gradients: Vec<[Vec<f32>; 2]> = sizes
        .iter()
        .map(|pair| pair.map(|size| vec![0.0; size]))
        .collect();
    let mut tasks = Vec::new();
    let mut first = 0;
    for gradient in gradients.iter_mut().flatten() {
        for chunk in gradient.chunks_mut(SUMS) {
            let length = chunk.len();
            tasks.push((first, chunk));
            first += length;
        }
    }
    tasks.into_par_iter().for_each(|(first, sums)| {
        for group in groups.chunks_exact(total) {
            for (sum, value) in sums.iter_mut().zip(&group[first..]) {
                *sum += value;
            }
        }
    });
    gradients
}

/// Adds the rows of a matrix with as many columns as there are sums.
fn add_rows(values: &[f32], sums: &mut [f32]) {
    for row in values.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}
