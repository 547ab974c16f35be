#![cfg(feature = "testing")]

mod damage;
mod exemplars;
mod format;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::exemplar::Exemplar;
use crate::fs::Fs;
use crate::histogram::{CounterResetHint, FloatHistogram, Span};
use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};
use crate::querier::{Columns, SeriesSet};
use crate::sample::{HistogramSample, STALE_NAN, TimeRange, Timestamp};
use crate::testing::{FaultFs, check_newest};

const DIR: &str = "/data/blocks";

fn spec(range: BlockRange) -> BlockSpec {
    BlockSpec::new(BlockId::new(Timestamp::from_millis(range.end_ms), 7), range)
}

const RANGE: BlockRange = BlockRange { start_ms: 0, end_ms: 7_200_000 };

type Store = BTreeMap<Labels, Columns>;

fn write(fs: &Arc<dyn Fs>, range: BlockRange, store: &Store) -> Result<Option<BlockMeta>, Error> {
    write_with(fs, range, store, &Exemplars::new())
}

type Exemplars = BTreeMap<Labels, Vec<Exemplar>>;

fn write_with(
    fs: &Arc<dyn Fs>,
    range: BlockRange,
    store: &Store,
    exemplars: &Exemplars,
) -> Result<Option<BlockMeta>, Error> {
    let mut writer = BlockWriter::begin(fs, Path::new(DIR), spec(range))?;
    store.iter().try_for_each(|(labels, columns)| writer.add(labels, columns))?;
    exemplars.iter().try_for_each(|(labels, exemplars)| writer.add_exemplars(labels, exemplars))?;
    writer.finish()
}

fn exemplar(ms: i64) -> Exemplar {
    let labels = Labels::from_pairs([("trace_id", &format!("{ms:x}"))]);
    Exemplar { labels, value: ms as f64 / 3.0, timestamp: Timestamp::from_millis(ms) }
}

/// The exemplars of all series, without those of which none is left.
fn exemplars_of(block: &Block, range: TimeRange) -> Result<Exemplars, Error> {
    let mut found = Exemplars::new();
    block.find_exemplars(&[Vec::new()], range, &|| false, |labels, exemplar| {
        found.entry(labels.clone()).or_default().push(exemplar);
    })?;
    Ok(found)
}

fn open(fs: &Arc<dyn Fs>, range: BlockRange) -> Result<Arc<Block>, Error> {
    Block::open(fs, Path::new(DIR), spec(range).id).map(Arc::new)
}

fn block(store: &Store) -> (Arc<dyn Fs>, Arc<Block>) {
    let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
    write(&fs, RANGE, store).unwrap();
    let block = open(&fs, RANGE).unwrap();
    block.verify(|e| panic!("{e}"));
    (fs, block)
}

type Floats = Vec<(i64, u64, i64)>;
/// The time, and the rest as text: a NaN is not equal to itself.
type Histograms = Vec<(i64, String)>;

/// Columns in a form that can be compared: floats by their bits.
fn flat(columns: &Columns) -> (Floats, Histograms) {
    let start = |i: usize| columns.starts_ms.get(i).copied().unwrap_or(0);
    let floats = (0..columns.values.len()).map(|i| (columns.timestamps_ms[i], columns.values[i].to_bits(), start(i)));
    let text = |h: &HistogramSample| format!("{h:?} {:x}", h.histogram.sum.to_bits());
    (floats.collect(), columns.histograms.iter().map(|h| (h.timestamp.millis(), text(h))).collect())
}

fn read_all(set: &dyn SeriesSet, range: TimeRange) -> Vec<(Labels, Floats, Histograms)> {
    (0..set.len())
        .map(|i| {
            let mut columns = Columns::default();
            set.read(i, range, &mut columns).unwrap();
            check_newest(set, i, range, &columns);
            let (floats, histograms) = flat(&columns);
            (set.labels(i), floats, histograms)
        })
        .collect()
}

fn expected(store: &Store, range: TimeRange, matchers: &[Matcher]) -> Vec<(Labels, Floats, Histograms)> {
    let passes = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()));
    let within = |columns: &Columns| {
        let (mut floats, mut histograms) = flat(columns);
        floats.retain(|f| range.contains(Timestamp::from_millis(f.0)));
        histograms.retain(|h| range.contains(Timestamp::from_millis(h.0)));
        (floats, histograms)
    };
    store
        .iter()
        .filter(|(labels, _)| passes(labels))
        .map(|(labels, columns)| (labels.clone(), within(columns)))
        .filter(|(_, (floats, histograms))| !floats.is_empty() || !histograms.is_empty())
        .map(|(labels, (floats, histograms))| (labels, floats, histograms))
        .collect()
}

