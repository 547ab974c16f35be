//! Exposition formats: bytes → entries that borrow from them.
//!
//! Accepts and refuses what Prometheus does: the text format 0.0.4 and 1.0.0 (names in quotes) and OpenMetrics 0.0.1
//! and 1.0.0. A body is refused at its first wrong byte, with line and snippet; no bytes make the parser panic.

mod classic;
mod labels;
mod media_type;
mod number;
mod openmetrics;
mod point;
mod protobuf;
mod text;
mod wire;

use std::borrow::Cow;

pub(crate) use classic::Classic;
pub use labels::SampleLabels;
pub(crate) use number::{number, whole_number};
pub(crate) use point::{Metric, Pair, Point, PointExemplar, PointValue};
pub(crate) use protobuf::{Families, Scratch as PointScratch};
pub use protobuf::{Histograms, ProtobufError};
pub use tsdb::MetricKind;

use labels::Spans;
use media_type::media_type;

/// The grammar of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `text/plain`, versions 0.0.4 and 1.0.0.
    Text,
    /// `application/openmetrics-text`, versions 0.0.1 and 1.0.0.
    OpenMetrics,
}

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exposition {
    /// Lines.
    Text(Format),
    /// `application/vnd.google.protobuf`: delimited `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

impl Exposition {
    /// The format that a `Content-Type` header announces; `fallback` if it announces none that we know.
    ///
    /// # Errors
    /// If there is no fallback then either, in the words of Prometheus.
    pub fn of_content_type(content_type: Option<&str>, fallback: Option<Self>) -> Result<Self, String> {
        let content_type = content_type.unwrap_or_default();
        let media_type = match media_type(content_type) {
            Some(media_type) => media_type,
            None if content_type.is_empty() => "",
            None => {
                return fallback.ok_or_else(|| {
                    let shown = shown(content_type);
                    format!("cannot parse Content-Type {shown} and no fallback_scrape_protocol for target")
                });
            }
        };
        if media_type.eq_ignore_ascii_case("text/plain") {
            return Ok(Self::Text(Format::Text));
        }
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            return Ok(Self::Text(Format::OpenMetrics));
        }
        if media_type.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            return Ok(Self::Protobuf);
        }
        fallback.ok_or_else(|| {
            if content_type.is_empty() {
                "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for \
                 target"
                    .to_owned()
            } else {
                format!(
                    "received unsupported Content-Type {} and no fallback_scrape_protocol specified for \
                     target",
                    shown(content_type)
                )
            }
        })
    }
}

impl Format {
    /// Whether `next` (`None`: the end of the body) ends a number.
    fn may_follow_number(self, next: Option<&u8>) -> bool {
        match next {
            None | Some(b' ') => true,
            Some(b'\t') => self == Self::Text,
            Some(_) => false,
        }
    }
}

/// One thing that a body says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// A `TYPE` line.
    Type {
        /// The metric family.
        family: Cow<'a, str>,
        /// Its type.
        kind: MetricKind,
    },
    /// A `HELP` line.
    Help {
        /// The metric family.
        family: Cow<'a, str>,
        /// Its description, unescaped.
        help: Cow<'a, str>,
    },
    /// A `UNIT` line (OpenMetrics).
    Unit {
        /// The metric family.
        family: Cow<'a, str>,
        /// Its unit; may be empty.
        unit: &'a str,
    },
    /// Anything else after `#`.
    Comment,
    /// A value. [`Parser::labels`] has its labels and [`Parser::exemplar`] its exemplar until the next entry.
    Sample(Sample<'a>),
}

/// A value of a series.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// Name and labels as written, without the white space around them.
    pub series: &'a [u8],
    /// A NaN is always the same quiet NaN, never the stale marker.
    pub value: f64,
    /// Milliseconds since the Unix epoch, if the target says.
    pub timestamp: Option<i64>,
    /// Whether this is the `_created` companion of its family (OpenMetrics): its value is the moment, in seconds, at
    /// which the counts of the series with the same other labels began.
    pub created: bool,
}

/// Equal bit for bit in the value.
impl PartialEq for Sample<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.series == other.series
            && self.value.to_bits() == other.value.to_bits()
            && self.timestamp == other.timestamp
            && self.created == other.created
    }
}

/// One example of what a bucket or a counter counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// Its labels as written, braces included.
    pub labels: &'a [u8],
    /// What was observed.
    pub value: f64,
    /// When, in milliseconds since the Unix epoch, if the target says.
    pub timestamp: Option<i64>,
}

