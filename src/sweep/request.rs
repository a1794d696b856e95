//! What is asked for: a sweep or a selection, and the tables that it consists of.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::workspace::{selection_folder, sweep_folder};
use super::{SelectPlan, SweepPlan};
use crate::run::RunOptions;
use crate::study::{Study, StudyError};

/// A sweep or a selection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Every method on every class and seed.
    Sweep(SweepPlan),
    /// Candidates compared on stand-ins.
    Select(SelectPlan),
}

/// The cells of one table: a sweep, or a selection's runs with one stand-in.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// What the lines of its cells begin with.
    pub label: String,
    /// The user's overrides, with the stand-in.
    pub overrides: Vec<String>,
    /// Methods, classes, seeds.
    pub plan: SweepPlan,
    /// How its runs are carried out, and where they are kept.
    pub options: RunOptions,
}

impl Request {
    /// The same with so many classes at a time.
    pub(super) fn with_jobs(&self, jobs: usize) -> Self {
        let mut other = self.clone();
        match &mut other {
            Self::Sweep(plan) => plan.jobs = jobs,
            Self::Select(plan) => plan.jobs = jobs,
        }
        other
    }

    /// Refuses what is impossible.
    ///
    /// # Errors
    /// [`StudyError`] naming it.
    pub(super) fn check(&self, study: &Study, overrides: &[String]) -> Result<(), StudyError> {
        match self {
            Self::Sweep(plan) => plan.check(study, overrides),
            Self::Select(plan) => plan.check(study, overrides),
        }
    }

    /// Its tables.
    pub(super) fn parts(
        &self,
        study: &str,
        overrides: &[String],
        options: &RunOptions,
    ) -> Vec<Part> {
        match self {
            Self::Sweep(plan) => vec![Part {
                label: String::new(),
                overrides: overrides.to_vec(),
                plan: plan.clone(),
                options: options.clone(),
            }],
            Self::Select(plan) => plan.parts(study, overrides, options),
        }
    }

    /// The command that asks for it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Sweep(_) => "sweep",
            Self::Select(_) => "select",
        }
    }

    /// Its folder below the artifacts folder.
    pub(super) fn folder(&self, artifacts: &Path, study: &str) -> PathBuf {
        match self {
            Self::Sweep(_) => sweep_folder(artifacts, study),
            Self::Select(_) => selection_folder(artifacts, study),
        }
    }
}
