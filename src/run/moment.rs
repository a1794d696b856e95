//! `--fresh`: what was begun before a moment is made anew.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Environment, RunFolder, RunOptions};
use crate::files;
use crate::study::Experiment;

/// A moment, in UTC (RFC 3339 with milliseconds): texts of this form sort as they follow each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(String);

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        let now = SystemTime::now();
        Self(humantime::format_rfc3339_millis(now).to_string())
    }

    /// From when on a run counts that is to be begun anew: from now on, unless the same command of the same program was
    /// stopped within it, which it then continues.
    pub fn of_run(experiment: &Experiment, options: &RunOptions) -> Self {
        let folder = RunFolder::new(options.folder(experiment));
        let begun: Result<Environment, _> = files::read_json(&folder.environment());
        match begun {
            Ok(begun)
                if !folder.is_complete()
                    && begun.command == options.command
                    && begun.is_by_this_program() =>
            {
                begun.started
            }
            _ => Self::now(),
        }
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_sort_as_they_follow_each_other() {
        let before = Moment("2026-01-31T23:59:59.999Z".to_owned());
        let after = Moment("2026-02-01T00:00:00.000Z".to_owned());
        assert!(before < after && after < Moment::now());
        assert_eq!(Moment::now().to_string().len(), before.to_string().len());
    }
}
