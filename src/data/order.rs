//! The order in which a stage sees its samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::mixing::GOLDEN;

/// Sample indices, shuffled anew for every epoch from a seed and the epoch's number.
///
/// Burn's own loader keeps its generator's state in memory, so a resumed run would repeat the first
/// epoch's order; here epoch `n` has the same order whether or not the run was interrupted before.
#[derive(Clone, Debug)]
pub struct EpochOrder {
    indices: Arc<Vec<usize>>,
    batch_size: usize,
    drop_last: bool,
    seed: Option<u64>,
    /// Epochs handed out so far, shared by the copies that the learner makes per device.
    epoch: Arc<AtomicUsize>,
}

impl EpochOrder {
    /// `0..len` in order, in every epoch.
    pub fn sequential(len: usize, batch_size: usize) -> Self {
        Self {
            indices: Arc::new((0..len).collect()),
            batch_size,
            drop_last: false,
            seed: None,
            epoch: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// `0..len` shuffled by `seed`, continuing after `finished` epochs.
    ///
    /// A last batch that is not full is left out of the epoch (GANomaly's `drop_last`), unless it
    /// is the only one.
    pub fn shuffled(len: usize, batch_size: usize, seed: u64, finished: usize) -> Self {
        Self {
            drop_last: len >= batch_size,
            seed: Some(seed),
            epoch: Arc::new(AtomicUsize::new(finished)),
            ..Self::sequential(len, batch_size)
        }
    }

    /// Number of samples handed out per epoch.
    pub fn len(&self) -> usize {
        self.batches() * self.batch_size - self.short_of_full()
    }

    /// True when an epoch has no samples.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Number of batches per epoch.
    pub fn batches(&self) -> usize {
        if self.drop_last {
            self.indices.len() / self.batch_size
        } else {
            self.indices.len().div_ceil(self.batch_size)
        }
    }

    fn short_of_full(&self) -> usize {
        (self.batches() * self.batch_size).saturating_sub(self.indices.len())
    }

    /// Samples per batch.
    pub(super) fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Number and samples of the next epoch. Where all epochs have the same order, all are number 0:
    /// random changes of the samples are to be the same as well.
    pub(super) fn next_epoch(&self) -> (usize, Vec<usize>) {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let mut indices = self.indices.to_vec();
        let epoch = if self.seed.is_some() { epoch } else { 0 };
        if let Some(seed) = self.seed {
            let mixed = seed ^ (epoch as u64).wrapping_mul(GOLDEN);
            indices.shuffle(&mut StdRng::seed_from_u64(mixed));
        }
        indices.truncate(self.len());
        (epoch, indices)
    }

    /// The part `start..end` of the samples.
    pub(super) fn slice(&self, start: usize, end: usize) -> Self {
        Self {
            indices: Arc::new(self.indices[start..end].to_vec()),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_and_epochs_differ() {
        let order = EpochOrder::shuffled(100, 10, 7, 0);
        let (first, second) = (order.next_epoch(), order.next_epoch());
        assert_ne!(first, second);
        assert_eq!([first.0, second.0], [1, 2]);
        for (_, mut indices) in [first, second] {
            indices.sort_unstable();
            assert_eq!(indices, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_resumed_order_continues_where_the_first_left_off() {
        let whole = EpochOrder::shuffled(50, 8, 3, 0);
        whole.next_epoch();
        whole.next_epoch();
        assert_eq!(
            whole.next_epoch(),
            EpochOrder::shuffled(50, 8, 3, 2).next_epoch()
        );
    }

    #[test]
    fn epochs_that_are_alike_are_number_0() {
        let order = EpochOrder::sequential(3, 2);
        assert_eq!(order.next_epoch(), (0, vec![0, 1, 2]));
        assert_eq!(order.next_epoch(), (0, vec![0, 1, 2]));
    }

    #[test]
    fn only_training_drops_an_unfilled_batch() {
        assert_eq!(EpochOrder::shuffled(50, 8, 3, 0).len(), 48);
        assert_eq!(EpochOrder::shuffled(5, 8, 3, 0).len(), 5);
        assert_eq!(EpochOrder::sequential(50, 8).len(), 50);
        assert_eq!(EpochOrder::sequential(50, 8).batches(), 7);
    }
}
