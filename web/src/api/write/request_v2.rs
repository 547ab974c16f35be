//! `io.prometheus.write.v2.Request`: every text is there once, series refer to it by number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tsdb::{Metadata, MetricKind, SeriesRef, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::protobuf::{Field, Fields, Malformed, varints};
use super::request::check;
use super::series_cache::{Hash, Lookup, SeriesCache};
use super::sink::{MAX_EXEMPLAR_CHARS, Sink};
use super::values::{exemplar, float, histogram, metric_kind};

/// Texts of a request at the most.
const MAX_SYMBOLS: usize = 1 << 20;
/// Bytes that the symbol table takes of each, while it grows.
const SYMBOL_BYTES: usize = 2 * (size_of::<&str>() + size_of::<Hash>());

/// Metric families whose metadata are remembered, 8 bytes and their name each.
const MAX_FAMILIES: usize = 1 << 16;

/// The metadata that families came with last: they come with every series of every request, and rarely change.
#[derive(Debug, Default)]
pub(crate) struct Families {
    known: Mutex<Known>,
    /// Families that the store had evicted when it was asked last.
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct Known(HashMap<String, u64>);

impl Families {
    /// Forgets all once the store has evicted families, `evicted` in all so far: they are news when they come again.
    pub(super) fn fit(&self, evicted: u64) {
        let mut families = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.evicted.swap(evicted, Relaxed) != evicted {
            families.0.clear();
        }
    }
}

/// Puts all samples of `message` into `sink`; with `only_new` those of series only that `cache` does not know.
pub(super) fn read(
    sink: &mut Sink<'_>,
    cache: &SeriesCache,
    families: &Families,
    message: &[u8],
    only_new: bool,
) -> Result<(), Malformed> {
    let mut cache = cache.lookup();
    let Some(symbols) = Symbols::read(message, &cache, sink)? else { return Ok(()) };
    let families = families.known.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reader = Reader { sink, cache: &mut cache, symbols, families, only_new, refs: Vec::new(), key: Vec::new() };
    let mut fields = Fields::new(message, 0);
    while let Some((number, field)) = fields.next()? {
        if let (5, Field::Bytes(bytes, base)) = (number, field) {
            reader.series(bytes, base)?;
        }
    }
    Ok(())
}

/// The texts of a request, with the hash of each.
struct Symbols<'m> {
    texts: Vec<&'m str>,
    hashes: Vec<Hash>,
}

impl<'m> Symbols<'m> {
    /// Reads the table; `None` if `sink` has no memory for it.
    fn read(message: &'m [u8], cache: &Lookup<'_>, sink: &mut Sink<'_>) -> Result<Option<Self>, Malformed> {
        let (mut texts, mut hashes) = (Vec::new(), Vec::new());
        let mut fields = Fields::new(message, 0);
        while let Some((number, field)) = fields.next()? {
            if let (4, Field::Bytes(bytes, base)) = (number, field) {
                if texts.len() == MAX_SYMBOLS {
                    return Err(Malformed { offset: base, what: "too many symbols" });
                }
                if !sink.hold(SYMBOL_BYTES) {
                    return Ok(None);
                }
                let text = std::str::from_utf8(bytes);
                texts.push(text.map_err(|_| Malformed { offset: base, what: "text is not UTF-8" })?);
                hashes.push(cache.hash(bytes));
            }
        }
        Ok(Some(Self { texts, hashes }))
    }

    /// The text of a number; empty if there is none.
    fn text(&self, number: u32) -> &'m str {
        self.texts.get(number as usize).copied().unwrap_or_default()
    }
}

struct Reader<'r, 'd, 'c, 'm> {
    sink: &'r mut Sink<'d>,
    cache: &'r mut Lookup<'c>,
    symbols: Symbols<'m>,
    families: MutexGuard<'r, Known>,
    only_new: bool,
    /// The labels of the series at hand: numbers of names and values in turn.
    refs: Vec<u32>,
    /// Their hashes, one after the other: what the series is known by from one request to the next.
    key: Vec<u8>,
}

