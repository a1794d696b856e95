//! Samples in memory, so many at a time.

/// The indices of `count` samples in their order, `size` (at least one) at a time.
pub fn batches(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let size = size.max(1);
    let starts = (0..count).step_by(size);
    starts.map(move |start| (start..count.min(start.saturating_add(size))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_in_one_batch() {
        let of = |count, size| batches(count, size).collect::<Vec<_>>();
        assert_eq!(of(5, 2), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(of(2, usize::MAX), [[0, 1]]);
        assert_eq!(of(2, 0), [[0], [1]]);
        assert!(of(0, 3).is_empty());
    }
}
