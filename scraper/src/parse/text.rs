//! The text format of Prometheus, 0.0.4 and 1.0.0.
//!
//! Grammar: <https://prometheus.io/docs/instrumenting/exposition_formats/>, as read by Prometheus' own parser: white
//! space may stand around every part, the last line needs no newline, a comma between labels may be missing.

use super::labels::unescaped_help;
use super::{Entry, Fault, MetricKind, Parser, Sample, shown};

/// What may stand behind a number.
const ENDS: &[u8] = b" \t\n";

impl<'a> Parser<'a> {
    pub(super) fn text_entry(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        loop {
            self.at = self.spaces(self.at);
            match self.byte(self.at) {
                None => return Ok(None),
                Some(b'\n') => self.at += 1,
                Some(b'#') => return self.text_comment().map(Some),
                Some(_) => return self.text_sample().map(Some),
            }
        }
    }

    fn spaces(&self, at: usize) -> usize {
        self.run(at, |b| b == b' ' || b == b'\t')
    }

    fn text_comment(&mut self) -> Result<Entry<'a>, Fault> {
        let hash = self.at;
        let word = self.spaces(hash + 1);
        let end = memchr::memchr(b'\n', &self.body[word..]).map_or(self.body.len(), |n| word + n);
        let rest = &self.body[word..end];
        let keyword = ["HELP", "TYPE"].into_iter().find(|keyword| {
            rest.strip_prefix(keyword.as_bytes()).is_some_and(|r| matches!(r.first(), Some(b' ' | b'\t')))
        });
        self.at = (end + 1).min(self.body.len());
        let Some(keyword) = keyword.filter(|_| word > hash + 1) else { return Ok(Entry::Comment) };
        let (family, name_end) = self.family_name(self.spaces(word + keyword.len()), keyword)?;
        if name_end > end {
            return Err(Fault::new(end, format!("expected metric name after {keyword}")));
        }
        let text = self.utf8((name_end + 1).min(end), end, "text")?;
        if keyword == "HELP" {
            return Ok(Entry::Help { family, help: unescaped_help(text) });
        }
        let kind = match &*text {
            "counter" => MetricKind::Counter,
            "gauge" => MetricKind::Gauge,
            "histogram" => MetricKind::Histogram,
            "summary" => MetricKind::Summary,
            "untyped" => MetricKind::Unknown,
            _ => return Err(Fault::new(end, format!("invalid metric type {}", shown(&text)))),
        };
        Ok(self.set_type(family, kind))
    }

    fn text_sample(&mut self) -> Result<Entry<'a>, Fault> {
        let start = self.at;
        self.spans.clear();
        let mut series_end = start;
        if let Some(name_end) = self.bare_name(start) {
            self.spans.set_name(start, name_end);
            series_end = name_end;
        } else if self.byte(start) != Some(b'{') {
            return Err(Fault::new(start, "expected a valid start token"));
        }
        let mut at = self.spaces(series_end);
        if self.byte(at) == Some(b'{') {
            series_end = self.label_block(at + 1, true)?;
            at = self.spaces(series_end);
            if !self.spans.has_name() {
                return Err(Fault::new(at, "metric name not set"));
            }
        }
        let (value, value_end) = self.value(at, ENDS)?;
        let (timestamp, end) = self.text_timestamp(value_end)?;
        self.at = end;
        let series = &self.body[start..series_end];
        Ok(Entry::Sample(Sample { series, value, timestamp, created: false }))
    }

    /// The timestamp after the value that ends at `at`, if there is one, and the beginning of the next line.
    #[inline]
    pub(super) fn text_timestamp(&self, at: usize) -> Result<(Option<i64>, usize), Fault> {
        if self.byte(at) == Some(b'\n') {
            return Ok((None, at + 1));
        }
        let start = self.spaces(at);
        let digits_end = self.run(start, |b| b.is_ascii_digit());
        let timestamp = if digits_end > start {
            let digits = std::str::from_utf8(&self.body[start..digits_end]).expect("digits are ASCII");
            Some(digits.parse().map_err(|_| Fault::new(digits_end, "timestamp out of range"))?)
        } else {
            None
        };
        let end = self.spaces(digits_end);
        match self.byte(end) {
            None => Ok((timestamp, end)),
            Some(b'\n') => Ok((timestamp, end + 1)),
            Some(_) if timestamp.is_some() => Err(Fault::new(end, "expected next entry after timestamp")),
            Some(_) => Err(Fault::new(end, "expected timestamp or new record")),
        }
    }
}
