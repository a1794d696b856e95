//! How far the AUROC could be off by the luck of the test images.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

use super::EvaluateError;
use super::error::check_open_unit;
use super::ranked::{Ranked, Tie};
use super::threshold::quantile_sorted;

/// Percentile bootstrap interval `(low, high)` of the AUROC at confidence `level` (0.95 for 95 %).
///
/// Each resample draws, with replacement and within each class (so class sizes stay), as many
/// scores as there are; the interval lies between the (1 - level)/2 and (1 + level)/2 quantiles of
/// the resampled AUROCs. It covers the choice of test images only, not that of training seed.
/// When the classes are fully separated every resample is 1 and the interval has no width.
///
/// The result depends on the scores as sets, `level`, `resamples` and `seed` alone, not on threads.
///
/// Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
///
/// # Errors
/// When `level` is not in (0, 1), `resamples` is 0, a class has no score or a score is not finite.
pub fn auroc_interval(
    normal: &[f32],
    anomalous: &[f32],
    level: f64,
    resamples: usize,
    seed: u64,
) -> Result<(f64, f64), EvaluateError> {
    check_open_unit("confidence level", level)?;
    if resamples == 0 {
        return Err(EvaluateError::NoResamples);
    }
    let ranked = Ranked::new(normal, anomalous)?;
    // Scores are sorted once; a resample only redraws how often each rank occurs.
    let normal_ranks = expand(&ranked.ties, |tie| tie.normal);
    let anomalous_ranks = expand(&ranked.ties, |tie| tie.anomalous);
    let mut areas: Vec<f64> = (0..resamples)
        .into_par_iter()
        .map_init(
            || ranked.clone(),
            |drawn, resample| {
                let mut rng = resample_rng(seed, resample);
                drawn.ties.fill(Tie {
                    normal: 0,
                    anomalous: 0,
                });
                for _ in 0..normal_ranks.len() {
                    let rank = normal_ranks[rng.random_range(0..normal_ranks.len())];
                    drawn.ties[rank as usize].normal += 1;
                }
                for _ in 0..anomalous_ranks.len() {
                    let rank = anomalous_ranks[rng.random_range(0..anomalous_ranks.len())];
                    drawn.ties[rank as usize].anomalous += 1;
                }
                drawn.auroc()
            },
        )
        .collect();
    areas.sort_unstable_by(f64::total_cmp);
    Ok((
        quantile_sorted(&areas, (1.0 - level) / 2.0),
        quantile_sorted(&areas, (1.0 + level) / 2.0),
    ))
}

/// Rank (index into `ties`) of every score of one class.
fn expand(ties: &[Tie], count: impl Fn(&Tie) -> usize) -> Vec<u32> {
    ties.iter()
        .enumerate()
        .flat_map(|(rank, tie)| std::iter::repeat_n(rank as u32, count(tie)))
        .collect()
}

/// A generator of its own for each resample, keyed by seed and resample number, so that the order
/// in which threads take resamples cannot matter.
fn resample_rng(seed: u64, resample: usize) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(resample as u64).to_le_bytes());
    StdRng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (Vec<f32>, Vec<f32>) {
        let normal = (0..101).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        let anomalous = (0..61)
            .map(|i| ((i * 53) % 61) as f32 / 61.0 + 0.25)
            .collect();
        (normal, anomalous)
    }

    #[test]
    fn interval_is_that_of_scipy() {
        // scipy: n = array([((i*37)%101)/101 for i in range(101)])
        //        a = array([((i*53)%61)/61 + .25 for i in range(61)])
        //        stats.bootstrap((n, a), auc, n_resamples=20000, paired=False, method='percentile')
        //        -> (0.6346, 0.7924) with seed 0, (0.6353, 0.7914) with seed 1
        let (normal, anomalous) = fixture();
        let (low, high) = auroc_interval(&normal, &anomalous, 0.95, 20_000, 7).unwrap();
        assert!((low - 0.635).abs() < 0.003, "{low}");
        assert!((high - 0.792).abs() < 0.003, "{high}");
    }

    #[test]
    fn neither_threads_nor_order_change_the_interval_but_the_seed_does() {
        let (normal, mut anomalous) = fixture();
        let first = auroc_interval(&normal, &anomalous, 0.9, 200, 1).unwrap();
        anomalous.reverse();
        let single = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let second = single.install(|| auroc_interval(&normal, &anomalous, 0.9, 200, 1).unwrap());
        assert_eq!(first, second);
        assert_ne!(
            first,
            auroc_interval(&normal, &anomalous, 0.9, 200, 2).unwrap()
        );
    }

    #[test]
    fn separated_and_constant_scores_have_no_width() {
        assert_eq!(
            auroc_interval(&[0.0, 1.0], &[2.0], 0.95, 50, 0),
            Ok((1.0, 1.0))
        );
        assert_eq!(
            auroc_interval(&[1.0; 3], &[1.0; 4], 0.95, 50, 0),
            Ok((0.5, 0.5))
        );
    }

    #[test]
    fn bad_requests_are_refused() {
        assert!(auroc_interval(&[0.0], &[1.0], 95.0, 50, 0).is_err());
        assert_eq!(
            auroc_interval(&[0.0], &[1.0], 0.95, 0, 0),
            Err(EvaluateError::NoResamples)
        );
        assert!(auroc_interval(&[0.0], &[], 0.95, 50, 0).is_err());
    }
}
