//! Elementary functions where Go on amd64 computes other values than the platform: near overflow, below the least normal
//! number, and by formulas that lose digits in another way.

use std::f64::consts::{FRAC_PI_2, LN_2, LN_10, LOG2_E};

/// From here on the inverse hyperbolic functions are logarithms: 2^28.
const LARGE: f64 = 268_435_456.0;

/// Up to here they are their argument: 2^-28.
const NEAR_ZERO: f64 = 1.0 / LARGE;

/// From here on the smaller exponential of `sinh` and `cosh` is lost in rounding.
const ONE_EXPONENTIAL: f64 = 21.0;

/// Exponential. Infinite as soon as the power of two nearest to the result is.
pub(super) fn exp(x: f64) -> f64 {
    if (x * LOG2_E).round_ties_even() >= 1024.0 { f64::INFINITY } else { x.exp() }
}

pub(super) fn sinh(x: f64) -> f64 {
    if x.abs() > ONE_EXPONENTIAL { (exp(x.abs()) * 0.5).copysign(x) } else { x.sinh() }
}

pub(super) fn cosh(x: f64) -> f64 {
    if x.abs() > ONE_EXPONENTIAL { exp(x.abs()) * 0.5 } else { x.cosh() }
}

/// Natural logarithm: the method of FDLIBM's `e_log.c`.
///
/// The exponent is read from the bits, so a number below the least normal one counts as if it had an implicit bit.
#[expect(clippy::excessive_precision, reason = "the coefficients as they are published")]
pub(super) fn ln(x: f64) -> f64 {
    const SERIES: [f64; 7] = [
        6.666666666666735130e-01,
        3.999999999940941908e-01,
        2.857142874366239149e-01,
        2.222219843214978396e-01,
        1.818357216161805012e-01,
        1.531383769920937332e-01,
        1.479819860511658591e-01,
    ];
    const LN_2_HIGH: f64 = 6.93147180369123816490e-01;
    const LN_2_LOW: f64 = 1.90821492927058770002e-10;
    if x.is_nan() || x <= 0.0 || x == f64::INFINITY {
        return x.ln();
    }
    let bits = x.to_bits();
    let mut exponent = f64::from((bits >> 52) as i32 - 0x3fe);
    let mut fraction = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3fe0_0000_0000_0000);
    if fraction < std::f64::consts::FRAC_1_SQRT_2 {
        fraction *= 2.0;
        exponent -= 1.0;
    }
    let f = fraction - 1.0;
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * (SERIES[0] + s4 * (SERIES[2] + s4 * (SERIES[4] + s4 * SERIES[6])));
    let even = s4 * (SERIES[1] + s4 * (SERIES[3] + s4 * SERIES[5]));
    let half_square = 0.5 * f * f;
    exponent * LN_2_HIGH - ((half_square - (s * (half_square + (odd + even)) + exponent * LN_2_LOW)) - f)
}

/// A number as fraction in `[0.5, 1)` and power of two. Zero, infinity and NaN are their own fraction.
fn split(x: f64) -> (f64, f64) {
    if x == 0.0 || !x.is_finite() {
        return (x, 0.0);
    }
    let (x, shift) = if x.abs() < f64::MIN_POSITIVE { (x * 2f64.powi(54), -54.0) } else { (x, 0.0) };
    let bits = x.to_bits();
    let exponent = f64::from((bits >> 52 & 0x7ff) as i32 - 0x3fe);
    (f64::from_bits(bits & 0x800f_ffff_ffff_ffff | 0x3fe0_0000_0000_0000), exponent + shift)
}

/// Binary logarithm: exact for powers of two.
pub(super) fn log2(x: f64) -> f64 {
    let (fraction, exponent) = split(x);
    if fraction == 0.5 { exponent - 1.0 } else { ln(fraction) * (1.0 / LN_2) + exponent }
}

pub(super) fn log10(x: f64) -> f64 {
    ln(x) * (1.0 / LN_10)
}

pub(super) fn asin(x: f64) -> f64 {
    let (positive, root) = (x.abs(), (1.0 - x * x).sqrt());
    if x == 0.0 || positive > 1.0 {
        return x.asin();
    }
    let angle = if positive > 0.7 { FRAC_PI_2 - (root / positive).atan() } else { (positive / root).atan() };
    angle.copysign(x)
}

pub(super) fn acos(x: f64) -> f64 {
    FRAC_PI_2 - asin(x)
}

pub(super) fn asinh(x: f64) -> f64 {
    let positive = x.abs();
    let result = if positive > LARGE {
        ln(positive) + LN_2
    } else if positive > 2.0 {
        ln(2.0 * positive + 1.0 / ((positive * positive + 1.0).sqrt() + positive))
    } else if positive < NEAR_ZERO {
        positive
    } else {
        (positive + positive * positive / (1.0 + (1.0 + positive * positive).sqrt())).ln_1p()
    };
    result.copysign(x)
}

