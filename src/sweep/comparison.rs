//! Whether methods differ by more than chance.

use crate::evaluate::{EvaluateError, can_differ, holm, mean, wilcoxon_signed_rank};
use crate::report::{PairComparison, SweepCell, SweepMethod};

/// Methods compared in pairs.
pub struct Comparison {
    /// Every pair that has a class in common, with its p-values.
    pub pairs: Vec<PairComparison>,
    /// The test, and of which pairs, in words.
    pub test_name: String,
}

impl Comparison {
    /// Is the difference of two methods over the `classes` that both have more than chance? Of every pair, where so many
    /// pairs leave something to be told; else of the first method, which is the paper's where it is among them, and each
    /// other one. The results have no say in which.
    ///
    /// # Errors
    /// [`EvaluateError`] when a number is not finite.
    pub fn of(methods: &[SweepMethod], classes: usize) -> Result<Self, EvaluateError> {
        let others = methods.len().saturating_sub(1);
        let all = methods.len() * others / 2;
        let with_first = !can_differ(all, classes) && can_differ(others, classes);
        let mut pairs = Vec::new();
        for (index, left) in methods.iter().enumerate() {
            for right in &methods[index + 1..] {
                pairs.extend(compared(left, right)?);
            }
            if with_first {
                break;
            }
        }
        let raw: Vec<f64> = pairs.iter().map(|pair| pair.p_value).collect();
        let family = pairs.len();
        for (pair, adjusted) in pairs.iter_mut().zip(holm(&raw)) {
            (pair.adjusted, pair.family) = (adjusted, family);
        }
        let which = match (with_first, methods.first()) {
            (true, Some(first)) => format!(
                "the pairs with {} (of all {all} pairs, {classes} classes could not tell one)",
                first.name
            ),
            _ => "all pairs".to_owned(),
        };
        Ok(Self {
            pairs,
            test_name: format!(
                "Wilcoxon signed-rank over classes (seeds averaged), two-sided, Holm-adjusted over {which}"
            ),
        })
    }
}

/// Two methods, unless they have no class in common.
fn compared(
    left: &SweepMethod,
    right: &SweepMethod,
) -> Result<Option<PairComparison>, EvaluateError> {
    let classes = left.cells.iter().zip(&right.cells);
    let differences: Vec<f64> = classes
        .filter_map(|(left, right)| mean(common_seeds(left, right)))
        .collect();
    let Some(difference) = mean(differences.iter().copied()) else {
        return Ok(None);
    };
    Ok(Some(PairComparison {
        left: left.name.clone(),
        right: right.name.clone(),
        difference,
        pairs: differences.len(),
        p_value: wilcoxon_signed_rank(&differences)?.p_value,
        adjusted: f64::NAN,
        family: 1,
    }))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Methods of which each is better than the one before on all of so many classes.
    fn methods(count: usize, classes: usize) -> Vec<SweepMethod> {
        let method = |number: usize| SweepMethod {
            name: format!("m{number}"),
            cells: (0..classes)
                .map(|class| {
                    vec![SweepCell {
                        auroc: 0.5 + 0.01 * number as f64 + 0.001 * (class * number) as f64,
                        ..SweepCell::default()
                    }]
                })
                .collect(),
            ..SweepMethod::default()
        };
        (0..count).map(method).collect()
    }

    #[test]
    fn where_all_pairs_could_tell_nothing_those_with_the_first_are_compared() {
        for (count, pairs, told) in [
            (3, 3, true),
            (7, 21, true),
            (8, 7, true),
            (15, 14, true),
            (30, 435, false),
        ] {
            let found = Comparison::of(&methods(count, 10), 10).unwrap();
            assert_eq!(found.pairs.len(), pairs, "{count}");
            let least = found.pairs.iter().map(|pair| pair.adjusted);
            let least = least.fold(f64::INFINITY, f64::min);
            assert_eq!(least < 0.05, told, "{count}: {least}");
            assert_eq!(
                found.test_name.contains("with m0"),
                pairs == count - 1 && count > 3
            );
        }
    }
}
