//! Script text → commands.

use regex::Regex;
use tsdb::Labels;

use super::series::{self, Item};
use super::{LoadedSample, LoadedValue, nhcb};
use crate::parser::Expr;

/// Why a script cannot be played, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// What a script does.
pub(super) enum Command {
    Clear,
    Load(Vec<(Labels, Vec<LoadedSample>)>),
    Eval(Box<Eval>),
}

/// When a query is evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// A query and what it should give.
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) query: String,
    pub(super) expr: Expr,
    pub(super) when: When,
    pub(super) expected: Expected,
}

/// How a text is to be matched.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Any,
    Exactly(String),
    Matching(Regex),
}

impl Pattern {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(regex) => regex.is_match(text),
        }
    }
}

/// What a query should give.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) fail: Option<Pattern>,
    pub(super) warn: Vec<Pattern>,
    pub(super) info: Vec<Pattern>,
    pub(super) no_warn: bool,
    pub(super) no_info: bool,
    pub(super) ordered: bool,
    pub(super) text: Option<String>,
    /// `expect range vector from A to B step S`, in milliseconds.
    pub(super) range_vector: Option<(i64, i64, i64)>,
    pub(super) scalar: Option<f64>,
    pub(super) series: Vec<(Labels, Vec<Item>)>,
}

struct Lines<'t> {
    lines: Vec<&'t str>,
    at: usize,
}

impl<'t> Lines<'t> {
    /// The next line of a block with its number.
    fn next_in_block(&mut self) -> Option<(usize, &'t str)> {
        let line = self.lines.get(self.at).filter(|line| !line.is_empty())?;
        self.at += 1;
        Some((self.at, line))
    }
}

/// Reads a whole script.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, ScriptError> {
    let stripped = text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line });
    let mut lines = Lines { lines: stripped.collect(), at: 0 };
    let mut commands = Vec::new();
    while lines.at < lines.lines.len() {
        let Some((number, line)) = lines.next_in_block() else {
            lines.at += 1;
            continue;
        };
        let at = |reason: String| ScriptError { line: number, reason };
        let word = line.split_whitespace().next().unwrap_or_default();
        if word == "clear" {
            commands.push(Command::Clear);
        } else if word == "load" || word == "load_with_nhcb" {
            commands.push(load(line, number, &mut lines)?);
        } else if word.starts_with("eval") {
            commands.push(eval(line, number, &mut lines)?);
        } else {
            return Err(at(format!("unknown command {word:?}")));
        }
    }
    Ok(commands)
}

fn millis(text: &str) -> Result<i64, String> {
    model::parse_duration(text.trim()).map(|duration| duration.as_millis() as i64).map_err(|why| why.to_string())
}

fn load(line: &str, number: usize, lines: &mut Lines<'_>) -> Result<Command, ScriptError> {
    let error = |line, reason| ScriptError { line, reason };
    let (command, interval) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let interval = millis(interval).map_err(|reason| error(number, reason))?;
    let mut block: Vec<(Labels, Vec<LoadedSample>)> = Vec::new();
    let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
    while let Some((number, line)) = lines.next_in_block() {
        let (labels, samples) = load_line(line, interval, &mut starts).map_err(|reason| error(number, reason))?;
        let Some(samples) = samples else { continue };
        match block.iter_mut().find(|(known, _)| *known == labels) {
            Some(known) => known.1 = samples,
            None => block.push((labels, samples)),
        }
    }
    if command == "load_with_nhcb" {
        let converted = nhcb::convert(&block).map_err(|reason| error(number, reason))?;
        block.extend(converted);
    }
    Ok(Command::Load(block))
}

type Starts = Option<(Labels, Vec<Option<i64>>)>;

/// One line of a block: samples, or start timestamps for the line after it.
fn load_line(line: &str, interval: i64, starts: &mut Starts) -> Result<(Labels, Option<Vec<LoadedSample>>), String> {
    let (name, rest) = series::split_series(line)?;
    let labels = series::labels(name)?;
    if let Some(rest) = rest.strip_prefix("@st") {
        *starts = Some((labels.clone(), series::starts(rest)?));
        return Ok((labels, None));
    }
    let items = series::values(rest)?;
    let starts = match starts.take() {
        Some((of, _)) if of != labels => return Err("start timestamps without values of the same series".into()),
        Some((_, starts)) if starts.len() != items.len() => {
            return Err(format!("{} start timestamps for {} values", starts.len(), items.len()));
        }
        other => other.map(|(_, starts)| starts),
    };
    let mut samples = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        let at = interval * i as i64;
        let start = starts.as_ref().and_then(|starts| starts[i]).map_or(0, |start| at + start);
        if let Some(value) = item.value {
            samples.push(LoadedSample { timestamp: tsdb::Timestamp::from_millis(at), value, start_ms: start });
        }
    }
    Ok((labels, Some(samples)))
}

