//! New buffers that all threads fill.

use rayon::prelude::*;

/// `length` numbers that `work` makes chunk by chunk, on all threads: it gets the number of a chunk and its
/// place, which holds zeros.
///
/// A buffer that is zeroed as a whole goes through memory once more than it needs to, by one thread; here
/// each thread zeroes what it then works on, in its cache.
pub(super) fn in_chunks(
    length: usize,
    chunk: usize,
    work: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> Vec<f32> {
    let mut values = Box::<[f32]>::new_uninit_slice(length);
    let chunks = values.par_chunks_mut(chunk.max(1)).enumerate();
    chunks.for_each(|(index, chunk)| {
        for place in chunk.iter_mut() {
            place.write(0.0);
        }
        // SAFETY: every place of the chunk has just been written.
        work(index, unsafe { chunk.assume_init_mut() });
    });
    // SAFETY: the chunks are all of the slice, and each was written before it was worked on.
    unsafe { values.assume_init() }.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_made_from_zeros() {
        for (length, chunk) in [(0, 3), (1, 3), (7, 3), (9, 3), (5, 0)] {
            let found = in_chunks(length, chunk, |index, values| {
                assert!(values.iter().all(|&value| value == 0.0));
                values.fill(index as f32 + 1.0);
            });
            let expected = (0..length).map(|place| (place / chunk.max(1)) as f32 + 1.0);
            assert_eq!(found, expected.collect::<Vec<_>>(), "{length} by {chunk}");
        }
    }
}
