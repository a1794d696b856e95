//! What stands beside every number: versions, device, seed, command.

use serde::{Deserialize, Serialize};

use super::Moment;
use crate::backend::OpenDevice;

/// Where and how a run was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this program.
    pub version: String,
    /// Git revision that it was built from, `unknown` outside a repository.
    pub revision: String,
    /// Version of Burn.
    pub burn: String,
    /// Name of the backend.
    pub backend: String,
    /// The processor or the graphics adapter.
    pub device: String,
    /// Threads available.
    pub threads: usize,
    /// Operating system and architecture.
    pub system: String,
    /// The run's seed.
    pub seed: u64,
    /// The command line.
    pub command: String,
    /// When the run was started.
    pub started: Moment,
    /// Files that the images came from, by data set.
    pub data: Vec<String>,
    /// How the images were converted.
    pub conversion: Vec<String>,
    /// SHA-256 of the pretrained weights, where the method reads any.
    #[serde(default)]
    pub weights: Option<String>,
    /// Later starts that continued the run.
    pub resumed: Vec<Resumption>,
}

/// A later start of an interrupted run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumption {
    /// When.
    pub started: Moment,
    /// The command line.
    pub command: String,
    /// Git revision that the program was built from.
    pub revision: String,
}

impl Environment {
    /// Describes this process.
    pub fn new(device: &OpenDevice, seed: u64, command: &str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: env!("ENCODER_FLOW_REVISION").to_owned(),
            burn: env!("ENCODER_FLOW_BURN").to_owned(),
            backend: device.backend.name().to_owned(),
            device: device.description(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            seed,
            command: command.to_owned(),
            started: Moment::now(),
            data: Vec::new(),
            conversion: Vec::new(),
            weights: None,
            resumed: Vec::new(),
        }
    }
}

impl Environment {
    /// Git revisions of the programs that have had a part in the run, in their order, each once.
    pub fn revisions(&self) -> String {
        let later = self.resumed.iter().map(|start| start.revision.as_str());
        let mut all: Vec<&str> = Vec::new();
        for revision in std::iter::once(self.revision.as_str()).chain(later) {
            if !all.contains(&revision) {
                all.push(revision);
            }
        }
        all.join(", then ")
    }

    /// When it was started, and continued.
    pub fn starts(&self) -> String {
        let later = self.resumed.iter().map(|start| &start.started);
        let all = std::iter::once(&self.started).chain(later);
        let all: Vec<String> = all.map(ToString::to_string).collect();
        all.join(", continued ")
    }

    /// True when no other build of the program has had a part in the run.
    pub fn is_by_this_program(&self) -> bool {
        let revision = env!("ENCODER_FLOW_REVISION");
        let mut later = self.resumed.iter();
        self.version == env!("CARGO_PKG_VERSION")
            && self.revision == revision
            && later.all(|start| start.revision == revision)
    }

    /// The record of a run that this start continues: the first start's, with this one added.
    ///
    /// # Errors
    /// The backend of the first start, when this is another: one run's numbers come from one backend.
    pub fn continued(self, first: Self) -> Result<Self, String> {
        if first.backend != self.backend {
            return Err(first.backend);
        }
        let mut record = first;
        record.resumed.push(Resumption {
            started: self.started,
            command: self.command,
            revision: self.revision,
        });
        Ok(record)
    }
}

/// Largest resident memory of this process so far in MiB, where the system tells (Linux).
pub fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;

    #[test]
    fn a_run_that_another_build_continued_names_both() {
        let open = Backend::choose(Some("flex")).unwrap();
        let first = Environment::new(&open, 0, "a test");
        assert!(first.is_by_this_program());
        assert_eq!(first.revisions(), env!("ENCODER_FLOW_REVISION"));
        let mut other = first.clone();
        other.revision = "abc".to_owned();
        let both = other.clone().continued(first.clone()).unwrap();
        assert!(!both.is_by_this_program());
        assert!(both.revisions().ends_with(", then abc"));
        assert_eq!(both.starts().matches("continued").count(), 1);
        other.backend = "another".to_owned();
        assert_eq!(first.continued(other), Err("another".to_owned()));
    }
}
