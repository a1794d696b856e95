//! The coupling and its gradients, on slices.
//!
//! A block of rows goes all the way, through the network and the affine map, on one thread: what the
//! layers hand on stays in its cache. All matrices are row-major, a row per vector.

use std::ops::Range;

use rayon::prelude::*;

use super::Direction;
use crate::ops::activation::{Gate, Rectify};
use crate::ops::elementary::{exp, tanh};
use crate::ops::matrix::{Matrix, View, multiply, multiply_views, with_scratch};

/// Rows that go through together: enough for a product at full speed.
const ROWS: usize = 128;
/// Most tasks of the gradients. Each has sums of its own for all weights, so more would be dear.
const GROUPS: usize = 8;
/// Values of the weights' gradients that are added per task.
const SUMS: usize = 1 << 13;
/// Lanes of a sum: the compiler keeps them in vector registers.
const LANES: usize = 8;

/// Sizes of a coupling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Geometry {
    /// Entries of a vector.
    pub dim: usize,
    /// Entries that pass.
    pub passing: usize,
    /// Whether these are the first ones, or the last.
    pub first_passes: bool,
    /// Entries of the context, 0 without one.
    pub context: usize,
    /// Bound of the log-scales.
    pub clamp: f32,
}

impl Geometry {
    /// Number of the entries that are changed.
    fn changed(&self) -> usize {
        self.dim - self.passing
    }

    /// Where in a vector the passing entries lie.
    fn passing_part(&self) -> Range<usize> {
        match self.first_passes {
            true => 0..self.passing,
            false => self.changed()..self.dim,
        }
    }

    /// Where in a vector the changed entries lie.
    fn changed_part(&self) -> Range<usize> {
        match self.first_passes {
            true => self.passing..self.dim,
            false => 0..self.changed(),
        }
    }

    /// The contexts of some rows.
    fn contexts<'a>(&self, contexts: &'a [f32], rows: Range<usize>) -> &'a [f32] {
        &contexts[rows.start * self.context..rows.end * self.context]
    }

    /// What the network knows: the passing entries and the context.
    fn known<'a>(&self, x: &'a [f32], context: &'a [f32]) -> Inputs<'a> {
        let rows = x.len() / self.dim;
        let passed = Matrix {
            values: &x[self.passing_part().start..],
            rows,
            columns: self.passing,
            stride: self.dim,
        };
        let context = (self.context > 0).then(|| matrix(context, rows));
        [Some(passed), context]
    }
}

/// What goes into a layer: a matrix, or two side by side.
type Inputs<'a> = [Option<Matrix<'a>>; 2];

/// A matrix of as many columns as the values make.
fn matrix(values: &[f32], rows: usize) -> Matrix<'_> {
    let columns = values.len() / rows;
    Matrix {
        values,
        rows,
        columns,
        stride: columns,
    }
}

/// A linear layer.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    /// `[inputs, outputs]`
    pub weight: &'a [f32],
    /// `[outputs]`
    pub bias: &'a [f32],
}

impl<'a> Layer<'a> {
    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    /// Weights of some of the inputs.
    fn weights(&self, inputs: Range<usize>) -> Matrix<'a> {
        let outputs = self.outputs();
        let values = &self.weight[inputs.start * outputs..inputs.end * outputs];
        matrix(values, inputs.len())
    }

    /// The outputs of every row of `inputs`.
    fn apply(&self, inputs: Inputs<'_>, outputs: &mut [f32]) {
        for row in outputs.chunks_exact_mut(self.outputs()) {
            row.copy_from_slice(self.bias);
        }
        let mut first = 0;
        for part in inputs.into_iter().flatten() {
            let weights = self.weights(first..first + part.columns);
            multiply(part, weights, outputs, true);
            first += part.columns;
        }
    }

    /// Adds the gradient by the weights for that by the outputs.
    fn add_weight_gradient(&self, inputs: Inputs<'_>, by_output: View<'_>, sum: &mut [f32]) {
        let mut first = 0;
        for part in inputs.into_iter().flatten() {
            let sum = &mut sum[first * self.outputs()..];
            multiply_views(part.turned(), by_output, sum, self.outputs(), true);
            first += part.columns;
        }
    }
}

/// A coupling and its network.
pub(super) struct Coupling<'a> {
    pub geometry: Geometry,
    /// At least one. ReLU follows all but the last, which gives the log-scales before their clamp
    /// and the shifts.
    pub layers: Vec<Layer<'a>>,
}

