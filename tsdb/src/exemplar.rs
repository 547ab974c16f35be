//! Exemplars: single observations that a sample counts, with labels that lead to them, such as a trace.

use std::collections::{HashMap, VecDeque};

use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::sample::{TimeRange, Timestamp};

/// A single observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What leads to it, `trace_id` for example; not the labels of its series.
    pub labels: Labels,
    /// What was observed.
    pub value: f64,
    /// When.
    pub timestamp: Timestamp,
}

/// The newest exemplars of all series, as many as fit: the oldest to come is the first to go.
#[derive(Debug)]
pub(crate) struct Exemplars {
    limit: usize,
    /// Number of the first exemplar kept.
    first: u64,
    kept: VecDeque<(Labels, Exemplar)>,
    /// Numbers of the exemplars of each series, ascending in number and in time.
    by_series: HashMap<Labels, VecDeque<u64>>,
}

impl Exemplars {
    /// Room for `limit` exemplars.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, first: 0, kept: VecDeque::new(), by_series: HashMap::new() }
    }

    /// Whether [`add`](Self::add) would keep it: it is newer than the last one of its series.
    pub(crate) fn takes(&self, series: &Labels, exemplar: &Exemplar) -> bool {
        let last =
            self.by_series.get(series).and_then(VecDeque::back).map(|&n| &self.kept[(n - self.first) as usize].1);
        self.limit > 0 && last.is_none_or(|last| last.timestamp < exemplar.timestamp)
    }

    /// Keeps an exemplar, unless there is a newer one of its series, or one of the same time.
    pub(crate) fn add(&mut self, series: Labels, exemplar: Exemplar) -> bool {
        if !self.takes(&series, &exemplar) {
            return false;
        }
        if self.kept.len() == self.limit {
            self.forget_first();
        }
        self.by_series.entry(series.clone()).or_default().push_back(self.first + self.kept.len() as u64);
        self.kept.push_back((series, exemplar));
        true
    }

    fn forget_first(&mut self) {
        let Some((series, _)) = self.kept.pop_front() else { return };
        self.first += 1;
        if let Some(numbers) = self.by_series.get_mut(&series) {
            numbers.pop_front();
            if numbers.is_empty() {
                self.by_series.remove(&series);
            }
        }
    }

    /// The exemplars within `range` of the series that pass all matchers of any of `selectors`, by series in label
    /// order, each in ascending time.
    pub(crate) fn select(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let passes = |labels: &Labels| {
            let value = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default());
            selectors.iter().any(|matchers| matchers.iter().all(value))
        };
        let of_series = |(labels, numbers): (&Labels, &VecDeque<u64>)| {
            let all = numbers.iter().map(|&n| &self.kept[(n - self.first) as usize].1);
            let within: Vec<Exemplar> = all.filter(|e| range.contains(e.timestamp)).cloned().collect();
            (!within.is_empty()).then(|| (labels.clone(), within))
        };
        let mut found: Vec<_> =
            self.by_series.iter().filter(|(labels, _)| passes(labels)).filter_map(of_series).collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// All exemplars in the order in which they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Labels, Exemplar)> {
        self.kept.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::MatchOp;

    fn exemplar(ms: i64) -> Exemplar {
        let labels = Labels::from_pairs([("trace_id", &format!("{ms:x}"))]);
        Exemplar { labels, value: ms as f64, timestamp: Timestamp::from_millis(ms) }
    }

    #[test]
    fn the_newest_are_kept_and_found_by_series_and_time() {
        let mut exemplars = Exemplars::new(4);
        let (a, b) = (Labels::from_pairs([("__name__", "a")]), Labels::from_pairs([("__name__", "b")]));
        assert!(exemplars.add(b.clone(), exemplar(1)));
        assert!(exemplars.add(a.clone(), exemplar(2)));
        assert!(!exemplars.add(a.clone(), exemplar(2)), "the same again");
        assert!(!exemplars.add(a.clone(), exemplar(1)), "an older one");
        let all = vec![vec![Matcher::new(MatchOp::Regex, "__name__", "a|b").unwrap()]];
        let found = exemplars.select(&all, TimeRange::ALL);
        assert_eq!(found, [(a.clone(), vec![exemplar(2)]), (b, vec![exemplar(1)])]);
        (3..7).for_each(|ms| assert!(exemplars.add(a.clone(), exemplar(ms))));
        assert_eq!(exemplars.iter().count(), 4);
        let found = exemplars.select(&all, TimeRange::from_millis(4, 5));
        assert_eq!(found, [(a, vec![exemplar(4), exemplar(5)])]);
        assert!(!Exemplars::new(0).add(Labels::empty(), exemplar(1)));
    }
}
