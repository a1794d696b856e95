//! Who has a folder, in a file that is renewed while its process lives.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

/// Name of the file.
pub const OWNER: &str = ".owner.json";

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(15);
/// An owner that has given no sign of life for so long is dead. It covers the 60 s for which a network
/// file system may show what was.
const DEAD_AFTER: Duration = Duration::from_secs(180);
/// How often a folder whose owner is dead is tried for.
const TRIES: usize = 3;

/// Who has a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// Name of the machine.
    host: String,
    /// Which start of the machine it was: within it, processes and locks of the system mean something.
    boot: String,
    /// Process.
    pid: u32,
    /// Job of a cluster, `12_3` in an array.
    job: Option<String>,
    /// How often that job was started again.
    restarts: u32,
    /// What no other owner has.
    token: String,
}

impl Owner {
    /// This process.
    fn this() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let variable = |name: &str| std::env::var(name).ok();
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        let host = read("/proc/sys/kernel/hostname").ok();
        let host = host.or_else(|| variable("HOSTNAME"));
        let host = host
            .or_else(|| variable("COMPUTERNAME"))
            .unwrap_or_default();
        let array = variable("SLURM_ARRAY_JOB_ID").zip(variable("SLURM_ARRAY_TASK_ID"));
        let task = array.map(|(job, task)| format!("{job}_{task}"));
        let restarts = variable("SLURM_RESTART_COUNT").and_then(|count| count.parse().ok());
        let pid = std::process::id();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            // Machines without this file are taken for one as long as they keep their name.
            boot: read("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| host.clone()),
            token: format!("{host}-{pid}-{}-{count}", now.as_nanos()),
            host,
            pid,
            job: task.or_else(|| variable("SLURM_JOB_ID")),
            restarts: restarts.unwrap_or(0),
        }
    }

    /// True when this process can tell that the owner is no more. `locked` says that it has the system's
    /// lock of the folder, which nobody else on the machine can have then.
    fn is_gone(&self, now: &Self, locked: bool) -> bool {
        if self.boot == now.boot {
            return locked || !is_alive(self.pid);
        }
        // The cluster starts a job again when it has ended it.
        self.job.is_some() && self.job == now.job && self.restarts < now.restarts
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, " (process {} on {}", self.pid, self.host)?;
        if let Some(job) = &self.job {
            write!(f, ", job {job}")?;
        }
        if self.restarts > 0 {
            write!(f, ", started again {} times", self.restarts)?;
        }
        f.write_str(")")
    }
}

/// True unless the system knows that there is no such process.
fn is_alive(pid: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new("/proc").join(pid.to_string()).exists()
}

/// Who has a folder, for messages; nothing where that is not known.
pub(super) fn describe(folder: &Path) -> String {
    read(&folder.join(OWNER)).map_or_else(String::new, |owner| owner.to_string())
}

fn read(path: &Path) -> Option<Owner> {
    files::read_json(path).ok()
}

/// Why there is no claim.
pub(super) enum Refused {
    /// Another process has the folder; which, for messages.
    Taken(String),
    /// The file cannot be written.
    Files(FileError),
}

