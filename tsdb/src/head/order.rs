//! The order of the series by their labels, kept so that results need not be sorted by text each time.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::Head;
use super::index::place;
use super::series::MemSeries;
use crate::index::{Symbol, SymbolsView};
use crate::sample::SeriesRef;

/// The places of the series that the head had at one moment. Series that came later have none.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// By shard and slot; 0 for none. 4 bytes per slot.
    places: Vec<Vec<u32>>,
    /// How many have one.
    len: u64,
    /// How many slots had been given since, when [`Head::keep_order`] last looked.
    new: AtomicU64,
}

impl Order {
    /// The place of a series; 0 if it has none.
    pub(crate) fn of(&self, series: SeriesRef) -> u32 {
        let (shard, slot) = place(series);
        self.places.get(shard).and_then(|places| places.get(slot as usize)).copied().unwrap_or(0)
    }

    /// Puts series in the order of their labels. Cost: 20 ns for a series that has a place, else 0.4 µs, or 1 µs if they are
    /// few.
    pub(crate) fn sort(&self, series: Vec<Arc<MemSeries>>, symbols: &SymbolsView) -> Vec<Arc<MemSeries>> {
        let places = series.iter().map(|series| self.of(series.series_ref)).collect();
        self.sort_placed(series, places, symbols)
    }

    /// The same of series whose places are known. Cost: 8 ns for one that has a place if they are most of all, else 20 ns.
    pub(crate) fn sort_placed(
        &self,
        series: Vec<Arc<MemSeries>>,
        places: Vec<u32>,
        symbols: &SymbolsView,
    ) -> Vec<Arc<MemSeries>> {
        let mut series: Vec<Option<Arc<MemSeries>>> = series.into_iter().map(Some).collect();
        let mut take = |index: u32| series[index as usize].take();
        let (mut placed, mut new) = (Vec::new(), Vec::new());
        if places.len() as u64 >= self.len / FEW {
            let mut indexes = vec![NOWHERE; self.len as usize + 1];
            for (&place, index) in places.iter().zip(0..) {
                match place {
                    0 => new.extend(take(index)),
                    place => indexes[place as usize] = index,
                }
            }
            placed.reserve(places.len() - new.len());
            placed.extend(indexes.into_iter().filter(|&index| index != NOWHERE).filter_map(take));
        } else {
            let mut pairs: Vec<(u32, u32)> = places.into_iter().zip(0..).collect();
            pairs.sort_unstable();
            let without = pairs.partition_point(|&(place, _)| place == 0);
            new.extend(pairs[..without].iter().filter_map(|&(_, index)| take(index)));
            placed.extend(pairs[without..].iter().filter_map(|&(_, index)| take(index)));
        }
        match new.is_empty() {
            true => placed,
            false => merge(placed.into_iter(), by_labels(new, symbols).into_iter(), symbols),
        }
    }

    /// The first `limit`, by labels, of the series that `look` gives for references. It is asked for few more than these and
    /// for those that have no place. Cost: 10 ns for each other one, 0.1 µs if it has no place.
    pub(crate) fn first(
        &self,
        series: impl Iterator<Item = SeriesRef>,
        limit: usize,
        symbols: &SymbolsView,
        mut look: impl FnMut(SeriesRef) -> Option<Arc<MemSeries>>,
    ) -> Vec<Arc<MemSeries>> {
        let (mut placed, mut new) = (Vec::with_capacity(series.size_hint().0), Vec::new());
        for series in series {
            match self.of(series) {
                0 => new.extend(look(series)),
                place => placed.push((place, series)),
            }
        }
        let (mut found, mut rest, mut count) = (Vec::new(), &mut placed[..], limit);
        while found.len() < limit && !rest.is_empty() {
            if count < rest.len() {
                rest.select_nth_unstable_by_key(count, |&(place, _)| place);
            }
            let (next, later) = rest.split_at_mut(count.min(rest.len()));
            next.sort_unstable_by_key(|&(place, _)| place);
            found.extend(next.iter().filter_map(|&(_, series)| look(series)));
            (rest, count) = (later, count.saturating_mul(2));
        }
        found.truncate(limit);
        if let Some(last) = found.last().filter(|_| found.len() == limit) {
            new.retain(|series| compare(series, last, symbols) == Ordering::Less);
        }
        let mut found = merge(found.into_iter(), by_labels(new, symbols).into_iter(), symbols);
        found.truncate(limit);
        found
    }

    /// Slots that had been given when it was made.
    fn slots(&self) -> usize {
        self.places.iter().map(Vec::len).sum()
    }

