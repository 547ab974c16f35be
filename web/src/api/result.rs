//! The JSON of a query's result, written piece by piece.

use std::vec::IntoIter;

use query::{Point, Series, Value, VectorSample, is_absent};
use tsdb::Timestamp;

use super::json::{put_histogram_point, put_labels, put_point, put_str, put_time, put_value};

/// Writes a query's result piece by piece, so that a large one is never whole in memory as text, and frees what it has
/// written.
pub(crate) struct ResultWriter {
    at_ms: i64,
    state: State,
    items: Items,
    /// Items written or begun.
    count: usize,
    freed_bytes: u64,
}

#[derive(PartialEq)]
enum State {
    Head,
    Items,
    Done,
}

enum Items {
    One(Value),
    Vector(IntoIter<VectorSample>),
    Matrix(IntoIter<Series>, Option<OpenSeries>),
}

/// A series of which a part is written.
struct OpenSeries {
    series: Series,
    part: Part,
    /// The next sample of the part.
    next: usize,
    /// Whether the part has a sample so far.
    is_begun: bool,
}

#[derive(PartialEq)]
enum Part {
    Floats,
    Histograms,
    Done,
}

impl ResultWriter {
    /// `at` is the time of an instant query.
    pub(crate) fn new(value: Value, at: Timestamp) -> Self {
        let items = match value {
            Value::Vector(samples) => Items::Vector(samples.into_iter()),
            Value::Matrix(series) => Items::Matrix(series.into_iter(), None),
            one => Items::One(one),
        };
        Self { at_ms: at.millis(), state: State::Head, items, count: 0, freed_bytes: 0 }
    }

    /// Appends up to about `bytes` more of `"resultType":…,"result":…`; false once all is written.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, bytes: usize) -> bool {
        let limit = out.len().saturating_add(bytes);
        if self.state == State::Head {
            let kind = match &self.items {
                Items::One(Value::String(_)) => "string",
                Items::One(_) => "scalar",
                Items::Vector(_) => "vector",
                Items::Matrix(..) => "matrix",
            };
            out.extend_from_slice(b"\"resultType\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\",\"result\":[");
            self.state = State::Items;
        }
        while self.state == State::Items && out.len() < limit {
            if !self.write_item(out, limit) {
                out.push(b']');
                self.state = State::Done;
            }
        }
        self.state != State::Done
    }

    /// Bytes of the result that were freed since the last call.
    pub(crate) fn take_freed(&mut self) -> u64 {
        std::mem::take(&mut self.freed_bytes)
    }

    /// Appends the next item, or a part of it; false if there is none.
    fn write_item(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        match &mut self.items {
            Items::One(value) => {
                put_time(out, self.at_ms);
                out.push(b',');
                match value {
                    Value::String(text) => put_str(out, text),
                    Value::Scalar(value) => put_value(out, *value),
                    Value::Vector(_) | Value::Matrix(_) => {}
                }
                false
            }
            Items::Vector(samples) => {
                let Some(sample) = samples.next() else { return false };
                separate(out, &mut self.count);
                put_sample(out, self.at_ms, &sample);
                self.freed_bytes += sample.size_bytes();
                true
            }
            Items::Matrix(rest, open) => {
                if open.is_none() {
                    let Some(series) = rest.next() else { return false };
                    separate(out, &mut self.count);
                    *open = Some(OpenSeries::begin(out, series));
                }
                if let Some(done) = open.take_if(|open| open.write(out, limit)) {
                    self.freed_bytes += done.series.size_bytes();
                }
                true
            }
        }
    }
}

impl OpenSeries {
    fn begin(out: &mut Vec<u8>, series: Series) -> Self {
        out.extend_from_slice(b"{\"metric\":");
        put_labels(out, &series.labels);
        Self { series, part: Part::Floats, next: 0, is_begun: false }
    }

