//! Whether one method beats another by more than chance, over paired results.

use super::EvaluateError;

/// Pairs up to which the null distribution is counted out; above, the normal approximation holds
/// to about three digits.
const EXACT_PAIRS: usize = 50;

/// Result of [`wilcoxon_signed_rank`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignedRank {
    /// Pairs whose difference is not zero: those the test rests on.
    pub pairs: usize,
    /// The smaller of the rank sums of the positive and of the negative differences.
    pub statistic: f64,
    /// Two-sided p-value, 0..=1.
    pub p_value: f64,
}

/// Wilcoxon's signed-rank test, two-sided: are `differences` (left minus right, one per pair, any
/// unit) placed symmetrically about zero?
///
/// Zeros are dropped (Wilcoxon's own rule), equal sizes share their mean rank. Up to 50 pairs the
/// null distribution is exact, with ties too; above it is the normal approximation corrected for
/// ties and continuity. When all differences are zero, p is 1. The test takes pairs as independent:
/// results of one class under several seeds are not, so average them first.
///
/// Source: Wilcoxon, "Individual comparisons by ranking methods", 1945; for comparing learners over
/// data sets Demsar, "Statistical comparisons of classifiers over multiple data sets", 2006.
///
/// # Errors
/// When there is no difference or one is not finite.
pub fn wilcoxon_signed_rank(differences: &[f64]) -> Result<SignedRank, EvaluateError> {
    let set = "paired difference";
    if differences.is_empty() {
        return Err(EvaluateError::Empty { set });
    }
    if let Some(index) = differences.iter().position(|value| !value.is_finite()) {
        return Err(EvaluateError::NotFinite {
            set,
            index,
            value: differences[index] as f32,
        });
    }
    let mut sorted: Vec<f64> = differences
        .iter()
        .copied()
        .filter(|value| *value != 0.0)
        .collect();
    sorted.sort_unstable_by(|left, right| left.abs().total_cmp(&right.abs()));
    let pairs = sorted.len();
    if pairs == 0 {
        return Ok(SignedRank {
            pairs,
            statistic: 0.0,
            p_value: 1.0,
        });
    }
    // Twice the mid-rank is a whole number, so that ties leave everything countable.
    let ties: Vec<&[f64]> = sorted
        .chunk_by(|left, right| left.abs() == right.abs())
        .collect();
    let (mut doubled_ranks, mut positive) = (Vec::with_capacity(pairs), 0);
    for tie in &ties {
        let doubled_rank = 2 * doubled_ranks.len() + tie.len() + 1;
        positive += doubled_rank * tie.iter().filter(|value| **value > 0.0).count();
        doubled_ranks.extend(std::iter::repeat_n(doubled_rank, tie.len()));
    }
    let smaller = positive.min(pairs * (pairs + 1) - positive);
    let p_value = if pairs <= EXACT_PAIRS {
        exact(&doubled_ranks, smaller)
    } else {
        let sizes = ties.iter().map(|tie| tie.len() as f64);
        approximate(pairs as f64, smaller as f64 / 2.0, sizes)
    };
    Ok(SignedRank {
        pairs,
        statistic: smaller as f64 / 2.0,
        p_value,
    })
}

/// Two-sided p: share of the 2^n sign patterns, all alike under the null, whose positive rank sum
/// is at most `smaller` or, by symmetry, as extreme on the other side. All in doubled ranks.
fn exact(doubled_ranks: &[usize], smaller: usize) -> f64 {
    // patterns[s]: sign patterns of the ranks so far with rank sum s. Below 2^53, so exact.
    let mut patterns = vec![0.0; smaller + 1];
    patterns[0] = 1.0;
    for &rank in doubled_ranks {
        for sum in (rank..=smaller).rev() {
            patterns[sum] += patterns[sum - rank];
        }
    }
    let tail: f64 = patterns.iter().sum();
    (2.0 * tail / 2f64.powi(doubled_ranks.len() as i32)).min(1.0)
}

/// Two-sided p by the normal approximation; `ties` are the sizes of the groups of equal ranks.
fn approximate(pairs: f64, statistic: f64, ties: impl Iterator<Item = f64>) -> f64 {
    let mean = pairs * (pairs + 1.0) / 4.0;
    let tied: f64 = ties.map(|size| size * size * size - size).sum();
    let variance = (pairs * (pairs + 1.0) * (2.0 * pairs + 1.0) - tied / 2.0) / 24.0;
    let distance = (mean - statistic - 0.5).max(0.0) / variance.sqrt();
    libm::erfc(distance / std::f64::consts::SQRT_2)
}

