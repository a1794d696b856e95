//! One run of a sweep.

use crate::study::{Experiment, Study, StudyError};

/// One run: a variant on a class with a seed, as the verb `experiment` carries it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Name of the study.
    pub study: String,
    /// Index of the class left out.
    pub class: usize,
    /// Name of the variant, or of the method.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// The user's overrides, `key=value` each.
    pub overrides: Vec<String>,
}

impl Cell {
    /// What it runs.
    ///
    /// # Errors
    /// [`StudyError`] when there is no such variant or a setting is impossible.
    pub fn experiment(&self, study: &Study) -> Result<Experiment, StudyError> {
        let choice = study.choice(&self.variant)?;
        let settings = study.resolve(&choice, &self.overrides)?;
        Ok(study.experiment(self.class, &choice, settings))
    }
}
