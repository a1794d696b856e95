//! Many runs of one study: a plan of cells, the threads that carry them out or the jobs of a cluster (`slurm`), the table of
//! their results, and the choice between settings.

mod cell;
mod comparison;
mod fresh;
mod page;
mod plan;
mod request;
mod result;
mod select;
pub mod slurm;
mod table;
mod threads;
mod workspace;

pub use cell::Cell;
pub use comparison::Comparison;
pub use plan::{SweepPlan, sweep};
pub use request::Request;
pub use result::SweepResult;
pub use select::{SelectPlan, select};
pub use table::SweepTable;
pub use threads::Threads;
pub use workspace::{SelectWorkspace, SweepWorkspace, selection_table, sweep_report};
