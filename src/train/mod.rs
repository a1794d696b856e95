//! What all stages share on top of Burn's learner: one stage run, its checkpoints, history,
//! dashboard and interruption.

mod adam;
mod checkpoint;
mod error;
mod gradients;
mod history;
mod interrupt;
mod metric;
mod optimisation;
mod renderer;
mod stage;

pub use error::TrainError;
pub use gradients::{clip_global_norm, gradients_of_parts, merge_gradients};
pub use history::{Epoch, History};
pub use interrupt::install_signal_handlers;
pub(crate) use interrupt::{INTERRUPTED_STATUS, stop_stages};
pub use metric::{Monitor, StepOutput};
pub use optimisation::{Optimisation, Schedule};
pub use renderer::Display;
pub(crate) use stage::panic_message;
pub use stage::{Kind, Loader, Stage, StageSummary, Trainable};
