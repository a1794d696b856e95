//! Seeds for the uses of randomness within a run.

use sha2::{Digest, Sha256};

/// A seed of its own for every purpose, so that a change of one does not move the others. (The split
/// takes the run's seed as it is.)
pub(crate) fn derive(seed: u64, purpose: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(purpose)
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}
