//! Dense matrices in slices: product (by the `gemm` crate, as in flex), what convolutions need of it, and transpose.

use std::cell::RefCell;

use rayon::prelude::*;

/// Columns that are transposed together: their rows of the result are written side by side.
const BAND: usize = 16;

/// Values of the windows of a convolution that are held at once: half a MiB, a part of one core's cache.
pub(super) const WINDOWS: usize = 1 << 17;

/// A row-major matrix at the start of a slice, its rows `stride` values apart.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

impl<'a> Matrix<'a> {
    /// The matrix as it is.
    pub fn view(self) -> View<'a> {
        View {
            values: self.values,
            rows: self.rows,
            columns: self.columns,
            row_step: self.stride,
            column_step: 1,
        }
    }

    /// The transpose, read where the matrix lies.
    pub fn turned(self) -> View<'a> {
        View {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_step: 1,
            column_step: self.stride,
        }
    }
}

/// A matrix at the start of a slice, both its rows and its columns a fixed step apart.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Values from one row to the next.
    row_step: usize,
    /// Values from one column to the next.
    column_step: usize,
}

impl View<'_> {
    /// Whether there are values, the last of the last row still lies in the slice, and the steps
    /// fit an `isize`.
    fn fits(&self) -> bool {
        last(self.rows, self.row_step, self.columns, self.column_step)
            .is_some_and(|last| last < self.values.len())
            && isize::try_from(self.row_step).is_ok()
            && isize::try_from(self.column_step).is_ok()
    }
}

/// Index of the last value of the last row, where there is one.
fn last(rows: usize, row_step: usize, columns: usize, column_step: usize) -> Option<usize> {
    let row = rows.checked_sub(1)?.checked_mul(row_step)?;
    let column = columns.checked_sub(1)?.checked_mul(column_step)?;
    row.checked_add(column)
}

/// `product = a b`, or `product += a b`, on the calling thread.
///
/// `product` is row-major without gaps and at the start of its slice.
pub(super) fn multiply(a: Matrix<'_>, b: Matrix<'_>, product: &mut [f32], add: bool) {
    multiply_views(a.view(), b.view(), product, b.columns, add);
}

