//! A private cluster for a test.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{self, TINY, program, succeeds};

/// No step of a test takes longer, unless something hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// A private cluster, which ends with the test.
pub struct Cluster {
    folder: tempfile::TempDir,
    /// Its configuration file, for programs that talk to it.
    pub config: String,
}

impl Cluster {
    /// Starts one at ports of its own, with further lines of configuration; nothing where Slurm is not
    /// installed or this user may not start it.
    pub fn start(port: u16, configuration: &str) -> Option<Self> {
        let installed = [
            "/usr/sbin/slurmctld",
            "/usr/sbin/slurmd",
            "/usr/sbin/munged",
        ];
        let root = Command::new("id").arg("-u").output();
        let is_root = root.is_ok_and(|output| output.stdout == b"0\n");
        if !is_root || !installed.iter().all(|path| Path::new(path).is_file()) {
            eprintln!("skipped: a Slurm cluster for tests needs root and the package slurm-wlm");
            return None;
        }
        // The paths of sockets must be short.
        let folder = tempfile::Builder::new()
            .prefix("sl")
            .tempdir_in("/tmp")
            .unwrap();
        let port = free_from(port);
        let cluster = Self {
            config: folder.path().join("c/etc/slurm.conf").display().to_string(),
            folder,
        };
        let output = cluster
            .script()
            .env("SLURM_LOCAL_PORT", port.to_string())
            .env("SLURM_LOCAL_EXTRA", configuration)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", common::both(&output));
        Some(cluster)
    }

    fn script(&self) -> Command {
        let mut script = Command::new("bash");
        script
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/start-slurm"))
            .env("SLURM_LOCAL", self.folder.path().join("c"));
        script
    }

    /// A program of Slurm's; its output.
    #[track_caller]
    pub fn slurm(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env("SLURM_CONF", &self.config);
        succeeds(command)
    }

    /// A sweep of the digits with tiny settings in a folder.
    pub fn sweep(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = sweep(folder, arguments);
        command.env("SLURM_CONF", &self.config);
        command
    }

    /// Slurm's names of the tasks in a state.
    pub fn tasks(&self, state: &str) -> Vec<String> {
        let queue = self.slurm("squeue", &["-h", "-r", "-t", state, "-o", "%i"]);
        queue.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Waits until something holds; what the cluster says when it does not.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            if begun.elapsed() > LONGEST {
                let queue = self.slurm("squeue", &["-a", "-r", "-t", "all", "-o", "%i %T %N %r"]);
                let nodes = self.slurm("sinfo", &["-N", "-o", "%N %T %E"]);
                panic!("still not: {what}\n{queue}\n{nodes}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.script().arg("stop").output();
    }
}

/// The first of some ports that are `STRIDE` apart where nobody listens: a test that was killed leaves its
/// cluster behind.
fn free_from(port: u16) -> u16 {
    const STRIDE: u16 = 200;
    let is_free = |port: &u16| {
        (0..3).all(|next| std::net::TcpStream::connect(("127.0.0.1", port + next)).is_err())
    };
    let mut ports = (0..10).map(|turn| port + turn * STRIDE);
    ports.find(is_free).unwrap_or(port)
}

/// A sweep of the digits with tiny settings in a folder, on this machine.
pub fn sweep(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program(folder);
    command.args(["sweep", "digits", "--offline"]);
    for setting in TINY {
        command.args(["--set", setting]);
    }
    command.args(arguments);
    command
}