    /// Whether it has no places.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Of so many series one is looked for place by place.
const FEW: u64 = 16;
/// No index.
const NOWHERE: u32 = u32::MAX;
/// So many series are worth ranking their label pairs.
const MANY: usize = 10_000;
/// Label pairs by which most series differ.
const RANKED: usize = 4;

/// Series in the order of their labels. The text of each label pair is compared with few others, then the pairs' ranks are,
/// which are numbers, and side by side.
fn by_labels(mut series: Vec<Arc<MemSeries>>, symbols: &SymbolsView) -> Vec<Arc<MemSeries>> {
    if series.len() < MANY {
        series.sort_unstable_by(|a, b| compare(a, b, symbols));
        return series;
    }
    let mut ranks: HashMap<(Symbol, Symbol), u32, FxBuildHasher> = HashMap::default();
    for pair in series.iter().flat_map(|series| series.labels.iter().take(RANKED)) {
        ranks.entry(*pair).or_default();
    }
    let mut pairs: Vec<(Symbol, Symbol)> = ranks.keys().copied().collect();
    pairs.sort_unstable_by(|a, b| compare_pairs(a, b, symbols));
    // A label that is not there comes before all others.
    for (pair, rank) in pairs.into_iter().zip(1..) {
        ranks.insert(pair, rank);
    }
    let ranked = |series: Arc<MemSeries>| {
        let mut of_series = [0u32; RANKED];
        series.labels.iter().zip(&mut of_series).for_each(|(pair, rank)| *rank = ranks[pair]);
        (of_series, series)
    };
    let mut ranked: Vec<([u32; RANKED], Arc<MemSeries>)> = series.into_iter().map(ranked).collect();
    ranked.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| compare(x, y, symbols)));
    ranked.into_iter().map(|(_, series)| series).collect()
}

/// Two lists that are in order, as one.
fn merge(
    a: impl Iterator<Item = Arc<MemSeries>>,
    b: impl Iterator<Item = Arc<MemSeries>>,
    symbols: &SymbolsView,
) -> Vec<Arc<MemSeries>> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    let mut all = Vec::with_capacity(a.size_hint().0 + b.size_hint().0);
    while let Some((x, y)) = a.peek().zip(b.peek()) {
        let next = if compare(x, y, symbols) == Ordering::Less { a.next() } else { b.next() };
        all.extend(next);
    }
    all.extend(a);
    all.extend(b);
    all
}

/// Label order of two series.
fn compare(a: &MemSeries, b: &MemSeries, symbols: &SymbolsView) -> Ordering {
    let differing = a.labels.iter().zip(&b.labels).find(|(a, b)| a != b);
    match differing {
        None => a.labels.len().cmp(&b.labels.len()),
        Some((a, b)) => compare_pairs(a, b, symbols),
    }
}

/// The order of two label pairs.
fn compare_pairs(a: &(Symbol, Symbol), b: &(Symbol, Symbol), symbols: &SymbolsView) -> Ordering {
    let text = |symbol| symbols.text(symbol);
    text(a.0).cmp(text(b.0)).then_with(|| text(a.1).cmp(text(b.1)))
}

impl Head {
    /// Gives places to series that have none, if they are many: a tenth of all, or a hundredth once no more come.
    ///
    /// Cost: 0.4 to 1 µs per series without a place, 0.2 µs per other one. Readers go on meanwhile.
    pub(crate) fn keep_order(&self) {
        let (old, shards) = (self.order(), self.index.shards());
        let slots: usize = shards.iter().map(|shard| shard.read().slots()).sum();
        let (len, new) = (self.series_count(), (slots - old.slots()) as u64);
        let quiet = old.new.swap(new, Relaxed) == new;
        let many = if quiet { len / 100 } else { len / 10 };
        if new < many.max(1000) && old.len / 2 <= len {
            return;
        }
        let (mut all, mut places) = (Vec::new(), Vec::with_capacity(shards.len()));
        for shard in shards {
            let shard = shard.read();
            all.extend(shard.all().cloned());
            places.push(vec![0; shard.slots()]);
        }
        let sorted = old.sort(all, &self.index.symbols_view());
        for (series, at) in sorted.iter().zip(1..) {
            let (shard, slot) = place(series.series_ref);
            places[shard][slot as usize] = at;
        }
        *self.order.write() = Arc::new(Order { places, len: sorted.len() as u64, new: AtomicU64::new(0) });
    }

    /// The order that is kept now.
    pub(crate) fn order(&self) -> Arc<Order> {
        self.order.read().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::index::SeriesIndex;
    use crate::labels::Labels;

    #[test]
    fn many_series_are_in_the_order_of_their_labels_however_many_they_have() {
        let index = SeriesIndex::new(1, 0);
        let label = |n: usize, i: usize| (format!("label{n}"), format!("{}", i * 7919 % [3, 50, 7, 2, 11, 5][n]));
        let all: Vec<Labels> = (0..3 * MANY)
            .map(|i| {
                let name = (String::from("__name__"), format!("m{}", i % 1000));
                let unique = (String::from("z"), (i * 31 % (3 * MANY)).to_string());
                let labels = (0..i % 6).filter(|n| ((i / 6) >> n) & 1 == 0).map(|n| label(n, i));
                Labels::from_pairs(labels.chain([name, unique]))
            })
            .collect();
        let series = all.iter().map(|labels| index.make_series(labels, labels.hash())).collect();
        let sorted = by_labels(series, &index.symbols_view());
        let mut expected = all;
        expected.sort();
        let sorted: Vec<Labels> =
            sorted.iter().filter_map(|series| index.labels(0, place(series.series_ref).1)).collect();
        assert_eq!(sorted, expected);
    }
}
