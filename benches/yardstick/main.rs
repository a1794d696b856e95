//! Serves measurements to `benches/pytorch/bench.py`, which takes the same ones of PyTorch in turn:
//! `just bench-pytorch`.
//!
//! One request per line on standard input, one line of JSON for each on standard output:
//!
//! - a measurement, `autoencoder-grey-step-64` say: runs it for a second, after a warm-up when it
//!   is not the one before, and answers `{"name": ..., "seconds": [...]}`, one entry per repetition;
//! - `export FOLDER`: writes weights, inputs and our outputs, for the check that both sides compute
//!   the same thing;
//! - `peak`: answers `{"name": "peak", "bytes": ...}`, the most memory that this process has used.
//!
//! What fails is answered with `{"error": ...}`. `ENCODER_FLOW_DEVICE` chooses the backend.

mod cases;
mod export;
mod measurements;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use encoder_flow::backend::Backend;
use measurements::Measurement;
use serde_json::{Value, json};

/// The program's own allocator: it is part of what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a measurement is repeated per request.
const ROUND: Duration = Duration::from_secs(1);

/// The measurement of the last request, with its name. Only one is kept, so that what was measured
/// before takes no memory.
type Current = Option<(String, Measurement)>;

fn main() -> anyhow::Result<()> {
    // `cargo bench` runs every target; on a terminal nobody would answer this one.
    if std::io::stdin().is_terminal() {
        eprintln!("nothing to serve: this is started by `just bench-pytorch`");
        return Ok(());
    }
    let mut current = None;
    for request in std::io::stdin().lines() {
        let answer = answer(request?.trim(), &mut current)
            .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        let mut output = std::io::stdout().lock();
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(request: &str, current: &mut Current) -> anyhow::Result<Value> {
    let name = std::env::var("ENCODER_FLOW_DEVICE").ok();
    let device = Backend::choose(name.as_deref())?.device;
    if let Some(("export", folder)) = request.split_once(' ') {
        export::export(Path::new(folder), &device)?;
        return Ok(json!({ "name": "export" }));
    }
    if request == "peak" {
        return Ok(json!({ "name": "peak", "bytes": peak_memory() }));
    }
    if current.as_ref().is_none_or(|(name, _)| name != request) {
        *current = None;
        let mut measurement = Measurement::named(request, &device)?;
        measurement.warm_up();
        *current = Some((request.to_owned(), measurement));
    }
    let seconds = current.as_mut().map(|(_, measurement)| round(measurement));
    Ok(json!({ "name": request, "seconds": seconds }))
}

/// Repeats the measurement for [`ROUND`], at least once. Returns the seconds of each repetition.
fn round(measurement: &mut Measurement) -> Vec<f64> {
    let started = Instant::now();
    let mut seconds = Vec::new();
    while seconds.is_empty() || started.elapsed() < ROUND {
        let begin = Instant::now();
        measurement.run();
        seconds.push(begin.elapsed().as_secs_f64());
    }
    seconds
}

/// The largest resident set so far, where the system tells (Linux).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
