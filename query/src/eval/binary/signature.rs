//! The labels by which series of two vectors match.

use tsdb::Labels;

use super::super::group::{GroupBy, Groups};
use super::super::source::{Source, is_metadata};
use crate::parser::Matching;

/// Numbers signatures: equal ones get equal numbers, in the order in which they come.
#[derive(Debug)]
pub(super) struct Signatures<'q> {
    by: GroupBy<'q>,
    groups: Groups,
}

impl<'q> Signatures<'q> {
    pub(super) fn new(matching: &'q Matching) -> Self {
        Self { by: GroupBy::labels(!matching.on, &matching.labels), groups: Groups::default() }
    }

    /// The numbers of all series of `source`.
    pub(super) fn of(&mut self, source: &dyn Source) -> Vec<u32> {
        (0..source.len()).map(|index| self.groups.group_of(&self.by, source, index) as u32).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Bytes that they take in memory, about.
    pub(super) fn size_bytes(&self) -> u64 {
        self.groups.size_bytes()
    }

    /// The labels of a signature. Makes them anew at each call.
    pub(super) fn labels(&self, number: usize) -> Labels {
        self.groups.labels(&self.by, number)
    }

    /// The labels of a result of one-to-one matching.
    pub(super) fn one_to_one(&self, labels: &Labels, drop_name: bool) -> Labels {
        labels.filtered(|name| self.by.lists(name) && !(drop_name && is_metadata(name)))
    }
}

/// Series by the number of their signature.
pub(super) struct ByNumber {
    /// Where the series of each number end.
    ends: Vec<u32>,
    series: Vec<u32>,
}

impl ByNumber {
    pub(super) fn new(numbers: &[u32], count: usize) -> Self {
        // First where each begins, which moves to its end as they are filled in.
        let mut ends = vec![0u32; count + 1];
        for number in numbers {
            ends[*number as usize + 1] += 1;
        }
        for number in 0..count {
            ends[number + 1] += ends[number];
        }
        let mut series = vec![0; numbers.len()];
        for (index, number) in numbers.iter().enumerate() {
            let place = &mut ends[*number as usize];
            series[*place as usize] = index as u32;
            *place += 1;
        }
        ends.truncate(count);
        Self { ends, series }
    }

    /// The series with a number, in their order.
    pub(super) fn get(&self, number: usize) -> &[u32] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.series[start as usize..self.ends[number] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_listed_by_number_and_in_order() {
        let lists = ByNumber::new(&[2, 0, 2, 3, 2, 0], 5);
        let all: Vec<&[u32]> = (0..5).map(|number| lists.get(number)).collect();
        assert_eq!(all, [&[1, 5][..], &[], &[0, 2, 4], &[3], &[]]);
    }
}
