//! Folders of image files: which files there are, what they are for, and their pixels.

mod labelled;
mod layout;
mod list;
mod load;
mod proportions;

pub use labelled::labelled;
pub use layout::{Layout, MvtecTest, layout};
pub use list::{Ignored, Listing, list};
pub use load::{Loaded, Skipped, load, load_mask};
pub use proportions::in_proportion;
