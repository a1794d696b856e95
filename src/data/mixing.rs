//! Seeds made of numbers, the same on every machine and in every version.

/// The odd number nearest to the golden ratio's share of 2^64, by which SplitMix64 counts: its multiples spread small
/// numbers over all seeds.
pub(super) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Output function of SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014).
pub(super) fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_outputs_are_the_published_ones() {
        // Of a generator with the state 0, from the authors' C code (prng.di.unimi.it, splitmix64.c).
        let outputs = [0, 1].map(|count: u64| mix(count.wrapping_mul(GOLDEN)));
        assert_eq!(outputs, [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4]);
    }
}
