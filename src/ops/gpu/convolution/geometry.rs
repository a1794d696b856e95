//! The sizes of a convolution, and how a kernel cuts it into products.

/// A convolution between large maps and small ones, whose weight has the shape `[small, large, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// Its side.
    pub kernel: usize,
    /// Pixels between two windows.
    pub stride: usize,
    /// Zeros around the large map.
    pub padding: usize,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// The convolution, from large maps to small ones.
    Down,
    /// Its transpose, from small maps to large ones.
    Up,
}

impl Direction {
    pub(super) fn reversed(self) -> Self {
        match self {
            Self::Down => Self::Up,
            Self::Up => Self::Down,
        }
    }
}

/// What a pixel of the output sums over: `taps * taps` pixels of every map of the input.
///
/// Down there is one phase, of windows `stride` apart. Up, the rows (and columns) of the output that leave the same rest
/// by the stride are a phase: they meet the same entries of the weight, in windows that are one pixel apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Taps {
    pub window: Window,
    pub direction: Direction,
}

impl Taps {
    pub const fn is_up(self) -> bool {
        matches!(self.direction, Direction::Up)
    }

    /// Pixels of a window along a side.
    pub const fn count(self) -> usize {
        match self.direction {
            Direction::Down => self.window.kernel,
            Direction::Up => self.window.kernel.div_ceil(self.window.stride),
        }
    }

    /// Phases along a side.
    pub const fn phases(self) -> usize {
        match self.direction {
            Direction::Down => 1,
            Direction::Up => self.window.stride,
        }
    }

    /// Pixels of the input between two windows of a phase.
    pub const fn step(self) -> usize {
        match self.direction {
            Direction::Down => self.window.stride,
            Direction::Up => 1,
        }
    }
}
