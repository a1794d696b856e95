//! Images as bytes: what every reader produces and every later step consumes.

use std::sync::Arc;

use super::DataError;

/// A set of images of one size, kept as bytes until they are batched. Selections of a set share its bytes: a split of a large
/// one takes no more memory than the set.
///
/// # Shape
/// `[len, channels, height, width]`, row-major, 0..=255.
#[derive(Clone, Debug)]
pub struct Images {
    shape: [usize; 3],
    pixels: Arc<Vec<u8>>,
    /// Numbers of the images in `pixels`; `None` for all of them in their order.
    chosen: Option<Arc<Vec<usize>>>,
}

impl PartialEq for Images {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.iter().eq(other.iter())
    }
}

impl Eq for Images {}

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
        Ok(Self {
            shape,
            pixels: Arc::new(pixels),
            chosen: None,
        })
    }

    /// `[channels, height, width]` of one image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match &self.chosen {
            Some(chosen) => chosen.len(),
            None => self.pixels.len() / self.image_len(),
        }
    }

    /// True when there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of image `index`, `[channels, height, width]`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len), like a slice.
    pub fn get(&self, index: usize) -> &[u8] {
        let size = self.image_len();
        let index = self.place(index);
        &self.pixels[index * size..(index + 1) * size]
    }

    /// The bytes of every image, `[channels, height, width]`.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// A copy of all bytes, `[len, channels, height, width]`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() * self.image_len());
        self.iter().for_each(|image| bytes.extend_from_slice(image));
        bytes
    }

    /// The images at `indices`, in that order, which share the bytes of these.
    ///
    /// # Panics
    /// When an index is not below [`len`](Self::len), like a slice.
    pub fn select(&self, indices: &[usize]) -> Self {
        let len = self.len();
        assert!(
            indices.iter().all(|&index| index < len),
            "an image beyond the {len} there are"
        );
        let chosen = indices.iter().map(|&index| self.place(index)).collect();
        Self {
            shape: self.shape,
            pixels: self.pixels.clone(),
            chosen: Some(Arc::new(chosen)),
        }
    }

    /// These images followed by `other`.
    ///
    /// # Errors
    /// [`DataError::Mixed`] when the two differ in shape.
    pub fn concat(self, other: &Self) -> Result<Self, DataError> {
        if self.shape != other.shape {
            return Err(DataError::Mixed {
                left: self.shape,
                right: other.shape,
            });
        }
        let mut pixels = match &self.chosen {
            // In place where nobody else holds the bytes.
            None => Arc::unwrap_or_clone(self.pixels),
            Some(_) => self.to_bytes(),
        };
        pixels.reserve_exact(other.len() * other.image_len());
        other
            .iter()
            .for_each(|image| pixels.extend_from_slice(image));
        Self::new(self.shape, pixels)
    }

    /// Which of the images in `pixels` the one at `index` is.
    fn place(&self, index: usize) -> usize {
        match &self.chosen {
            Some(chosen) => chosen[index],
            None => index,
        }
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
    /// The file of each image within the folder, where each has one of its own.
    pub files: Option<Vec<String>>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_share_the_bytes_and_equal_copies() {
        let all = Images::new([1, 1, 2], (0..10).collect()).unwrap();
        let some = all.select(&[4, 0, 3]);
        assert!(Arc::ptr_eq(&some.pixels, &all.pixels));
        assert_eq!(some.to_bytes(), [8, 9, 0, 1, 6, 7]);
        // Of a selection, of twice the same, and of none.
        let again = some.select(&[2, 2]);
        assert_eq!(again, Images::new([1, 1, 2], vec![6, 7, 6, 7]).unwrap());
        assert!(some.select(&[]).is_empty());
        for (left, right) in [(&all, &some), (&some, &all)] {
            let both = left.clone().concat(right).unwrap();
            assert_eq!(both.len(), 8);
            let expected = [left.to_bytes(), right.to_bytes()].concat();
            assert_eq!(both.to_bytes(), expected);
        }
        assert_ne!(all.select(&[0, 1]), all.select(&[1, 0]));
    }

    #[test]
    #[should_panic(expected = "an image beyond the 3 there are")]
    fn a_selection_has_no_more_than_its_own() {
        let all = Images::new([1, 1, 1], (0..5).collect()).unwrap();
        let _ = all.select(&[0, 1, 2]).select(&[3]);
    }
}
