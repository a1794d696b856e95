//! What says where in the image a position is.

use burn::tensor::{Device, Tensor, TensorData};

/// Frequencies of the encoding of a position, in periods of twice the image's side.
const FREQUENCIES: [f32; 4] = [1.0, 2.0, 4.0, 8.0];
/// Entries of the encoding of a position: sine and cosine of both coordinates.
pub const POSITION_CONTEXT: usize = 4 * FREQUENCIES.len();

/// Sines and cosines of the coordinates of every position, row by row (CFLOW-AD, arXiv:2107.12571,
/// section 4.2): what the density of a position is conditioned on.
///
/// # Shapes
/// To `[rows * columns, 16]`, row-major.
pub fn position_context([rows, columns]: [usize; 2]) -> Vec<f32> {
    let angle = |index: usize, side: usize, frequency: f32| {
        std::f32::consts::PI * frequency * (index as f32 + 0.5) / side as f32
    };
    let mut values = Vec::with_capacity(rows * columns * POSITION_CONTEXT);
    for position in 0..rows * columns {
        for (index, side) in [(position / columns, rows), (position % columns, columns)] {
            for frequency in FREQUENCIES {
                let angle = angle(index, side, frequency);
                values.extend([angle.sin(), angle.cos()]);
            }
        }
    }
    values
}

/// [`position_context`] of a batch of images.
///
/// # Shapes
/// To `[batch * rows * columns, 16]`.
pub fn position_contexts(batch: usize, sides: [usize; 2], device: &Device) -> Tensor<2> {
    let one = TensorData::new(
        position_context(sides),
        [sides[0] * sides[1], POSITION_CONTEXT],
    );
    Tensor::<2>::from_data(one, device).repeat_dim(0, batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_positions_have_the_same_context() {
        let context = position_context([12, 24]);
        let rows: Vec<&[f32]> = context.chunks(POSITION_CONTEXT).collect();
        for (index, row) in rows.iter().enumerate() {
            for other in &rows[..index] {
                let distance: f32 = row.iter().zip(*other).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(distance > 1e-3);
            }
        }
    }
}