/// A folder that bears this process's name.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    token: String,
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Claim {
    /// Claims a folder, unless another owner gives signs of life.
    pub(super) fn take(folder: &Path, locked: bool) -> Result<Self, Refused> {
        let path = folder.join(OWNER);
        let owner = Owner::this();
        let unwritten = |error| Refused::Files(FileError::io("write", &path)(error));
        let text = serde_json::to_string(&owner).map_err(|error| unwritten(error.into()))?;
        for _ in 0..TRIES {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    if let Err(error) = file.write_all(text.as_bytes()) {
                        // An empty claim would be in everybody's way.
                        let _ = std::fs::remove_file(&path);
                        return Err(unwritten(error));
                    }
                    return Ok(Self {
                        heart: heart(&path, &owner.token, text).map_err(unwritten)?,
                        path,
                        token: owner.token,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unwritten(error)),
            }
            let there = read(&path);
            let gone = there
                .as_ref()
                .is_some_and(|there| there.is_gone(&owner, locked));
            if !gone && !is_silent(folder, &path) {
                let name = there.map_or_else(String::new, |there| there.to_string());
                return Err(Refused::Taken(name));
            }
            displace(&path, there.as_ref(), &owner.token);
        }
        Err(Refused::Taken(describe(folder)))
    }

    /// Says that the folder has been renamed.
    pub fn moved_to(&mut self, folder: &Path) {
        self.path = folder.join(OWNER);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.heart.take() {
            drop(stop);
            let _ = thread.join();
        }
        if read(&self.path).is_some_and(|owner| owner.token == self.token) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Renews the file from time to time, from a thread of its own.
fn heart(
    path: &Path,
    token: &str,
    text: String,
) -> std::io::Result<Option<(Sender<()>, JoinHandle<()>)>> {
    let (path, token) = (path.to_owned(), token.to_owned());
    let (stop, stopped) = channel();
    let thread = std::thread::Builder::new().name("owner".to_owned());
    let thread = thread.spawn(move || {
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            match read(&path) {
                Some(there) if there.token != token => {
                    eprintln!(
                        "error: {} has been taken over{there}, because this process gave no sign of life for {} s: two must not write there",
                        path.parent().unwrap_or(&path).display(),
                        DEAD_AFTER.as_secs()
                    );
                    std::process::exit(1);
                }
                // Written in place: a folder that was renamed meanwhile is left alone.
                _ => {
                    let file = OpenOptions::new().write(true).open(&path);
                    let _ = file.and_then(|mut file| {
                        file.write_all(text.as_bytes())?;
                        file.sync_all()
                    });
                }
            }
        }
    })?;
    Ok(Some((stop, thread)))
}

/// True when an owner's file is so old that its process must be dead. Both times are the file system's:
/// the clocks of machines differ.
fn is_silent(folder: &Path, path: &Path) -> bool {
    let age = || {
        let mut probe = tempfile::tempfile_in(folder)?;
        probe.write_all(b"now")?;
        let now = probe.metadata()?.modified()?;
        let last = File::open(path)?.metadata()?.modified()?;
        std::io::Result::Ok(now.duration_since(last).unwrap_or_default())
    };
    age().is_ok_and(|age| age > DEAD_AFTER)
}

/// Takes a dead owner's file away. When two try, one of them may find that the other has claimed the
/// folder already, and puts that claim back.
fn displace(path: &Path, dead: Option<&Owner>, token: &str) {
    let aside = path.with_file_name(format!("{OWNER}-{token}"));
    if std::fs::rename(path, &aside).is_err() {
        return;
    }
    if read(&aside).as_ref() != dead {
        let _ = std::fs::hard_link(&aside, path);
    }
    let _ = std::fs::remove_file(&aside);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(folder: &Path, locked: bool) -> Option<String> {
        match Claim::take(folder, locked) {
            Ok(_) => None,
            Err(Refused::Taken(owner)) => Some(owner),
            Err(Refused::Files(error)) => panic!("{error}"),
        }
    }

    fn write(folder: &Path, owner: &Owner) -> PathBuf {
        let path = folder.join(OWNER);
        files::write_json(&path, owner).unwrap();
        path
    }

    #[test]
    fn a_claim_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::take(folder.path(), false);
        assert!(claim.is_ok());
        // Without locks of the system the process, which lives, is what tells.
        let refused = taken(folder.path(), false).unwrap();
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        drop(claim);
        assert_eq!(taken(folder.path(), false), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    // Processes are looked up in /proc.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_dead_process_of_this_machine_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let dead = Owner {
            pid: u32::MAX,
            ..Owner::this()
        };
        write(folder.path(), &dead);
        assert_eq!(taken(folder.path(), false), None);
        // With the lock of the system nobody else on the machine can be at it.
        write(folder.path(), &Owner::this());
        assert_eq!(taken(folder.path(), true), None);
    }

    #[test]
    fn the_owner_on_another_machine_is_believed_until_it_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let far = Owner {
            host: "node7".to_owned(),
            boot: "another".to_owned(),
            job: Some("12_3".to_owned()),
            restarts: 2,
            ..Owner::this()
        };
        let path = write(folder.path(), &far);
        let refused = taken(folder.path(), true).unwrap();
        for part in ["node7", "job 12_3", "started again 2 times"] {
            assert!(refused.contains(part), "{refused}");
        }
        let age = |seconds: u64| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
                .unwrap();
        };
        age(60);
        assert!(taken(folder.path(), true).is_some());
        age(DEAD_AFTER.as_secs() + 60);
        assert_eq!(taken(folder.path(), true), None);
    }

    #[test]
    fn a_job_that_is_started_again_has_ended_before() {
        let before = Owner {
            boot: "another".to_owned(),
            job: Some("12_3".to_owned()),
            restarts: 1,
            ..Owner::this()
        };
        let gone = |job: &str, restarts: u32| {
            let now = Owner {
                job: Some(job.to_owned()),
                restarts,
                ..Owner::this()
            };
            before.is_gone(&now, true)
        };
        assert!(gone("12_3", 2));
        assert!(!gone("12_3", 1));
        assert!(!gone("12_4", 2));
    }

    #[test]
    fn a_new_claim_is_not_displaced() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Owner::this(), Owner::this());
        let path = write(folder.path(), &new);
        displace(&path, Some(&old), "mine");
        assert_eq!(read(&path), Some(new.clone()));
        displace(&path, Some(&new), "mine");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
