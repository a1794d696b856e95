//! Histograms of oriented gradients (Dalal & Triggs, CVPR 2005): which way the edges of an image run, and where.

use burn::tensor::{Device, Tensor, TensorData};

use crate::ops;

/// Cells that an image is divided into, along either side.
const CELLS: usize = 4;
/// Orientations that are told apart, of a half turn (the authors': 9).
const ORIENTATIONS: usize = 9;
/// How often the share of an orientation is squared: it is an eighth power.
const SQUARINGS: usize = 3;
/// Squared gradient below which a pixel counts as without one: as a share of that of the image's pixels, and where none has
/// one, of pixels in `[0, 1]`.
const LEAST_SHARE: f64 = 1e-2;
const LEAST_SQUARE: f64 = 1e-10;
/// Votes of a step, at most.
const STEP: usize = 1 << 22;

/// Entries of a description.
pub(super) const FEATURES: usize = ORIENTATIONS * CELLS * CELLS;

/// By orientation and cell, the mean length of the gradients that run that way: of a pixel, the gradient of the channel in
/// which it is longest.
///
/// # Shapes
/// `[batch, channels, height, width]` in `[0, 1]` to `[batch, FEATURES]`.
pub(super) fn oriented_gradients(images: Tensor<4>) -> Tensor<2> {
    let [_, _, height, width] = images.dims();
    let part = STEP / (ORIENTATIONS * height * width).max(1);
    let cells = cells([height - 2, width - 2], &images.device());
    let parts = ops::by_parts(images, part, |images| of_part(images, cells.clone()));
    Tensor::cat(parts, 0)
}

/// The same of some of the images, whose pixels lie in these cells, `[pixels, CELLS * CELLS]`.
fn of_part(images: Tensor<4>, cells: Tensor<2>) -> Tensor<2> {
    let [batch, _, height, width] = images.dims();
    let inner = [height - 2, width - 2];
    let pixels = inner[0] * inner[1];
    // Central differences, of the pixels that have neighbours on all sides.
    let inside = images.clone().narrow(2, 1, inner[0]);
    let across = inside.clone().narrow(3, 2, inner[1]) - inside.narrow(3, 0, inner[1]);
    let inside = images.narrow(3, 1, inner[1]);
    let down = inside.clone().narrow(2, 2, inner[0]) - inside.narrow(2, 0, inner[0]);
    let squares = across.clone().square() + down.clone().square();
    let longest = squares.argmax(1);
    let [across, down] = [across, down].map(|slope| {
        let slope: Tensor<4> = slope.gather(1, longest.clone());
        slope.reshape([batch, 1, pixels])
    });
    let votes = votes(across, down);
    let cells = cells.unsqueeze::<3>();
    let cells = cells.expand([batch, pixels, CELLS * CELLS]);
    votes.matmul(cells).flatten(1, 2)
}

/// The length of every gradient, shared out to the orientations near its own.
///
/// The share of an orientation is the eighth power of the cosine of twice the angle to it, which is one half at 12 degrees,
/// as the authors' linear share is at 10; unlike theirs it has a slope everywhere, and heat maps want one.
///
/// # Shapes
/// `[batch, 1, pixels]` twice to `[batch, ORIENTATIONS, pixels]`.
fn votes(across: Tensor<3>, down: Tensor<3>) -> Tensor<3> {
    let [batch, _, _] = across.dims();
    let device = across.device();
    let squares = across.clone().square() + down.clone().square();
    let least = squares.clone().mean_dim(2) * LEAST_SHARE + LEAST_SQUARE;
    let squares = squares + least;
    // A gradient and its opposite run the same way: they have the same double angle.
    let cosine = (across.clone().square() - down.clone().square()) / squares.clone();
    let sine = across * down * 2.0 / squares.clone();
    let directions = (0..ORIENTATIONS).flat_map(|orientation| {
        let angle = std::f64::consts::TAU * orientation as f64 / ORIENTATIONS as f64;
        [angle.cos() as f32, angle.sin() as f32]
    });
    let directions = TensorData::new(directions.collect::<Vec<_>>(), [ORIENTATIONS, 2]);
    let directions = Tensor::<2>::from_data(directions, &device).unsqueeze::<3>();
    let directions = directions.expand([batch, ORIENTATIONS, 2]);
    let alike = directions.matmul(Tensor::cat(vec![cosine, sine], 1));
    let shares = (0..SQUARINGS).fold(alike.clamp_min(0.0), |shares, _| shares.square());
    shares * squares.sqrt()
}