fn histogram(n: u32, hint: CounterResetHint) -> FloatHistogram {
    FloatHistogram {
        counter_reset_hint: hint,
        schema: 3,
        zero_threshold: 1e-9,
        zero_count: f64::from(n),
        count: f64::from(n) * 3.5,
        sum: f64::from(n) / 7.0,
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 1, length: n % 2 + 1 }],
        positive_buckets: vec![f64::from(n); 3 + n as usize % 2],
        ..FloatHistogram::default()
    }
}

fn arb_columns() -> impl Strategy<Value = Columns> {
    let value = prop_oneof![
        4 => (0..1000i32).prop_map(f64::from),
        1 => any::<f64>(),
        1 => Just(STALE_NAN),
    ];
    let hint = prop::sample::select(vec![
        CounterResetHint::Unknown,
        CounterResetHint::Reset,
        CounterResetHint::NotReset,
        CounterResetHint::Gauge,
    ]);
    let floats = prop::collection::vec((prop_oneof![3 => Just(15_000i64), 1 => 1..99_999i64], value, 0..3i64), 0..150);
    let histograms = prop::collection::vec((1..99_999i64, 0u32..5, hint, 0..3i64), 0..40);
    (-20_000..20_000i64, floats, histograms).prop_map(|(first, floats, histograms)| {
        let mut columns = Columns::default();
        let mut time = first;
        for (step, value, start) in floats {
            columns.push(time, value, start);
            time += step;
        }
        time = first;
        for (step, n, hint, start) in histograms {
            let mut histogram = histogram(n, hint);
            if n == 4 {
                histogram = FloatHistogram { sum: STALE_NAN, ..FloatHistogram::default() };
            }
            columns.histograms.push(HistogramSample {
                timestamp: Timestamp::from_millis(time),
                start: (start != 0).then(|| Timestamp::from_millis(start)),
                histogram: Arc::new(histogram),
            });
            time += step;
        }
        columns
    })
}

fn arb_labels() -> impl Strategy<Value = Labels> {
    prop::collection::vec(("[ab]|__name__", "[x-z]{1,2}|ü"), 0..4).prop_map(Labels::from_pairs)
}

fn arb_matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    (op, "[ab]|__name__|none", "|x|xy|ü|x\\.\\*|\\.\\*|\\.\\+|x|y\\|z|\\|x|\\[xy\\]|x\\.\\+")
        .prop_map(|(op, name, value)| Matcher::new(op, name, value).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_block_gives_back_what_was_put_in(
        store in prop::collection::btree_map(arb_labels(), arb_columns(), 0..12),
        queries in prop::collection::vec((prop::collection::vec(arb_matcher(), 0..3), -20_000i64..2_000_000, 0i64..2_000_000), 6),
    ) {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        let everything = expected(&store, RANGE.closed(), &[]);
        let Some(meta) = write(&fs, RANGE, &store).unwrap() else {
            prop_assert!(everything.is_empty());
            prop_assert!(fs.list(Path::new(DIR)).unwrap().is_empty());
            return Ok(());
        };
        let block = open(&fs, RANGE).unwrap();
        prop_assert_eq!(block.meta(), &meta);
        block.verify(|e| panic!("{e}"));
        prop_assert_eq!(read_all(&*block.select(&[], TimeRange::ALL).unwrap(), TimeRange::ALL), everything);
        let whole: BTreeMap<Labels, Columns> = store;
        for (matchers, start, len) in queries {
            let range = TimeRange::from_millis(start.max(0), (start + len).min(RANGE.end_ms - 1));
            let set = block.select(&matchers, range).unwrap();
            let mut read = read_all(&*set, range);
            // A chunk may overlap a range without a sample in it.
            read.retain(|(_, floats, histograms)| !floats.is_empty() || !histograms.is_empty());
            prop_assert_eq!(&read, &expected(&whole, range, &matchers), "{:?}", matchers);
            for i in 0..set.len() {
                let labels = set.labels(i);
                let pairs: Vec<_> = (0..).map_while(|n| set.pair(i, n)).collect();
                prop_assert!(labels.iter().eq(pairs.iter().copied()));
                prop_assert!(labels.iter().all(|(name, value)| set.label(i, name) == Some(value)));
                prop_assert_eq!(set.label(i, "none"), None);
            }
            let all = expected(&whole, RANGE.closed(), &matchers);
            let mut names: Vec<String> = all.iter().flat_map(|(l, ..)| l.iter().map(|(n, _)| n.to_owned())).collect();
            names.sort_unstable();
            names.dedup();
            let mut found = Vec::new();
            block.label_names(&matchers, TimeRange::ALL, |name| found.push(name.to_owned())).unwrap();
            prop_assert_eq!(&found, &names);
            let mut values: Vec<String> = all.iter().filter_map(|(l, ..)| l.get("a")).map(str::to_owned).collect();
            values.sort_unstable();
            values.dedup();
            for limit in [99, 1] {
                let mut found = Vec::new();
                block.label_values("a", &matchers, TimeRange::ALL, limit, |value| found.push(value.to_owned())).unwrap();
                values.truncate(limit);
                prop_assert_eq!(&found, &values);
            }
        }
    }

    #[test]
    fn what_is_deleted_is_not_read_and_stays_so(
        store in prop::collection::btree_map(arb_labels(), arb_columns(), 1..6),
        deletes in prop::collection::vec((prop::collection::vec(arb_matcher(), 0..2), 0i64..2_000_000, 0i64..900_000), 1..5),
    ) {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        prop_assume!(write(&fs, RANGE, &store).unwrap().is_some());
        let block = open(&fs, RANGE).unwrap();
        let mut left = expected(&store, RANGE.closed(), &[]);
        let count = |all: &[(Labels, Floats, Histograms)]| all.iter().map(|(_, f, h)| (f.len() + h.len()) as u64).sum::<u64>();
        for (matchers, start, len) in deletes {
            let range = TimeRange::from_millis(start, start + len);
            let before = count(&left);
            for (labels, floats, histograms) in &mut left {
                if matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default())) {
                    floats.retain(|f| !range.contains(Timestamp::from_millis(f.0)));
                    histograms.retain(|h| !range.contains(Timestamp::from_millis(h.0)));
                }
            }
            let affected = before - count(&left);
            prop_assert_eq!(block.delete(&matchers, range, true).unwrap(), affected);
            prop_assert_eq!(block.delete(&matchers, range, false).unwrap(), affected);
            prop_assert_eq!(block.delete(&matchers, range, false).unwrap(), 0);
            for block in [block.clone(), open(&fs, RANGE).unwrap()] {
                prop_assert_eq!(&read_all(&*block.select(&[], TimeRange::ALL).unwrap(), TimeRange::ALL), &left);
            }
        }
    }
}

