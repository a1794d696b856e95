//! The transforms of Winograd's minimal filtering, F(2x2, 2x2), for the convolution of stride 2.
//!
//! Along one axis the convolution is two of stride 1 with two taps each, one over the odd values of a line and one
//! over its even ones:
//!
//! ```text
//! y[i] = w[0] x[2i - 1] + w[2] x[2i + 1]  +  w[1] x[2i] + w[3] x[2i + 2]
//! ```
//!
//! Of taps `g0, g1` over `d0, d1, d2`, two neighbouring outputs take three products where there were four:
//!
//! ```text
//! y0 = m0 + m1        m0 = g0 (d0 - d1)
//! y1 = m1 + m2        m1 = (g0 + g1) d1
//!                     m2 = g1 (d2 - d1)
//! ```
//!
//! Over both axes that is nine products for the four outputs of a tile, in place of sixteen, and no factor but 1 and -1
//! before or after them (Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2016, section 4). Channels and the four phases, odd and even of both axes, are
//! summed before `y`, so the products are nine products of matrices.
//!
//! Here are the three transforms, of `x` ([`spread_large`]), of `w` ([`spread_kernel`]) and from the products to `y`
//! ([`join_small`]), and their transposes, which the gradients need. Component `3 i + j` of nine is product `i` of
//! the lines and `j` of the columns; phase `2 a + b` is odd lines at `a` = 0 and odd columns at `b` = 0. Maps lie
//! position by position, the channels of each side by side in groups of [`LANES`]; where a large map becomes factors,
//! or is made of products, a group has its [`PHASES`] one after the other.

/// Products for a tile of 2x2 outputs.
pub(super) const COMPONENTS: usize = 9;
/// Odd and even of both axes.
pub(super) const PHASES: usize = 4;
/// Channels that are worked on at once.
pub(super) const LANES: usize = 8;
/// One value of each of some channels.
pub(super) type Lanes = [f32; LANES];

#[inline(always)]
fn minus(mut a: Lanes, b: Lanes) -> Lanes {
    for (a, b) in a.iter_mut().zip(b) {
        *a -= b;
    }
    a
}

#[inline(always)]
pub(super) fn plus(mut a: Lanes, b: Lanes) -> Lanes {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
    a
}

/// The three factors of one axis for inputs `d0, d1, d2`.
#[inline(always)]
fn spread_inputs([d0, d1, d2]: [Lanes; 3]) -> [Lanes; 3] {
    [minus(d0, d1), d1, minus(d2, d1)]
}

/// The transpose of [`spread_inputs`].
#[inline(always)]
fn join_inputs([m0, m1, m2]: [Lanes; 3]) -> [Lanes; 3] {
    [m0, minus(minus(m1, m0), m2), m2]
}

/// The three factors of one axis for a pair, of taps or of the gradient by two outputs.
#[inline(always)]
fn spread_pair([first, second]: [Lanes; 2]) -> [Lanes; 3] {
    [first, plus(first, second), second]
}

/// The transpose of [`spread_pair`]: two outputs of their products, or the gradient by two taps.
#[inline(always)]
fn join_pair([m0, m1, m2]: [Lanes; 3]) -> [Lanes; 2] {
    [plus(m0, m1), plus(m1, m2)]
}

/// Maps channel by channel to maps position by position, `[line, column, group]`, in a frame of zeros as wide as
/// `frame` on every side.
#[inline(always)]
pub(super) fn positions_first(
    maps: &[f32],
    [height, width]: [usize; 2],
    frame: usize,
    target: &mut [Lanes],
) {
    let groups = maps.len() / (height * width * LANES);
    let across = width + 2 * frame;
    if frame > 0 {
        target.fill([0.0; LANES]);
    }
    for (group, maps) in maps.chunks_exact(height * width * LANES).enumerate() {
        for line in 0..height {
            let start = ((line + frame) * across + frame) * groups + group;
            for column in 0..width {
                let mut lanes = [0.0; LANES];
                for (lane, value) in lanes.iter_mut().enumerate() {
                    *value = maps[(lane * height + line) * width + column];
                }
                target[start + column * groups] = lanes;
            }
        }
    }
}

