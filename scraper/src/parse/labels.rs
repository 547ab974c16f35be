//! The part of a line that names the series: `name{label="value"}`, `{"a name",label="value"}`.

use std::borrow::Cow;

use tsdb::METRIC_NAME;

use super::{Fault, MetricKind, Parser, whole_number};

/// Most labels of a series; each takes many times the memory of its text.
pub(super) const MAX_LABELS: usize = 2048;

/// Where in the body the name and the labels of a series lie. Kept from line to line to save the allocation.
#[derive(Debug, Default)]
pub(super) struct Spans {
    name: Option<(u32, u32)>,
    /// Name from, name to, value from, value to; without quotes.
    labels: Vec<[u32; 4]>,
}

impl Spans {
    pub(super) fn clear(&mut self) {
        self.name = None;
        self.labels.clear();
    }

    pub(super) fn set_name(&mut self, start: usize, end: usize) {
        self.name = Some((start as u32, end as u32));
    }

    pub(super) fn has_name(&self) -> bool {
        self.name.is_some()
    }

    /// The metric name as written.
    pub(super) fn name<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        self.name.map_or(&[], |(start, end)| &body[start as usize..end as usize])
    }

    pub(super) fn labels<'p>(&'p self, body: &'p [u8], kind: MetricKind) -> SampleLabels<'p> {
        SampleLabels { body, kind, name: self.name, labels: self.labels.iter() }
    }
}

/// The labels of a sample, unescaped. The values of `le` and `quantile` are written as OpenMetrics wants them (`1` →
/// `1.0`) where the last `TYPE` line says histogram or summary, as Prometheus does.
#[derive(Clone, Debug)]
pub struct SampleLabels<'p> {
    body: &'p [u8],
    kind: MetricKind,
    name: Option<(u32, u32)>,
    labels: std::slice::Iter<'p, [u32; 4]>,
}

impl<'p> SampleLabels<'p> {
    fn text(&self, start: u32, end: u32) -> Cow<'p, str> {
        let text = &self.body[start as usize..end as usize];
        unescaped(Cow::Borrowed(std::str::from_utf8(text).expect("the parser has checked it")))
    }
}

impl<'p> Iterator for SampleLabels<'p> {
    type Item = (Cow<'p, str>, Cow<'p, str>);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((start, end)) = self.name.take() {
            return Some((Cow::Borrowed(METRIC_NAME), self.text(start, end)));
        }
        let [name, name_end, value, value_end] = *self.labels.next()?;
        let (name, value) = (self.text(name, name_end), self.text(value, value_end));
        let bound = match self.kind {
            MetricKind::Histogram => "le",
            MetricKind::Summary => "quantile",
            _ => return Some((name, value)),
        };
        let number = if name == bound { whole_number(value.as_bytes()) } else { None };
        let value = number.map_or(value, |number| Cow::Owned(openmetrics_float(number)));
        Some((name, value))
    }
}

