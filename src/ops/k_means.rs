//! Centres of clusters.

use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::nearest_centres;

/// Largest number of rounds.
const ROUNDS: usize = 100;

/// What [`k_means`] finds.
pub(crate) struct Clusters {
    /// `[count, dim]`, row-major.
    pub centres: Vec<f32>,
    /// For every row the number of the centre that is nearest to it; where the rounds came to their end first,
    /// before the last move.
    pub nearest: Vec<u32>,
}

/// `count` centres, each the mean of the rows that are nearest to it, from a start by k-means++.
///
/// # Shapes
/// `rows`: `[len, dim]`, row-major, at least one.
pub(crate) fn k_means(rows: &[f32], dim: usize, count: usize, rng: &mut impl Rng) -> Clusters {
    let first = spread_samples(rows, dim, count, rng);
    let first = first.into_iter().flat_map(|row| &rows[row * dim..][..dim]);
    moved_centres(rows, dim, first.copied().collect(), ROUNDS)
}

/// The `centres`, `[count, dim]` and row-major, each moved to the mean of the rows that are nearest to it, until none moves
/// any more or for so many rounds.
pub(crate) fn moved_centres(
    rows: &[f32],
    dim: usize,
    mut centres: Vec<f32>,
    rounds: usize,
) -> Clusters {
    let mut nearest = Vec::new();
    for _ in 0..rounds {
        let found = nearest_centres(rows, &centres, dim);
        if found == nearest {
            break;
        }
        nearest = found;
        (centres, _) = cell_means(rows, dim, &nearest, &centres);
    }
    Clusters { centres, nearest }
}

/// The mean of the rows that are nearest to each centre, and how many these are; a centre without any stays where it is.
///
/// # Shapes
/// `rows`: `[len, dim]`; `nearest`: `[len]`, the number of a centre; `centres` and the means: `[count, dim]`, row-major.
pub(crate) fn cell_means(
    rows: &[f32],
    dim: usize,
    nearest: &[u32],
    centres: &[f32],
) -> (Vec<f32>, Vec<u32>) {
    let mut counts = vec![0u32; centres.len() / dim];
    let mut sums = vec![0.0f64; centres.len()];
    for (row, &centre) in rows.chunks_exact(dim).zip(nearest) {
        counts[centre as usize] += 1;
        let sums = &mut sums[centre as usize * dim..][..dim];
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    let mut means = centres.to_vec();
    let moved = means.chunks_exact_mut(dim).zip(sums.chunks_exact(dim));
    for ((mean, sums), &count) in moved.zip(&counts) {
        if count > 0 {
            for (value, sum) in mean.iter_mut().zip(sums) {
                *value = (sum / f64::from(count)) as f32;
            }
        }
    }
    (means, counts)
}

/// Rows of `values` for k-means to start from, far from one another: each is drawn with a
/// probability in proportion to the squared distance to the nearest one before (k-means++, Arthur &
/// Vassilvitskii 2007), the best of a few draws, as in scikit-learn.
fn spread_samples(values: &[f32], dim: usize, count: usize, rng: &mut impl Rng) -> Vec<usize> {
    let rows = values.len() / dim;
    let draws = 2 + (count as f64).ln() as usize;
    let mut chosen = vec![rng.random_range(0..rows)];
    let mut distances = vec![f32::INFINITY; rows];
    closer(&mut distances, values, dim, chosen[0]);
    while chosen.len() < count {
        // Where all samples are chosen already, any one is as good.
        let tries: Vec<usize> = match WeightedIndex::new(&distances) {
            Ok(weights) => weights.sample_iter(&mut *rng).take(draws).collect(),
            Err(_) => vec![rng.random_range(0..rows)],
        };
        let candidates = tries.into_iter().map(|row| {
            let mut distances = distances.clone();
            closer(&mut distances, values, dim, row);
            let sum: f64 = distances.iter().map(|&distance| f64::from(distance)).sum();
            (sum, row, distances)
        });
        let best = candidates.min_by(|(a, ..), (b, ..)| a.total_cmp(b));
        if let Some((_, row, nearer)) = best {
            chosen.push(row);
            distances = nearer;
        }
    }
    chosen
}

/// Lowers the squared distances of all rows to that to `centre`, where it is nearer.
fn closer(distances: &mut [f32], values: &[f32], dim: usize, centre: usize) {
    let centre = &values[centre * dim..(centre + 1) * dim];
    distances
        .par_iter_mut()
        .zip(values.par_chunks_exact(dim))
        .for_each(|(nearest, row)| {
            let squares = row.iter().zip(centre).map(|(a, b)| (a - b).powi(2));
            *nearest = nearest.min(squares.sum());
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn first_samples_are_spread_over_the_clusters() {
        // Nine of ten samples lie in one of three clusters; uniform draws would miss the others in
        // half of all cases.
        let mut values = Vec::new();
        for index in 0..300 {
            let centre = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 50.0][index % 10];
            let centre = if index % 20 == 9 { -centre } else { centre };
            values.extend([centre + index as f32 * 1e-3, -centre]);
        }
        for seed in 0..10 {
            let rng = &mut StdRng::seed_from_u64(seed);
            let mut clusters: Vec<i32> = spread_samples(&values, 2, 3, rng)
                .into_iter()
                .map(|row| (values[2 * row] / 40.0) as i32)
                .collect();
            clusters.sort_unstable();
            assert_eq!(clusters, [-1, 0, 1], "seed {seed}");
        }
    }

    #[test]
    fn more_components_than_different_samples_are_no_trouble() {
        let rng = &mut StdRng::seed_from_u64(0);
        assert_eq!(spread_samples(&[1.0; 8], 2, 4, rng).len(), 4);
    }

    #[test]
    fn a_centre_is_the_mean_of_what_is_nearest_to_it() {
        let rows = [0.0f32, 0.0, 0.0, 2.0, 10.0, 10.0, 10.0, 14.0, 12.0, 12.0];
        let found = k_means(&rows, 2, 2, &mut StdRng::seed_from_u64(1));
        let mut centres: Vec<&[f32]> = found.centres.chunks(2).collect();
        centres.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let expected: [&[f32]; 2] = [&[0.0, 1.0], &[32.0 / 3.0, 12.0]];
        assert_eq!(centres, expected);
        assert_eq!(found.nearest[0], found.nearest[1]);
        assert_ne!(found.nearest[0], found.nearest[2]);
    }
}
