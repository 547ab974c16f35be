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
    fn a_mean_does_not_overflow() {
        let mut mean = Mean::default();
        for _ in 0..3 {
            mean.add(f64::MAX);
        }
        assert!((mean.value() / f64::MAX - 1.0).abs() < 1e-15);
    }
}
