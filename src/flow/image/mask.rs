//! Which pixels a coupling sees, and which it changes.

use burn::tensor::{Device, Tensor, TensorData};

/// The pixels that pass and decide about others; the others are changed, all of them but with
/// [`Quadrant`](Self::Quadrant).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Every other pixel, those with an odd sum of row and column or the rest (Dinh et al.,
    /// arXiv:1605.08803, section 3.4).
    Checkerboard(bool),
    /// Half of the channels after a squeeze in the order of a checkerboard: the upper row of every
    /// square or the lower, which no checkerboard before has told apart (the same, figure 3).
    Channels(bool),
    /// The upper half of the image or the lower (Kirichenko et al., arXiv:2006.08545).
    Horizontal(bool),
    /// A quarter of the image, which decides about the next one, clockwise from the upper left (the same,
    /// "cycle mask").
    Quadrant(usize),
}

impl Mask {
    /// True where a pixel is seen.
    fn sees(
        self,
        [channel, row, column]: [usize; 3],
        [channels, height, width]: [usize; 3],
    ) -> bool {
        match self {
            Self::Checkerboard(odd) => ((row + column) % 2 == 1) == odd,
            // The places are (0, 0), (1, 1), (0, 1), (1, 0).
            Self::Channels(upper) => matches!(4 * channel / channels, 0 | 2) == upper,
            Self::Horizontal(upper) => (row < height / 2) == upper,
            Self::Quadrant(number) => quadrant([row, column], [height, width]) == number % 4,
        }
    }

    /// True where a pixel is changed.
    fn changes(self, pixel: [usize; 3], shape: [usize; 3]) -> bool {
        match self {
            Self::Quadrant(number) => Self::Quadrant(number + 1).sees(pixel, shape),
            _ => !self.sees(pixel, shape),
        }
    }

    /// 1 for every pixel that is seen, and for every pixel that is changed.
    ///
    /// # Shapes
    /// `[1, channels, height, width]` both.
    pub(super) fn tensors(self, shape: [usize; 3], device: &Device) -> [Tensor<4>; 2] {
        let [channels, height, width] = shape;
        let pixels = (0..channels * height * width).map(|index| {
            [
                index / (height * width),
                index / width % height,
                index % width,
            ]
        });
        [Self::sees, Self::changes].map(|holds| {
            let values = pixels
                .clone()
                .map(|pixel| f32::from(holds(self, pixel, shape)));
            let data = TensorData::new(values.collect(), [1, channels, height, width]);
            Tensor::from_data(data, device)
        })
    }
}

/// The quarter in which a pixel lies, clockwise from the upper left.
fn quadrant([row, column]: [usize; 2], [height, width]: [usize; 2]) -> usize {
    match (row < height / 2, column < width / 2) {
        (true, true) => 0,
        (true, false) => 1,
        (false, false) => 2,
        (false, true) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;

    #[test]
    fn what_is_seen_is_not_changed() {
        for (mask, sees, changes) in [
            (
                Mask::Checkerboard(true),
                "0101101001011010",
                "1010010110100101",
            ),
            (
                Mask::Horizontal(false),
                "0000000011111111",
                "1111111100000000",
            ),
            (Mask::Quadrant(3), "0000000011001100", "1100110000000000"),
        ] {
            assert_eq!(digits(mask, [1, 4, 4]), [sees, changes], "{mask:?}");
        }
        assert_eq!(digits(Mask::Channels(true), [4, 1, 1]), ["1010", "0101"]);
        assert_eq!(
            digits(Mask::Channels(false), [8, 1, 1]),
            ["00110011", "11001100"]
        );
    }

    fn digits(mask: Mask, shape: [usize; 3]) -> [String; 2] {
        mask.tensors(shape, &test_device()).map(|tensor| {
            let values = tensor.into_data();
            values
                .iter::<f32>()
                .map(|value| value.to_string())
                .collect()
        })
    }
}
