//! Images in: file formats, acquisition, conversion, splits and batches.

mod catalog;
mod cifar10;
mod convert;
mod digits;
mod error;
mod fetch;
pub mod folder;
mod idx;
mod images;
mod loader;
mod noisy;
mod order;
mod picture;
mod split;
mod store;
mod svhn;
mod vectors;
mod whole_groups;

pub use catalog::{Asset, Checksum, DatasetName, RemoteFile, squeezenet_checkpoint};
pub(crate) use convert::luma;
pub use convert::{Conversion, Framing};
pub use digits::digits;
pub use error::DataError;
pub use fetch::{FetchOptions, fetch};
pub use images::{GivenSplit, Images, Labelled};
pub use loader::{SampleLoader, Samples};
pub use noisy::Noisy;
pub use order::EpochOrder;
pub use picture::Picture;
pub use split::{Split, SplitShares};
pub use store::{DataStore, FileCheck, FileState};
pub use vectors::Vectors;
pub(crate) use whole_groups::{shuffled, take};
