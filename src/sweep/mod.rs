//! Many runs of one study: a plan of cells, what carries them out (threads here, jobs of a cluster), the
//! table of their results, and the choice between settings.

mod cell;
mod executor;
mod plan;
mod request;
mod select;
pub mod slurm;
mod table;
mod workspace;

pub use cell::Cell;
pub use executor::{Done, Executor, Threads};
pub use plan::{SweepPlan, sweep};
pub use request::Request;
pub use select::{SelectPlan, select};
pub use table::{SweepResult, SweepTable};
pub use workspace::{SelectWorkspace, SweepWorkspace, selection_table, sweep_report};