/// Holm's step-down adjustment of `p_values` for having asked as many questions: an adjusted value
/// below 0.05 keeps the chance of any false claim among them at 5 %. Same order as given.
///
/// Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&left, &right| p_values[left].total_cmp(&p_values[right]));
    let mut adjusted = p_values.to_vec();
    let mut least = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        least = least.max((remaining * p_values[index]).min(1.0));
        adjusted[index] = least;
    }
    adjusted
}

/// Level below which an adjusted p-value is called more than chance.
pub const SIGNIFICANCE: f64 = 0.05;

/// Whether one of so many comparisons, each over so many `pairs`, can come out as more than chance at all: of the `2^n`
/// signs of the differences, equally likely by chance, the two most extreme patterns have a share of `2^(1 - n)`, which
/// Holm's adjustment multiplies by the number of comparisons.
pub fn can_differ(comparisons: usize, pairs: usize) -> bool {
    let least = 0.5_f64.powf(pairs as f64 - 1.0);
    comparisons as f64 * least < SIGNIFICANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pairs_and_many_comparisons_leave_nothing_to_tell() {
        assert!(!can_differ(1, 5) && can_differ(1, 6));
        assert!(can_differ(21, 10) && !can_differ(28, 10));
        assert!(!can_differ(1, 0));
        // By the test itself, on differences that all have one sign.
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let least = wilcoxon_signed_rank(&ten).unwrap().p_value;
        assert!(21.0 * least < SIGNIFICANCE && 28.0 * least >= SIGNIFICANCE);
    }

    fn check(differences: &[f64], pairs: usize, statistic: f64, p_value: f64) {
        let result = wilcoxon_signed_rank(differences).unwrap();
        assert_eq!((result.pairs, result.statistic), (pairs, statistic));
        assert!(
            (result.p_value / p_value - 1.0).abs() < 1e-9,
            "{} is not {p_value}",
            result.p_value
        );
    }

    #[test]
    fn small_samples_are_exact() {
        // scipy: stats.wilcoxon(d, method='exact')
        let d = [0.125, -0.05, 0.3, 0.21, 0.07, -0.02, 0.15, 0.4, 0.11, 0.33];
        check(&d, 10, 3.0, 0.009765625);
        check(&d.map(|value| -value), 10, 3.0, 0.009765625);
        check(&[0.3], 1, 0.0, 1.0);
        // d = [((i*37)%50+1)*(-1 if (i*i)%7<2 else 1)/100 for i in range(50)]
        let d: Vec<f64> = (0..50)
            .map(|i| f64::from((i * 37) % 50 + 1) * if (i * i) % 7 < 2 { -0.01 } else { 0.01 })
            .collect();
        check(&d, 50, 565.0, 0.49032624846387485);
    }

    #[test]
    fn ties_are_exact_and_zeros_dropped() {
        // scipy: stats.wilcoxon(d, method=stats.PermutationMethod(n_resamples=inf))
        let d = [1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -3.0, 4.0, 0.0, -0.0];
        check(&d, 8, 8.5, 0.2421875);
        check(&[0.0; 3], 0, 0.0, 1.0);
    }

    #[test]
    fn large_samples_are_approximate() {
        // scipy: stats.wilcoxon(d, method='asymptotic', correction=True)
        // d = [((i*37)%60+1)*(-1 if i%3==0 else 1)/100 for i in range(60)]
        let sign = |negative: bool| if negative { -1.0 } else { 1.0 };
        let d: Vec<f64> = (0..60)
            .map(|i| f64::from((i * 37) % 60 + 1) * sign(i % 3 == 0) / 100.0)
            .collect();
        check(&d, 60, 590.0, 0.016901653275967533);
        // d = [((i*37)%9+1)*(-1 if i%4==0 else 1) for i in range(80)]
        let d: Vec<f64> = (0..80)
            .map(|i| f64::from((i * 37) % 9 + 1) * sign(i % 4 == 0))
            .collect();
        check(&d, 80, 783.0, 5.866180130949907e-05);
        // d = [i+1 for i in range(200)]
        let d: Vec<f64> = (1..=200).map(f64::from).collect();
        check(&d, 200, 0.0, 1.4470017348102398e-34);
    }

    #[test]
    fn bad_differences_are_refused() {
        assert!(wilcoxon_signed_rank(&[]).is_err());
        let error = wilcoxon_signed_rank(&[0.1, f64::NAN]).unwrap_err();
        assert!(error.to_string().contains("paired difference score 1"));
    }

    #[test]
    fn holm_is_that_of_r() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005, 0.5), "holm") -> 0.040 0.090 0.090 0.025 0.500
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        for (ours, theirs) in adjusted.iter().zip([0.04, 0.09, 0.09, 0.025, 0.5]) {
            assert!((ours - theirs).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.6, 0.7]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
