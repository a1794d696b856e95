//! Many runs of one study: a plan of cells, what carries them out (threads here, jobs of a cluster), the
//! table of their results, and the choice between settings.

mod cell;
mod comparison;
mod executor;
mod fresh;
mod page;
mod plan;
mod request;
mod result;
mod select;
pub mod slurm;
mod table;
mod workspace;

pub use cell::Cell;
pub use comparison::Comparison;
pub use executor::{Done, Executor, Threads};
pub use plan::{SweepPlan, sweep};
pub use request::Request;
pub use result::SweepResult;
pub use select::{SelectPlan, select};
pub use table::SweepTable;
pub use workspace::{SelectWorkspace, SweepWorkspace, selection_table, sweep_report};
