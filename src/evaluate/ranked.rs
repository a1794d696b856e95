//! The two classes' scores merged in rising order: the one input of every ranking metric.

use super::EvaluateError;
use super::error::{check_classes, check_counts};

/// One distinct score and how many images of each class have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tie {
    pub normal: usize,
    pub anomalous: usize,
}

/// Distinct scores in rising order. Images of equal score share one [`Tie`], so that no metric can
/// depend on the order in which equal scores happen to be stored.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    pub ties: Vec<Tie>,
    /// Number of normal scores, at least 1.
    pub normal: usize,
    /// Number of anomalous scores, at least 1.
    pub anomalous: usize,
}

impl Ranked {
    /// Sorts and groups the scores of both classes.
    ///
    /// # Errors
    /// [`EvaluateError::OneClass`], [`EvaluateError::Empty`] or [`EvaluateError::NotFinite`].
    pub fn new(normal: &[f32], anomalous: &[f32]) -> Result<Self, EvaluateError> {
        check_classes(normal, anomalous)?;
        let mut scores: Vec<(f32, bool)> = normal
            .iter()
            .map(|&score| (score, false))
            .chain(anomalous.iter().map(|&score| (score, true)))
            .collect();
        scores.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        let ties = scores
            // `==` and not `total_cmp`: -0.0 and 0.0 are one score.
            .chunk_by(|left, right| left.0 == right.0)
            .map(|tie| {
                let anomalous = tie.iter().filter(|score| score.1).count();
                Tie {
                    normal: tie.len() - anomalous,
                    anomalous,
                }
            })
            .collect();
        Ok(Self {
            ties,
            normal: normal.len(),
            anomalous: anomalous.len(),
        })
    }

    /// From scores that have been counted already, in rising order; those that none has are left out.
    ///
    /// # Errors
    /// [`EvaluateError::OneClass`] or [`EvaluateError::Empty`].
    pub fn counted(ties: impl Iterator<Item = Tie>) -> Result<Self, EvaluateError> {
        let ties: Vec<Tie> = ties.filter(|tie| *tie != Tie::default()).collect();
        let normal = ties.iter().map(|tie| tie.normal).sum();
        let anomalous = ties.iter().map(|tie| tie.anomalous).sum();
        check_counts(normal, anomalous)?;
        Ok(Self {
            ties,
            normal,
            anomalous,
        })
    }

    /// Area under the ROC curve: see [`super::auroc`].
    pub fn auroc(&self) -> f64 {
        let mut normal_below = 0.0;
        let mut wins = 0.0;
        for tie in &self.ties {
            wins += tie.anomalous as f64 * (normal_below + 0.5 * tie.normal as f64);
            normal_below += tie.normal as f64;
        }
        wins / (self.normal as f64 * self.anomalous as f64)
    }

    /// Counts (normal, anomalous) at or above each distinct score, from the highest score down:
    /// what the verdict "anomalous when score >= t" flags, for every t worth asking about.
    pub fn flagged(&self) -> impl Iterator<Item = (usize, usize)> {
        self.ties.iter().rev().scan((0, 0), |total, tie| {
            total.0 += tie.normal;
            total.1 += tie.anomalous;
            Some(*total)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_form_one_tie_and_signed_zeros_are_equal() {
        let ranked = Ranked::new(&[0.0, 2.0, 2.0], &[-0.0, 2.0, 3.0]).unwrap();
        let counts: Vec<_> = ranked
            .ties
            .iter()
            .map(|tie| (tie.normal, tie.anomalous))
            .collect();
        assert_eq!(counts, [(1, 1), (2, 1), (0, 1)]);
        assert_eq!(
            ranked.flagged().collect::<Vec<_>>(),
            [(0, 1), (2, 2), (3, 3)]
        );
    }
}
