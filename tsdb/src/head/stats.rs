//! What the head holds, in numbers.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::Head;
use super::commit::CommitTotals;
use crate::index::Symbol;
use crate::labels::METRIC_NAME;
use crate::sample::Timestamp;

/// What the head holds and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series in memory.
    pub series: u64,
    /// Chunks in memory, open and sealed.
    pub chunks: u64,
    /// Bytes that chunks take.
    pub chunk_bytes: u64,
    /// Bytes that label texts and tables take.
    pub index_bytes: u64,
    /// Distinct label names and values.
    pub symbols: u64,
    /// Bytes in the write-ahead log.
    pub wal_bytes: u64,
    /// The log's current segment.
    pub wal_segment: u64,
    /// Time of the oldest sample; the latest moment if there is none.
    pub min_time: Timestamp,
    /// Time of the newest sample; the earliest moment if there is none.
    pub max_time: Timestamp,
    /// What commits did since the store was opened.
    pub commits: CommitTotals,
}

/// What takes the most room: each list the largest first, with counts or bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Label names there are.
    pub label_names: u64,
    /// Label pairs there are.
    pub label_pairs: u64,
    /// Series by metric name.
    pub series_by_metric: Vec<(String, u64)>,
    /// Distinct values by label name.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of the values of all series by label name.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series by label pair, as `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Head {
    /// Counts what is there. Cost: a walk over all series, 50 ns each.
    pub(crate) fn stats(&self) -> HeadStats {
        let (mut chunks, mut chunk_bytes, mut index_bytes) = (0, 0, 0);
        for shard in self.index.shards() {
            let shard = shard.read();
            index_bytes += shard.size_bytes();
            for series in shard.all() {
                chunks += series.chunk_count() as u64;
                chunk_bytes += series.chunk_bytes() as u64;
                index_bytes += size_of_val(&*series.labels);
            }
        }
        let (symbols, symbol_bytes) = {
            let symbols = self.index.symbols();
            (symbols.len() as u64, symbols.size_bytes())
        };
        let (wal_bytes, wal_segment, span) = {
            let mut committer = self.committer.lock();
            (committer.wal().size_bytes(), committer.wal().segment(), committer.span())
        };
        HeadStats {
            series: self.index.len(),
            chunks,
            chunk_bytes,
            index_bytes: (index_bytes + symbol_bytes) as u64,
            symbols,
            wal_bytes,
            wal_segment,
            min_time: span.start,
            max_time: span.end,
            commits: self.counters.totals(),
        }
    }

    /// What takes the most room, at most `limit` entries per list.
    pub(crate) fn cardinality(&self, limit: usize) -> Cardinality {
        // The texts of series that are let go of meanwhile stay for who has a ticket.
        let _ticket = self.open_reader();
        let mut pairs: HashMap<(Symbol, Symbol), u64> = HashMap::new();
        for shard in self.index.shards() {
            for (name, value, series) in shard.read().pairs() {
                *pairs.entry((name, value)).or_default() += series as u64;
            }
        }
        let symbols = self.index.symbols_view();
        let mut values: HashMap<Symbol, (u64, u64)> = HashMap::new();
        for (&(name, value), &series) in &pairs {
            let (count, bytes) = values.entry(name).or_default();
            *count += 1;
            *bytes += symbols.text(value).len() as u64 * series;
        }
        let text = |symbol| symbols.text(symbol).to_owned();
        let metric_name = symbols_find(self, METRIC_NAME);
        let by_metric = pairs.iter().filter(|((name, _), _)| Some(*name) == metric_name);
        Cardinality {
            label_names: values.len() as u64,
            label_pairs: pairs.len() as u64,
            series_by_metric: largest(by_metric.map(|(&(_, value), &n)| (text(value), n)), limit),
            values_by_label: largest(values.iter().map(|(&name, &(n, _))| (text(name), n)), limit),
            bytes_by_label: largest(values.iter().map(|(&name, &(_, bytes))| (text(name), bytes)), limit),
            series_by_pair: largest(
                pairs.iter().map(|(&(name, value), &n)| (format!("{}={}", symbols.text(name), symbols.text(value)), n)),
                limit,
            ),
        }
    }
}

fn symbols_find(head: &Head, text: &str) -> Option<Symbol> {
    head.index.symbols().find(text)
}

/// The `limit` largest, the largest first, equals by name.
fn largest(entries: impl Iterator<Item = (String, u64)>, limit: usize) -> Vec<(String, u64)> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
    entries.truncate(limit);
    entries
}