impl Exemplar<'_> {
    /// Bytes of labels that are too long for an exemplar, however they are escaped.
    const TOO_LONG_BYTES: usize = 4096;

    /// Whether its labels are certainly longer than those of an exemplar may be.
    pub(crate) fn is_too_long(&self) -> bool {
        self.labels.len() > Self::TOO_LONG_BYTES
    }

    /// Its labels, unescaped, in the order in which they are written.
    #[must_use]
    pub fn pairs(&self) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
        labels::exemplar_pairs(self.labels)
    }
}

/// Why a body was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what} while parsing: {snippet:?}")]
pub struct ParseError {
    /// Line in the body, from 1, where the entry begins.
    pub line: usize,
    /// What is wrong.
    pub what: Cow<'static, str>,
    /// The entry up to and a little beyond the wrong place.
    pub snippet: String,
}

/// A failure at a byte of the body; [`Parser`] makes a [`ParseError`] of it.
#[derive(Debug)]
struct Fault {
    at: usize,
    what: Cow<'static, str>,
}

/// `text` in quotes, as far as an error shows it.
fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 100;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

impl Fault {
    fn new(at: usize, what: impl Into<Cow<'static, str>>) -> Self {
        Self { at, what: what.into() }
    }
}

/// Reads a body entry by entry.
#[derive(Debug)]
pub struct Parser<'a> {
    body: &'a [u8],
    format: Format,
    at: usize,
    /// What the last `TYPE` line said, and of which family.
    kind: MetricKind,
    family: Cow<'a, str>,
    spans: Spans,
    /// Of the last sample.
    exemplar: Option<Exemplar<'a>>,
    /// OpenMetrics: the end marker has been read.
    ended: bool,
}

impl<'a> Parser<'a> {
    /// Starts at the first byte of `body`.
    #[must_use]
    pub fn new(body: &'a [u8], format: Format) -> Self {
        Self {
            body,
            format,
            at: 0,
            kind: MetricKind::Unknown,
            family: Cow::Borrowed(""),
            spans: Spans::default(),
            exemplar: None,
            ended: false,
        }
    }