impl Reader<'_, '_, '_, '_> {
    /// `TimeSeries`.
    fn series(&mut self, bytes: &[u8], base: usize) -> Result<(), Malformed> {
        self.refs.clear();
        let (mut created_ms, mut samples, mut metadata) = (0, 0, None);
        let mut fields = Fields::new(bytes, base);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Bytes(packed, _)) if !self.sink.hold_labels(packed.len()) => return Ok(()),
                (1, field) => varints(field, |n| self.refs.push(u32::try_from(n).unwrap_or(u32::MAX)))?,
                (2 | 3, Field::Bytes(..)) => samples += 1,
                (5, Field::Bytes(bytes, base)) => metadata = Some(self.metadata(bytes, base)?),
                (6, Field::Varint(ms)) => created_ms = ms as i64,
                _ => {}
            }
        }
        if !self.sink.hold_labels(self.refs.len()) {
            return Ok(());
        }
        let series = match self.resolve(samples) {
            Ok(Some(series)) => series,
            Ok(None) => return Ok(()),
            Err(why) => {
                if !self.only_new {
                    self.sink.skip(|| why);
                }
                return Ok(());
            }
        };
        if let Some(metadata) = metadata {
            self.describe(metadata);
        }
        let mut fields = Fields::new(bytes, base);
        while let Some((number, field)) = fields.next()? {
            let Field::Bytes(bytes, base) = field else { continue };
            match number {
                2 => {
                    let sample = float(bytes, base)?;
                    let start = start(sample.start_ms, created_ms);
                    self.sink.float(series, Timestamp::from_millis(sample.at_ms), start, sample.value);
                }
                3 if self.sink.reads_histogram(bytes.len()) => {
                    let sample = histogram(bytes, base)?;
                    let start = start(sample.start_ms, created_ms);
                    self.sink.histogram(series, Timestamp::from_millis(sample.at_ms), start, sample.value);
                }
                4 => {
                    let mut refs = Vec::new();
                    let (value, at) = exemplar(bytes, base, |field| {
                        // One with more labels is too long, also if they are empty.
                        varints(field, |n| {
                            if refs.len() <= 2 * MAX_EXEMPLAR_CHARS {
                                refs.push(u32::try_from(n).unwrap_or(u32::MAX));
                            }
                        })
                    })?;
                    let text = |number: u32| self.symbols.text(number);
                    let pairs = refs.chunks_exact(2).map(|pair| (text(pair[0]), text(pair[1])));
                    if refs.len() <= 2 * MAX_EXEMPLAR_CHARS {
                        self.sink.exemplar(series, pairs, value, at);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The series of the labels in `refs`, which has this many samples; `None` if it is to be left alone.
    fn resolve(&mut self, samples: usize) -> Result<Option<SeriesRef>, String> {
        self.key.clear();
        let known = self.refs.len().is_multiple_of(2)
            && self.refs.iter().all(|&number| {
                self.symbols.hashes.get(number as usize).is_some_and(|hash| {
                    self.key.extend_from_slice(&hash.to_bytes());
                    true
                })
            });
        if !known {
            return Err("labels that refer to symbols that are not there".into());
        }
        let hash = self.cache.hash(&self.key);
        match self.cache.get(hash) {
            Some(_) if self.only_new => return Ok(None),
            Some(series) if samples > 0 => return Ok(Some(series)),
            _ => {}
        }
        let pairs = self.refs.chunks_exact(2).map(|pair| (self.symbols.text(pair[0]), self.symbols.text(pair[1])));
        let labels = check(pairs.collect())?;
        if samples == 0 {
            return Err(format!("{labels}: there is no sample and no histogram"));
        }
        let series = self.sink.series(&labels)?;
        self.cache.insert(hash, series);
        Ok(Some(series))
    }

    /// `Metadata`: type, help, unit.
    fn metadata(&self, bytes: &[u8], base: usize) -> Result<(MetricKind, u32, u32), Malformed> {
        let (mut kind, mut help, mut unit) = (MetricKind::Unknown, 0, 0);
        let mut fields = Fields::new(bytes, base);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Varint(n)) => kind = metric_kind(n),
                (3, Field::Varint(n)) => help = u32::try_from(n).unwrap_or(u32::MAX),
                (4, Field::Varint(n)) => unit = u32::try_from(n).unwrap_or(u32::MAX),
                _ => {}
            }
        }
        Ok((kind, help, unit))
    }

    /// Keeps what the series at hand says of its family, if it says anything new.
    fn describe(&mut self, (kind, help, unit): (MetricKind, u32, u32)) {
        let (help, unit) = (self.symbols.text(help), self.symbols.text(unit));
        if kind == MetricKind::Unknown && help.is_empty() && unit.is_empty() {
            return;
        }
        let mut labels = self.refs.chunks_exact(2);
        let Some(name) = labels.find(|pair| self.symbols.text(pair[0]) == tsdb::METRIC_NAME) else { return };
        let family = family(self.symbols.text(name[1]), kind);
        if self.families.changed(family, kind, help, unit) {
            self.sink.metadata(family, Metadata { kind, help: help.to_owned(), unit: unit.to_owned() });
        }
    }
}

/// When a count began: as its sample says, else as its series does.
fn start(sample_ms: i64, series_ms: i64) -> Option<Timestamp> {
    [sample_ms, series_ms].into_iter().find(|&ms| ms != 0).map(Timestamp::from_millis)
}

/// The family that a series of this name belongs to.
fn family(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_count", "_sum"],
        MetricKind::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

impl Known {
    /// Whether this is not what was said of `family` the last time; it is from now on.
    fn changed(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) -> bool {
        let hash = xxh3_64(help.as_bytes()) ^ xxh3_64(unit.as_bytes()).rotate_left(1);
        let hash = hash.wrapping_add(kind as u64);
        if let Some(old) = self.0.get_mut(family) {
            return std::mem::replace(old, hash) != hash;
        }
        if self.0.len() >= MAX_FAMILIES {
            self.0.clear();
        }
        self.0.insert(family.to_owned(), hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_belong_to_families() {
        assert_eq!(family("x_bucket", MetricKind::Histogram), "x");
        assert_eq!(family("x_sum", MetricKind::Summary), "x");
        assert_eq!(family("x_total", MetricKind::Counter), "x_total");
        assert_eq!(family("x_count", MetricKind::Gauge), "x_count");
    }

    #[test]
    fn metadata_are_news_once() {
        let mut known = Known::default();
        let news = ["a", "a", "b", "a"].map(|help| known.changed("x", MetricKind::Counter, help, ""));
        assert_eq!(news, [true, false, true, true]);
    }
}
