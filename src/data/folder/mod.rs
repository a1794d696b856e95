//! Folders of image files: which files there are, what they are for, and their pixels.

mod digest;
mod duplicates;
mod groups;
mod labelled;
mod layout;
mod list;
mod load;
mod proportions;
mod unscored;

pub use digest::{digest, digest_of};
pub use duplicates::NearDuplicates;
pub use groups::GroupBy;
pub(crate) use groups::below;
pub use labelled::{check_labelled, labelled};
pub use layout::{Layout, MvtecTest, layout};
pub use list::{Ignored, Listing, list};
pub use load::{Loaded, Skipped, load, load_mask, load_watched};
pub use proportions::Sizing;
pub use unscored::{Unscored, unscored};
