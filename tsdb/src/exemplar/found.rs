//! Exemplars from several places, each once, the newest of them.

use super::Exemplar;
use crate::labels::Labels;

/// Exemplars that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundExemplars {
    /// By series in the order of labels, each series' in ascending time.
    pub series: Vec<(Labels, Vec<Exemplar>)>,
    /// Whether there are older ones, which were left out.
    pub is_partial: bool,
}

/// Exemplars that are held, beside twice the limit, before the oldest of them are let go.
const SLACK: usize = 1024;

/// Takes exemplars in any order and keeps the newest `limit`. Of those of one series at one time the first to come stays.
/// Memory: about twice as many as it keeps.
#[derive(Debug)]
pub(crate) struct Newest {
    limit: usize,
    held: Vec<(Labels, Exemplar)>,
    is_partial: bool,
}

impl Newest {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new(), is_partial: false }
    }

    pub(crate) fn add(&mut self, series: &Labels, exemplar: Exemplar) {
        self.held.push((series.clone(), exemplar));
        if self.held.len() >= self.limit.saturating_mul(2).saturating_add(SLACK) {
            self.reduce();
        }
    }

    /// Lets go of what is there twice, and of the oldest. The rest is in the order of series and times.
    fn reduce(&mut self) {
        fn key(held: &(Labels, Exemplar)) -> (&Labels, i64) {
            (&held.0, held.1.timestamp.millis())
        }
        // Stable: what came first stands first.
        self.held.sort_by(|a, b| key(a).cmp(&key(b)));
        self.held.dedup_by(|later, first| key(later) == key(first));
        let Some(over) = self.held.len().checked_sub(self.limit).filter(|&over| over > 0) else { return };
        self.is_partial = true;
        let mut ages: Vec<(i64, usize)> = self.held.iter().map(|held| held.1.timestamp.millis()).zip(0..).collect();
        let (_, &mut oldest_out, _) = ages.select_nth_unstable(over - 1);
        let mut place = 0..;
        self.held.retain(|held| (held.1.timestamp.millis(), place.next().unwrap_or(usize::MAX)) > oldest_out);
    }

    pub(crate) fn finish(mut self) -> FoundExemplars {
        self.reduce();
        let mut series: Vec<(Labels, Vec<Exemplar>)> = Vec::new();
        for (labels, exemplar) in self.held {
            match series.last_mut() {
                Some((last, exemplars)) if *last == labels => exemplars.push(exemplar),
                _ => series.push((labels, vec![exemplar])),
            }
        }
        FoundExemplars { series, is_partial: self.is_partial }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::sample::Timestamp;

    proptest! {
        #[test]
        fn the_newest_stay_and_the_first_of_two_at_one_time(
            added in prop::collection::vec((0usize..4, 0i64..900), 0..4000),
            limit in 0usize..700,
        ) {
            let labels = |series: usize| Labels::from_pairs([("s", series.to_string())]);
            let (mut newest, mut model) = (Newest::new(limit), BTreeMap::new());
            for (n, &(series, ms)) in added.iter().enumerate() {
                let (labels, timestamp) = (labels(series), Timestamp::from_millis(ms));
                let exemplar = Exemplar { labels: Labels::empty(), value: n as f64, timestamp };
                newest.add(&labels, exemplar.clone());
                model.entry((ms, labels)).or_insert(exemplar);
            }
            let is_partial = model.len() > limit;
            let mut expected: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
            for ((_, labels), exemplar) in model.into_iter().rev().take(limit) {
                expected.entry(labels).or_default().insert(0, exemplar);
            }
            let series = expected.into_iter().collect();
            prop_assert_eq!(newest.finish(), FoundExemplars { series, is_partial });
        }
    }
}
