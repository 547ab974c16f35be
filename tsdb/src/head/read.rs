//! Reading the head.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Head;
use super::index::reference;
use super::isolation::ReadTicket;
use super::series::{MemSeries, TOGETHER, View, Wanted, touch};
use super::shard::ShardIndex;
use super::values::first_texts;
use crate::error::Error;
use crate::index::{Symbol, SymbolsView};
use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};
use crate::merge::MergedSet;
use crate::querier::{Columns, Querier, SeriesSet};
use crate::sample::{SeriesRef, TimeRange};

/// A view of the head as of one watermark.
#[derive(Debug)]
pub(crate) struct HeadQuerier {
    head: Arc<Head>,
    ticket: Arc<ReadTicket>,
    /// What is older is in blocks; late samples aside.
    flushed_until_ms: i64,
}

impl HeadQuerier {
    /// A view with a watermark. What is older than `flushed_until_ms` is looked for in blocks.
    pub(crate) fn new(head: Arc<Head>, ticket: Arc<ReadTicket>, flushed_until_ms: i64) -> Self {
        Self { head, ticket, flushed_until_ms }
    }

    pub(super) fn flushed_until_ms(&self) -> i64 {
        self.flushed_until_ms
    }

    /// Hands the slots of the series that pass to `each`, shard by shard, each with its number.
    fn each_shard(&self, matchers: &[Matcher], mut each: impl FnMut(usize, &ShardIndex, Vec<u32>)) {
        for (number, shard) in self.head.index.shards().iter().enumerate() {
            let shard = shard.read();
            // After the lock: the symbols of every series in this shard are in the view.
            let symbols = self.head.index.symbols_view();
            let slots = shard.select(matchers, &symbols, |text| self.head.index.symbols().find(text));
            each(number, &shard, slots);
        }
    }

    /// Hands the series that pass `matchers` and may have samples within `range` to `each`, in no order.
    fn each_matching(&self, matchers: &[Matcher], range: TimeRange, mut each: impl FnMut(&Arc<MemSeries>)) {
        self.each_shard(matchers, |_, shard, slots| {
            for slots in slots.chunks(TOGETHER) {
                let series = slots.iter().filter_map(|&slot| shard.series(slot));
                touch(series.clone(), Wanted::Begin);
                series.filter(|s| s.may_overlap(range, self.flushed_until_ms)).for_each(&mut each);
            }
        });
    }

    /// The series that pass `matchers` and may have samples within `range`, in no order.
    pub(super) fn matching(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Arc<MemSeries>> {
        let mut found = Vec::new();
        self.each_matching(matchers, range, |series| found.push(series.clone()));
        found
    }

    /// Series by reference; those that are gone are left out.
    pub(crate) fn select_refs(&self, series: &[SeriesRef]) -> Arc<dyn SeriesSet> {
        let found = series.iter().filter_map(|&series| self.head.index.by_ref(series)).collect();
        let symbols = self.head.index.symbols_view();
        self.set_of(self.head.order().sort(found, &symbols), symbols)
    }

    /// A set of series, which are in the order of their labels.
    fn set_of(&self, series: Vec<Arc<MemSeries>>, symbols: Arc<SymbolsView>) -> Arc<dyn SeriesSet> {
        Arc::new(HeadSeriesSet {
            head: self.head.clone(),
            ticket: self.ticket.clone(),
            flushed_until_ms: self.flushed_until_ms,
            symbols,
            series,
        })
    }

    /// What `look` finds among the series of each shard that pass `matchers`. What the head knows counts as within any time
    /// range.
    fn found(&self, matchers: &[Matcher], look: impl Fn(&ShardIndex, &[u32]) -> Vec<Symbol>) -> Vec<Symbol> {
        let mut found = Vec::new();
        self.each_shard(matchers, |_, shard, slots| found.append(&mut look(shard, &slots)));
        found
    }
}

impl Querier for HeadQuerier {
    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        let order = self.head.order();
        let (mut series, mut places) = (Vec::new(), Vec::new());
        self.each_matching(matchers, range, |found| {
            series.push(found.clone());
            places.push(order.of(found.series_ref));
        });
        let symbols = self.head.index.symbols_view();
        Ok(self.set_of(order.sort_placed(series, places, &symbols), symbols))
    }