    /// The next entry, or `None` at the proper end. Cost: about 70 ns a line, no allocation.
    ///
    /// # Errors
    /// If the body is malformed. Nothing can be read after that.
    pub fn entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let line_at = self.at;
        let entry = match self.format {
            Format::Text => self.text_entry(),
            Format::OpenMetrics => self.openmetrics_entry(),
        };
        entry.map_err(|fault| self.error(line_at, fault))
    }

    /// The labels of the sample that [`entry`](Self::entry) has just returned, metric name included, in no order.
    #[must_use]
    pub fn labels(&self) -> SampleLabels<'_> {
        self.spans.labels(self.body, self.kind)
    }

    /// The exemplar of the sample that [`entry`](Self::entry) has just returned (OpenMetrics).
    #[must_use]
    pub fn exemplar(&self) -> Option<&Exemplar<'a>> {
        self.exemplar.as_ref()
    }

    /// Where the next entry begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The family that the last `TYPE` line named.
    pub(crate) fn family(&self) -> &str {
        &self.family
    }

    /// What the last `TYPE` line said.
    pub(crate) fn kind(&self) -> MetricKind {
        self.kind
    }

    /// Goes on at `at`, the beginning of a line, before which the last `TYPE` line said `kind`.
    pub(crate) fn seek(&mut self, at: usize, kind: MetricKind) {
        self.at = at;
        self.kind = kind;
    }

    /// Reads on over comments and blank lines; `true` if a sample begins there, `false` at the proper end.
    pub(crate) fn skip_comments(&mut self) -> Result<bool, ParseError> {
        loop {
            if self.format == Format::Text {
                self.at = self.run(self.at, |b| matches!(b, b' ' | b'\t' | b'\n'));
            }
            match self.byte(self.at) {
                Some(b'#') => {
                    if self.entry()?.is_none() {
                        return Ok(false);
                    }
                }
                None if self.format == Format::Text => return Ok(false),
                None => return self.entry().map(|_| false),
                Some(_) => return Ok(true),
            }
        }
    }

    /// What stands from a value to the end of its line, the value at `at`: value, timestamp and where the next line
    /// begins. `None` if it is malformed.
    #[inline]
    pub(crate) fn tail(&mut self, at: usize) -> Option<(f64, Option<i64>, usize)> {
        let (value, length) = number(self.body.get(at..)?)?;
        let end = at + length;
        match self.body.get(end) {
            Some(b'\n') => Some((value, None, end + 1)),
            next if self.format.may_follow_number(next) => self.rest(value, end),
            _ => None,
        }
    }

    fn rest(&mut self, value: f64, at: usize) -> Option<(f64, Option<i64>, usize)> {
        let (timestamp, end) = match self.format {
            Format::Text => self.text_timestamp(at).ok()?,
            Format::OpenMetrics => {
                let (timestamp, exemplar, end) = self.openmetrics_rest(at).ok()?;
                self.exemplar = exemplar;
                (timestamp, end)
            }
        };
        Some((value, timestamp, end))
    }

    /// The exemplar of the sample that [`entry`](Self::entry) or [`tail`](Self::tail) has just read. It is not there a
    /// second time.
    #[inline]
    pub(crate) fn take_exemplar(&mut self) -> Option<Exemplar<'a>> {
        self.exemplar.take()
    }

    fn error(&self, line_at: usize, fault: Fault) -> ParseError {
        /// Bytes shown around the wrong place.
        const BEFORE: usize = 120;
        const AFTER: usize = 20;
        let at = fault.at.min(self.body.len());
        // A text in quotes may run over many lines: the one where the entry begins is to blame.
        let start = self.run(line_at, |b| b.is_ascii_whitespace()).min(at);
        let snippet_start = start.max(at.saturating_sub(BEFORE));
        let end = (at + AFTER).min(self.body.len());
        let end = memchr::memchr(b'\n', &self.body[at..end]).map_or(end, |n| at + n);
        ParseError {
            line: 1 + memchr::memchr_iter(b'\n', &self.body[..start]).count(),
            what: fault.what,
            snippet: String::from_utf8_lossy(&self.body[snippet_start..end]).into_owned(),
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.body.get(at).copied()
    }

    /// The end of the run of bytes from `at` that pass.
    fn run(&self, at: usize, pass: impl Fn(u8) -> bool) -> usize {
        at + self.body[at..].iter().take_while(|b| pass(**b)).count()
    }

    /// The end of the bare metric name at `at`, if there is one.
    fn bare_name(&self, at: usize) -> Option<usize> {
        self.byte(at).filter(|b| is_name_start(*b))?;
        // Names are long, and nearly always end at one of these: check the rest at once, without a branch per byte.
        let rest = &self.body[at + 1..];
        let guess = memchr::memchr3(b' ', b'{', b'\n', rest).unwrap_or(rest.len());
        if rest[..guess].iter().fold(true, |all, b| all & is_name_byte(*b)) {
            return Some(at + 1 + guess);
        }
        Some(self.run(at + 1, is_name_byte))
    }

    /// The family name at `at`, bare or in quotes, and where it ends.
    fn family_name(&self, at: usize, keyword: &str) -> Result<(Cow<'a, str>, usize), Fault> {
        if let Some(end) = self.bare_name(at) {
            return Ok((self.utf8(at, end, "metric name")?, end));
        }
        if self.byte(at) == Some(b'"') {
            let end = self.quoted(at, true)?;
            let name = self.utf8(at + 1, end - 1, "metric name")?;
            return Ok((labels::unescaped(name), end));
        }
        Err(Fault::new(at, format!("expected metric name after {keyword}")))
    }

    /// `body[start..end]` as text.
    #[inline]
    fn utf8(&self, start: usize, end: usize, what: &str) -> Result<Cow<'a, str>, Fault> {
        match std::str::from_utf8(&self.body[start..end]) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(e) => Err(Fault::new(start + e.valid_up_to(), format!("{what} is not valid UTF-8"))),
        }
    }

    fn set_type(&mut self, family: Cow<'a, str>, kind: MetricKind) -> Entry<'a> {
        self.kind = kind;
        self.family = family.clone();
        Entry::Type { family, kind }
    }

    /// The number at `at`, which one of `ends` or the end of the body must follow, and where it ends.
    #[inline]
    fn value(&self, at: usize, ends: &[u8]) -> Result<(f64, usize), Fault> {
        let text = self.body.get(at..).unwrap_or_default();
        if let Some((value, length)) = number(text)
            && text.get(length).is_none_or(|b| ends.contains(b))
        {
            return Ok((value, at + length));
        }
        let end = self.run(at.min(self.body.len()), |b| !ends.contains(&b));
        if end == at {
            return Err(Fault::new(at, "expected value after metric"));
        }
        Err(Fault::new(end, format!("invalid number {:?}", String::from_utf8_lossy(&self.body[at..end.min(at + 50)]))))
    }

    /// Whether the last sample's name is the `_created` companion of the family that the last `TYPE` line named.
    fn is_created(&self) -> bool {
        let has_start = matches!(self.kind, MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary);
        has_start
            && self.spans.name(self.body).strip_suffix(b"_created").is_some_and(|name| name == self.family.as_bytes())
    }
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b':'
}

fn is_name_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b == b':'
}

#[cfg(test)]
mod tests;
