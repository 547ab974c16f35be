//! The text format of OpenMetrics, 0.0.1 and 1.0.0.
//!
//! Grammar: <https://prometheus.io/docs/specs/om/open_metrics_spec/>, as read by Prometheus' own parser: single spaces,
//! no blank lines, no free comments, `# EOF` at the end. Timestamps are seconds.

use super::labels::unescaped;
use super::{Entry, Exemplar, Fault, MetricKind, Parser, Sample, shown};

/// What may stand behind a number.
const ENDS: &[u8] = b" \n";

const NO_END: &str = "data does not end with # EOF";

impl<'a> Parser<'a> {
    pub(super) fn openmetrics_entry(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        if self.ended {
            return Ok(None);
        }
        match self.byte(self.at) {
            None => Err(Fault::new(self.at, NO_END)),
            Some(b'#') => self.openmetrics_comment(),
            Some(_) => self.openmetrics_sample().map(Some),
        }
    }

    fn openmetrics_comment(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        let start = self.at;
        let rest = &self.body[start..];
        if let Some(after) = rest.strip_prefix(b"# EOF") {
            let after = after.strip_prefix(b"\n").unwrap_or(after);
            if !after.is_empty() {
                return Err(Fault::new(self.body.len() - after.len(), "unexpected data after # EOF"));
            }
            self.ended = true;
            self.at = self.body.len();
            return Ok(None);
        }
        let keyword = ["HELP", "TYPE", "UNIT"].into_iter().find(|keyword| {
            let rest = rest.strip_prefix(b"# ").and_then(|r| r.strip_prefix(keyword.as_bytes()));
            rest.is_some_and(|r| r.first() == Some(&b' '))
        });
        let Some(keyword) = keyword else { return Err(Fault::new(start, "expected a valid start token")) };
        let name_at = start + "# HELP ".len();
        let (family, name_end) = self.family_name(name_at, keyword)?;
        if self.byte(name_end) != Some(b' ') {
            return Err(Fault::new(name_end, format!("expected text in {keyword}")));
        }
        let text_at = name_end + 1;
        let Some(length) = memchr::memchr(b'\n', &self.body[text_at..]) else {
            return Err(Fault::new(self.body.len(), NO_END));
        };
        let end = text_at + length;
        let text = self.utf8(text_at, end, "text")?;
        self.at = end + 1;
        let entry = match keyword {
            "HELP" => Entry::Help { family, help: unescaped(text) },
            "UNIT" => {
                let is_suffix = family.strip_suffix(&*text).is_some_and(|name| name.ends_with('_'));
                if !text.is_empty() && !is_suffix {
                    return Err(Fault::new(
                        end,
                        format!("unit {} not a suffix of metric {}", shown(&text), shown(&family)),
                    ));
                }
                let unit = std::str::from_utf8(&self.body[text_at..end]).expect("checked above");
                Entry::Unit { family, unit }
            }
            _ => {
                let kind = match &*text {
                    "counter" => MetricKind::Counter,
                    "gauge" => MetricKind::Gauge,
                    "histogram" => MetricKind::Histogram,
                    "gaugehistogram" => MetricKind::GaugeHistogram,
                    "summary" => MetricKind::Summary,
                    "info" => MetricKind::Info,
                    "stateset" => MetricKind::StateSet,
                    "unknown" => MetricKind::Unknown,
                    _ => return Err(Fault::new(end, format!("invalid metric type {}", shown(&text)))),
                };
                self.set_type(family, kind)
            }
        };
        Ok(Some(entry))
    }

    fn openmetrics_sample(&mut self) -> Result<Entry<'a>, Fault> {
        let start = self.at;
        self.spans.clear();
        let mut at = start;
        if let Some(name_end) = self.bare_name(start) {
            self.spans.set_name(start, name_end);
            at = name_end;
        } else if self.byte(start) != Some(b'{') {
            return Err(Fault::new(start, "expected a valid start token"));
        }
        if self.byte(at) == Some(b'{') {
            at = self.label_block(at + 1, false)?;
            if !self.spans.has_name() {
                return Err(Fault::new(at, "metric name not set"));
            }
        }
        let series = &self.body[start..at];
        if self.byte(at) != Some(b' ') {
            return Err(Fault::new(at, "expected value after metric"));
        }
        let (value, value_end) = self.value(at + 1, ENDS)?;
        let (timestamp, exemplar, end) = self.openmetrics_rest(value_end)?;
        self.at = end;
        self.exemplar = exemplar;
        let created = self.is_created();
        Ok(Entry::Sample(Sample { series, value, timestamp, created }))
    }

    /// Timestamp and exemplar after the value that ends at `at`, as far as they are there, and where the next line
    /// begins.
    #[inline]
    pub(super) fn openmetrics_rest(&self, at: usize) -> Result<(Option<i64>, Option<Exemplar<'a>>, usize), Fault> {
        if self.byte(at) == Some(b'\n') {
            return Ok((None, None, at + 1));
        }
        let (timestamp, at) = match &self.body[at..] {
            [b' ', b'#', ..] | [] => (None, at),
            _ => self.openmetrics_timestamp(at)?,
        };
        match &self.body[at..] {
            [] => Err(Fault::new(at, NO_END)),
            [b'\n', ..] => Ok((timestamp, None, at + 1)),
            [b' ', b'#', b' ', b'{', ..] => {
                let (exemplar, end) = self.read_exemplar(at + 3)?;
                Ok((timestamp, Some(exemplar), end))
            }
            _ => Err(Fault::new(at, "expected timestamp, exemplar or next entry")),
        }
    }

    /// The exemplar whose opening brace is at `brace`, and where the next line begins.
    fn read_exemplar(&self, brace: usize) -> Result<(Exemplar<'a>, usize), Fault> {
        let labels_end = self.exemplar_block(brace + 1)?;
        if self.byte(labels_end) != Some(b' ') {
            return Err(Fault::new(labels_end, "expected value after exemplar labels"));
        }
        let (value, at) = self.value(labels_end + 1, ENDS)?;
        let (timestamp, at) = if self.byte(at) == Some(b' ') { self.openmetrics_timestamp(at)? } else { (None, at) };
        match self.byte(at) {
            None => Err(Fault::new(at, NO_END)),
            Some(b'\n') => Ok((Exemplar { labels: &self.body[brace..labels_end], value, timestamp }, at + 1)),
            Some(_) => Err(Fault::new(at, "expected next entry after exemplar")),
        }
    }

    /// Seconds after the space at `at`, as milliseconds, and where they end.
    fn openmetrics_timestamp(&self, at: usize) -> Result<(Option<i64>, usize), Fault> {
        let (seconds, end) = self.value(at + 1, ENDS)?;
        if !seconds.is_finite() {
            return Err(Fault::new(end, format!("invalid timestamp {seconds}")));
        }
        Ok((Some((seconds * 1000.0) as i64), end))
    }
}
