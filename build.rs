//! Tells the program which git revision it was built from, and which Burn.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

/// What the program is made of.
const PROGRAM: [&str; 6] = [
    "src",
    "templates",
    "experiments",
    "build.rs",
    "Cargo.toml",
    "Cargo.lock",
];

fn main() {
    // Outside a repository there is nothing to watch: a path that is missing would mean a rebuild
    // every time.
    for name in ["HEAD", "index"] {
        if let Some(path) =
            git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for path in PROGRAM {
        println!("cargo::rerun-if-changed={path}");
    }
    let revision = git(&["describe", "--always", "--abbrev=12", "--exclude=*"]);
    // Not by `describe --dirty`, which writes the index: what is watched would be newer than the build, and the next
    // call would build all of it again.
    let of_program = |arguments: &[&str]| git(&[arguments, &PROGRAM].concat()).unwrap_or_default();
    let mut changes = of_program(&["--no-optional-locks", "diff", "HEAD", "--"]);
    // Files that are not added yet are in no difference.
    for path in of_program(&["ls-files", "--others", "--exclude-standard", "--"]).lines() {
        changes += path;
        changes += &String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default());
    }
    let revision = revision.map(|revision| match changes.is_empty() {
        true => revision,
        // Two programs with different changes are two programs.
        false => format!("{revision}-dirty-{:08x}", fingerprint(&changes) as u32),
    });
    let revision = revision.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=ENCODER_FLOW_REVISION={revision}");
    println!("cargo::rustc-env=ENCODER_FLOW_BURN={}", burn_version());
}

/// A number that tells texts apart.
fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Standard output of a git command, if it works.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Version of Burn in the lock file.
fn burn_version() -> String {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"burn\"");
    let version = lines
        .nth(1)
        .and_then(|line| line.strip_prefix("version = "));
    version.unwrap_or("unknown").trim_matches('"').to_owned()
}