    fn select_first(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Arc<dyn SeriesSet>, Error> {
        let order = self.head.order();
        if limit == usize::MAX || order.is_empty() {
            return Ok(MergedSet::cut(self.select(matchers, range)?, limit));
        }
        let mut passing = Vec::new();
        self.each_shard(matchers, |shard, _, slots| {
            passing.extend(slots.into_iter().map(|slot| reference(shard, slot)));
        });
        let symbols = self.head.index.symbols_view();
        let series = order.first(passing.into_iter(), limit, &symbols, |series| {
            self.head.index.by_ref(series).filter(|s| s.may_overlap(range, self.flushed_until_ms))
        });
        Ok(self.set_of(series, symbols))
    }

    fn at_most(&self, matchers: &[Matcher], _: TimeRange) -> u64 {
        let mut pairs = Vec::new();
        for matcher in matchers.iter().filter(|m| m.op() == MatchOp::Equal && !m.value().is_empty()) {
            let symbols = self.head.index.symbols();
            match (symbols.find(matcher.name()), symbols.find(matcher.value())) {
                (Some(name), Some(value)) => pairs.push((name, value)),
                // Nothing is called that.
                _ => return 0,
            }
        }
        let of_shard = |shard: &RwLock<ShardIndex>| {
            let shard = shard.read();
            pairs.iter().map(|&(name, value)| shard.count(name, value) as u64).min().unwrap_or(u64::MAX)
        };
        self.head.index.shards().iter().map(of_shard).fold(0, u64::saturating_add)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<String>, Error> {
        if !self.head.span().overlaps(&range) {
            return Ok(Vec::new());
        }
        let names = match matchers {
            [] => self.head.index.shards().iter().flat_map(|shard| shard.read().names().collect::<Vec<_>>()).collect(),
            _ => self.found(matchers, ShardIndex::names_in),
        };
        Ok(first_texts(names, &self.head.index.symbols_view(), limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        if !self.head.span().overlaps(&range) {
            return Ok(Vec::new());
        }
        let Some(name) = self.head.index.symbols().find(name) else { return Ok(Vec::new()) };
        if matchers.is_empty() {
            return Ok(self.head.first_values(name, limit));
        }
        let values = self.found(matchers, |shard, slots| shard.values_in(name, slots));
        Ok(first_texts(values, &self.head.index.symbols_view(), limit))
    }
}

/// Selected series of the head.
struct HeadSeriesSet {
    head: Arc<Head>,
    ticket: Arc<ReadTicket>,
    flushed_until_ms: i64,
    symbols: Arc<SymbolsView>,
    series: Vec<Arc<MemSeries>>,
}

impl SeriesSet for HeadSeriesSet {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        let pairs = self.series[index].labels.iter();
        Labels::from_sorted(pairs.map(|&(name, value)| (self.symbols.text(name), self.symbols.text(value))))
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        let pairs = &self.series[index].labels;
        pairs.iter().find(|(n, _)| self.symbols.text(*n) == name).map(|(_, value)| self.symbols.text(*value))
    }

    fn pair(&self, index: usize, n: usize) -> Option<(&str, &str)> {
        let &(name, value) = self.series[index].labels.get(n)?;
        Some((self.symbols.text(name), self.symbols.text(value)))
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let view = self.head.view(self.ticket.watermark(), self.flushed_until_ms);
        self.series[index].read(view, range, columns)
    }

    fn prefetch(&self, range: Range<usize>) {
        self.series[range].chunks(TOGETHER).for_each(|series| touch(series.iter(), Wanted::Newest));
    }

    fn read_newest(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let view = self.head.view(self.ticket.watermark(), self.flushed_until_ms);
        self.series[index].read_newest(view, range, columns)
    }
}

impl Head {
    pub(super) fn view(&self, watermark: u64, flushed_until_ms: i64) -> View<'_> {
        View { watermark, history: &self.history, files: &self.files, flushed_until_ms }
    }

    /// The bits of the sample that the head holds of `series` at `at_ms`, applied or about to be; of a histogram those
    /// of its sum. What cannot be read counts as not there.
    pub(super) fn bits_at(&self, series: &MemSeries, at_ms: i64) -> Option<u64> {
        let mut columns = Columns::default();
        let view = self.view(u64::MAX, i64::MIN);
        series.read(view, TimeRange::from_millis(at_ms, at_ms), &mut columns).ok()?;
        let histogram = columns.histograms.first().map(|sample| sample.histogram.sum);
        columns.values.first().copied().or(histogram).map(f64::to_bits)
    }
}
