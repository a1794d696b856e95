//! Dealing out images so that those of one group stay together.

use rand::Rng;
use rand::seq::SliceRandom;

/// The members of every group, both in random order.
///
/// `groups` has the group of every image, numbered from 0 without gaps.
pub(crate) fn shuffled(groups: &[usize], rng: &mut impl Rng) -> Vec<Vec<usize>> {
    let count = groups.iter().max().map_or(0, |&last| last + 1);
    let mut members = vec![Vec::new(); count];
    for (image, &group) in groups.iter().enumerate() {
        members[group].push(image);
    }
    for group in &mut members {
        group.shuffle(rng);
    }
    members.shuffle(rng);
    members
}

/// Takes whole groups, in their order, until about `wanted` images are taken: a group that would bring
/// more beyond that number than is missing is passed over. At least one group is taken, the smallest
/// where all are too large; but `leave` groups are left in any case.
pub(crate) fn take(groups: &mut Vec<Vec<usize>>, wanted: usize, leave: usize) -> Vec<usize> {
    let mut taken = Vec::new();
    let mut spare = groups.len().saturating_sub(leave);
    let mut left = Vec::new();
    for group in groups.drain(..) {
        let missing = wanted.saturating_sub(taken.len());
        if spare > 0 && missing > 0 && group.len() <= 2 * missing {
            spare -= 1;
            taken.extend(group);
        } else {
            left.push(group);
        }
    }
    *groups = left;
    if taken.is_empty()
        && spare > 0
        && let Some(smallest) = (0..groups.len()).min_by_key(|&index| groups[index].len())
    {
        taken = groups.remove(smallest);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn every_image_is_in_its_group_once() {
        let groups: Vec<usize> = (0..100).map(|image| image % 7).collect();
        let deal = |seed| shuffled(&groups, &mut StdRng::seed_from_u64(seed));
        let members = deal(1);
        for group in &members {
            assert!(group.iter().all(|&image| groups[image] == groups[group[0]]));
        }
        let mut all: Vec<usize> = members.concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(deal(1), members);
        assert_ne!(deal(2), members);
    }

    #[test]
    fn about_as_many_images_are_taken_as_are_wanted() {
        let groups = |sizes: &[usize]| -> Vec<Vec<usize>> {
            sizes.iter().map(|&size| vec![0; size]).collect()
        };
        for (sizes, wanted, leave, expected) in [
            (&[5, 5, 5, 5][..], 10, 1, 10),
            // 2 are missing, and 3 beyond what is wanted would be more than that.
            (&[8, 5, 1, 1, 20], 10, 1, 10),
            (&[8, 4, 20], 10, 1, 12),
            (&[50, 30, 40], 10, 1, 30),
            (&[5, 5, 90], 30, 2, 5),
            (&[50, 50], 10, 2, 0),
            (&[3], 0, 0, 3),
            (&[], 4, 0, 0),
        ] {
            let mut groups = groups(sizes);
            let taken = take(&mut groups, wanted, leave);
            assert_eq!(taken.len(), expected, "{sizes:?} {wanted}");
            let left: usize = groups.iter().map(Vec::len).sum();
            assert_eq!(left + expected, sizes.iter().sum::<usize>());
        }
    }
}
