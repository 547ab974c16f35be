//! Extent of the log: which segments there must be, and how long those are that have ended.

use std::collections::BTreeMap;
use std::path::Path;

use super::segment_path;
use crate::error::Error;

/// Extent of the log as the manifest names it. A segment is named once its file is there, and its length once it survives a
/// power cut: so neither a crash nor a power cut makes the log shorter than this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogExtent {
    /// The segment begun last; `None` if no manifest names one.
    pub(crate) last: Option<u64>,
    /// Bytes of the segments that have ended, by number.
    pub(crate) ended: BTreeMap<u64, u64>,
}

impl LogExtent {
    /// Forgets segments before `first`.
    pub(crate) fn begin_at(&mut self, first: u64) {
        self.ended = self.ended.split_off(&first);
    }

    /// Names segment `number`, which has been begun.
    pub(crate) fn begin(&mut self, number: u64) {
        self.last = self.last.max(Some(number));
    }

    /// Names the length of a segment. The first that is named stands.
    pub(crate) fn end(&mut self, number: u64, bytes: u64) {
        self.ended.entry(number).or_insert(bytes);
    }

    /// What is missing of the log in `dir` from segment `first` on, 0 if no manifest names a first one. `found` is where the
    /// good frames of each segment end.
    pub(crate) fn faults(&self, dir: &Path, first: u64, found: &BTreeMap<u64, u64>) -> Vec<Error> {
        let lowest = match (first, self.last) {
            (0, Some(_)) => Some(1),
            (0, None) => found.keys().next().copied(),
            (first, _) => Some(first),
        };
        // Without a word on the last one, a first one that is named must be there all the same.
        let highest = found.keys().next_back().copied().max(self.last).or(Some(first).filter(|&first| first > 0));
        let Some((lowest, highest)) = lowest.zip(highest) else { return Vec::new() };
        let corrupt = |number, offset, what| Error::Corrupt { path: segment_path(dir, number), offset, what };
        let mut faults = Vec::new();
        let mut expected = lowest;
        for number in found.range(lowest..).map(|(&number, _)| number).chain([highest.saturating_add(1)]) {
            match number.saturating_sub(expected) {
                0 => {}
                1 => faults.push(corrupt(expected, 0, "segment is missing")),
                _ => faults.push(corrupt(
                    expected,
                    0,
                    "segment is missing, and those behind it up to the next that is there",
                )),
            }
            expected = number.saturating_add(1);
        }
        for (&number, &bytes) in self.ended.range(lowest..) {
            if let Some(&good_until) = found.get(&number).filter(|&&good_until| good_until < bytes) {
                faults.push(corrupt(number, good_until, "segment ends too early: more of it was on the disk"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(extent: &LogExtent, first: u64, found: &[(u64, u64)]) -> Vec<(String, u64)> {
        let found = found.iter().copied().collect();
        let faults = extent.faults(Path::new("wal"), first, &found).into_iter();
        let place = |fault| match fault {
            Error::Corrupt { path, offset, .. } => (path.display().to_string(), offset),
            other => panic!("{other}"),
        };
        faults.map(place).collect()
    }

    fn missing(numbers: &[u64]) -> Vec<(String, u64)> {
        numbers.iter().map(|number| (format!("wal/{number:08}"), 0)).collect()
    }

    #[test]
    fn a_segment_that_is_missing_anywhere_or_short_is_found() {
        let extent = LogExtent { last: Some(5), ended: [(3, 100), (4, 200)].into() };
        assert_eq!(told(&extent, 3, &[(3, 100), (4, 200), (5, 20)]), []);
        assert_eq!(told(&extent, 3, &[(3, 100), (4, 200), (5, 20), (6, 20)]), [], "begun, and not named yet");
        assert_eq!(told(&extent, 3, &[(4, 200), (5, 20)]), missing(&[3]));
        assert_eq!(told(&extent, 3, &[(3, 100), (5, 20)]), missing(&[4]));
        assert_eq!(told(&extent, 3, &[(3, 100), (4, 200)]), missing(&[5]));
        assert_eq!(told(&extent, 3, &[(3, 100)]), missing(&[4]), "and those behind it");
        assert_eq!(told(&extent, 3, &[]), missing(&[3]), "and those behind it");
        assert_eq!(told(&extent, 3, &[(3, 99), (4, 200), (5, 0)]), [("wal/00000003".into(), 99)]);
        assert_eq!(told(&extent, 0, &[(3, 100), (4, 200), (5, 0)]), missing(&[1]));
    }

    #[test]
    fn without_a_manifest_that_names_them_only_gaps_are_found() {
        let extent = LogExtent::default();
        assert_eq!(told(&extent, 0, &[]), []);
        assert_eq!(told(&extent, 0, &[(4, 20), (5, 20)]), []);
        assert_eq!(told(&extent, 0, &[(4, 20), (6, 20)]), missing(&[5]));
        assert_eq!(told(&extent, 3, &[(4, 20)]), missing(&[3]));
        assert_eq!(told(&extent, 3, &[]), missing(&[3]));
    }
}