    /// Appends samples until there are `limit` bytes; true once all are written.
    fn write(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        if self.part == Part::Floats {
            let samples = self.series.timestamps_ms.iter().zip(&self.series.values);
            for (&ms, &value) in samples.skip(self.next) {
                if out.len() >= limit {
                    return false;
                }
                self.next += 1;
                if !is_absent(value) {
                    begin_sample(out, b",\"values\":[", &mut self.is_begun);
                    put_point(out, ms, value);
                }
            }
            self.end_part(out, Part::Histograms);
        }
        if self.part == Part::Histograms {
            for (at, histogram) in &self.series.histograms[self.next..] {
                if out.len() >= limit {
                    return false;
                }
                self.next += 1;
                begin_sample(out, b",\"histograms\":[", &mut self.is_begun);
                put_histogram_point(out, at.millis(), histogram);
            }
            self.end_part(out, Part::Done);
            out.push(b'}');
        }
        true
    }

    fn end_part(&mut self, out: &mut Vec<u8>, next: Part) {
        if self.is_begun {
            out.push(b']');
        }
        (self.part, self.next, self.is_begun) = (next, 0, false);
    }
}

/// Appends what stands before a sample: the head of its list before the first, else a comma.
fn begin_sample(out: &mut Vec<u8>, head: &[u8], is_begun: &mut bool) {
    if std::mem::replace(is_begun, true) {
        out.push(b',');
    } else {
        out.extend_from_slice(head);
    }
}

/// Appends a comma before all items but the first.
fn separate(out: &mut Vec<u8>, count: &mut usize) {
    if *count > 0 {
        out.push(b',');
    }
    *count += 1;
}

fn put_sample(out: &mut Vec<u8>, at_ms: i64, sample: &VectorSample) {
    out.extend_from_slice(b"{\"metric\":");
    put_labels(out, &sample.labels);
    match &sample.point {
        Point::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            put_point(out, at_ms, *value);
        }
        Point::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":");
            put_histogram_point(out, at_ms, histogram);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tsdb::{FloatHistogram, Labels};

    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_result_written_in_pieces_is_the_result_written_at_once() {
        let histogram = Arc::new(FloatHistogram::default());
        let series = |i: i64| Series {
            labels: Labels::from_pairs([("i", i.to_string())]),
            timestamps_ms: vec![1000, 2000, 3000].into(),
            values: vec![1.0, query::ABSENT, f64::INFINITY],
            histograms: if i % 2 == 0 { Vec::new() } else { vec![(Timestamp::from_millis(2000), histogram.clone())] },
        };
        let value = Value::Matrix((0..50).map(series).collect());
        let whole = text(|out| while ResultWriter::new(value.clone(), Timestamp::MIN).write(out, usize::MAX / 2) {});
        for size in [1, 10, 1000] {
            let mut writer = ResultWriter::new(value.clone(), Timestamp::MIN);
            let mut freed = 0;
            let pieces = text(|out| {
                while writer.write(out, size) {
                    freed += writer.take_freed();
                }
            });
            assert_eq!(pieces, whole);
            assert_eq!(freed + writer.take_freed() + 50 * 3 * 8, value.size_bytes(), "all but the moments is freed");
        }
        let parsed: serde_json::Value = serde_json::from_str(&format!("{{{whole}}}")).unwrap();
        assert_eq!(parsed["result"][7]["values"], serde_json::json!([[1, "1"], [3, "+Inf"]]));
        assert_eq!(parsed["result"][7]["histograms"][0][0], 2);
        assert_eq!(parsed["result"][8]["histograms"], serde_json::Value::Null);
        assert_eq!(
            text(|out| assert!(!ResultWriter::new(Value::Vector(vec![]), Timestamp::MIN).write(out, 99))),
            "\"resultType\":\"vector\",\"result\":[]"
        );
    }

    #[test]
    fn a_long_series_of_histograms_comes_in_pieces() {
        let histogram = Arc::new(FloatHistogram::default());
        let histograms = (0..10_000).map(|k| (Timestamp::from_millis(k), histogram.clone())).collect();
        let series =
            Series { labels: Labels::empty(), timestamps_ms: Vec::new().into(), values: Vec::new(), histograms };
        let mut writer = ResultWriter::new(Value::Matrix(vec![series]), Timestamp::MIN);
        let mut more = true;
        while more {
            let mut piece = Vec::new();
            more = writer.write(&mut piece, 1000);
            assert!(piece.len() < 1200, "{}", piece.len());
        }
    }
}
