//! What both stages share on top of Burn's learner: one stage run, its checkpoints, history,
//! dashboard and interruption.

mod checkpoint;
mod clip;
mod error;
mod history;
mod interrupt;
mod metric;
mod renderer;
mod stage;

pub use error::TrainError;
pub use history::{Epoch, History};
pub(crate) use interrupt::INTERRUPTED_STATUS;
pub use interrupt::{install_signal_handlers, was_interrupted};
pub use metric::{Monitor, StepOutput};
pub use renderer::Display;
pub use stage::{Loader, Optimisation, Schedule, Stage, StageSummary, Trainable};