/// The transpose of [`positions_first`].
#[inline(always)]
pub(super) fn channels_first(
    source: &[Lanes],
    [height, width]: [usize; 2],
    frame: usize,
    maps: &mut [f32],
) {
    let groups = maps.len() / (height * width * LANES);
    let across = width + 2 * frame;
    for (group, maps) in maps.chunks_exact_mut(height * width * LANES).enumerate() {
        for line in 0..height {
            let start = ((line + frame) * across + frame) * groups + group;
            for column in 0..width {
                let lanes = source[start + column * groups];
                for (lane, value) in lanes.into_iter().enumerate() {
                    maps[(lane * height + line) * width + column] = value;
                }
            }
        }
    }
}

/// Where the factors or the products of a map's tiles lie: `[component, tile, group]`, counted in [`Lanes`].
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// From one component to the next.
    pub component: usize,
    /// From one tile to the next.
    pub tile: usize,
    /// The map's first tile.
    pub first: usize,
}

/// The first line and column of the outputs of a tile.
#[inline(always)]
fn corner(width: usize, tile: usize) -> [usize; 2] {
    let across = width / 2;
    [2 * (tile / across), 2 * (tile % across)]
}

/// Writes the factors of an image's large maps, framed by one zero.
#[inline(always)]
pub(super) fn spread_large(
    [height, width]: [usize; 2],
    maps: &[Lanes],
    factors: &mut [Lanes],
    place: Place,
) {
    let across = 2 * width + 2;
    let groups = maps.len() / ((2 * height + 2) * across);
    for tile in 0..height * width / 4 {
        let [line, column] = corner(width, tile).map(|first| 2 * first);
        let start = place.first + tile * place.tile;
        for group in 0..groups {
            let maps = &maps[(line * across + column) * groups + group..];
            let factors = &mut factors[start + PHASES * group..];
            for down in 0..2 {
                let mut lines = [[[0.0; LANES]; 6]; 3];
                for x in 0..6 {
                    let at = |y: usize| maps[((down + 2 * y) * across + x) * groups];
                    let spread = spread_inputs([at(0), at(1), at(2)]);
                    for (line, value) in lines.iter_mut().zip(spread) {
                        line[x] = value;
                    }
                }
                for (i, [l0, l1, l2, l3, l4, l5]) in lines.into_iter().enumerate() {
                    let (odd, even) = (spread_inputs([l0, l2, l4]), spread_inputs([l1, l3, l5]));
                    for j in 0..3 {
                        let at = (3 * i + j) * place.component + 2 * down;
                        factors[at] = odd[j];
                        factors[at + 1] = even[j];
                    }
                }
            }
        }
    }
}

/// The transpose of [`spread_large`]: adds to the maps, frame included, what the products hold for them.
#[inline(always)]
pub(super) fn join_large(
    [height, width]: [usize; 2],
    products: &[Lanes],
    maps: &mut [Lanes],
    place: Place,
) {
    let across = 2 * width + 2;
    let groups = maps.len() / ((2 * height + 2) * across);
    for tile in 0..height * width / 4 {
        let [line, column] = corner(width, tile).map(|first| 2 * first);
        let start = place.first + tile * place.tile;
        for group in 0..groups {
            let maps = &mut maps[(line * across + column) * groups + group..];
            let products = &products[start + PHASES * group..];
            for down in 0..2 {
                let mut lines = [[[0.0; LANES]; 6]; 3];
                for (i, line) in lines.iter_mut().enumerate() {
                    let at =
                        |j: usize, b: usize| products[(3 * i + j) * place.component + 2 * down + b];
                    let [l0, l2, l4] = join_inputs([at(0, 0), at(1, 0), at(2, 0)]);
                    let [l1, l3, l5] = join_inputs([at(0, 1), at(1, 1), at(2, 1)]);
                    *line = [l0, l1, l2, l3, l4, l5];
                }
                for x in 0..6 {
                    let joined = join_inputs([lines[0][x], lines[1][x], lines[2][x]]);
                    for (y, value) in joined.into_iter().enumerate() {
                        let sum = &mut maps[((down + 2 * y) * across + x) * groups];
                        *sum = plus(*sum, value);
                    }
                }
            }
        }
    }
}

