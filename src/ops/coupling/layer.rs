//! A linear layer and the gradients by its weights.

use std::ops::Range;

use super::geometry::{Inputs, matrix};
use crate::ops::matrix::{Matrix, View, multiply, multiply_views};

/// A linear layer.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    /// `[inputs, outputs]`
    pub weight: &'a [f32],
    /// `[outputs]`
    pub bias: &'a [f32],
}

impl<'a> Layer<'a> {
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    pub fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    /// Weights of some of the inputs.
    pub fn weights(&self, inputs: Range<usize>) -> Matrix<'a> {
        let outputs = self.outputs();
        let values = &self.weight[inputs.start * outputs..inputs.end * outputs];
        matrix(values, inputs.len())
    }

    /// The outputs of every row of `inputs`.
    pub fn apply(&self, inputs: Inputs<'_>, outputs: &mut [f32]) {
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
    pub fn add_weight_gradient(&self, inputs: Inputs<'_>, by_output: View<'_>, sum: &mut [f32]) {
        let mut first = 0;
        for part in inputs.into_iter().flatten() {
            let sum = &mut sum[first * self.outputs()..];
            multiply_views(part.turned(), by_output, sum, self.outputs(), true);
            first += part.columns;
        }
    }
}
