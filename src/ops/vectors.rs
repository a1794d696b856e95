//! Loops over numbers in wider vector instructions than every processor of its kind has.

/// Runs `work` compiled for AVX2 where the processor has that: what is inlined into it becomes instructions over eight
/// numbers, where programs for any x86-64 have four and cannot choose between two values by a mask.
///
/// No bit of a result depends on it: the compiler neither reorders sums nor joins a product and a sum by itself.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return pulp::Simd::vectorize(simd, work);
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::elementary::{exp, tanh};

    #[test]
    fn wider_instructions_change_no_bit() {
        let values: Vec<f32> = (0..1001).map(|index| (index as f32 * 0.37).sin()).collect();
        let work = || -> Vec<f32> {
            let sum = |lane: usize| values.iter().skip(lane).step_by(8).sum::<f32>();
            let each = values.iter().map(|x| x * 1.7 + x * x / (x + 3.0));
            let curves = values.iter().map(|x| tanh(*x) + exp(3.0 * x));
            let gates = values.iter().map(|&x| if x <= 0.0 { 0.0 } else { x });
            let all = (0..8).map(sum).chain(each);
            all.chain(curves).chain(gates).collect()
        };
        assert_eq!(vectorised(work), work());
    }
}
