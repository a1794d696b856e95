//! An image at places between its pixels.

use super::Canvas;

impl Canvas {
    /// Draws the image anew: the pixel at `[x, y]` becomes what was at `place([x, y])`, between pixel
    /// centres by bilinear interpolation, and beyond the edge as at the edge.
    pub(super) fn resampled(&mut self, place: impl Fn([usize; 2]) -> [f32; 2]) {
        let [channels, height, width] = self.shape;
        let area = height * width;
        let mut pixels = vec![0.0; channels * area];
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let [across, down] = place([x, y]);
            let (left, right, horizontal) = between(across, width);
            let (above, below, vertical) = between(down, height);
            for channel in 0..channels {
                let map = &self.pixels[channel * area..][..area];
                let row = |y: usize| {
                    let (left, right) = (map[y * width + left], map[y * width + right]);
                    left + horizontal * (right - left)
                };
                let (above, below) = (row(above), row(below));
                pixels[channel * area + y * width + x] = above + vertical * (below - above);
            }
        }
        self.pixels = pixels;
    }
}

/// The two pixels of `0..length` that a place lies between, and how near to the second.
fn between(place: f32, length: usize) -> (usize, usize, f32) {
    let last = length - 1;
    let place = place.clamp(0.0, last as f32);
    let first = (place as usize).min(last);
    (first, (first + 1).min(last), place - first as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas() -> Canvas {
        Canvas {
            shape: [1, 2, 3],
            pixels: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
        }
    }

    #[test]
    fn the_same_place_is_the_same_image() {
        let mut same = canvas();
        same.resampled(|[x, y]| [x as f32, y as f32]);
        assert_eq!(same, canvas());
    }

    #[test]
    fn between_pixels_it_is_interpolated_and_beyond_the_edge_repeated() {
        let mut moved = canvas();
        moved.resampled(|[x, y]| [x as f32 - 0.5, y as f32 + 1.0]);
        let expected = [0.6, 0.7, 0.9, 0.6, 0.7, 0.9];
        for (found, expected) in moved.pixels.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
