//! Sizes of the convolution and of what it maps.

/// Taps of a window in one channel.
pub(super) const TAPS: usize = 16;

/// Sizes of a convolution that maps large maps, twice as high and wide, to small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub images: usize,
    /// Channels of the large maps.
    pub large: usize,
    /// Channels of the small maps.
    pub small: usize,
    /// Of the small maps.
    pub height: usize,
    /// Of the small maps.
    pub width: usize,
}

impl Geometry {
    pub fn large_shape(&self) -> [usize; 4] {
        [self.images, self.large, 2 * self.height, 2 * self.width]
    }

    pub fn small_shape(&self) -> [usize; 4] {
        [self.images, self.small, self.height, self.width]
    }

    pub fn weight_shape(&self) -> [usize; 4] {
        [self.small, self.large, 4, 4]
    }

    /// Positions of a small map.
    pub fn area(&self) -> usize {
        self.height * self.width
    }

    /// Values of an image's small maps.
    pub fn small_image(&self) -> usize {
        self.small * self.area()
    }

    /// Values of an image's large maps.
    pub fn large_image(&self) -> usize {
        self.large * 4 * self.area()
    }

    /// Length of a window, and of a row of the weights.
    pub fn window(&self) -> usize {
        self.large * TAPS
    }
}
