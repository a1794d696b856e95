//! The 4x4 windows of a convolution with stride 2 and padding 1, and their sum back into maps.
//!
//! Windows are the columns of a matrix: row `16 c + 4 ky + kx` holds, for every output position in
//! turn, what tap `(ky, kx)` sees of channel `c`. Output `(oy, ox)` sees the input at
//! `(2 oy - 1 + ky, 2 ox - 1 + kx)`: along a row that is every second value, so the four taps of an
//! input row are its odd values moved right by one, its even values, its odd values, and its even
//! values moved left by one.

/// Whether there are windows for outputs of this size. They are compiled for each width; windows of
/// larger maps do not stay in a core's cache, and their products are large enough for Burn.
pub(super) fn serves([height, width]: [usize; 2]) -> bool {
    width.is_power_of_two() && width <= 64 && (1..=64).contains(&height)
}

/// Calls a function that is generic over the output's width.
macro_rules! for_width {
    ($width:expr, $function:ident $arguments:tt) => {
        match $width {
            1 => $function::<1> $arguments,
            2 => $function::<2> $arguments,
            4 => $function::<4> $arguments,
            8 => $function::<8> $arguments,
            16 => $function::<16> $arguments,
            32 => $function::<32> $arguments,
            64 => $function::<64> $arguments,
            width => unreachable!("maps {width} wide have no windows"),
        }
    };
}

/// Where the windows of one image lie in the matrix.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Columns of the matrix.
    pub stride: usize,
    /// The image's first column.
    pub first: usize,
}

impl Place {
    /// Start of an output row in the row of tap `(ky, kx)`.
    fn start(self, ky: usize, kx: usize, row: usize, width: usize) -> usize {
        (4 * ky + kx) * self.stride + self.first + row * width
    }
}

/// Writes the windows of an image's channels, an output of `height x width` each.
pub(super) fn gather(
    [height, width]: [usize; 2],
    channels: &[f32],
    matrix: &mut [f32],
    place: Place,
) {
    for_width!(width, gather_rows(height, channels, matrix, place));
}

/// The transpose of [`gather`]: overwrites the channels with the sum of what all windows hold.
pub(super) fn scatter(
    [height, width]: [usize; 2],
    matrix: &[f32],
    place: Place,
    channels: &mut [f32],
) {
    for_width!(width, scatter_rows(height, matrix, place, channels));
}

/// Taps `ky` that see an input row, each with the output row that it sees it for.
fn readers(row: usize, height: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..4).filter_map(move |ky| {
        let twice = (row + 1).checked_sub(ky)?;
        (twice.is_multiple_of(2) && twice / 2 < height).then_some((ky, twice / 2))
    })
}

fn gather_rows<const W: usize>(height: usize, channels: &[f32], matrix: &mut [f32], place: Place) {
    let channels = channels.chunks_exact(4 * height * W);
    for (channel, matrix) in channels.zip(matrix.chunks_exact_mut(16 * place.stride)) {
        for (ky, row) in [(0, 0), (3, height - 1)] {
            for kx in 0..4 {
                // The padding above and below.
                matrix[place.start(ky, kx, row, W)..][..W].fill(0.0);
            }
        }
        for (y, input) in channel.chunks_exact(2 * W).enumerate() {
            let taps = split::<W>(input);
            for (ky, row) in readers(y, height) {
                for (kx, tap) in taps.iter().enumerate() {
                    matrix[place.start(ky, kx, row, W)..][..W].copy_from_slice(tap);
                }
            }
        }
    }
}

fn scatter_rows<const W: usize>(height: usize, matrix: &[f32], place: Place, channels: &mut [f32]) {
    let channels = channels.chunks_exact_mut(4 * height * W);
    for (channel, matrix) in channels.zip(matrix.chunks_exact(16 * place.stride)) {
        for (y, output) in channel.chunks_exact_mut(2 * W).enumerate() {
            let mut taps = [[0.0f32; W]; 4];
            for (ky, row) in readers(y, height) {
                for (kx, tap) in taps.iter_mut().enumerate() {
                    let values = &matrix[place.start(ky, kx, row, W)..][..W];
                    for (sum, value) in tap.iter_mut().zip(values) {
                        *sum += value;
                    }
                }
            }
            join(taps, output);
        }
    }
}

