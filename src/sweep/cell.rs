//! One run of a sweep, as a command line.

use crate::study::{Experiment, Study, StudyError};

/// One run: a variant on a class with a seed. It is nothing but a command line,
/// `experiment <study>-<class> --method <variant> --seed <n> --set …`, so that whatever can run a
/// command can run it.
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

    /// The arguments after the program's name; the class by its index.
    pub fn arguments(&self) -> Vec<String> {
        let mut words = vec![
            "experiment".to_owned(),
            format!("{}-{}", self.study, self.class),
            "--method".to_owned(),
            self.variant.clone(),
            "--seed".to_owned(),
            self.seed.to_string(),
        ];
        for assignment in &self.overrides {
            words.extend(["--set".to_owned(), assignment.clone()]);
        }
        words
    }
}
