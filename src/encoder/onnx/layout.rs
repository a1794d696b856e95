//! What the entries of a network's tensor stand for.

/// Tokens before those of the patches that vision transformers have: none, a class token, or that and
/// four registers (Darcet et al., "Vision Transformers Need Registers", arXiv:2309.16588).
const PREFIXES: [usize; 3] = [0, 1, 5];

/// The entries of one image in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[channels]`.
    Vector { channels: usize },
    /// `[channels, rows, columns]`.
    Map { channels: usize, sides: [usize; 2] },
    /// `[tokens, channels]`.
    Tokens {
        tokens: usize,
        channels: usize,
        /// Tokens before those of a grid of patches, and its rows and columns, where there is one.
        grid: Option<[usize; 3]>,
    },
}

impl Layout {
    /// Of a tensor of this shape, the batch first, for an input of `[height, width]`, whose proportions a grid of square
    /// patches has.
    pub fn of(shape: &[usize], input: [usize; 2]) -> Result<Self, String> {
        if shape.contains(&0) {
            return Err(format!("of shape {shape:?} is empty"));
        }
        match *shape {
            [_, channels] => Ok(Self::Vector { channels }),
            [_, channels, rows, columns] => Ok(Self::Map {
                channels,
                sides: [rows, columns],
            }),
            [_, tokens, channels] => Ok(Self::Tokens {
                tokens,
                channels,
                grid: PREFIXES.into_iter().find_map(|prefix| {
                    let [rows, columns] = grid_of(tokens.checked_sub(prefix)?, input)?;
                    Some([prefix, rows, columns])
                }),
            }),
            _ => Err(format!(
                "has the shape {shape:?}: a description is [n, channels], [n, tokens, channels] or [n, channels, height, width]"
            )),
        }
    }

    pub fn channels(&self) -> usize {
        match *self {
            Self::Vector { channels }
            | Self::Map { channels, .. }
            | Self::Tokens { channels, .. } => channels,
        }
    }

    /// `[rows, columns]`, where there are positions.
    pub fn sides(&self) -> Option<[usize; 2]> {
        match *self {
            Self::Vector { .. } => None,
            Self::Map { sides, .. } => Some(sides),
            Self::Tokens { grid, .. } => grid.map(|[_, rows, columns]| [rows, columns]),
        }
    }

    /// One number for each channel: the mean over positions or tokens.
    pub fn pooled(&self, values: &[f32]) -> Vec<f32> {
        let mean = |values: &mut dyn Iterator<Item = &f32>, count: usize| {
            let sum: f64 = values.map(|&value| f64::from(value)).sum();
            (sum / count as f64) as f32
        };
        match *self {
            Self::Vector { .. } => values.to_vec(),
            Self::Map { sides, .. } => {
                let count = sides[0] * sides[1];
                let maps = values.chunks_exact(count);
                maps.map(|map| mean(&mut map.iter(), count)).collect()
            }
            Self::Tokens {
                tokens, channels, ..
            } => {
                let of = |channel| values.iter().skip(channel).step_by(channels);
                (0..channels)
                    .map(|channel| mean(&mut of(channel), tokens))
                    .collect()
            }
        }
    }

    /// `[channels, rows, columns]`; a vector is one position.
    pub fn map(&self, values: &[f32]) -> Vec<f32> {
        match *self {
            Self::Vector { .. } | Self::Map { .. } => values.to_vec(),
            Self::Tokens {
                tokens,
                channels,
                grid,
            } => {
                let prefix = grid.map_or(0, |[prefix, ..]| prefix);
                let of = |channel| (prefix..tokens).map(move |token| token * channels + channel);
                (0..channels).flat_map(of).map(|at| values[at]).collect()
            }
        }
    }
}

/// `[rows, columns]` of so many patches that have the proportions of the input, where these go.
fn grid_of(patches: usize, [height, width]: [usize; 2]) -> Option<[usize; 2]> {
    let (mut divisor, mut rest) = (height, width);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let [down, across] = [height, width].map(|side| side / divisor.max(1));
    let times = (patches / (down * across).max(1)).isqrt();
    let grid = [down * times, across * times];
    (patches > 0 && grid[0] * grid[1] == patches).then_some(grid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_of_patches_lie_behind_the_other_tokens() {
        for (tokens, expected) in [
            (9, Some([0, 3, 3])),
            (197, Some([1, 14, 14])),
            (257, Some([1, 16, 16])),
            (261, Some([5, 16, 16])),
            (199, None),
        ] {
            let layout = Layout::of(&[1, tokens, 2], [224, 224]).unwrap();
            let Layout::Tokens { grid, .. } = layout else {
                panic!("{layout:?}");
            };
            assert_eq!(grid, expected, "{tokens}");
        }
        // 14x56 patches of 16 pixels are as many as 28x28.
        let strip = Layout::of(&[1, 785, 2], [224, 896]).unwrap();
        assert_eq!(strip.sides(), Some([14, 56]));
        let strip = Layout::of(&[1, 784, 2], [225, 896]).unwrap();
        assert_eq!(strip.sides(), None);
        let layout = Layout::of(&[1, 5, 2], [32, 32]).unwrap();
        let values: Vec<f32> = (0..10).map(|value| value as f32).collect();
        assert_eq!(
            layout.map(&values),
            [2.0, 4.0, 6.0, 8.0, 3.0, 5.0, 7.0, 9.0]
        );
        assert_eq!(layout.pooled(&values), [4.0, 5.0]);
    }

    #[test]
    fn maps_are_pooled_and_vectors_are_not() {
        let layout = Layout::of(&[1, 2, 1, 2], [16, 32]).unwrap();
        assert_eq!(layout.pooled(&[1.0, 3.0, 5.0, 8.0]), [2.0, 6.5]);
        assert_eq!(layout.sides(), Some([1, 2]));
        let layout = Layout::of(&[1, 3], [16, 32]).unwrap();
        assert_eq!(layout.pooled(&[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
        assert_eq!(layout.sides(), None);
        for shape in [&[][..], &[1], &[1, 2, 3, 4, 5], &[1, 0]] {
            assert!(Layout::of(shape, [16, 32]).is_err(), "{shape:?}");
        }
    }
}
