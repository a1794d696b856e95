//! One log file per run, with what the program and Burn have to say.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

/// Burn logs a line per step at the info level; only its warnings are worth keeping.
const FILTER: &str = "info,burn_train=warn,burn_core=warn,wgpu_core=warn,wgpu_hal=warn,naga=warn,cubecl_runtime=warn,cubecl_wgpu=warn";

/// Sends messages of this process to the end of the file at `path`; `RUST_LOG` overrides the filter.
///
/// Only the first call of a process has an effect. A log that cannot be opened is no reason to stop:
/// what matters is also returned as an error.
pub(crate) fn to_file(path: &Path) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    if let Ok(file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(Mutex::new(file))
            .try_init();
    }
}
