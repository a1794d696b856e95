//! Unsupervised image anomaly detection by exact likelihood on high-level representations.
//!
//! An encoder maps an image to a latent vector, a normalizing flow gives that vector's
//! log-likelihood, and unlikely latents are anomalies (Salcedo & Alvarez, "Unsupervised image
//! anomaly detection via likelihood estimation on high-level representation").
//!
//! The modules in the order in which data flows through them:
//!
//! ```text
//! data       files -> images -> leave-one-class-out split -> batches
//! train      what all stages share on top of Burn's learner
//! encoder    stage 1: the autoencoder that learns to reproduce normal images, and other encoders
//! flow       stage 2: RealNVP on the frozen encoder's latents
//! detector   anything fitted that scores images: the only scoring path
//! evaluate   AUROC and friends, threshold
//! report     tables, figures, one HTML page
//! experiment a study's file, its run and what it leaves on disk
//! cli        one file per verb
//! ```
#![recursion_limit = "256"]
#![warn(missing_docs)]

pub mod backend;
pub mod cli;
pub mod data;
pub mod detector;
pub mod encoder;
pub mod evaluate;
pub mod experiment;
mod files;
pub mod flow;
mod logging;
mod ops;
pub mod report;
mod suggest;
pub mod train;

pub use detector::{Detector, Verdict};
pub use files::FileError;
pub use image;
