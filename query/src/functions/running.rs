//! Running totals to about 100 bits, so that the difference of two is the sum of a window.

/// A number as the sum of two floats, the second one far smaller.
pub(super) type Pair = (f64, f64);

/// Adds two numbers exactly: sum and rounding error. (Knuth, TAOCP 2, 4.2.2, theorem B.)
#[inline]
pub(super) fn two_sum(a: f64, b: f64) -> Pair {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

/// Multiplies two numbers exactly: product and rounding error. (Dekker, "A floating-point technique for extending the
/// available precision", 1971.) NaN beyond 1e300.
#[inline]
pub(super) fn two_product(a: f64, b: f64) -> Pair {
    let halves = |x: f64| {
        let scaled = x * 134_217_729.0;
        let high = scaled - (scaled - x);
        (high, x - high)
    };
    let ((a_high, a_low), (b_high, b_low)) = (halves(a), halves(b));
    let product = a * b;
    (product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low)
}

/// The difference of two pairs.
#[inline]
pub(super) fn difference(a: Pair, b: Pair) -> Pair {
    let (sum, error) = two_sum(a.0, -b.0);
    two_sum(sum, error + (a.1 - b.1))
}

/// A pair times a number.
#[inline]
pub(super) fn product(a: Pair, b: f64) -> Pair {
    let (high, error) = two_product(a.0, b);
    two_sum(high, error + a.1 * b)
}

/// Totals of the first terms: one more than there are terms.
#[derive(Debug, Default)]
pub(super) struct Running {
    totals: Vec<Pair>,
    largest: f64,
}

impl Running {
    /// Bytes that it takes for so many terms.
    pub(super) fn size_bytes(terms: usize) -> u64 {
        ((terms + 1) * size_of::<Pair>()) as u64
    }

    /// Adds up `terms`; `None` if a total is not finite. `memory` is used again.
    pub(super) fn of(terms: impl ExactSizeIterator<Item = Pair>, memory: Vec<Pair>) -> Option<Self> {
        let mut totals = memory;
        totals.clear();
        totals.reserve(terms.len() + 1);
        // The errors are exact and add up in a sum of their own.
        let (mut sum, mut lost, mut largest) = (0.0, 0.0, 0.0f64);
        totals.push((sum, lost));
        for (term, rest) in terms {
            let (next, error) = two_sum(sum, term);
            sum = next;
            lost += error + rest;
            largest = largest.max(sum.abs());
            totals.push((sum, lost));
        }
        (largest.is_finite() && sum.is_finite() && lost.is_finite()).then_some(Self { totals, largest })
    }

    /// The sum of the terms from `low` to before `high`.
    #[inline]
    pub(super) fn between(&self, low: usize, high: usize) -> Pair {
        difference(self.totals[high], self.totals[low])
    }

    /// True if a result computed from sums is greater than the largest total times `2^-bits`.
    ///
    /// The sums are good to about 100 bits of the largest total, so the result to about `100 - bits` of its own.
    #[inline]
    pub(super) fn keeps(&self, result: f64, bits: i32) -> bool {
        result.abs() > self.largest * 2f64.powi(-bits)
    }

    /// True if some total is greater than `least`, either way.
    pub(super) fn exceeds(&self, least: f64) -> bool {
        self.largest > least
    }

    /// The memory, to be used again.
    pub(super) fn into_memory(self) -> Vec<Pair> {
        self.totals
    }
}

/// Run of equal values at the end of a sliding window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EqualRun {
    start: usize,
    seen: usize,
}

impl EqualRun {
    /// True if `values[low..high]` are all equal. `high` never goes back.
    pub(super) fn covers(&mut self, values: &[f64], low: usize, high: usize) -> bool {
        for at in self.seen.max(1)..high {
            if values[at] != values[at - 1] {
                self.start = at;
            }
        }
        self.seen = high;
        self.start <= low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_keep_all_bits() {
        let (a, b) = (1.0 + f64::EPSILON, 1.0 - f64::EPSILON);
        assert_eq!(two_product(a, b), (1.0, -f64::EPSILON * f64::EPSILON));
        assert!(two_product(1e200, 1e200).1.is_nan());
    }

    #[test]
    fn runs_of_equal_values_are_found() {
        let values = [1.0, 1.0, 2.0, 2.0, 2.0, f64::NAN, 3.0];
        let mut run = EqualRun::default();
        let found: Vec<bool> =
            [(0, 2), (0, 3), (2, 4), (3, 5), (3, 6), (6, 7)].map(|(low, high)| run.covers(&values, low, high)).to_vec();
        assert_eq!(found, [true, false, true, true, false, true]);
    }
}
