//! The `encoder-flow` program.
#![recursion_limit = "256"]

use std::process::ExitCode;

/// Training frees and takes large buffers at every step; the system's allocator gives their pages
/// back each time and pays for fresh ones. Worth a fifth of a training step on the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    encoder_flow::cli::main()
}
