//! What tasks leave beside their results: how far they were, why they failed.

use serde::{Deserialize, Serialize};

use super::SlurmError;
use super::plan_file::PlanFolder;
use super::plan_file::Work;
use crate::files;

/// How often a task may be stopped without having finished an epoch in between.
const FRUITLESS: u32 = 3;

/// What is written of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Why it failed for its own reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// True when it was stopped and can go on when it is submitted again.
    #[serde(default)]
    pub stopped: bool,
    /// Stage and finished epochs when it was last stopped, and how often in a row that was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<(String, usize, u32)>,
}

impl Note {
    /// The note of a task: nothing, where there is none that can be read.
    pub(super) fn read(folder: &PlanFolder, work: Work, cell: usize) -> Self {
        files::read_json(&Self::path(folder, work, cell)).unwrap_or_default()
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`SlurmError::Files`].
    pub(super) fn write(
        &self,
        folder: &PlanFolder,
        work: Work,
        cell: usize,
    ) -> Result<(), SlurmError> {
        Ok(files::write_json(&Self::path(folder, work, cell), self)?)
    }

    fn path(folder: &PlanFolder, work: Work, cell: usize) -> std::path::PathBuf {
        let kind = match work {
            Work::Shared => "shared",
            Work::Cell => "cell",
        };
        folder.notes().join(format!("{kind}-{cell}.json"))
    }

    /// Notes where it was stopped; false when that was the same place too often.
    pub(super) fn stop_at(&mut self, stage: &str, finished: usize) -> bool {
        let times = match &self.stopped_at {
            Some((before, epochs, times)) if before == stage && *epochs == finished => times + 1,
            _ => 1,
        };
        self.stopped_at = Some((stage.to_owned(), finished, times));
        times < FRUITLESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_never_gets_on_is_not_repeated_for_ever() {
        let mut note = Note::default();
        assert!(note.stop_at("encoder", 1));
        assert!(note.stop_at("encoder", 1));
        assert!(note.stop_at("encoder", 2));
        assert!(note.stop_at("flow", 2));
        assert!(note.stop_at("flow", 2));
        assert!(!note.stop_at("flow", 2));
    }
}
