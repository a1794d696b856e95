//! Unsupervised image anomaly detection by exact likelihood on high-level representations.
//!
//! An encoder maps an image to a latent vector, a normalizing flow gives that vector's
//! log-likelihood, and unlikely latents are anomalies (Salcedo & Alvarez, "Unsupervised image
//! anomaly detection via likelihood estimation on high-level representation").
//!
//! The rooms, from the ground up; each uses those above it in this list, never one below:
//!
//! ```text
//! backend, files, lock, ops  devices, whole files, one process at a time, kernels
//! data                       files -> images -> leave-one-class-out split -> batches
//! evaluate                   AUROC and friends, threshold, p-values
//! train                      what all stages share on top of Burn's learner
//! encoder, flow              how an image is described; how likely a description is
//! report                     tables, figures, one HTML page
//! study                      what can be run: studies, variants, settings
//! method                     how a method fits and scores: one folder per method
//! run                        one run, from names to artifacts
//! sweep, folder              many runs; the user's own images
//! cli                        one file per verb
//! ```
#![recursion_limit = "256"]
#![warn(missing_docs)]

pub mod backend;
pub mod cli;
pub mod data;
pub mod encoder;
pub mod evaluate;
mod files;
pub mod flow;
pub mod folder;
mod lock;
mod logging;
pub mod method;
mod ops;
mod progress;
pub mod report;
pub mod run;
mod safetensors_file;
pub mod study;
mod suggest;
pub mod sweep;
pub mod train;

pub use files::FileError;
pub use image;
pub use method::{Detector, Verdict};

/// How property-based tests are run: on the same cases in every run.
#[cfg(test)]
fn property_tests(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0),
        ..proptest::test_runner::Config::default()
    }
}
