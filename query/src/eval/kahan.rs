//! Sums that keep what rounding would lose.

/// A running sum and its compensation.
///
/// Kahan's summation as improved by Neumaier ("Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen",
/// 1974); a sum that leaves the range of floats has no compensation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kahan {
    pub(crate) sum: f64,
    pub(crate) lost: f64,
}

impl Kahan {
    pub(crate) const fn new(sum: f64) -> Self {
        Self { sum, lost: 0.0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, x: f64) {
        let total = self.sum + x;
        let (large, small) = if self.sum.abs() >= x.abs() { (self.sum, x) } else { (x, self.sum) };
        let lost = self.lost + ((large - total) + small);
        self.lost = if total.is_infinite() { 0.0 } else { lost };
        self.sum = total;
    }

    /// What adding `values` one after the other gives; `None` if the sum leaves the range of floats.
    pub(crate) fn all(self, values: &[f64]) -> Option<Self> {
        let Self { mut sum, mut lost } = self;
        for &x in values {
            let total = sum + x;
            let (large, small) = if sum.abs() >= x.abs() { (sum, x) } else { (x, sum) };
            lost += (large - total) + small;
            sum = total;
        }
        // Once infinite or NaN, a sum stays so.
        sum.is_finite().then_some(Self { sum, lost })
    }

    /// The sum with its compensation.
    #[inline]
    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// A mean that is a compensated sum as long as that does not overflow, and an incremental mean from then on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    kahan: Kahan,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn add(&mut self, x: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.kahan = Kahan::new(x);
            return;
        }
        if !self.incremental {
            let mut next = self.kahan;
            next.add(x);
            if !next.sum.is_infinite() {
                self.kahan = next;
                return;
            }
            self.incremental = true;
            self.kahan.sum /= self.count - 1.0;
            self.kahan.lost /= self.count - 1.0;
        }
        let q = (self.count - 1.0) / self.count;
        self.kahan.sum *= q;
        self.kahan.lost *= q;
        self.kahan.add(x / self.count);
    }

    /// The mean of `values`, one after the other.
    pub(crate) fn of(values: &[f64]) -> f64 {
        let (first, rest) = values.split_first().map_or((0.0, values), |(first, rest)| (*first, rest));
        if let Some(kahan) = Kahan::new(first).all(rest) {
            return Self { kahan, count: values.len() as f64, incremental: false }.value();
        }
        let mut mean = Self::default();
        values.iter().for_each(|v| mean.add(*v));
        mean.value()
    }

    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            self.kahan.sum + self.kahan.lost
        } else {
            self.kahan.sum / self.count + self.kahan.lost / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones_that_cancel() {
        let mut sum = Kahan::default();
        for x in [1.0, 1e100, 1.0, -1e100] {
            sum.add(x);
        }
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn many_at_once_give_the_bits_of_one_after_the_other() {
        let mut x = 7u64;
        for round in 0..500u64 {
            let mut next = || {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                match (x >> 60, round % 4) {
                    (0, 3) => f64::INFINITY,
                    (1, 3) => f64::MAX,
                    (2, _) => -0.0,
                    (_, 0) => (x >> 40) as f64 / 8.0,
                    _ => f64::from_bits(x >> 2 | 1 << 60) * if x & 1 == 0 { 1.0 } else { -1.0 },
                }
            };
            let values: Vec<f64> = (0..1 + round % 40).map(|_| next()).collect();
            let (mut sum, mut mean) = (Kahan::default(), Mean::default());
            values.iter().for_each(|v| sum.add(*v));
            values.iter().for_each(|v| mean.add(*v));
            if let Some(all) = Kahan::default().all(&values) {
                assert_eq!((all.sum.to_bits(), all.lost.to_bits()), (sum.sum.to_bits(), sum.lost.to_bits()));
            } else {
                assert!(!sum.sum.is_finite(), "{values:?}");
            }
            let (of, one) = (Mean::of(&values), mean.value());
            assert!(of.to_bits() == one.to_bits() || of.is_nan() && one.is_nan(), "{values:?}");
        }
    }

    #[test]
    fn a_mean_does_not_overflow() {
        let mut mean = Mean::default();
        for _ in 0..3 {
            mean.add(f64::MAX);
        }
        assert!((mean.value() / f64::MAX - 1.0).abs() < 1e-15);
    }
}