/// [`multiply`] for factors that may be transposes and a product whose rows are `stride` values
/// apart. What lies between the rows stays.
pub(super) fn multiply_views(
    a: View<'_>,
    b: View<'_>,
    product: &mut [f32],
    stride: usize,
    add: bool,
) {
    let (rows, inner, columns) = (a.rows, a.columns, b.columns);
    assert_eq!(inner, b.rows, "a row of a for every column of b");
    assert!(a.fits() && b.fits(), "the factors lie in their slices");
    assert!(
        last(rows, stride, columns, 1).is_some_and(|last| last < product.len())
            && stride >= columns
            && isize::try_from(stride).is_ok(),
        "the product lies in its slice"
    );
    // SAFETY: gemm reads a[i * a.row_step + k * a.column_step] and b[k * b.row_step + j *
    // b.column_step] and writes (with `add` also reads) product[i * stride + j] for i < rows,
    // k < inner, j < columns, none of which is 0 by `fits`. The assertions above put the largest of
    // each of these indices, and so all of them, inside the slice that the pointer comes from; as
    // `stride` is at least `columns`, no two values of the product share an index. All steps fit an
    // `isize`, by `fits` and by the assertion on `stride`. All three slices are initialised `f32`, a
    // type that gemm takes. `product` is borrowed exclusively, so it overlaps neither factor, and
    // all borrows outlive the call, which starts no threads.
    unsafe {
        gemm::gemm::<f32>(
            rows,
            columns,
            inner,
            product.as_mut_ptr(),
            1,
            stride as isize,
            add,
            a.values.as_ptr(),
            a.column_step as isize,
            a.row_step as isize,
            b.values.as_ptr(),
            b.column_step as isize,
            b.row_step as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Columns of a `rows x columns` matrix from `first` on as rows of `target`, as many as fit.
fn transpose_band(source: &[f32], columns: usize, first: usize, target: &mut [f32]) {
    let rows = source.len() / columns;
    let count = target.len() / rows;
    for (row, values) in source.chunks_exact(columns).enumerate() {
        for (column, &value) in values[first..first + count].iter().enumerate() {
            target[column * rows + row] = value;
        }
    }
}

/// The transpose of a matrix with that many columns, on the calling thread.
pub(super) fn transpose(source: &[f32], columns: usize, target: &mut [f32]) {
    let rows = source.len() / columns;
    for (band, target) in target.chunks_mut(BAND * rows).enumerate() {
        transpose_band(source, columns, band * BAND, target);
    }
}

/// The transpose of a matrix with that many columns, on all threads.
pub(super) fn transposed(source: &[f32], columns: usize) -> Vec<f32> {
    let rows = source.len() / columns;
    let mut target = vec![0.0; source.len()];
    target
        .par_chunks_mut(BAND * rows)
        .enumerate()
        .for_each(|(band, target)| transpose_band(source, columns, band * BAND, target));
    target
}

/// Fills maps, `[images, channels, area]`, with their channel's bias, which a product is added to.
pub(super) fn start_from(bias: Option<&[f32]>, area: usize, output: &mut [f32]) {
    if let Some(bias) = bias {
        let maps = output.chunks_exact_mut(area);
        for (map, bias) in maps.zip(bias.iter().cycle()) {
            map.fill(*bias);
        }
    }
}

/// Lends buffers of these sizes, with anything in them, that each thread keeps for the next time.
///
/// `work` must not wait for other rayon tasks: one that ran meanwhile on this thread would find the
/// buffers taken.
pub(super) fn with_scratch<const N: usize, R>(
    sizes: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|buffer| {
        let total: usize = sizes.iter().sum();
        if buffer.len() < total {
            buffer.resize(total, 0.0);
        }
        let mut rest = buffer.as_mut_slice();
        work(sizes.map(|size| {
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(size);
            rest = tail;
            part
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_parts_of_matrices() {
        // [1 2; 4 5] of a 2x3 matrix times the 2x2 matrix [1 0; 1 1].
        let a = Matrix {
            values: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            rows: 2,
            columns: 2,
            stride: 3,
        };
        let b = Matrix {
            values: &[1.0, 0.0, 1.0, 1.0],
            rows: 2,
            columns: 2,
            stride: 2,
        };
        let mut product = [f32::NAN; 4];
        multiply(a, b, &mut product, false);
        assert_eq!(product, [3.0, 2.0, 9.0, 5.0]);
        multiply(a, b, &mut product, true);
        assert_eq!(product, [6.0, 4.0, 18.0, 10.0]);
    }

    #[test]
    #[should_panic(expected = "the factors lie in their slices")]
    fn a_factor_beyond_its_slice_is_refused() {
        let short = Matrix {
            values: &[1.0; 5],
            rows: 2,
            columns: 3,
            stride: 3,
        };
        let b = Matrix {
            values: &[1.0; 3],
            rows: 3,
            columns: 1,
            stride: 1,
        };
        multiply(short, b, &mut [0.0; 2], false);
    }

    #[test]
    #[should_panic(expected = "the product lies in its slice")]
    fn a_product_beyond_its_slice_is_refused() {
        let column = Matrix {
            values: &[1.0; 2],
            rows: 2,
            columns: 1,
            stride: 1,
        };
        let row = Matrix {
            values: &[1.0; 2],
            rows: 1,
            columns: 2,
            stride: 2,
        };
        multiply(column, row, &mut [0.0; 3], false);
    }

    #[test]
    fn products_of_transposes_into_parts_of_matrices() {
        // The transpose of the 2x2 part [1 2; 4 5] of a 2x3 matrix.
        let a = Matrix {
            values: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            rows: 2,
            columns: 2,
            stride: 3,
        };
        // [1 0; 1 1; 2 1] and its transpose [1 1 2; 0 1 1].
        let b = Matrix {
            values: &[1.0, 0.0, 1.0, 1.0, 2.0, 1.0],
            rows: 3,
            columns: 2,
            stride: 2,
        };
        let mut product = [7.0; 7];
        multiply_views(a.turned(), b.turned(), &mut product, 4, false);
        assert_eq!(product, [1.0, 5.0, 6.0, 7.0, 2.0, 7.0, 9.0]);
        multiply_views(a.view(), b.turned(), &mut product, 4, true);
        assert_eq!(product, [2.0, 8.0, 10.0, 7.0, 6.0, 16.0, 22.0]);
    }

    #[test]
    #[should_panic(expected = "the factors lie in their slices")]
    fn a_transpose_beyond_its_slice_is_refused() {
        let short = Matrix {
            values: &[1.0; 5],
            rows: 2,
            columns: 3,
            stride: 3,
        };
        let b = Matrix {
            values: &[1.0; 2],
            rows: 2,
            columns: 1,
            stride: 1,
        };
        multiply_views(short.turned(), b.view(), &mut [0.0; 3], 1, false);
    }

    #[test]
    fn products_that_run_over_their_slice_or_themselves_are_refused() {
        let square = Matrix {
            values: &[1.0; 4],
            rows: 2,
            columns: 2,
            stride: 2,
        };
        for (length, stride) in [(4, 3), (5, 4), (4, 1), (9, usize::MAX)] {
            let refused = std::panic::catch_unwind(|| {
                multiply_views(
                    square.view(),
                    square.view(),
                    &mut vec![0.0; length],
                    stride,
                    false,
                );
            });
            assert!(refused.is_err(), "{length} {stride}");
        }
    }

    #[test]
    fn both_transposes_swap_rows_and_columns() {
        for (rows, columns) in [(1, 1), (3, 50), (50, 3), (17, 16)] {
            let source: Vec<f32> = (0..rows * columns).map(|index| index as f32).collect();
            let expected: Vec<f32> = (0..rows * columns)
                .map(|index| source[(index % rows) * columns + index / rows])
                .collect();
            let mut target = vec![f32::NAN; source.len()];
            transpose(&source, columns, &mut target);
            assert_eq!(target, expected);
            assert_eq!(transposed(&source, columns), expected);
        }
    }

    #[test]
    fn scratch_buffers_do_not_overlap() {
        for sizes in [[3, 2], [5, 0]] {
            with_scratch(sizes, |[first, second]| {
                assert_eq!([first.len(), second.len()], sizes);
                first.fill(1.0);
                second.fill(2.0);
                assert!(first.iter().all(|&value| value == 1.0));
            });
        }
    }
}
