//! Where an image lies in the square that it is brought to.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How an image of another size is made to fit: `pad`, `resize` or `crop` in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Zeros around the centred image; an odd pixel goes to the bottom and to the right.
    Pad,
    /// Bilinear interpolation, averaging over the source pixels when shrinking; a rectangle is
    /// stretched to the square.
    Resize,
    /// The shorter side is brought to the size as by [`Resize`](Self::Resize), the longer one in
    /// proportion, and only the centre of that is kept; an odd pixel goes from the bottom or right.
    Crop,
    /// As large as it fits in with its proportions, in the middle, and its edges repeated around it.
    Keep,
}

impl Framing {
    /// The part of an image of `sides` = `[height, width]` that is seen, and where in the square it
    /// lands, whose sides are `square`. Where the two differ in their sides, the image is resized and
    /// lands on the whole square.
    ///
    /// A conversion goes from the one to the other, what is drawn over the original image back.
    ///
    /// The cut comes before the resizing, so that a long strip is not enlarged as a whole first.
    pub(crate) fn place(self, sides: [usize; 2], square: [usize; 2]) -> (Rect, Rect) {
        let (seen, lands) = match self {
            Self::Pad => (sides, sides),
            Self::Resize => (sides, square),
            Self::Crop => (inside(square, sides), square),
            Self::Keep => (sides, inside(sides, square)),
        };
        (Rect::centred(seen, sides), Rect::centred(lands, square))
    }
}

/// The largest rectangle with the proportions of `shape` that fits into `outer`, `[height, width]` both;
/// no side is zero.
fn inside(shape: [usize; 2], outer: [usize; 2]) -> [usize; 2] {
    let [height, width] = shape.map(|side| side.max(1));
    let scaled = |side: usize, to: usize, by: usize| ((side * to + by / 2) / by).max(1);
    match outer[0] * width <= outer[1] * height {
        true => [outer[0], scaled(width, outer[0], height).min(outer[1])],
        false => [scaled(height, outer[1], width).min(outer[0]), outer[1]],
    }
}

/// A rectangle of pixels in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Rect {
    /// The rectangle of `[height, width]` in the centre of an image of `outer` sides; from its first
    /// pixel on where it is larger than that.
    fn centred([height, width]: [usize; 2], outer: [usize; 2]) -> Self {
        Self {
            top: outer[0].saturating_sub(height) / 2,
            left: outer[1].saturating_sub(width) / 2,
            height,
            width,
        }
    }

    /// `[height, width]`.
    pub fn sides(self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Whether the pixel in this row and column belongs to it.
    pub fn contains(self, row: usize, column: usize) -> bool {
        (self.top..self.top + self.height).contains(&row)
            && (self.left..self.left + self.width).contains(&column)
    }

    /// Places of its rows in an image that is `width` wide.
    pub fn rows(self, width: usize) -> impl Iterator<Item = Range<usize>> {
        (self.top..self.top + self.height).map(move |row| {
            let start = row * width + self.left;
            start..start + self.width
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_centred_and_odd_pixels_come_last() {
        let rect = |top, left, height, width| Rect {
            top,
            left,
            height,
            width,
        };
        for (fit, sides, seen, lands) in [
            (
                Framing::Pad,
                [27, 30],
                rect(0, 0, 27, 30),
                rect(2, 1, 27, 30),
            ),
            (
                Framing::Resize,
                [90, 20],
                rect(0, 0, 90, 20),
                rect(0, 0, 32, 32),
            ),
            (
                Framing::Crop,
                [20, 35],
                rect(0, 7, 20, 20),
                rect(0, 0, 32, 32),
            ),
            (
                Framing::Crop,
                [35, 32],
                rect(1, 0, 32, 32),
                rect(0, 0, 32, 32),
            ),
            (
                Framing::Keep,
                [100, 50],
                rect(0, 0, 100, 50),
                rect(0, 8, 32, 16),
            ),
            (
                Framing::Keep,
                [30, 91],
                rect(0, 0, 30, 91),
                rect(10, 0, 11, 32),
            ),
            // No conversion does this, but a map may be smaller than its image.
            (
                Framing::Pad,
                [40, 30],
                rect(0, 0, 40, 30),
                rect(0, 1, 40, 30),
            ),
        ] {
            assert_eq!(fit.place(sides, [32; 2]), (seen, lands), "{fit:?}");
        }
    }

    #[test]
    fn a_rectangle_has_the_pixels_of_its_rows() {
        let rect = Rect {
            top: 1,
            left: 2,
            height: 2,
            width: 1,
        };
        let places: Vec<Range<usize>> = rect.rows(4).collect();
        assert_eq!(places, [6..7, 10..11]);
        for at in 0..16 {
            let inside = places.iter().any(|places| places.contains(&at));
            assert_eq!(rect.contains(at / 4, at % 4), inside, "{at}");
        }
    }
}
