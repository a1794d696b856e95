//! Which image goes where: the leave-one-class-out protocol.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{DataError, GivenSplit, shuffled, take};

/// Validation images that there must be.
const LEAST_VALIDATION: usize = 2;

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
    /// The class that plays the anomaly: the one left out, or its stand-in.
    pub anomalous_class: u8,
    /// The class left out, where another stands in for it: it is in no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded_class: Option<u8>,
    /// With an excluded class, the normal images that the final run of that class tests on: they are
    /// in no part either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<usize>,
    /// Normal images that the networks see.
    pub train: Vec<usize>,
    /// Normal images for model selection and calibration.
    pub validation: Vec<usize>,
    /// Normal images of the test set.
    pub test_normal: Vec<usize>,
    /// All images of the class that plays the anomaly.
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
        let all = (0..labels.len()).collect();
        Self::deal(labels, all, anomalous_class, shares, seed)
    }

    /// Splits the training and validation images of the final run that leaves `excluded_class` out
    /// with this seed, as [`leave_one_class_out`](Self::leave_one_class_out) does: another class,
    /// `stand_in`, plays the anomaly. What is chosen on such splits has seen nothing of the excluded
    /// class, neither as normal nor as anomalous, and no image that the final run tests on.
    ///
    /// # Errors
    /// [`DataError::Split`] when a part would be empty or the two classes are one.
    pub fn with_stand_in(
        labels: &[u8],
        excluded_class: u8,
        stand_in: u8,
        shares: SplitShares,
        seed: u64,
    ) -> Result<Self, DataError> {
        let last = Self::leave_one_class_out(labels, excluded_class, shares, seed)?;
        let mut pool = [last.train, last.validation].concat();
        // In the order of the pool of all images, so that the shuffle is the seed's alone.
        pool.sort_unstable();
        let split = Self::deal(labels, pool, stand_in, shares, seed)?;
        let split = Self {
            excluded_class: Some(excluded_class),
            held_back: last.test_normal,
            ..split
        };
        split.check(labels)?;
        Ok(split)
    }

    /// Takes the split that a data set comes with: its first images are for training, of which a
    /// share is held out, in whole groups where there are any, and the others are tested on.
    ///
    /// # Errors
    /// [`DataError::Split`] when a part would be empty or an anomalous image is among the first.
    pub fn given(
        labels: &[u8],
        anomalous_class: u8,
        given: &GivenSplit,
        validation: f64,
        seed: u64,
    ) -> Result<Self, DataError> {
        let (mut first, rest): (Vec<usize>, Vec<usize>) =
            (0..labels.len()).partition(|&index| index < given.train);
        let held_out = share(first.len(), validation);
        let held_out = held_out.max(LEAST_VALIDATION).min(first.len());
        let rng = &mut StdRng::seed_from_u64(seed);
        let train = match &given.groups {
            Some(groups) => {
                let mut members = shuffled(groups, rng);
                first = take(&mut members, held_out, 1);
                members.concat()
            }
            None => {
                first.shuffle(rng);
                first.split_off(held_out)
            }
        };
        let (test_anomalous, test_normal) = rest
            .into_iter()
            .partition(|&index| labels[index] == anomalous_class);
        let split = Self {
            seed,
            anomalous_class,
            excluded_class: None,
            held_back: Vec::new(),
            train,
            validation: first,
            test_normal,
            test_anomalous,
        };
        split.check(labels)?;
        Ok(split)
    }

    /// Deals out the images of `pool`; whoever calls it checks the whole.
    fn deal(
        labels: &[u8],
        pool: Vec<usize>,
        anomalous_class: u8,
        shares: SplitShares,
        seed: u64,
    ) -> Result<Self, DataError> {
        let whole = pool.len() == labels.len();
        let (test_anomalous, mut normal): (Vec<usize>, Vec<usize>) = pool
            .into_iter()
            .partition(|&index| labels[index] == anomalous_class);
        normal.shuffle(&mut StdRng::seed_from_u64(seed));
        let test_normal = normal.split_off(share(normal.len(), shares.train));
        let held_out = share(normal.len(), shares.validation);
        let train = normal.split_off(held_out);
        let split = Self {
            seed,
            anomalous_class,
            excluded_class: None,
            held_back: Vec::new(),
            train,
            validation: normal,
            test_normal,
            test_anomalous,
        };
        if whole {
            split.check(labels)?;
        }
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

    /// Makes sure that every image is in exactly one part, or in none if its class is excluded or it is
    /// held back, no
    /// part is empty, and the anomalous class is in its own part alone.
    ///
    /// # Errors
    /// [`DataError::Split`] saying which image or part is wrong.
    pub fn check(&self, labels: &[u8]) -> Result<(), DataError> {
        let excluded = |index: usize| Some(labels[index]) == self.excluded_class;
        if self.excluded_class == Some(self.anomalous_class) {
            return Err(DataError::Split(format!(
                "class {} cannot be the anomaly and in no part of the split",
                self.anomalous_class
            )));
        }
        let mut seen: Vec<Option<&str>> = vec![None; labels.len()];
        let held_back = ("held-back", &self.held_back[..]);
        for (part, indices) in self.parts().into_iter().chain([held_back]) {
            if indices.is_empty() && part != held_back.0 {
                return Err(DataError::Split(format!(
                    "the {part} part of the split is empty: {} images are too few for these shares",
                    labels.len()
                )));
            }
            if part == "validation" && indices.len() < LEAST_VALIDATION {
                return Err(DataError::Split(format!(
                    "the validation part of the split has {} image: one half of it scales the scores and the other gives \
                     p-values, so it takes {LEAST_VALIDATION}. Take more images or a larger data.validation; of a run that an earlier \
                     version began, --fresh deals them anew",
                    indices.len()
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
                if excluded(index) {
                    return Err(DataError::Split(format!(
                        "image {index} of class {} is in the {part} part, and that class is left out of all of them",
                        labels[index]
                    )));
                }
                // What the final run tests on may be of any class but the one left out.
                if part == held_back.0 {
                    continue;
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
        let missing = (0..labels.len()).find(|&index| seen[index].is_none() && !excluded(index));
        match missing {
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
    fn a_stand_in_plays_the_anomaly_and_the_class_left_out_is_nowhere() {
        let labels = labels(&[100; 10]);
        let split = Split::with_stand_in(&labels, 3, 5, GANOMALY, 0).unwrap();
        let sizes = split.parts().map(|(_, indices)| indices.len());
        let anomalous = sizes[3];
        assert!((60..100).contains(&anomalous), "{anomalous}");
        assert_eq!(sizes.iter().sum::<usize>(), 720);
        for (part, indices) in split.parts() {
            for &index in indices {
                assert_ne!(labels[index], 3, "{part}");
                assert_eq!(labels[index] == 5, part == "test-anomalous", "{part}");
            }
        }
    }

    #[test]
    fn a_stand_in_run_scores_nothing_that_the_final_run_tests_on() {
        let labels = labels(&[100; 10]);
        for (class, stand_in, seed) in [(3, 5, 0), (9, 0, 1), (0, 9, 2)] {
            let last = Split::leave_one_class_out(&labels, class, GANOMALY, seed).unwrap();
            let known = [last.train, last.validation].concat();
            let split = Split::with_stand_in(&labels, class, stand_in, GANOMALY, seed).unwrap();
            for (part, indices) in split.parts() {
                let stray = indices.iter().find(|index| !known.contains(index));
                assert_eq!(stray, None, "{part} of class {class}");
            }
            assert_eq!(split.held_back, last.test_normal);
        }
    }

    #[test]
    fn a_given_split_keeps_training_and_test_images_apart() {
        // 20 to train on, then 5 normal and 3 anomalous ones to test on.
        let labels = [vec![1; 25], vec![0; 3]].concat();
        let first = |train: usize| GivenSplit {
            train,
            groups: None,
        };
        let split = Split::given(&labels, 0, &first(20), 0.1, 4).unwrap();
        assert_eq!(split.test_normal, [20, 21, 22, 23, 24]);
        assert_eq!(split.test_anomalous, [25, 26, 27]);
        assert_eq!((split.train.len(), split.validation.len()), (18, 2));
        // A tenth of a few images is one, and one gives no p-values.
        let few = Split::given(&labels, 0, &first(9), 0.1, 4).unwrap();
        assert_eq!((few.train.len(), few.validation.len()), (7, 2));
        assert_ne!(split, Split::given(&labels, 0, &first(20), 0.1, 5).unwrap());
        // An anomalous image among those to train on, and nothing to test on.
        for (labels, train) in [(vec![1, 1, 0, 1, 0], 3), (vec![1; 5], 3)] {
            assert!(Split::given(&labels, 0, &first(train), 0.1, 4).is_err());
        }
    }

    #[test]
    fn groups_of_a_given_split_stay_together() {
        let labels = [vec![1; 25], vec![0; 3]].concat();
        let groups: Vec<usize> = (0..20).map(|image| image % 5).collect();
        let given = GivenSplit {
            train: 20,
            groups: Some(groups.clone()),
        };
        for seed in 0..10 {
            let split = Split::given(&labels, 0, &given, 0.2, seed).unwrap();
            assert_eq!((split.train.len(), split.validation.len()), (16, 4));
            let held_out = groups[split.validation[0]];
            assert!(
                split
                    .validation
                    .iter()
                    .all(|&image| groups[image] == held_out)
            );
            assert!(split.train.iter().all(|&image| groups[image] != held_out));
        }
        // One group leaves nothing to hold out.
        let one = GivenSplit {
            train: 20,
            groups: Some(vec![0; 20]),
        };
        assert!(Split::given(&labels, 0, &one, 0.2, 0).is_err());
    }

    #[test]
    fn images_of_the_class_left_out_are_refused_in_every_part() {
        let labels = labels(&[100; 10]);
        let split = Split::with_stand_in(&labels, 3, 5, GANOMALY, 0).unwrap();
        let excluded = labels.iter().position(|&label| label == 3).unwrap();
        type Part = fn(&mut Split) -> &mut Vec<usize>;
        let parts: [(&str, Part); 4] = [
            ("train", |split| &mut split.train),
            ("validation", |split| &mut split.validation),
            ("test-normal", |split| &mut split.test_normal),
            ("test-anomalous", |split| &mut split.test_anomalous),
        ];
        for (name, part) in parts {
            let mut changed = split.clone();
            part(&mut changed).push(excluded);
            let error = changed.check(&labels).unwrap_err().to_string();
            let expected = format!("image {excluded} of class 3 is in the {name} part");
            assert!(error.contains(&expected), "{error}");
        }
        // A gap is a gap all the same, and a split that forgets what is left out has many.
        let mut changed = split.clone();
        changed.train.pop();
        let error = changed.check(&labels).unwrap_err().to_string();
        assert!(error.contains("in no part"), "{error}");
        let forgetful = Split {
            excluded_class: None,
            ..split
        };
        assert!(forgetful.check(&labels).is_err());
        assert!(Split::with_stand_in(&labels, 3, 3, GANOMALY, 0).is_err());
    }

    #[test]
    fn a_split_without_stand_in_is_written_as_ever() {
        let labels = labels(&[100; 10]);
        let split = Split::leave_one_class_out(&labels, 3, GANOMALY, 0).unwrap();
        let json = serde_json::to_string(&split).unwrap();
        assert!(!json.contains("excluded"), "{json}");
        assert_eq!(serde_json::from_str::<Split>(&json).unwrap(), split);
        let split = Split::with_stand_in(&labels, 3, 5, GANOMALY, 0).unwrap();
        let json = serde_json::to_string(&split).unwrap();
        assert_eq!(serde_json::from_str::<Split>(&json).unwrap(), split);
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