/// What the four taps of a row see of an input row of `2 W` values.
fn split<const W: usize>(row: &[f32]) -> [[f32; W]; 4] {
    let row = &row[..2 * W];
    let even: [f32; W] = std::array::from_fn(|x| row[2 * x]);
    let odd: [f32; W] = std::array::from_fn(|x| row[2 * x + 1]);
    let (mut before, mut after) = ([0.0f32; W], [0.0f32; W]);
    before[1..].copy_from_slice(&odd[..W - 1]);
    after[..W - 1].copy_from_slice(&even[1..]);
    [before, even, odd, after]
}

/// The transpose of [`split`].
fn join<const W: usize>([before, mut even, mut odd, after]: [[f32; W]; 4], row: &mut [f32]) {
    for (even, after) in even[1..].iter_mut().zip(&after) {
        *even += after;
    }
    for (odd, before) in odd.iter_mut().zip(&before[1..]) {
        *odd += before;
    }
    for (pair, (even, odd)) in row.chunks_exact_mut(2).zip(even.iter().zip(&odd)) {
        pair[0] = *even;
        pair[1] = *odd;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_what_the_definition_says() {
        for [height, width] in [[1, 1], [3, 2], [2, 8]] {
            let [rows, columns] = [2 * height, 2 * width];
            let image: Vec<f32> = (1..=2 * rows * columns).map(|value| value as f32).collect();
            let place = Place {
                stride: height * width + 3,
                first: 2,
            };
            let mut matrix = vec![f32::NAN; 2 * 16 * place.stride];
            gather([height, width], &image, &mut matrix, place);
            for (index, found) in matrix.iter().enumerate() {
                let (tap, column) = (index / place.stride, index % place.stride);
                let Some(position) = column
                    .checked_sub(place.first)
                    .filter(|position| *position < height * width)
                else {
                    assert!(found.is_nan(), "beyond the image at {index}");
                    continue;
                };
                let (channel, ky, kx) = (tap / 16, tap / 4 % 4, tap % 4);
                let y = (2 * (position / width) + ky)
                    .checked_sub(1)
                    .filter(|y| *y < rows);
                let x = (2 * (position % width) + kx)
                    .checked_sub(1)
                    .filter(|x| *x < columns);
                let expected = match (y, x) {
                    (Some(y), Some(x)) => image[(channel * rows + y) * columns + x],
                    _ => 0.0,
                };
                assert_eq!(*found, expected, "tap {ky} {kx} of {channel} at {position}");
            }
        }
    }

    #[test]
    fn scatter_counts_the_windows_that_see_a_value() {
        // Gathered ones scatter back into the number of windows over each value: 4 inside, fewer at
        // the edge.
        let place = Place {
            stride: 4,
            first: 0,
        };
        let mut matrix = vec![f32::NAN; 16 * 4];
        gather([2, 2], &[1.0; 16], &mut matrix, place);
        let mut counts = [f32::NAN; 16];
        scatter([2, 2], &matrix, place, &mut counts);
        #[rustfmt::skip]
        let expected = [
            1.0, 2.0, 2.0, 1.0,
            2.0, 4.0, 4.0, 2.0,
            2.0, 4.0, 4.0, 2.0,
            1.0, 2.0, 2.0, 1.0,
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn widths_are_powers_of_two() {
        let served: Vec<usize> = (0..300).filter(|width| serves([5, *width])).collect();
        assert_eq!(served, [1, 2, 4, 8, 16, 32, 64]);
        assert!(!serves([0, 4]) && serves([64, 4]) && !serves([65, 4]));
    }
}
