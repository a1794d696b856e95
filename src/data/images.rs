//! Images as bytes: what every reader produces and every later step consumes.

use super::DataError;

/// A set of images of one size, kept as bytes until they are batched.
///
/// # Shape
/// `[len, channels, height, width]`, row-major, 0..=255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    shape: [usize; 3],
    pixels: Vec<u8>,
}

impl Images {
    /// Wraps `pixels` as images of `shape` = `[channels, height, width]`.
    ///
    /// # Errors
    /// [`DataError::Shape`] when a side is zero or the bytes are not a whole number of images.
    pub fn new(shape: [usize; 3], pixels: Vec<u8>) -> Result<Self, DataError> {
        let size: usize = shape.iter().product();
        if size == 0 || !pixels.len().is_multiple_of(size) {
            return Err(DataError::Shape {
                shape,
                bytes: pixels.len(),
            });
        }
        Ok(Self { shape, pixels })
    }

    /// `[channels, height, width]` of one image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.image_len()
    }

    /// True when there is no image.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The bytes of image `index`, `[channels, height, width]`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len), like a slice.
    pub fn get(&self, index: usize) -> &[u8] {
        let size = self.image_len();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// All bytes, `[len, channels, height, width]`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.pixels
    }

    /// The images at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is not below [`len`](Self::len), like a slice.
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_len());
        for &index in indices {
            pixels.extend_from_slice(self.get(index));
        }
        Self {
            shape: self.shape,
            pixels,
        }
    }

    /// These images followed by `other`.
    ///
    /// # Errors
    /// [`DataError::Mixed`] when the two differ in shape.
    pub fn concat(mut self, other: &Self) -> Result<Self, DataError> {
        if self.shape != other.shape {
            return Err(DataError::Mixed {
                left: self.shape,
                right: other.shape,
            });
        }
        self.pixels.extend_from_slice(&other.pixels);
        Ok(self)
    }

    fn image_len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Images with one class label each, in the order of the official files (training file first).
#[derive(Clone, Debug)]
pub struct Labelled {
    /// The images.
    pub images: Images,
    /// Class of each image, an index into `class_names`.
    pub labels: Vec<u8>,
    /// Official class names, in label order.
    pub class_names: Vec<String>,
    /// Where the images came from, for the record: file names with their image counts.
    pub source: String,
    /// Which images are the training set, where the data set says so itself.
    pub given: Option<GivenSplit>,
}

/// The split that a data set comes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenSplit {
    /// How many images, the first ones, are for training.
    pub train: usize,
    /// The group of each of these, numbered from 0, where some show one object: what is held out of
    /// them shows none that is trained on.
    pub groups: Option<Vec<usize>>,
}
