//! `exp` and `tanh` without a branch or a call, so that the compiler makes vector instructions of
//! loops over them.
//!
//! Both are Stephen Moshier's functions for single precision from the Cephes library (`expf.c` and
//! `tanhf.c`, <https://www.netlib.org/cephes/>), with the rounding to an integer and the power of two
//! taken from the bits. Multiplications and additions stay apart: a fused one is a library call on
//! processors without it.

/// A small number that is added to this one, 1.5 * 2^23, loses its fraction, and the lowest bits of
/// the sum are the integer that is left.
const ROUND: f32 = 12_582_912.0;

/// A factor and an exponent with `e^x = factor * 2^exponent`, for `x` up to a few thousand either way.
/// The factor of NaN is NaN, its exponent anything.
#[inline(always)]
fn split(x: f32) -> (f32, i32) {
    // ln 2 in two parts; the first has so few digits that its product with an exponent is exact.
    const LN_2: f32 = 355.0 / 512.0;
    const REST_OF_LN_2: f32 = -2.1219444e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let r = x - whole * LN_2 - whole * REST_OF_LN_2; // at most ln 2 / 2 either way
    let p = 1.9875691e-4;
    let p = p * r + 1.3981999e-3;
    let p = p * r + 8.333452e-3;
    let p = p * r + 4.1665796e-2;
    let p = p * r + 1.6666666e-1;
    let p = p * r + 0.5;
    let factor = p * (r * r) + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    (factor, exponent as i32)
}

/// `2^exponent` for exponents from -126 to 127.
#[inline(always)]
fn power(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) << 23) as u32)
}

/// `e^x`, with a relative error below 3e-7 where the result is a normal number.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or infinite. NaN stays.
    let (factor, exponent) = split(x.clamp(-104.0, 89.0));
    // In two steps, as neither 2^128 nor 2^-150 is a float.
    let half = exponent >> 1;
    factor * power(half) * power(exponent - half)
}

/// The hyperbolic tangent, with an error below 2e-7, and below 1e-6 of the result.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let p = -5.7049887e-3;
    let p = p * square + 2.0639088e-2;
    let p = p * square - 5.3739715e-2;
    let p = p * square + 1.3331442e-1;
    let p = p * square - 3.333328e-1;
    let near = p * square * x + x;
    // From 10 on the result is rounded to 1. NaN stays.
    let (factor, exponent) = split(2.0 * size.clamp(0.0, 10.0));
    let far = 1.0 - 2.0 / (factor * power(exponent) + 1.0);
    // Near 0, where 1 minus nearly 1 would have lost its digits, the polynomial.
    if size < 0.625 { near } else { far.copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evenly spaced numbers from `-bound` to `bound`.
    fn grid(bound: f32) -> impl Iterator<Item = f32> {
        let steps = 400_000;
        (-steps..=steps).map(move |step| bound * (step as f32 / steps as f32))
    }

    #[test]
    fn the_exponential_is_exact_to_the_last_digits() {
        for x in grid(20.0).chain(grid(87.0)) {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs();
            assert!(error <= 3e-7 * expected, "exp({x}) is not {}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn the_hyperbolic_tangent_is_exact_to_the_last_digits() {
        let small = (-38..0).flat_map(|power| {
            let scale = 10f32.powi(power);
            [scale, -scale, 3.0 * scale, 7.0 * scale]
        });
        for x in grid(12.0).chain(grid(0.7)).chain(small) {
            let expected = f64::from(x).tanh();
            let error = (f64::from(tanh(x)) - expected).abs();
            assert!(
                error <= 2e-7 && error <= 1e-6 * expected.abs(),
                "tanh({x}) is not {}",
                tanh(x)
            );
            assert!(tanh(x).abs() <= 1.0);
        }
        assert_eq!(tanh(0.0), 0.0);
    }

    #[test]
    fn both_saturate() {
        for x in [89.0, 1e3, 1e30, f32::INFINITY] {
            assert_eq!((exp(x), exp(-x * 2.0)), (f32::INFINITY, 0.0), "{x}");
            assert_eq!((tanh(x), tanh(-x)), (1.0, -1.0), "{x}");
        }
        // Close to the largest number, and below the smallest normal one.
        assert!((exp(88.7) / 88.7f32.exp() - 1.0).abs() < 1e-6);
        assert!((exp(-95.0) / (-95.0f32).exp() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff)] {
            assert!(exp(nan).is_nan());
            assert!(tanh(nan).is_nan());
        }
    }
}
