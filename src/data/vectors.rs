//! Vectors in memory: the latents of a split.

use burn::tensor::{Device, Tensor, TensorData};

use super::{Samples, batches};

/// Vectors of one dimension.
///
/// # Shape
/// `[len, dim]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    values: Vec<f32>,
    dim: usize,
}

impl Vectors {
    /// No vectors yet, of `dim` entries.
    pub fn new(dim: usize) -> Self {
        Self {
            values: Vec::new(),
            dim,
        }
    }

    /// No vectors yet, with room for `len` of `dim` entries: of hundreds of megabytes, twice the room counts.
    pub fn with_capacity(dim: usize, len: usize) -> Self {
        Self {
            values: Vec::with_capacity(dim * len),
            dim,
        }
    }

    /// What `of` makes of `count` samples, `size` at a time: for the indices of a batch its vectors,
    /// `[batch, dim]`.
    pub fn in_batches(
        dim: usize,
        (count, size): (usize, usize),
        mut of: impl FnMut(&[usize]) -> Tensor<2>,
    ) -> Self {
        let mut vectors = Self::with_capacity(dim, count);
        for indices in batches(count, size) {
            vectors.extend(of(&indices).into_data().iter::<f32>());
        }
        vectors
    }

    /// Adds the rows of a `[batch, dim]` array.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = f32>) {
        self.values.extend(rows);
    }

    /// The vectors at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is not below [`len`](Self::len), like a slice.
    pub fn select(&self, indices: &[usize]) -> Self {
        let rows = indices.iter();
        let rows = rows.flat_map(|&index| &self.values[index * self.dim..(index + 1) * self.dim]);
        Self {
            values: rows.copied().collect(),
            dim: self.dim,
        }
    }

    /// Mean of every entry, added up in f64.
    pub fn means(&self) -> Vec<f32> {
        let mut sums = vec![0.0f64; self.dim];
        for row in self.values.chunks_exact(self.dim) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += f64::from(value);
            }
        }
        let count = self.len().max(1) as f64;
        sums.into_iter().map(|sum| (sum / count) as f32).collect()
    }

    /// Takes `by`, which has as many entries as a vector, from every vector.
    pub fn shift(&mut self, by: &[f32]) {
        for row in self.values.chunks_exact_mut(self.dim) {
            for (value, by) in row.iter_mut().zip(by) {
                *value -= by;
            }
        }
    }

    /// The vector at `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len), like a slice.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// The first vector with an entry that is no number or not finite.
    pub fn first_not_finite(&self) -> Option<usize> {
        let place = self.values.iter().position(|value| !value.is_finite());
        place.map(|place| place / self.dim)
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Entries of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// `[len, dim]`, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Samples for Vectors {
    /// `[batch, dim]`.
    type Batch = Tensor<2>;

    fn count(&self) -> usize {
        self.len()
    }

    fn batch(&self, indices: &[usize], device: &Device) -> Tensor<2> {
        let mut rows = Vec::with_capacity(indices.len() * self.dim);
        for &index in indices {
            rows.extend_from_slice(&self.values[index * self.dim..(index + 1) * self.dim]);
        }
        Tensor::from_data(TensorData::new(rows, [indices.len(), self.dim]), device)
    }
}
