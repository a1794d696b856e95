//! Which image goes where: the leave-one-class-out protocol.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::DataError;

/// Shares of the normal images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitShares {
    /// Share of all normal images that is for training; the rest is tested on. GANomaly: 0.8.
    pub train: f64,
    /// Share of the training normals that is held out for model selection and calibration.
    pub validation: f64,
}

/// Indices into the pool of all images (official training file first, then the test file).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Seed of the shuffle.
    pub seed: u64,
    /// The class left out.
    pub anomalous_class: u8,
    /// Normal images that the networks see.
    pub train: Vec<usize>,
    /// Normal images for model selection and calibration.
    pub validation: Vec<usize>,
    /// Normal images of the test set.
    pub test_normal: Vec<usize>,
    /// All images of the anomalous class.
    pub test_anomalous: Vec<usize>,
}

impl Split {
    /// Splits as GANomaly's code does when it is given a seed (`lib/data.py`): official training
    /// and test images are pooled, the normal ones shuffled and cut `shares.train` to the rest, and
    /// every image of the anomalous class is tested on. From the training part a share is held out,
    /// which GANomaly does not do.
    ///
    /// # Errors
    /// [`DataError::Split`] when a part would be empty.
    pub fn leave_one_class_out(
        labels: &[u8],
        anomalous_class: u8,
        shares: SplitShares,
        seed: u64,
    ) -> Result<Self, DataError> {
        let (test_anomalous, mut normal): (Vec<usize>, Vec<usize>) =
            (0..labels.len()).partition(|&index| labels[index] == anomalous_class);
        normal.shuffle(&mut StdRng::seed_from_u64(seed));
        let test_normal = normal.split_off(share(normal.len(), shares.train));
        let held_out = share(normal.len(), shares.validation);
        let train = normal.split_off(held_out);
        let split = Self {
            seed,
            anomalous_class,
            train,
            validation: normal,
            test_normal,
            test_anomalous,
        };
        split.check(labels)?;
        Ok(split)
    }

    /// The parts with their names.
    pub fn parts(&self) -> [(&'static str, &[usize]); 4] {
        [
            ("train", &self.train),
            ("validation", &self.validation),
            ("test-normal", &self.test_normal),
            ("test-anomalous", &self.test_anomalous),
        ]
    }

    /// Makes sure that every image is in exactly one part, no part is empty, and the anomalous class
    /// is in its own part alone.
    ///
    /// # Errors
    /// [`DataError::Split`] saying which image or part is wrong.
    pub fn check(&self, labels: &[u8]) -> Result<(), DataError> {
        let mut seen: Vec<Option<&str>> = vec![None; labels.len()];
        for (part, indices) in self.parts() {
            if indices.is_empty() {
                return Err(DataError::Split(format!(
                    "the {part} part of the split is empty: {} images are too few for these shares",
                    labels.len()
                )));
            }
            for &index in indices {
                let Some(place) = seen.get_mut(index) else {
                    return Err(DataError::Split(format!(
                        "the {part} part names image {index}, but there are {} images: the data has changed since the split was made",
                        labels.len()
                    )));
                };
                if let Some(other) = place.replace(part) {
                    return Err(DataError::Split(format!(
                        "image {index} is both in the {other} and in the {part} part of the split"
                    )));
                }
                let anomalous = labels[index] == self.anomalous_class;
                if anomalous != (part == "test-anomalous") {
                    return Err(DataError::Split(format!(
                        "image {index} of class {} is in the {part} part, and class {} is the anomalous one",
                        labels[index], self.anomalous_class
                    )));
                }
            }
        }
        match seen.iter().position(Option::is_none) {
            Some(index) => Err(DataError::Split(format!(
                "image {index} is in no part of the split"
            ))),
            None => Ok(()),
        }
    }
}

/// `count * share`, rounded down as Python's `int` does in GANomaly's code.
fn share(count: usize, share: f64) -> usize {
    (count as f64 * share) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const GANOMALY: SplitShares = SplitShares {
        train: 0.8,
        validation: 0.1,
    };

    /// Labels with the class counts of a data set, interleaved.
    fn labels(counts: &[usize]) -> Vec<u8> {
        let mut labels: Vec<u8> = (0u8..)
            .zip(counts)
            .flat_map(|(class, &count)| vec![class; count])
            .collect();
        labels.shuffle(&mut StdRng::seed_from_u64(9));
        labels
    }

    /// Class counts of MNIST's 70,000 images.
    const MNIST: [usize; 10] = [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958];

    #[test]
    fn sizes_are_those_of_ganomaly() {
        for (counts, class, train, test) in [
            (MNIST.to_vec(), 1, 49_698, 20_302),
            (vec![6_000; 10], 0, 43_200, 16_800),
        ] {
            let labels = labels(&counts);
            let split = Split::leave_one_class_out(&labels, class, GANOMALY, 0).unwrap();
            assert_eq!(split.train.len() + split.validation.len(), train);
            assert_eq!(split.validation.len(), train / 10);
            assert_eq!(split.test_normal.len() + split.test_anomalous.len(), test);
        }
    }

    #[test]
    fn a_seed_decides_the_split() {
        let labels = labels(&[100; 10]);
        let split = |seed| Split::leave_one_class_out(&labels, 3, GANOMALY, seed).unwrap();
        assert_eq!(split(0), split(0));
        assert_ne!(split(0).train, split(1).train);
    }

    #[test]
    fn overlap_leaks_and_gaps_are_refused() {
        let labels = labels(&[100; 10]);
        let split = Split::leave_one_class_out(&labels, 3, GANOMALY, 0).unwrap();
        let refused = |change: fn(&mut Split)| {
            let mut changed = split.clone();
            change(&mut changed);
            changed.check(&labels).unwrap_err().to_string()
        };
        assert!(refused(|s| s.train.push(s.test_normal[0])).contains("both"));
        assert!(refused(|s| s.train.push(s.test_anomalous.pop().unwrap())).contains("class 3"));
        assert!(refused(|s| s.train.truncate(1)).contains("in no part"));
        assert!(refused(|s| s.train.push(5_000)).contains("has changed"));
        assert!(refused(|s| s.validation.clear()).contains("empty"));
        assert!(Split::leave_one_class_out(&labels[..5], 3, GANOMALY, 0).is_err());
    }
}
