//! Scores of a set of images.

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

    /// The columns in the order of [`names`](Self::names).
    pub fn columns(&self) -> &[Vec<f32>] {
        &self.columns
    }
}