fn eval(line: &str, number: usize, lines: &mut Lines<'_>) -> Result<Command, ScriptError> {
    let at = |reason: String| ScriptError { line: number, reason };
    let regex = |pattern: &str| Regex::new(pattern).map_err(|error| at(error.to_string()));
    let instant = regex(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$")?;
    let range = regex(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$")?;
    let part = |captures: &regex::Captures<'_>, i: usize| captures.get(i).map_or("", |m| m.as_str()).to_owned();
    let (kind, when, query) = if let Some(c) = instant.captures(line) {
        let time = part(&c, 2);
        let time = if time.is_empty() { 0 } else { millis(&time).map_err(at)? };
        (part(&c, 1), When::Instant(time), part(&c, 3))
    } else if let Some(c) = range.captures(line) {
        let [start, end, step] = [2, 3, 4].map(|i| millis(&part(&c, i)));
        let when = When::Range { start: start.map_err(at)?, end: end.map_err(at)?, step: step.map_err(at)? };
        (part(&c, 1), when, part(&c, 5))
    } else {
        return Err(at(format!("bad eval command {line:?}")));
    };
    let expr = crate::parser::parse(&query).map_err(|error| at(format!("{query}: {error}")))?;
    let mut expected = Expected::default();
    match kind.as_str() {
        "fail" => expected.fail = Some(Pattern::Any),
        "warn" => expected.warn.push(Pattern::Any),
        "info" => expected.info.push(Pattern::Any),
        "ordered" => expected.ordered = true,
        _ => {}
    }
    while let Some((number, line)) = lines.next_in_block() {
        let at = |reason: String| ScriptError { line: number, reason };
        if expectation(line, &mut expected).map_err(at)? {
            break;
        }
    }
    Ok(Command::Eval(Box::new(Eval { line: number, query, expr, when, expected })))
}

/// Reads one line below an `eval`; a scalar ends the block.
fn expectation(line: &str, expected: &mut Expected) -> Result<bool, String> {
    if let Some(directive) = line.strip_prefix("expect ") {
        directive_line(directive.trim(), expected)?;
        return Ok(false);
    }
    if let Some(text) = line.strip_prefix("expected_fail_message") {
        expected.fail = Some(Pattern::Exactly(text.trim().to_owned()));
        return Ok(false);
    }
    if let Some(text) = line.strip_prefix("expected_fail_regexp") {
        expected.fail = Some(Pattern::Matching(Regex::new(text.trim()).map_err(|e| e.to_string())?));
        return Ok(false);
    }
    if let Some(value) = scalar(line) {
        expected.scalar = Some(value);
        return Ok(true);
    }
    let (name, rest) = series::split_series(line)?;
    expected.series.push((series::labels(name)?, series::values(rest)?));
    Ok(false)
}

fn scalar(line: &str) -> Option<f64> {
    let digits = line.trim_start_matches(['+', '-']);
    let prefixed = |prefix: &str, radix| digits.strip_prefix(prefix).and_then(|d| i64::from_str_radix(d, radix).ok());
    let integer = prefixed("0x", 16).or_else(|| prefixed("0o", 8)).or_else(|| prefixed("0b", 2));
    match integer {
        Some(value) => Some(if line.starts_with('-') { -value as f64 } else { value as f64 }),
        None => line.parse().ok(),
    }
}

fn directive_line(directive: &str, expected: &mut Expected) -> Result<(), String> {
    let (word, rest) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
    let rest = rest.trim();
    match word {
        "fail" => expected.fail = Some(pattern(rest)?),
        "warn" => expected.warn.push(pattern(rest)?),
        "info" => expected.info.push(pattern(rest)?),
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "ordered" => expected.ordered = true,
        "string" => {
            let bytes = crate::parser::unquote(rest)?;
            expected.text = Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        "range" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["vector", "from", from, "to", to, "step", step] = words[..] else {
                return Err(format!("bad directive {directive:?}"));
            };
            expected.range_vector = Some((millis(from)?, millis(to)?, millis(step)?));
        }
        other => return Err(format!("unknown directive {other:?}")),
    }
    Ok(())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    match text.split_once(':') {
        None if text.is_empty() => Ok(Pattern::Any),
        Some(("msg", message)) => Ok(Pattern::Exactly(message.trim().to_owned())),
        Some(("regex", regex)) => Ok(Pattern::Matching(Regex::new(regex.trim()).map_err(|e| e.to_string())?)),
        _ => Err(format!("bad expectation {text:?}")),
    }
}

/// What a step should have.
pub(super) fn value_of(item: &Item) -> Option<&LoadedValue> {
    item.value.as_ref()
}
