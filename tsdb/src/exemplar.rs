//! Exemplars: single observations that a sample counts, with labels that lead to them, such as a trace.

mod found;

use std::collections::{HashMap, VecDeque};

pub use found::FoundExemplars;
pub(crate) use found::Newest;

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
    /// None in the place of one that has been deleted.
    kept: VecDeque<Option<(Labels, Exemplar)>>,
    /// Numbers of the exemplars of each series, ascending.
    by_series: HashMap<Labels, VecDeque<u64>>,
}

impl Exemplars {
    /// Room for `limit` exemplars.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, first: 0, kept: VecDeque::new(), by_series: HashMap::new() }
    }

    /// How many it has room for.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether it is newer than all others of its series up to `latest_ms`: one of the future does not keep out those of now.
    pub(crate) fn takes(&self, series: &Labels, exemplar: &Exemplar, latest_ms: i64) -> bool {
        let Some(numbers) = self.by_series.get(series).filter(|_| self.limit > 0) else { return self.limit > 0 };
        let mut others = numbers.iter().rev().filter_map(|&n| self.at(n)).map(|other| other.timestamp);
        match others.next() {
            Some(last) if last.millis() > latest_ms => {
                last != exemplar.timestamp
                    && others.all(|other| {
                        other < exemplar.timestamp || other.millis() > latest_ms && other != exemplar.timestamp
                    })
            }
            last => last.is_none_or(|last| last < exemplar.timestamp),
        }
    }

    /// Whether it is newer than the last one of its series, or that one lies beyond and none is of its time.
    fn is_news(&self, series: &Labels, exemplar: &Exemplar) -> bool {
        let Some(numbers) = self.by_series.get(series) else { return true };
        let mut others = numbers.iter().rev().filter_map(|&n| self.at(n)).map(|other| other.timestamp);
        others.next().is_none_or(|last| {
            last < exemplar.timestamp || last > exemplar.timestamp && others.all(|other| other != exemplar.timestamp)
        })
    }

    /// The exemplar of a number; none if it has been deleted.
    fn at(&self, number: u64) -> Option<&Exemplar> {
        self.kept[(number - self.first) as usize].as_ref().map(|(_, exemplar)| exemplar)
    }

    /// Keeps an exemplar, unless there is one of the same time of its series.
    pub(crate) fn add(&mut self, series: Labels, exemplar: Exemplar) -> bool {
        if self.limit == 0 || !self.is_news(&series, &exemplar) {
            return false;
        }
        if self.kept.len() == self.limit {
            self.forget_first();
        }
        self.by_series.entry(series.clone()).or_default().push_back(self.first + self.kept.len() as u64);
        self.kept.push_back(Some((series, exemplar)));
        true
    }

    fn forget_first(&mut self) {
        let Some(first) = self.kept.pop_front() else { return };
        self.first += 1;
        let Some((series, _)) = first else { return };
        if let Some(numbers) = self.by_series.get_mut(&series) {
            numbers.pop_front();
            if numbers.is_empty() {
                self.by_series.remove(&series);
            }
        }
    }

    /// The exemplars within `range` of the series that pass all matchers of any of `selectors`: series in no order, each
    /// one's in ascending time.
    pub(crate) fn select(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let passing = self.by_series.iter().filter(|(labels, _)| selectors.iter().any(|all| passes(labels, all)));
        let of_series = |(labels, numbers): (&Labels, &VecDeque<u64>)| {
            let all = numbers.iter().filter_map(|&number| self.at(number));
            let mut within: Vec<Exemplar> = all.filter(|e| range.contains(e.timestamp)).cloned().collect();
            within.sort_by_key(|exemplar| exemplar.timestamp);
            (!within.is_empty()).then(|| (labels.clone(), within))
        };
        passing.filter_map(of_series).collect()
    }

    /// The series that pass all `matchers` and have an exemplar within `range`.
    pub(crate) fn matching(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Labels> {
        let within = |numbers: &VecDeque<u64>| {
            numbers.iter().filter_map(|&number| self.at(number)).any(|e| range.contains(e.timestamp))
        };
        let found = self.by_series.iter().filter(|(labels, numbers)| passes(labels, matchers) && within(numbers));
        found.map(|(labels, _)| labels.clone()).collect()
    }

    /// Deletes the exemplars of a series within `range`. Their places stay taken until it would be their turn to go.
    pub(crate) fn delete(&mut self, series: &Labels, range: TimeRange) {
        let Some(numbers) = self.by_series.get_mut(series) else { return };
        let (kept, first) = (&mut self.kept, self.first);
        numbers.retain(|&number| {
            let place = &mut kept[(number - first) as usize];
            place.take_if(|(_, exemplar)| range.contains(exemplar.timestamp)).is_none()
        });
        if numbers.is_empty() {
            self.by_series.remove(series);
        }
    }

    /// All exemplars in the order in which they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Labels, Exemplar)> {
        self.kept.iter().flatten()
    }
}

fn passes(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
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
        assert!(!exemplars.takes(&a, &exemplar(1), i64::MAX), "an older one");
        assert!(exemplars.takes(&a, &exemplar(1), 1), "older than one of the future only");
        let all = vec![vec![Matcher::new(MatchOp::Regex, "__name__", "a|b").unwrap()]];
        let mut found = exemplars.select(&all, TimeRange::ALL);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, [(a.clone(), vec![exemplar(2)]), (b, vec![exemplar(1)])]);
        (3..7).for_each(|ms| assert!(exemplars.add(a.clone(), exemplar(ms))));
        assert_eq!(exemplars.iter().count(), 4);
        let found = exemplars.select(&all, TimeRange::from_millis(4, 5));
        assert_eq!(found, [(a, vec![exemplar(4), exemplar(5)])]);
        assert!(!Exemplars::new(0).add(Labels::empty(), exemplar(1)));
    }

    #[test]
    fn what_is_deleted_is_gone_and_what_came_beside_it_goes_in_its_turn() {
        let mut exemplars = Exemplars::new(4);
        let (a, b) = (Labels::from_pairs([("__name__", "a")]), Labels::from_pairs([("__name__", "b")]));
        for (series, ms) in [(&a, 1), (&a, 2), (&b, 3), (&a, 4)] {
            assert!(exemplars.add(series.clone(), exemplar(ms)));
        }
        let (of_a, range) = ([Matcher::equal("__name__", "a")], TimeRange::from_millis(2, 3));
        assert!(exemplars.matching(&of_a, range).iter().eq([&a]));
        exemplars.delete(&a, range);
        assert_eq!(exemplars.matching(&of_a, range), [] as [Labels; 0]);
        let times = |exemplars: &Exemplars| {
            exemplars.iter().map(|(_, exemplar)| exemplar.timestamp.millis()).collect::<Vec<_>>()
        };
        assert_eq!(times(&exemplars), [1, 3, 4]);
        (5..7).for_each(|ms| assert!(exemplars.add(b.clone(), exemplar(ms))));
        assert_eq!(times(&exemplars), [3, 4, 5, 6]);
        exemplars.delete(&b, TimeRange::ALL);
        exemplars.delete(&a, TimeRange::ALL);
        assert_eq!((exemplars.iter().count(), exemplars.by_series.len()), (0, 0));
        (7..12).for_each(|ms| assert!(exemplars.add(a.clone(), exemplar(ms))));
        assert_eq!(times(&exemplars), [8, 9, 10, 11]);
    }
}