#[test]
fn a_large_index_finds_what_matches() {
    let mut store = Store::new();
    for i in 0..20_000 {
        let mut columns = Columns::default();
        columns.push(1000, f64::from(i), 0);
        let (i, job, odd) = (format!("host-{i:05}"), format!("job{}", i % 7), ["even", "odd"][i as usize % 2]);
        store.insert(Labels::from_pairs([("instance", i.as_str()), ("job", &job), ("odd", odd)]), columns);
    }
    let (_, block) = block(&store);
    let matcher = |op, name: &str, value: &str| Matcher::new(op, name, value).unwrap();
    for matchers in [
        vec![matcher(MatchOp::Equal, "instance", "host-12345")],
        vec![matcher(MatchOp::Regex, "instance", "host-1.*"), matcher(MatchOp::Equal, "odd", "odd")],
        vec![matcher(MatchOp::Regex, "instance", ".*99.*"), matcher(MatchOp::NotEqual, "job", "job3")],
        vec![
            matcher(MatchOp::Regex, "instance", "host-00001|host-19999|host-2|none"),
            matcher(MatchOp::NotEqual, "job", ""),
        ],
        vec![matcher(MatchOp::NotRegex, "instance", "host-0.*"), matcher(MatchOp::Regex, "job", "job[1-3]")],
        vec![matcher(MatchOp::Equal, "absent", ""), matcher(MatchOp::NotRegex, "job", "job1|job2")],
    ] {
        let set = block.select(&matchers, TimeRange::ALL).unwrap();
        let found: Vec<Labels> = (0..set.len()).map(|i| set.labels(i)).collect();
        let wanted: Vec<Labels> = expected(&store, TimeRange::ALL, &matchers).into_iter().map(|(l, ..)| l).collect();
        assert!(found == wanted, "{matchers:?}: {} of {}", found.len(), wanted.len());
    }
}

#[test]
fn series_of_one_target_share_their_times() {
    let mut store = Store::new();
    for i in 0..100 {
        let mut columns = Columns::default();
        (0..480).for_each(|t| columns.push(t * 15_000 + t % 2, f64::from(i), 0));
        store.insert(Labels::from_pairs([("i", i.to_string())]), columns);
    }
    let (_, block) = block(&store);
    assert_eq!(block.index.column_count(), 1);
    assert!(block.size_bytes() < 100 * 40 + 800, "{} bytes", block.size_bytes());
}
