//! What of a vector a coupling changes, and what its network knows.

use std::ops::Range;

use crate::ops::matrix::Matrix;

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
    pub fn changed(&self) -> usize {
        self.dim - self.passing
    }

    /// Where in a vector the passing entries lie.
    pub fn passing_part(&self) -> Range<usize> {
        match self.first_passes {
            true => 0..self.passing,
            false => self.changed()..self.dim,
        }
    }

    /// Where in a vector the changed entries lie.
    pub fn changed_part(&self) -> Range<usize> {
        match self.first_passes {
            true => self.passing..self.dim,
            false => 0..self.changed(),
        }
    }

    /// The contexts of some rows.
    pub fn contexts<'a>(&self, contexts: &'a [f32], rows: Range<usize>) -> &'a [f32] {
        &contexts[rows.start * self.context..rows.end * self.context]
    }

    /// What the network knows: the passing entries and the context.
    pub fn known<'a>(&self, x: &'a [f32], context: &'a [f32]) -> Inputs<'a> {
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
pub(super) type Inputs<'a> = [Option<Matrix<'a>>; 2];

/// A matrix of as many columns as the values make.
pub(super) fn matrix(values: &[f32], rows: usize) -> Matrix<'_> {
    let columns = values.len() / rows;
    Matrix {
        values,
        rows,
        columns,
        stride: columns,
    }
}