/// What the gradients need of a pass.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    /// `[batch, dim]`
    pub x: &'a [f32],
    /// `[batch, context]`
    pub context: &'a [f32],
    /// What [`Coupling::run`] left, block by block: the hidden layers' activations, then the
    /// log-scales.
    pub trace: &'a [f32],
}

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
    fn hidden(&self) -> &[Layer<'_>] {
        &self.layers[..self.layers.len() - 1]
    }

    /// Values of the trace per row.
    fn traced(&self) -> usize {
        self.hidden().iter().map(Layer::outputs).sum::<usize>() + self.geometry.changed()
    }

    /// Room for what [`run`](Self::run) leaves for the gradients.
    pub fn trace(&self, batch: usize) -> Vec<f32> {
        vec![0.0; batch * self.traced()]
    }

    /// The changed vectors and the log-determinants.
    pub fn run(
        &self,
        direction: Direction,
        x: &[f32],
        context: &[f32],
        trace: Option<&mut [f32]>,
    ) -> (Vec<f32>, Vec<f32>) {
        let dim = self.geometry.dim;
        let batch = x.len() / dim;
        let mut y = vec![0.0; x.len()];
        let mut log_det = vec![0.0; batch];
        let traces = trace.unwrap_or_default();
        let traces = shares(traces, ROWS * self.traced(), batch.div_ceil(ROWS));
        y.par_chunks_mut(ROWS * dim)
            .zip(log_det.par_chunks_mut(ROWS))
            .zip(x.par_chunks(ROWS * dim))
            .zip(traces)
            .enumerate()
            .for_each(|(block, (((y, log_det), x), kept))| {
                let rows = log_det.len();
                let first = block * ROWS;
                let context = self.geometry.contexts(context, first..first + rows);
                let known = self.geometry.known(x, context);
                // Without gradients the trace is needed for as long as the block takes.
                let own = if kept.is_empty() { self.traced() } else { 0 };
                let outputs = 2 * self.geometry.changed();
                with_scratch(
                    [rows * own, rows * outputs],
                    |[own, outputs]: [&mut [f32]; 2]| {
                        let trace = if kept.is_empty() { own } else { kept };
                        let log_scales = self.network(known, rows, trace, outputs);
                        self.transform(direction, x, outputs, log_scales, y, log_det);
                    },
                );
            });
        (y, log_det)
    }

    /// Runs the layers, the hidden ones into the trace. To the rest of that.
    fn network<'t>(
        &self,
        known: Inputs<'_>,
        rows: usize,
        trace: &'t mut [f32],
        outputs: &mut [f32],
    ) -> &'t mut [f32] {
        let mut rest = trace;
        let mut inputs = known;
        for layer in self.hidden() {
            let (activations, tail) =
                std::mem::take(&mut rest).split_at_mut(rows * layer.outputs());
            layer.apply(inputs, activations);
            activations.iter_mut().for_each(|x| *x = Rectify.value(*x));
            inputs = [Some(matrix(activations, rows)), None];
            rest = tail;
        }
        if let Some(last) = self.layers.last() {
            last.apply(inputs, outputs);
        }
        rest
    }

    /// The affine map, for the network's outputs; writes the log-scales too.
    fn transform(
        &self,
        direction: Direction,
        x: &[f32],
        outputs: &[f32],
        log_scales: &mut [f32],
        y: &mut [f32],
        log_det: &mut [f32],
    ) {
        let Geometry { dim, clamp, .. } = self.geometry;
        let passing = self.geometry.passing_part();
        let part = self.geometry.changed_part();
        let changed = part.len();
        let steepness = 1.0 / clamp;
        let vectors = x.chunks_exact(dim).zip(y.chunks_exact_mut(dim));
        let parameters = outputs
            .chunks_exact(2 * changed)
            .zip(log_scales.chunks_exact_mut(changed));
        for (((x, y), (outputs, log_scales)), log_det) in vectors.zip(parameters).zip(log_det) {
            let (raw, shifts) = outputs.split_at(changed);
            for (log_scale, raw) in log_scales.iter_mut().zip(raw) {
                *log_scale = clamp * tanh(raw * steepness);
            }
            y[passing.clone()].copy_from_slice(&x[passing.clone()]);
            let (x, y) = (&x[part.clone()], &mut y[part.clone()]);
            let terms = x.iter().zip(&*log_scales).zip(shifts);
            match direction {
                Direction::Forward => {
                    for (y, ((&x, &log_scale), &shift)) in y.iter_mut().zip(terms) {
                        *y = x * exp(log_scale) + shift;
                    }
                    *log_det = sum(log_scales);
                }
                Direction::Inverse => {
                    for (y, ((&x, &log_scale), &shift)) in y.iter_mut().zip(terms) {
                        *y = (x - shift) * exp(-log_scale);
                    }
                    *log_det = -sum(log_scales);
                }
            }
        }
    }

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

/// A share of the values for each of `count` tasks, `size` of them but for the last; of no values,
/// empty ones.
fn shares(values: &mut [f32], size: usize, count: usize) -> Vec<&mut [f32]> {
    let mut shares = values.chunks_mut(size.max(1));
    (0..count)
        .map(|_| shares.next().unwrap_or_default())
        .collect()
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

fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value;
        }
    }
    sums.iter().chain(rest).sum()
}
