//! Few rows that lie near all others.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use crate::data::{Samples, Vectors};

/// Entries that rows are projected to at random before their distances are taken
/// (Johnson & Lindenstrauss), as in PatchCore.
const PROJECTED: usize = 64;
/// Rows per task.
const CHUNK: usize = 512;

/// Indices of `count` rows, greedily: the next is the one that lies farthest from all before
/// (k-centre; Sener & Savarese, arXiv:1708.00489; PatchCore, arXiv:2106.08265, algorithm 1).
pub(super) fn coreset(
    rows: &Vectors,
    count: usize,
    rng: &mut impl Rng,
    device: &Device,
) -> Vec<usize> {
    if count >= rows.len() {
        return (0..rows.len()).collect();
    }
    let rows = match rows.dim() > PROJECTED {
        true => &projected(rows, rng, device),
        false => rows,
    };
    let mut distances = vec![f32::INFINITY; rows.len()];
    let mut next = rng.random_range(0..rows.len());
    let mut chosen = Vec::with_capacity(count);
    let dim = rows.dim();
    while chosen.len() < count {
        chosen.push(next);
        let centre = rows.row(next);
        let farthest = distances
            .par_chunks_mut(CHUNK)
            .zip(rows.values().par_chunks(CHUNK * dim))
            .enumerate()
            .map(|(chunk, (distances, rows))| {
                let mut farthest = (f32::NEG_INFINITY, usize::MAX);
                for (index, (distance, row)) in
                    distances.iter_mut().zip(rows.chunks_exact(dim)).enumerate()
                {
                    let squares = row.iter().zip(centre).map(|(a, b)| (a - b) * (a - b));
                    *distance = distance.min(squares.sum());
                    if *distance > farthest.0 {
                        farthest = (*distance, chunk * CHUNK + index);
                    }
                }
                farthest
            })
            // Of equally far ones the first: the order of the tasks must not matter.
            .reduce(
                || (f32::NEG_INFINITY, usize::MAX),
                |a, b| match a.0 > b.0 || (a.0 == b.0 && a.1 < b.1) {
                    true => a,
                    false => b,
                },
            );
        next = farthest.1.min(rows.len() - 1);
    }
    chosen
}

fn projected(rows: &Vectors, rng: &mut impl Rng, device: &Device) -> Vectors {
    let noise: Vec<f32> = StandardNormal
        .sample_iter(rng)
        .take(rows.dim() * PROJECTED)
        .collect();
    let noise = TensorData::new(noise, [rows.dim(), PROJECTED]);
    let noise = Tensor::<2>::from_data(noise, device);
    Vectors::in_batches(PROJECTED, (rows.len(), 8 * CHUNK), |indices| {
        rows.batch(indices, device).matmul(noise.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn every_cluster_is_reached_before_any_is_visited_twice() {
        let mut rows = Vectors::new(2);
        for index in 0..600 {
            let cluster = (index % 6) as f32;
            rows.extend([100.0 * cluster + index as f32 * 1e-3, -50.0 * cluster]);
        }
        for seed in 0..5 {
            let rng = &mut StdRng::seed_from_u64(seed);
            let mut clusters: Vec<usize> = coreset(&rows, 6, rng, &test_device())
                .into_iter()
                .map(|row| row % 6)
                .collect();
            clusters.sort_unstable();
            assert_eq!(clusters, [0, 1, 2, 3, 4, 5], "seed {seed}");
        }
    }

    #[test]
    fn a_small_set_is_its_own_coreset() {
        let mut rows = Vectors::new(1);
        rows.extend([1.0, 2.0, 3.0]);
        let rng = &mut StdRng::seed_from_u64(0);
        assert_eq!(coreset(&rows, 9, rng, &test_device()), [0, 1, 2]);
    }
}
