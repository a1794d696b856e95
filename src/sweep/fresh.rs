//! A sweep or a selection that is made anew, over more than one start.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Request;
use crate::files;
use crate::run::{Moment, RunError};

/// What the folder of a sweep or a selection holds from when one is begun anew until it is finished: so the same command
/// again continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FreshStart {
    /// Runs that were begun before are made anew.
    since: Moment,
    /// Git revision that the program was built from.
    revision: String,
    request: Request,
    /// The user's overrides, `key=value` each.
    overrides: Vec<String>,
}

impl FreshStart {
    /// From when on runs count that are asked for anew at the moment `asked`: from an earlier start of the same request by the
    /// same program on that was stopped. Notes it in the folder.
    ///
    /// # Errors
    /// [`RunError`] when that cannot be written.
    pub(super) fn begin(
        folder: &Path,
        asked: Option<&Moment>,
        request: &Request,
        overrides: &[String],
    ) -> Result<Option<Moment>, RunError> {
        let Some(asked) = asked else {
            return Ok(None);
        };
        let this = Self {
            since: asked.clone(),
            revision: env!("ENCODER_FLOW_REVISION").to_owned(),
            request: request.clone(),
            overrides: overrides.to_vec(),
        };
        let earlier: Option<Self> = files::read_json(&file(folder)).ok();
        let same = |earlier: &Self| {
            let since = this.since.clone();
            Self {
                since,
                ..earlier.clone()
            } == this
        };
        if let Some(earlier) = earlier.filter(same) {
            return Ok(Some(earlier.since));
        }
        files::write_json(&file(folder), &this)?;
        Ok(Some(this.since))
    }

    /// Forgets it: begun anew once more, everything is run once more.
    ///
    /// # Errors
    /// [`RunError`] when the file cannot be removed.
    pub(super) fn finish(folder: &Path) -> Result<(), RunError> {
        Ok(files::remove(&file(folder))?)
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("fresh.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::SweepPlan;

    #[test]
    fn the_same_request_continues_until_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let request = |seed: u64| {
            Request::Sweep(SweepPlan {
                classes: vec![3],
                methods: vec!["knn".to_owned()],
                seeds: vec![seed],
                jobs: 1,
            })
        };
        let begin = |asked: &Moment, seed: u64, overrides: &[String]| {
            FreshStart::begin(folder.path(), Some(asked), &request(seed), overrides)
                .unwrap()
                .unwrap()
        };
        let first = Moment::now();
        assert_eq!(begin(&first, 0, &[]), first);
        std::thread::sleep(std::time::Duration::from_millis(2));
        let later = Moment::now();
        assert_eq!(begin(&later, 0, &[]), first);
        // Another seed or setting is another request, and takes its place.
        assert_eq!(begin(&later, 1, &[]), later);
        assert_eq!(begin(&first, 1, &["knn.neighbours=3".to_owned()]), first);
        FreshStart::finish(folder.path()).unwrap();
        assert_eq!(begin(&later, 1, &["knn.neighbours=3".to_owned()]), later);
        let nothing = FreshStart::begin(folder.path(), None, &request(0), &[]);
        assert_eq!(nothing.unwrap(), None);
    }
}
