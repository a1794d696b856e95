//! Which images of the user's folder are for what: training, choosing the epoch, p-values.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::data::{Images, SplitShares, shuffled, take};
use crate::method::{Part, Parts, derive};

/// Fewest normal images that a detector is fitted to.
const FEWEST: usize = 20;
/// The part that is held out for the p-values.
const CALIBRATION: &str = "calibration";

/// The images of a folder by what they are for.
pub(super) struct Split {
    /// Those that a method is fitted to: to learn from, and to choose the epoch.
    pub fitted: Parts,
    /// Those that the p-values are taken from.
    pub held_out: Part,
}

impl Split {
    /// Those to learn from, those for validation, those for the p-values.
    pub fn parts(&self) -> [&Part; 3] {
        let [train, validation] = [self.fitted.train(), self.fitted.validation()];
        [train, validation, &self.held_out]
    }
}

/// Shuffles the images and deals them out; those of one of the `groups`, where there are any, stay
/// together.
///
/// # Errors
/// In words, when there are too few images, or groups, for these shares.
pub(super) fn split(
    images: &Images,
    groups: Option<&[usize]>,
    shares: SplitShares,
    seed: u64,
) -> Result<Split, String> {
    let count = images.len();
    if count < FEWEST {
        return Err(format!(
            "{count} readable images are too few: at least {FEWEST} normal images are needed, and a hundred or more make a good detector"
        ));
    }
    let sizes = deal(count, shares)?;
    let rng = &mut StdRng::seed_from_u64(derive(seed, "folder split"));
    let [train, validation, calibration] = match groups {
        Some(groups) => whole(groups, sizes, rng)?,
        None => {
            let mut order: Vec<usize> = (0..count).collect();
            order.shuffle(rng);
            let train = order.split_off(sizes[1] + sizes[2]);
            let validation = order.split_off(sizes[2]);
            [train, validation, order]
        }
    };
    let labels = Arc::new(vec![0; count]);
    let part = |name: &str, indices: Vec<usize>| Part {
        name: name.to_owned(),
        images: Arc::new(images.select(&indices)),
        indices,
        labels: labels.clone(),
        features: None,
    };
    Ok(Split {
        fitted: Parts::new(vec![part("train", train), part("validation", validation)]),
        held_out: part(CALIBRATION, calibration),
    })
}

/// Deals out whole groups: about as many images as `sizes` says.
fn whole(groups: &[usize], sizes: [usize; 3], rng: &mut StdRng) -> Result<[Vec<usize>; 3], String> {
    let mut members = shuffled(groups, rng);
    let count = members.len();
    let calibration = take(&mut members, sizes[2], 2);
    let validation = take(&mut members, sizes[1], 1);
    let train = members.concat();
    let enough = train.len() >= FEWEST / 2 && !validation.is_empty() && !calibration.is_empty();
    match enough && 2 * train.len() >= sizes[0] {
        true => Ok([train, validation, calibration]),
        false => Err(format!(
            "{} images in {count} groups: with {} held out for the p-values and {} for validation, each in whole groups, {} are left to train on, which are too few. More and smaller groups are needed, or --group-by '(.*)', which takes every image for an object of its own",
            groups.len(),
            calibration.len(),
            validation.len(),
            train.len()
        )),
    }
}

/// How many of `count` images go to training, to validation and to the p-values.
pub(super) fn deal(count: usize, shares: SplitShares) -> Result<[usize; 3], String> {
    let share = |share: f64| ((count as f64 * share).round() as usize).max(1);
    let calibration = share(1.0 - shares.train);
    let validation = share(shares.validation);
    match count.checked_sub(calibration + validation) {
        Some(train) if train >= FEWEST / 2 => Ok([train, validation, calibration]),
        _ => Err(format!(
            "of {count} images {calibration} would go to the p-values and {validation} to validation, which leaves too few to train on: lower --calibration-share"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Images {
        Images::new([1, 4, 4], vec![0; 16 * count]).unwrap()
    }

    const SHARES: SplitShares = SplitShares {
        train: 0.7,
        validation: 0.1,
    };

    fn sizes(split: &Split) -> Vec<usize> {
        split.parts().iter().map(|part| part.images.len()).collect()
    }

    /// Indices of all parts, sorted.
    fn all(split: &Split) -> Vec<usize> {
        let indices = split.parts().into_iter().map(|part| part.indices.clone());
        let mut all = indices.collect::<Vec<_>>().concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn parts_are_disjoint_and_complete() {
        let parts = split(&images(100), None, SHARES, 3).unwrap();
        assert_eq!(sizes(&parts), [60, 10, 30]);
        assert_eq!(all(&parts), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn no_group_is_in_two_parts() {
        for seed in 0..20 {
            let groups: Vec<usize> = (0..100).map(|image| image * 7919 % 13).collect();
            let parts = split(&images(100), Some(&groups), SHARES, seed).unwrap();
            assert_eq!(all(&parts), (0..100).collect::<Vec<_>>());
            for (number, part) in parts.parts().into_iter().enumerate() {
                for other in parts.parts().into_iter().skip(number + 1) {
                    let mut pairs = part
                        .indices
                        .iter()
                        .flat_map(|&one| other.indices.iter().map(move |&two| (one, two)));
                    assert!(pairs.all(|(one, two)| groups[one] != groups[two]));
                }
            }
            // Groups of seven or eight.
            let sizes = sizes(&parts);
            assert!(
                sizes[1].abs_diff(10) <= 5 && sizes[2].abs_diff(30) <= 5,
                "{sizes:?}"
            );
        }
    }

    #[test]
    fn groups_that_are_too_few_are_refused() {
        let groups = [vec![0; 90], vec![1; 5], vec![2; 5]].concat();
        assert!(split(&images(100), Some(&groups), SHARES, 3).is_ok());
        let groups = [vec![0; 50], vec![1; 50]].concat();
        let error = split(&images(100), Some(&groups), SHARES, 3).err().unwrap();
        assert!(
            error.contains("100 images in 2 groups") && error.contains("smaller groups"),
            "{error}"
        );
        assert!(split(&images(100), Some(&[0; 100]), SHARES, 3).is_err());
    }

    #[test]
    fn too_few_images_are_refused_with_the_number_needed() {
        let error = split(&images(19), None, SHARES, 3).err().unwrap();
        assert!(error.contains("19") && error.contains("20"), "{error}");
        assert!(split(&images(20), None, SHARES, 3).is_ok());
    }
}
