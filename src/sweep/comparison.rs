//! Whether methods differ by more than chance.

use crate::evaluate::{EvaluateError, holm, mean, wilcoxon_signed_rank};
use crate::report::{PairComparison, SweepCell, SweepMethod};

/// Every pair of methods over the classes that both have: is the difference more than chance?
pub(super) fn pairs(methods: &[SweepMethod]) -> Result<Vec<PairComparison>, EvaluateError> {
    let mut pairs = Vec::new();
    for (index, left) in methods.iter().enumerate() {
        for right in &methods[index + 1..] {
            let differences: Vec<f64> = left
                .cells
                .iter()
                .zip(&right.cells)
                .filter_map(|(left, right)| mean(common_seeds(left, right)))
                .collect();
            let Some(difference) = mean(differences.iter().copied()) else {
                continue;
            };
            let test = wilcoxon_signed_rank(&differences)?;
            pairs.push(PairComparison {
                left: left.name.clone(),
                right: right.name.clone(),
                difference,
                pairs: differences.len(),
                p_value: test.p_value,
                adjusted: f64::NAN,
            });
        }
    }
    let raw: Vec<f64> = pairs.iter().map(|pair| pair.p_value).collect();
    for (pair, adjusted) in pairs.iter_mut().zip(holm(&raw)) {
        pair.adjusted = adjusted;
    }
    Ok(pairs)
}

/// Differences of two methods' AUROC on one class, over the seeds that both have.
fn common_seeds<'a>(
    left: &'a [SweepCell],
    right: &'a [SweepCell],
) -> impl Iterator<Item = f64> + 'a {
    left.iter().filter_map(|cell| {
        let other = right.iter().find(|other| other.seed == cell.seed)?;
        Some(cell.auroc - other.auroc)
    })
}
