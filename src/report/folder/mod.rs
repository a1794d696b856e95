//! The page of a user's own images.

mod content;
mod page;

pub use content::{FolderReport, OddImage};
pub use page::render_folder;
