//! The user's own folder of images: fitting a detector to it, and comparing verdicts with labels.

mod fit;
mod test;

pub use fit::{FittedFolder, FolderFit, fit_folder};
pub use test::{FolderMetrics, FolderTest, PixelMetrics};
