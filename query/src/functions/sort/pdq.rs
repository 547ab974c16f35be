//! Pattern-defeating quicksort (Peters, 2021, arXiv:2106.05123) with the pivots, thresholds and shuffles of Go's `slices`.
//!
//! The order by labels of Prometheus is none where a label is missing, so the steps of the sort decide the result: a stable
//! sort would give another one.

/// Ranges up to this length are sorted by insertion.
const MAX_INSERTION: usize = 12;

/// From this length on pivots are medians of medians, and a few swaps may repair an almost sorted range.
const NINTHER: usize = 50;

/// Elements out of place that are moved before a range counts as unsorted.
const MAX_REPAIRS: usize = 5;

/// Swaps of a choice of pivot in which every comparison found the wrong order.
const ALL_SWAPPED: usize = 12;

/// Sorts `data` by `less`, which need not be an order.
pub(super) fn sort<T>(data: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let length = data.len();
    let limit = usize::BITS - length.leading_zeros();
    Sorter { data, less }.sort(0, length, limit);
}

/// Order of a range as the choice of its pivot suggests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Unknown,
    Increasing,
    Decreasing,
}

struct Sorter<'a, T, F> {
    data: &'a mut [T],
    less: F,
}

impl<T, F: Fn(&T, &T) -> bool> Sorter<'_, T, F> {
    fn less(&self, a: usize, b: usize) -> bool {
        (self.less)(&self.data[a], &self.data[b])
    }

    /// Sorts `start..end`; `limit` is how many unbalanced partitions are allowed.
    fn sort(&mut self, mut start: usize, mut end: usize, mut limit: u32) {
        let (mut balanced, mut partitioned) = (true, true);
        loop {
            let length = end - start;
            if length <= MAX_INSERTION {
                self.insertion(start, end);
                return;
            }
            if limit == 0 {
                self.heap(start, end);
                return;
            }
            if !balanced {
                self.break_patterns(start, end);
                limit -= 1;
            }
            let (mut pivot, mut hint) = self.choose_pivot(start, end);
            if hint == Hint::Decreasing {
                self.data[start..end].reverse();
                pivot = (end - 1) - (pivot - start);
                hint = Hint::Increasing;
            }
            if balanced && partitioned && hint == Hint::Increasing && self.repair(start, end) {
                return;
            }
            // Nothing here is less than what stands before: if the pivot equals that, split off its equals.
            if start > 0 && !self.less(start - 1, pivot) {
                start = self.partition_equal(start, end, pivot);
                continue;
            }
            let (middle, was_partitioned) = self.partition(start, end, pivot);
            partitioned = was_partitioned;
            let (left, right) = (middle - start, end - middle);
            balanced = left.min(right) >= length / 8;
            if left < right {
                self.sort(start, middle, limit);
                start = middle + 1;
            } else {
                self.sort(middle + 1, end, limit);
                end = middle;
            }
        }
    }

    fn insertion(&mut self, start: usize, end: usize) {
        for next in start + 1..end {
            let mut at = next;
            while at > start && self.less(at, at - 1) {
                self.data.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    fn heap(&mut self, start: usize, end: usize) {
        let length = end - start;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift_down(start, root, length);
        }
        for last in (0..length).rev() {
            self.data.swap(start, start + last);
            self.sift_down(start, 0, last);
        }
    }

    fn sift_down(&mut self, start: usize, mut root: usize, length: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= length {
                return;
            }
            if child + 1 < length && self.less(start + child, start + child + 1) {
                child += 1;
            }
            if !self.less(start + root, start + child) {
                return;
            }
            self.data.swap(start + root, start + child);
            root = child;
        }
    }

    /// Swaps three elements around the middle with ones that xorshift picks.
    fn break_patterns(&mut self, start: usize, end: usize) {
        let length = end - start;
        let mut random = length as u64;
        let mask = (1usize << (usize::BITS - length.leading_zeros())) - 1;
        let first = start + length / 4 * 2 - 1;
        for at in first..first + 3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let other = random as usize & mask;
            self.data.swap(at, start + if other >= length { other - length } else { other });
        }
    }

    fn choose_pivot(&self, start: usize, end: usize) -> (usize, Hint) {
        let length = end - start;
        let mut swaps = 0;
        let mut quarters = [1, 2, 3].map(|quarter| start + length / 4 * quarter);
        if length >= NINTHER {
            quarters = quarters.map(|at| self.median([at - 1, at, at + 1], &mut swaps));
        }
        let pivot = self.median(quarters, &mut swaps);
        let hint = match swaps {
            0 => Hint::Increasing,
            ALL_SWAPPED => Hint::Decreasing,
            _ => Hint::Unknown,
        };
        (pivot, hint)
    }

    /// The place of the median of three.
    fn median(&self, [mut a, mut b, mut c]: [usize; 3], swaps: &mut usize) -> usize {
        let mut order = |a: &mut usize, b: &mut usize| {
            if self.less(*b, *a) {
                *swaps += 1;
                std::mem::swap(a, b);
            }
        };
        order(&mut a, &mut b);
        order(&mut b, &mut c);
        order(&mut a, &mut b);
        b
    }

    /// Sorts a range that is almost sorted; false if it is not.
    fn repair(&mut self, start: usize, end: usize) -> bool {
        let mut at = start + 1;
        for _ in 0..MAX_REPAIRS {
            while at < end && !self.less(at, at - 1) {
                at += 1;
            }
            if at == end {
                return true;
            }
            if end - start < NINTHER {
                return false;
            }
            self.data.swap(at, at - 1);
            if at - start >= 2 {
                let mut left = at - 1;
                while left >= 1 && self.less(left, left - 1) {
                    self.data.swap(left, left - 1);
                    left -= 1;
                }
            }
            if end - at >= 2 {
                let mut right = at + 1;
                while right < end && self.less(right, right - 1) {
                    self.data.swap(right, right - 1);
                    right += 1;
                }
            }
        }
        false
    }

    /// Moves what is less than the pivot before it: its place then, and whether nothing else had to move.
    fn partition(&mut self, start: usize, end: usize, pivot: usize) -> (usize, bool) {
        self.data.swap(start, pivot);
        let (mut low, mut high) = (start + 1, end - 1);
        let mut swapped = false;
        loop {
            while low <= high && self.less(low, start) {
                low += 1;
            }
            while low <= high && !self.less(high, start) {
                high -= 1;
            }
            if low > high {
                self.data.swap(high, start);
                return (high, !swapped);
            }
            self.data.swap(low, high);
            swapped = true;
            low += 1;
            high -= 1;
        }
    }

    /// Moves what the pivot is not less than to the front: the place behind.
    fn partition_equal(&mut self, start: usize, end: usize, pivot: usize) -> usize {
        self.data.swap(start, pivot);
        let (mut low, mut high) = (start + 1, end - 1);
        loop {
            while low <= high && !self.less(start, low) {
                low += 1;
            }
            while low <= high && self.less(start, high) {
                high -= 1;
            }
            if low > high {
                return low;
            }
            self.data.swap(low, high);
            low += 1;
            high -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn orders_are_sorted(mut values in prop::collection::vec(0u32..200, 0..400)) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            sort(&mut values, |a, b| a < b);
            prop_assert_eq!(values, sorted);
        }

        #[test]
        fn relations_that_are_no_order_end_with_all_elements(values in prop::collection::vec(0u32..9, 0..300), seed: u32) {
            let mut sorted = values.clone();
            sort(&mut sorted, |a, b| (a * 7 + b * 3 + seed % 11) % 5 < 2);
            let counted = |values: &[u32]| (0..9).map(|v| values.iter().filter(|x| **x == v).count()).collect::<Vec<_>>();
            prop_assert_eq!(counted(&sorted), counted(&values));
        }
    }

    #[test]
    fn patterns_are_sorted() {
        for length in [13usize, 50, 1000, 5000] {
            let patterns: [Vec<usize>; 4] = [
                (0..length).collect(),
                (0..length).rev().collect(),
                (0..length).map(|i| i % 7).collect(),
                (0..length).map(|i| if i < length / 2 { i } else { length - i }).collect(),
            ];
            for mut values in patterns {
                sort(&mut values, |a, b| a < b);
                assert!(values.is_sorted());
            }
        }
    }
}
