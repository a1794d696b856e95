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
    /// What is run; how many classes at a time does not matter.
    request: Request,
    /// The user's overrides, `key=value` each.
    overrides: Vec<String>,
    /// The backend by name, where one was named.
    device: Option<String>,
}

impl FreshStart {
    /// Of what is asked for at this moment.
    pub(super) fn new(
        since: Moment,
        (request, overrides): (&Request, &[String]),
        device: Option<&str>,
    ) -> Self {
        Self {
            since,
            revision: env!("ENCODER_FLOW_REVISION").to_owned(),
            request: request.with_jobs(1),
            overrides: overrides.to_vec(),
            device: device.map(str::to_owned),
        }
    }

    /// From when on runs count: from an earlier start of the same by the same program on that was stopped. Notes it in the folder.
    ///
    /// # Errors
    /// [`RunError`] when that cannot be written.
    pub(super) fn begin(self, folder: &Path) -> Result<Moment, RunError> {
        if let Some(earlier) = self.earlier(folder) {
            return Ok(earlier.since);
        }
        files::write_json(&file(folder), &self)?;
        Ok(self.since)
    }

    /// Forgets it where it is noted: begun anew once more, everything is run once more.
    ///
    /// # Errors
    /// [`RunError`] when the file cannot be removed.
    pub(super) fn finish(&self, folder: &Path) -> Result<(), RunError> {
        match self.earlier(folder) {
            Some(_) => Ok(files::remove(&file(folder))?),
            None => Ok(()),
        }
    }

    /// The same, begun at another moment, as it is noted in the folder.
    fn earlier(&self, folder: &Path) -> Option<Self> {
        let noted: Self = files::read_json(&file(folder)).ok()?;
        let same = Self {
            since: self.since.clone(),
            ..noted.clone()
        } == *self;
        same.then_some(noted)
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
        let start = |asked: &Moment, seed: u64, overrides: &[String]| {
            FreshStart::new(asked.clone(), (&request(seed), overrides), None)
        };
        let begin = |asked: &Moment, seed: u64, overrides: &[String]| {
            start(asked, seed, overrides).begin(folder.path()).unwrap()
        };
        let at = |second: u32| -> Moment {
            serde_json::from_str(&format!("\"2026-01-01T00:00:0{second}.000Z\"")).unwrap()
        };
        let (first, later) = (at(1), at(2));
        assert_eq!(begin(&first, 0, &[]), first);
        assert_eq!(begin(&later, 0, &[]), first);
        // What finishes beside it leaves it alone.
        start(&later, 1, &[]).finish(folder.path()).unwrap();
        assert_eq!(begin(&later, 0, &[]), first);
        // Another seed, setting or device is another request, and takes its place.
        assert_eq!(begin(&later, 1, &[]), later);
        let own = ["knn.neighbours=3".to_owned()];
        assert_eq!(begin(&first, 1, &own), first);
        let elsewhere = FreshStart::new(later.clone(), (&request(1), &own), Some("wgpu"));
        assert_eq!(elsewhere.clone().begin(folder.path()).unwrap(), later);
        elsewhere.finish(folder.path()).unwrap();
        assert_eq!(begin(&later, 1, &own), later);
    }
}