/// Writes an image's small maps from their products.
#[inline(always)]
pub(super) fn join_small(
    [height, width]: [usize; 2],
    products: &[Lanes],
    maps: &mut [Lanes],
    place: Place,
) {
    let groups = maps.len() / (height * width);
    for tile in 0..height * width / 4 {
        let [line, column] = corner(width, tile);
        let start = place.first + tile * place.tile;
        for group in 0..groups {
            let at = |component: usize| products[start + group + component * place.component];
            let of_line = |i: usize| join_pair([at(3 * i), at(3 * i + 1), at(3 * i + 2)]);
            let [m0, m1, m2] = [of_line(0), of_line(1), of_line(2)];
            for side in 0..2 {
                let pair = join_pair([m0[side], m1[side], m2[side]]);
                for (down, value) in pair.into_iter().enumerate() {
                    maps[((line + down) * width + column + side) * groups + group] = value;
                }
            }
        }
    }
}

/// The transpose of [`join_small`]: writes the factors of the gradient by an image's small maps.
#[inline(always)]
pub(super) fn spread_small(
    [height, width]: [usize; 2],
    maps: &[Lanes],
    factors: &mut [Lanes],
    place: Place,
) {
    let groups = maps.len() / (height * width);
    for tile in 0..height * width / 4 {
        let [line, column] = corner(width, tile);
        let start = place.first + tile * place.tile;
        for group in 0..groups {
            let at = |down: usize, side: usize| {
                maps[((line + down) * width + column + side) * groups + group]
            };
            let left = spread_pair([at(0, 0), at(1, 0)]);
            let right = spread_pair([at(0, 1), at(1, 1)]);
            for i in 0..3 {
                for (j, value) in spread_pair([left[i], right[i]]).into_iter().enumerate() {
                    factors[start + group + (3 * i + j) * place.component] = value;
                }
            }
        }
    }
}

/// The factors of kernels, 16 taps, for a phase: a component of each.
#[inline(always)]
pub(super) fn spread_kernel(taps: [Lanes; 16], phase: usize) -> [Lanes; COMPONENTS] {
    let (down, side) = (phase / 2, phase % 2);
    // The two taps of a phase lie two lines, or columns, apart.
    let tap = |line: usize, column: usize| taps[4 * (down + 2 * line) + side + 2 * column];
    let left = spread_pair([tap(0, 0), tap(1, 0)]);
    let right = spread_pair([tap(0, 1), tap(1, 1)]);
    let mut factors = [[0.0; LANES]; COMPONENTS];
    for i in 0..3 {
        factors[3 * i..3 * i + 3].copy_from_slice(&spread_pair([left[i], right[i]]));
    }
    factors
}

/// The transpose of [`spread_kernel`]: the gradient by the taps of a phase, `[line, column]`, each with its tap.
#[inline(always)]
pub(super) fn join_kernel(sums: [Lanes; COMPONENTS], phase: usize) -> [(usize, Lanes); 4] {
    let (down, side) = (phase / 2, phase % 2);
    let of_line = |i: usize| join_pair([sums[3 * i], sums[3 * i + 1], sums[3 * i + 2]]);
    let [m0, m1, m2] = [of_line(0), of_line(1), of_line(2)];
    let mut taps = [(0, [0.0; LANES]); 4];
    for column in 0..2 {
        let pair = join_pair([m0[column], m1[column], m2[column]]);
        for (line, value) in pair.into_iter().enumerate() {
            taps[2 * line + column] = (4 * (down + 2 * line) + side + 2 * column, value);
        }
    }
    taps
}