/// Mean over the pixels of each cell, `[height * width, CELLS * CELLS]`.
fn cells([height, width]: [usize; 2], device: &Device) -> Tensor<2> {
    let cell = |row: usize, column: usize| row * CELLS / height * CELLS + column * CELLS / width;
    let at = |pixel: usize| cell(pixel / width, pixel % width);
    let mut members = [0usize; CELLS * CELLS];
    for pixel in 0..height * width {
        members[at(pixel)] += 1;
    }
    let mut values = vec![0.0f32; height * width * members.len()];
    for pixel in 0..height * width {
        values[pixel * members.len() + at(pixel)] = 1.0 / members[at(pixel)] as f32;
    }
    Tensor::from_data(
        TensorData::new(values, [height * width, members.len()]),
        device,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;

    /// `[ORIENTATIONS][CELLS * CELLS]` of one grey image.
    fn described(sides: [usize; 2], pixel: impl Fn(usize, usize) -> f64) -> Vec<Vec<f32>> {
        let [height, width] = sides;
        let pixels = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let values: Vec<f32> = pixels
            .map(|(row, column)| pixel(row, column) as f32)
            .collect();
        let data = TensorData::new(values, [1, 1, height, width]);
        let found = oriented_gradients(Tensor::from_data(data, &test_device()));
        let found: Vec<f32> = found.into_data().iter::<f32>().collect();
        let rows = found.chunks_exact(CELLS * CELLS);
        rows.map(<[f32]>::to_vec).collect()
    }

    #[test]
    fn a_ramp_runs_its_way_in_every_cell() {
        for angle in [0.0f64, 0.4, 1.2, 2.0, 3.0] {
            // Rising by 0.02 a pixel that way, from the middle.
            let [along, down] = [0.02 * angle.cos(), 0.02 * angle.sin()];
            let found = described([23, 18], |row, column| {
                0.5 + along * (column as f64 - 9.0) + down * (row as f64 - 11.0)
            });
            for (orientation, cells) in found.iter().enumerate() {
                let centre = std::f64::consts::PI * orientation as f64 / ORIENTATIONS as f64;
                let share = (2.0 * (angle - centre)).cos().max(0.0).powi(8);
                // Its length is twice the rise, for the difference is over two pixels; a hundredth of its square is added.
                let expected = 0.04 * 1.01f64.sqrt() * share / 1.01f64.powi(8);
                for &cell in cells {
                    let difference = (f64::from(cell) - expected).abs();
                    assert!(difference < 1e-5, "{angle}, {orientation}: {cell}");
                }
            }
        }
    }

    #[test]
    fn an_edge_is_where_it_is() {
        // A vertical edge in the second column of cells, along the upper half alone.
        let found = described([34, 34], |row, column| {
            f64::from(u8::from(row < 17 && column >= 13))
        });
        let at = |row: usize, column: usize| found[0][row * CELLS + column];
        assert!(at(0, 1) > 0.1 && at(1, 1) > 0.1);
        assert!(at(3, 1) < 1e-3 && at(0, 0) < 1e-3 && at(0, 3) < 1e-3);
    }

    #[test]
    fn of_colours_the_one_that_changes_most_counts() {
        let ramp = |slope: f32| {
            let values = (0..64).map(move |at| slope * (at % 8) as f32 / 8.0);
            let values: Vec<f32> = values.collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 1, 8, 8]), &test_device())
        };
        let colours = Tensor::cat(vec![ramp(0.2), ramp(0.9), ramp(-0.5)], 1);
        let difference = oriented_gradients(colours) - oriented_gradients(ramp(0.9));
        assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
    }
}
