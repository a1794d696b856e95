//! The images of a run, part by part.

use std::sync::Arc;

use crate::data::{Images, Vectors};

/// The parts in the order of the score table: train, validation, then those that are only scored.
#[derive(Debug)]
pub struct Parts(Vec<Part>);

/// One part of the images.
#[derive(Debug)]
pub struct Part {
    /// `train`, `validation`, `test-normal`, `test-anomalous`, or the name of another data set.
    pub name: String,
    /// The images, converted.
    pub images: Arc<Images>,
    /// Their indices in their data set's pool.
    pub indices: Vec<usize>,
    /// Classes of the whole pool.
    pub labels: Arc<Vec<u8>>,
    /// Features of the images, where the method looks through a pretrained network.
    pub features: Option<Vectors>,
}

impl Parts {
    /// `train` and `validation` first.
    ///
    /// # Panics
    /// When one of the two is missing.
    pub fn new(parts: Vec<Part>) -> Self {
        for (index, name) in ["train", "validation"].into_iter().enumerate() {
            assert!(parts.get(index).is_some_and(|part| part.name == name));
        }
        Self(parts)
    }

    /// Normal images that the networks see.
    pub fn train(&self) -> &Part {
        &self.0[0]
    }

    /// Normal images for model selection and calibration.
    pub fn validation(&self) -> &Part {
        &self.0[1]
    }

    /// The part called `name`.
    pub fn get(&self, name: &str) -> Option<&Part> {
        self.iter().find(|part| part.name == name)
    }

    /// All parts.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.0.iter()
    }

    /// Number of images in all parts.
    pub fn images(&self) -> usize {
        self.iter().map(|part| part.images.len()).sum()
    }
}
