//! How closely two quantities of the same images go together.

use serde::{Deserialize, Serialize};

/// Correlation coefficients of two columns, from -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correlation {
    /// Pearson's, of the values: how close they lie to a line.
    pub pearson: f64,
    /// Spearman's, of the ranks: how often they rise together. Equal values share their mean rank.
    pub spearman: f64,
}

impl Correlation {
    /// Of two columns of one length; none where one of them is constant, or a value is not finite.
    pub fn of(left: &[f32], right: &[f32]) -> Option<Self> {
        let both = || left.iter().chain(right);
        let varies = |values: &[f32]| values.iter().any(|value| *value != values[0]);
        let finite = both().all(|value| value.is_finite());
        if left.len() != right.len() || !finite || !varies(left) || !varies(right) {
            return None;
        }
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        Some(Self {
            pearson: pearson(wide(left), wide(right))?,
            spearman: pearson(ranks(left), ranks(right))?,
        })
    }
}

fn pearson(left: Vec<f64>, right: Vec<f64>) -> Option<f64> {
    let [left, right] = [left, right].map(centred);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let squares = dot(&left, &left) * dot(&right, &right);
    // Rounding must not lead beyond 1.
    (squares > 0.0).then(|| (dot(&left, &right) / squares.sqrt()).clamp(-1.0, 1.0))
}

fn centred(values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.into_iter().map(|value| value - mean).collect()
}

/// From 1; equal values share the mean of theirs.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    // `==` and not `total_cmp`: -0.0 and 0.0 are one value.
    for tie in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = before as f64 + (tie.len() + 1) as f64 / 2.0;
        tie.iter().for_each(|&index| ranks[index] = mean);
        before += tie.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textbook_coefficients_agree() {
        // Anscombe (1973), Graphs in Statistical Analysis, first data set: r = 0.816.
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [
            8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68,
        ];
        let found = Correlation::of(&x, &y).unwrap();
        assert!((found.pearson - 0.816).abs() < 1e-3, "{found:?}");
        // The worked example of Wikipedia's article on Spearman's coefficient: -29/165.
        let iq = [
            106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0,
        ];
        let hours = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        let found = Correlation::of(&iq, &hours).unwrap();
        assert!((found.spearman + 29.0 / 165.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn equal_values_share_their_rank() {
        // Deviations of the ranks: (-1.5, 0, 0, 1.5) and (-1.5, -0.5, 0.5, 1.5).
        let found = Correlation::of(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((found.spearman - 4.5 / 22.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(ranks(&[-0.0, 0.0, 1.0]), [1.5, 1.5, 3.0]);
    }

    #[test]
    fn what_does_not_vary_has_no_coefficient() {
        assert_eq!(Correlation::of(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(Correlation::of(&[], &[]), None);
        assert_eq!(Correlation::of(&[1.0, f32::NAN], &[1.0, 2.0]), None);
        assert_eq!(Correlation::of(&[1.0], &[1.0, 2.0]), None);
    }
}
