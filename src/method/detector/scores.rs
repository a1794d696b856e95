//! Scores of a set of images.

use std::cmp::Ordering;

/// One column per score, one row per image; higher is more anomalous.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    names: &'static [&'static str],
    columns: Vec<Vec<f32>>,
}

impl Scores {
    /// Columns by name.
    pub(crate) fn new(names: &'static [&'static str], columns: Vec<Vec<f32>>) -> Self {
        debug_assert_eq!(names.len(), columns.len());
        Self { names, columns }
    }

    /// Of no image.
    pub(crate) fn none(names: &'static [&'static str]) -> Self {
        Self::new(names, vec![Vec::new(); names.len()])
    }

    /// Adds the rows of other images, which the same scorer has scored.
    pub(crate) fn append(&mut self, more: Self) {
        debug_assert_eq!(self.names, more.names);
        for (column, more) in self.columns.iter_mut().zip(more.columns) {
            column.extend(more);
        }
    }

    /// Names of the columns, the method's own score first.
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// True when no image was scored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which of the scores called `names` adds most to the sum of them by `weights`; a score that is not a number is
    /// the largest of all.
    pub(crate) fn largest(
        &self,
        names: &[&str],
        weights: &[f32],
        row: usize,
    ) -> Option<&'static str> {
        let named = self.names.iter().zip(&self.columns);
        let named = named.filter_map(|(&name, column)| {
            let at = names.iter().position(|wanted| *wanted == name)?;
            Some((name, column[row] * weights.get(at)?))
        });
        let largest = named.max_by(|(_, a), (_, b)| nan_last(*a, *b));
        largest.map(|(name, _)| name)
    }

    /// The first image with a score that is no finite number, if there is one.
    pub fn first_not_finite(&self) -> Option<usize> {
        let firsts = self
            .columns
            .iter()
            .filter_map(|column| column.iter().position(|score| !score.is_finite()));
        firsts.min()
    }

    /// The columns in the order of [`names`](Self::names).
    pub fn columns(&self) -> &[Vec<f32>] {
        &self.columns
    }
}

/// The order of scores, in which one that is not a number is above all others.
pub(super) fn nan_last(one: f32, other: f32) -> Ordering {
    // In the total order a number is below NaN, whose sign is taken away here.
    let key = |value: f32| if value.is_nan() { f32::NAN } else { value };
    key(one).total_cmp(&key(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_some_scores_is_named() {
        let columns = vec![vec![9.0, 9.0], vec![1.0, -2.0], vec![2.0, -f32::NAN]];
        let scores = Scores::new(&["all", "one", "two"], columns);
        assert_eq!(scores.largest(&["one", "two"], &[1.0, 1.0], 0), Some("two"));
        assert_eq!(scores.largest(&["one"], &[1.0], 1), Some("one"));
        assert_eq!(scores.largest(&["one", "two"], &[1.0, 1.0], 1), Some("two"));
        assert_eq!(scores.largest(&["one", "two"], &[3.0, 1.0], 0), Some("one"));
        assert_eq!(scores.largest(&[], &[], 0), None);
    }
}