pub(super) fn acosh(x: f64) -> f64 {
    if x.is_nan() || x < 1.0 {
        f64::NAN
    } else if x >= LARGE {
        ln(x) + LN_2
    } else if x > 2.0 {
        ln(2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt()))
    } else {
        let above = x - 1.0;
        (above + (2.0 * above + above * above).sqrt()).ln_1p()
    }
}

pub(super) fn atanh(x: f64) -> f64 {
    let positive = x.abs();
    if x.is_nan() || positive > 1.0 {
        return f64::NAN;
    }
    let result = if positive < NEAR_ZERO {
        positive
    } else if positive < 0.5 {
        let double = positive + positive;
        0.5 * (double + double * positive / (1.0 - positive)).ln_1p()
    } else {
        0.5 * ((positive + positive) / (1.0 - positive)).ln_1p()
    };
    result.copysign(x)
}

/// Power. The fractional part of an exponent that is no square root goes through [`ln`] and [`exp`].
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    let is_subnormal = x > 0.0 && x < f64::MIN_POSITIVE;
    if !is_subnormal || !y.is_finite() || y.fract() == 0.0 || y.abs() == 0.5 {
        return x.powf(y);
    }
    let (mut whole, mut rest) = (y.abs().trunc(), y.abs().fract());
    if rest > 0.5 {
        rest -= 1.0;
        whole += 1.0;
    }
    let result = exp(rest * ln(x)) * x.powf(whole);
    if y < 0.0 { 1.0 / result } else { result }
}

/// The greater of two numbers: infinity wins over NaN, and 0 over -0.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// The smaller of two numbers: minus infinity wins over NaN, and -0 over 0.
pub(super) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that two numbers agree to 14 digits.
    fn check(what: &str, found: f64, wanted: f64) {
        assert!(found == wanted || (found - wanted).abs() <= 1e-14 * wanted.abs(), "{what}: {found} for {wanted}");
    }

    #[test]
    fn extremes_are_as_prometheus_computes_them() {
        let (inf, largest, least) = (f64::INFINITY, f64::MAX, 5e-324);
        check("asinh", asinh(largest), 710.475_860_073_943_9);
        check("asinh", asinh(-largest), -710.475_860_073_943_9);
        check("acosh", acosh(largest), 710.475_860_073_943_9);
        check("atanh", atanh(-0.999_999_999_999_999_9), -18.714_973_875_118_524);
        check("acos", acos(0.999_999_999), 0.000_044_721_358_932_520_16);
        check("ln", ln(least), -709.089_565_712_824_1);
        check("ln", ln(1e-310), -709.085_081_548_894_5);
        check("log10", log10(least), -307.953_685_564_252_8);
        check("log2", log2(least), -1074.0);
        check("log2", log2(1.000_000_1), 1.442_694_970_155_145e-7);
        for x in [709.78, 709.79, 710.0] {
            assert_eq!((exp(x), sinh(-x), cosh(x)), (inf, -inf, inf), "{x}");
        }
        assert!(exp(709.4).is_finite());
        check("pow", pow(least, 0.1), 1.601_885_401_643_771_4e-31);
        check("pow", pow(1e-310, -0.5), 1.000_000_000_000_001_4e155);
    }

    #[test]
    fn ordinary_numbers_are_as_the_platform_computes_them() {
        for x in [0.1, 0.3, 0.9, 1.0, 1.5, 2.5, 10.0, 1e9, 1e300] {
            for (what, found, wanted) in [
                ("ln", ln(x), x.ln()),
                ("log2", log2(x), x.log2()),
                ("log10", log10(x), x.log10()),
                ("asinh", asinh(x), x.asinh()),
                ("exp", exp(-x), (-x).exp()),
                ("pow", pow(x, 0.7), x.powf(0.7)),
            ] {
                assert!((found - wanted).abs() <= 1e-13 * wanted.abs().max(1.0), "{what}({x}): {found} for {wanted}");
            }
        }
    }

    #[test]
    fn zeros_have_their_sign_and_infinity_wins_over_nan() {
        assert!(max(0.0, -0.0).is_sign_positive() && max(-0.0, 0.0).is_sign_positive());
        assert!(min(0.0, -0.0).is_sign_negative() && asinh(-0.0).is_sign_negative());
        assert_eq!(
            (max(f64::NAN, f64::INFINITY), min(f64::NAN, f64::NEG_INFINITY)),
            (f64::INFINITY, f64::NEG_INFINITY)
        );
        assert!(max(f64::NAN, 1.0).is_nan());
    }
}
