//! What `data fetch` brings: data sets, and the weights of the pretrained network.

use std::fmt;
use std::str::FromStr;

use super::{DatasetName, RemoteFile, files};
use crate::data::DataError;
use crate::suggest::did_you_mean;

/// Something that can be fetched by name: a data set or pretrained weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asset {
    /// A data set.
    Dataset(DatasetName),
    /// The ImageNet weights of SqueezeNet 1.1, `squeezenet` by name.
    SqueezeNet,
}

impl Asset {
    /// Everything that can be fetched, in the order in which it is listed.
    pub fn all() -> Vec<Self> {
        let sets = DatasetName::ALL.into_iter().map(Self::Dataset);
        sets.chain([Self::SqueezeNet]).collect()
    }

    /// The name as it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dataset(name) => name.as_str(),
            Self::SqueezeNet => "squeezenet",
        }
    }

    /// One line on what it is and its licence.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Dataset(name) => name.describe(),
            Self::SqueezeNet => {
                "SqueezeNet 1.1 of torchvision, trained on ImageNet-1k (non-commercial research)"
            }
        }
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Asset {
    type Err = DataError;

    /// # Errors
    /// [`DataError::Missing`] for an unknown name, with the nearest known one.
    fn from_str(text: &str) -> Result<Self, DataError> {
        let wanted = text.to_lowercase();
        let all = Self::all();
        if let Some(asset) = all.iter().find(|asset| asset.as_str() == wanted) {
            return Ok(*asset);
        }
        let known: Vec<_> = all.into_iter().map(Self::as_str).collect();
        let hint = did_you_mean(&wanted, known.iter().copied());
        Err(DataError::Missing(format!(
            "neither a data set nor pretrained weights: `{text}`{hint} Known: {}",
            known.join(", ")
        )))
    }
}

/// The official file of SqueezeNet 1.1's weights (torchvision's `IMAGENET1K_V1`), a PyTorch
/// checkpoint with the tensors of the whole network.
pub fn squeezenet_checkpoint() -> RemoteFile {
    files::squeezenet()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Checksum;

    #[test]
    fn every_name_is_read_and_a_wrong_one_suggests_the_nearest() {
        for asset in Asset::all() {
            assert_eq!(asset.to_string().parse::<Asset>().unwrap(), asset);
        }
        assert_eq!("MNIST".parse::<Asset>().unwrap().as_str(), "mnist");
        let error = "squeezenet1_1".parse::<Asset>().unwrap_err().to_string();
        assert!(error.contains("did you mean `squeezenet`?"), "{error}");
        assert!(error.ends_with("cifar10, svhn, squeezenet"), "{error}");
        // The user's own images cannot be fetched.
        assert!("folder".parse::<Asset>().is_err());
    }

    #[test]
    fn the_checkpoint_bears_the_beginning_of_its_sum_in_its_name() {
        let file = squeezenet_checkpoint();
        let [Checksum::Sha256(sum)] = file.checksums.as_slice() else {
            panic!("{:?}", file.checksums);
        };
        assert_eq!(sum.len(), 64);
        assert_eq!(file.name, format!("squeezenet1_1-{}.pth", &sum[..8]));
        assert!(file.urls[0].ends_with(&format!("/{}", file.name)));
    }
}
