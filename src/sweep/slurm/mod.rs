//! Sweeps and selections on a Slurm cluster.
//!
//! What is not done is planned as job arrays: first what several cells share (a network, the
//! features of a pretrained network), then the cells, and a job that writes the table when all of them
//! have ended. The plan is written before anything is submitted and never changed; every task reads it
//! and runs the cell of its number. Results are files, and files tell what is done.

mod arrays;
mod client;
mod collect;
mod error;
mod notes;
mod order;
mod plan_file;
mod scripts;
mod signals;
mod status;
mod submission;
mod submit;
mod survey;
mod task;

pub use collect::{Collected, collect};
pub use error::SlurmError;
pub use order::{Order, Submitted};
pub use scripts::Wishes;
pub use status::Counts;
pub use task::run_task;
