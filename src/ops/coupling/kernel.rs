//! The coupling on slices; [`gradient`](super::gradient) has its way back.
//!
//! A block of rows goes all the way, through the network and the affine map, on one thread: what the
//! layers hand on stays in its cache. All matrices are row-major, a row per vector.

use rayon::prelude::*;

use super::Direction;
use super::geometry::{Geometry, Inputs, matrix};
use super::layer::Layer;
use crate::ops::activation::Rectify;
use crate::ops::elementary::{exp, tanh};
use crate::ops::matrix::with_scratch;
use crate::ops::pointwise::Curve;

/// Rows that go through together: enough for a product at full speed.
pub(super) const ROWS: usize = 128;
/// Lanes of a sum: the compiler keeps them in vector registers.
const LANES: usize = 8;

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

impl Coupling<'_> {
    pub(super) fn hidden(&self) -> &[Layer<'_>] {
        &self.layers[..self.layers.len() - 1]
    }

    /// Values of the trace per row.
    pub(super) fn traced(&self) -> usize {
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
}

/// A share of the values for each of `count` tasks, `size` of them but for the last; of no values,
/// empty ones.
pub(super) fn shares(values: &mut [f32], size: usize, count: usize) -> Vec<&mut [f32]> {
    let mut shares = values.chunks_mut(size.max(1));
    (0..count)
        .map(|_| shares.next().unwrap_or_default())
        .collect()
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
