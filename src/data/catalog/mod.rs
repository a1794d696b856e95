//! Which data sets and pretrained weights there are, what the classes are called and where the
//! files come from.

mod asset;
mod files;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::DataError;
use super::cifar10;
use crate::suggest::did_you_mean;
pub use asset::{Asset, squeezenet_checkpoint};
pub use files::{Checksum, RemoteFile};

/// Class names of the three sets of digits.
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Classes of a folder in MVTec AD's layout: whatever its defects are called, they are the anomaly.
const FOLDER: [&str; 2] = ["defect", "good"];

/// Class names of Fashion-MNIST, in label order (H. Xiao et al., arXiv:1708.07747, table 2).
const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// A data set that the program knows by name.
///
/// The names are those of the experiment files and of the command line: `digits`, `mnist`,
/// `fashion-mnist`, `cifar10`, `svhn`; and `folder` for the user's own images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// Digits drawn by the program itself: no files, no network.
    Digits,
    /// MNIST, training and test file.
    Mnist,
    /// Fashion-MNIST, training and test file.
    FashionMnist,
    /// CIFAR-10, binary version, five training batches and the test batch.
    Cifar10,
    /// SVHN cropped digits ("format 2"), test file.
    Svhn,
    /// The user's own images, in a folder of MVTec AD's layout. It has no official files.
    Folder,
}

impl DatasetName {
    /// Every data set that has a place of its own, in the order in which they are listed.
    pub const ALL: [Self; 5] = [
        Self::Digits,
        Self::Mnist,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Svhn,
    ];

    /// The name as it is written in files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Svhn => "svhn",
            Self::Folder => "folder",
        }
    }

    /// Official class names, in label order.
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            Self::Digits | Self::Mnist | Self::Svhn => &DIGITS,
            Self::FashionMnist => &FASHION,
            Self::Cifar10 => &cifar10::CLASS_NAMES,
            Self::Folder => &FOLDER,
        }
    }

    /// Indices of the classes that can be left out as the anomaly: all of them, but of a folder only
    /// its defects.
    pub fn anomalies(self) -> Range<usize> {
        match self {
            Self::Folder => 0..1,
            other => 0..other.class_names().len(),
        }
    }

    /// Folder of the set's files inside a data folder.
    ///
    /// For CIFAR-10 this is the folder that holds `cifar-10-binary.tar.gz` or the
    /// `cifar-10-batches-bin` unpacked from it. `digits` has no files and no use for it.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar-10",
            other => other.as_str(),
        }
    }

    /// One line on what the set is: images, shape (channels x height x width) and licence.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Digits => "30,000 images, 1x28x28, drawn by this program: no files, no licence",
            Self::Mnist => "70,000 images, 1x28x28, CC BY-SA 3.0",
            Self::FashionMnist => "70,000 images, 1x28x28, MIT licence (Zalando SE)",
            Self::Cifar10 => "60,000 images, 3x32x32, no formal licence: cite Krizhevsky 2009",
            Self::Svhn => "26,032 images (test), 3x32x32, non-commercial use only",
            Self::Folder => "your own images, in a folder of MVTec AD's layout",
        }
    }

    /// The official files as they are downloaded, training files first; none for `digits`.
    pub fn files(self) -> Vec<RemoteFile> {
        files::packed(self)
    }

    /// What the official files unpack to.
    ///
    /// For MNIST and Fashion-MNIST one for each of [`files`](Self::files), in the same order;
    /// for CIFAR-10 the six batches; otherwise none. They have no address of their own.
    pub fn unpacked(self) -> Vec<RemoteFile> {
        files::unpacked(self)
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for DatasetName {
    type Err = DataError;

    /// # Errors
    /// [`DataError::Missing`] for an unknown name, with the nearest known one.
    fn from_str(text: &str) -> Result<Self, DataError> {
        let wanted = text.to_lowercase();
        if let Some(name) = Self::ALL.into_iter().find(|name| name.as_str() == wanted) {
            return Ok(name);
        }
        let known = Self::ALL.map(Self::as_str).join(", ");
        let hint = did_you_mean(&wanted, Self::ALL.into_iter().map(Self::as_str));
        Err(DataError::Missing(format!(
            "unknown data set `{text}`{hint} Known: {known}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree_everywhere() {
        for name in DatasetName::ALL {
            assert_eq!(name.to_string().parse::<DatasetName>().unwrap(), name);
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<DatasetName>(&json).unwrap(), name);
            assert_eq!(name.class_names().len(), 10);
        }
    }

    #[test]
    fn a_wrong_name_suggests_the_nearest() {
        for (wrong, right) in [
            ("minst", "mnist"),
            ("fashion", "fashion-mnist"),
            ("cifar-10", "cifar10"),
            ("shvn", "svhn"),
        ] {
            let error = wrong.parse::<DatasetName>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("did you mean `{right}`?")),
                "{error}"
            );
        }
        let error = "xyz".parse::<DatasetName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown data set `xyz`. Known: digits, mnist, fashion-mnist, cifar10, svhn"
        );
    }
}