impl Parser<'_> {
    /// Reads labels from `at`, just behind the opening brace, to behind the closing one. With `loose`, white space is
    /// skipped and commas may be missing, as in the text format.
    ///
    /// A text in quotes without a value is the metric name, unless there is one already.
    pub(super) fn label_block(&mut self, at: usize, loose: bool) -> Result<usize, Fault> {
        let mut at = self.skip_spaces(at, loose);
        loop {
            if self.byte(at) == Some(b'}') {
                return Ok(at + 1);
            }
            let (start, end, next) = self.label_name(at)?;
            let next = self.skip_spaces(next, loose);
            let quoted = start > at;
            at = match self.byte(next) {
                Some(end_byte @ (b',' | b'}')) if quoted => {
                    if self.spans.has_name() {
                        return Err(Fault::new(next, "metric name already set"));
                    }
                    self.spans.set_name(start, end);
                    if end_byte == b'}' {
                        return Ok(next + 1);
                    }
                    self.skip_spaces(next + 1, loose)
                }
                Some(b'=') => {
                    let value_at = self.skip_spaces(next + 1, loose);
                    let value_end = self.label_value(value_at, loose)?;
                    if self.spans.labels.len() == MAX_LABELS {
                        return Err(Fault::new(next, "too many labels"));
                    }
                    self.spans.labels.push([start, end, value_at + 1, value_end - 1].map(|n| n as u32));
                    self.after_label(value_end, loose)?
                }
                _ => return Err(Fault::new(next, "expected equal after label name")),
            };
        }
    }

    /// As [`label_block`](Self::label_block) for an exemplar, whose labels nobody asks for yet: only checked.
    pub(super) fn exemplar_block(&self, mut at: usize) -> Result<usize, Fault> {
        loop {
            if self.byte(at) == Some(b'}') {
                return Ok(at + 1);
            }
            let (_, _, next) = self.label_name(at)?;
            if self.byte(next) != Some(b'=') {
                return Err(Fault::new(next, "expected equal after label name"));
            }
            let value_end = self.label_value(next + 1, false)?;
            at = self.after_label(value_end, false)?;
        }
    }

    /// Start and end of the label name at `at`, without its quotes if it has any, and where to go on.
    fn label_name(&self, at: usize) -> Result<(usize, usize, usize), Fault> {
        match self.byte(at) {
            Some(b'"') => {
                let end = self.quoted(at, false)?;
                self.utf8(at + 1, end - 1, "label name")?;
                Ok((at + 1, end - 1, end))
            }
            Some(b) if b.is_ascii_alphabetic() || b == b'_' => {
                let end = self.run(at + 1, |b| b.is_ascii_alphanumeric() || b == b'_');
                Ok((at, end, end))
            }
            _ => Err(Fault::new(at, "expected label name")),
        }
    }

    fn label_value(&self, at: usize, loose: bool) -> Result<usize, Fault> {
        if self.byte(at) != Some(b'"') {
            return Err(Fault::new(at, "expected label value"));
        }
        let end = self.quoted(at, loose)?;
        if !self.body[at..end].is_ascii() {
            self.utf8(at + 1, end - 1, "label value")?;
        }
        Ok(end)
    }

    /// Where the next label or the closing brace begins.
    fn after_label(&self, at: usize, loose: bool) -> Result<usize, Fault> {
        let at = self.skip_spaces(at, loose);
        match self.byte(at) {
            Some(b',') => Ok(self.skip_spaces(at + 1, loose)),
            Some(b'}') => Ok(at),
            _ if loose => Ok(at),
            _ => Err(Fault::new(at, "expected comma or brace close")),
        }
    }

    /// The end of the text in quotes that begins at `at`, behind the closing quote.
    pub(super) fn quoted(&self, at: usize, newlines: bool) -> Result<usize, Fault> {
        let mut end = at + 1;
        loop {
            let rest = &self.body[end..];
            let Some(n) = memchr::memchr3(b'"', b'\\', b'\n', rest) else {
                return Err(Fault::new(at, "unclosed quote"));
            };
            match rest[n] {
                b'"' => return Ok(end + n + 1),
                b'\n' if !newlines => return Err(Fault::new(end + n, "unclosed quote")),
                b'\n' => end += n + 1,
                _ if matches!(rest.get(n + 1), None | Some(b'\n')) => {
                    return Err(Fault::new(end + n, "unfinished escape"));
                }
                _ => end += n + 2,
            }
        }
    }

    fn skip_spaces(&self, at: usize, loose: bool) -> usize {
        if loose { self.run(at, |b| b == b' ' || b == b'\t') } else { at }
    }
}

/// The labels of an exemplar that has been checked, braces included; empty if it has not.
pub(super) fn exemplar_pairs(written: &[u8]) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
    let mut parser = Parser::new(written, super::Format::OpenMetrics);
    if parser.label_block(1, false).is_err() {
        return Vec::new();
    }
    let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    parser.spans.labels(written, MetricKind::Unknown).map(|(name, value)| (owned(name), owned(value))).collect()
}

/// `text` with `\"`, `\\` and `\n` resolved; other backslashes stay.
pub(super) fn unescaped(text: Cow<'_, str>) -> Cow<'_, str> {
    resolve(text, |c| match c {
        '"' => Some('"'),
        '\\' => Some('\\'),
        'n' => Some('\n'),
        _ => None,
    })
}

/// As [`unescaped`], for a `HELP` text of the text format, where a quote needs no escape.
pub(super) fn unescaped_help(text: Cow<'_, str>) -> Cow<'_, str> {
    resolve(text, |c| match c {
        '\\' => Some('\\'),
        'n' => Some('\n'),
        _ => None,
    })
}

fn resolve(text: Cow<'_, str>, meaning: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek().copied().filter(|_| c == '\\').and_then(&meaning) {
            Some(resolved) => {
                out.push(resolved);
                chars.next();
            }
            None => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// `value` as OpenMetrics writes it in `le` and `quantile`: shortest digits, always with a dot or an exponent; the
/// exponent below 1e-4 and from 1e6 on, with two digits at least, as Go's `%g`.
pub(super) fn openmetrics_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a number there");
    if value == 0.0 {
        return "0.0".to_owned();
    }
    if (-4..6).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}
