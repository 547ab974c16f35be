//! Series and value sequences: `name{a="b"} 1+1x4 _ stale {{count:1}}`.

use std::sync::Arc;

use tsdb::{CounterResetHint, FloatHistogram, Labels, MatchOp, STALE_NAN, Span};

use super::LoadedValue;

/// A sequence may not be longer than this.
const MAX_VALUES: usize = 1_000_000;

/// One position of a sequence; `None` is a hole.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: Option<LoadedValue>,
    /// Whether the literal spells out a counter reset hint.
    pub(super) has_hint: bool,
}

/// Splits a line into its series and what follows. `@st` directly behind the series is left to the rest.
pub(super) fn split_series(line: &str) -> Result<(&str, &str), String> {
    let (mut quote, mut braces) = (None, 0);
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('`'), '`') => quote = None,
            (Some(_), '\\') if quote != Some('`') => {
                chars.next();
            }
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => braces += 1,
            (None, '}') => {
                braces -= 1;
                if braces == 0 {
                    return Ok(line.split_at(at + 1));
                }
            }
            (None, '@' | ' ' | '\t') if braces == 0 => {
                // Blanks may stand between the name and the braces.
                if line[at..].trim_start().starts_with('{') && !line[at..].trim_start().starts_with("{{") {
                    continue;
                }
                return Ok(line.split_at(at));
            }
            (None, _) => {}
        }
    }
    if quote.is_none() && braces == 0 { Ok((line, "")) } else { Err(format!("unfinished series: {line}")) }
}

/// Reads `name{a="b"}`.
pub(super) fn labels(text: &str) -> Result<Labels, String> {
    let compact = text.trim();
    if compact == "{}" {
        return Ok(Labels::empty());
    }
    // The selector grammar, but with conditions that may all be empty.
    let parsed = crate::parser::parse_series(compact).map_err(|error| error.to_string())?;
    if let Some(bad) = parsed.iter().find(|m| m.op() != MatchOp::Equal) {
        return Err(format!("only = is allowed in a series, not {bad}"));
    }
    Ok(Labels::from_pairs(parsed.iter().map(|m| (m.name(), m.value()))))
}

/// A number as scripts write it: decimal only.
fn number(text: &str) -> Result<f64, String> {
    let digits = text.trim_start_matches(['+', '-']);
    let negative = text.starts_with('-');
    let value = if digits.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    } else if digits.eq_ignore_ascii_case("inf") {
        f64::INFINITY
    } else {
        digits.parse::<f64>().map_err(|_| format!("bad number {text:?}"))?
    };
    Ok(if negative { -value } else { value })
}

/// Splits off a repetition: `1+2x3` → (`1+2`, 3).
fn repetition(text: &str) -> Result<(&str, Option<usize>), String> {
    let Some(at) = text.rfind('x').filter(|at| text[at + 1..].bytes().all(|b| b.is_ascii_digit())) else {
        return Ok((text, None));
    };
    if at + 1 == text.len() {
        return Ok((text, None));
    }
    let times: usize = text[at + 1..].parse().map_err(|_| format!("bad repetition {text:?}"))?;
    if times > MAX_VALUES { Err(format!("{text:?} repeats too often")) } else { Ok((&text[..at], Some(times))) }
}

/// Splits `a+b` or `a-b` where the sign belongs to neither number: (a, sign, b).
fn step_of(text: &str) -> Option<(&str, bool, &str)> {
    let bytes = text.as_bytes();
    (1..bytes.len())
        .find(|at| {
            let sign = matches!(bytes[*at], b'+' | b'-');
            sign && !matches!(bytes[at - 1], b'e' | b'E' | b'+' | b'-')
        })
        .map(|at| (&text[..at], bytes[at] == b'-', &text[at + 1..]))
}

/// Reads a sequence of values.
pub(super) fn values(text: &str) -> Result<Vec<Item>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = item_end(rest)?;
        let (item, after) = rest.split_at(end);
        expand(item, &mut out)?;
        if out.len() > MAX_VALUES {
            return Err("too many values".into());
        }
        rest = after.trim_start();
    }
    Ok(out)
}

/// Items end at blanks outside `{{…}}`.
fn item_end(text: &str) -> Result<usize, String> {
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("{{") {
            at += text[at..].find("}}").ok_or_else(|| format!("unfinished histogram: {text}"))? + 2;
            continue;
        }
        let c = text[at..].chars().next().unwrap_or(' ');
        if c == ' ' || c == '\t' {
            return Ok(at);
        }
        at += c.len_utf8();
    }
    Ok(at)
}

fn expand(item: &str, out: &mut Vec<Item>) -> Result<(), String> {
    let hole = Item { value: None, has_hint: false };
    if item.starts_with('_') {
        let (_, times) = repetition(item)?;
        out.extend(std::iter::repeat_n(hole, times.unwrap_or(1)));
        return Ok(());
    }
    if item == "stale" {
        out.push(Item { value: Some(LoadedValue::Float(STALE_NAN)), has_hint: false });
        return Ok(());
    }
    if item.starts_with("{{") {
        return expand_histograms(item, out);
    }
    let (body, times) = repetition(item)?;
    let float = |value| Item { value: Some(LoadedValue::Float(value)), has_hint: false };
    let Some(times) = times else {
        out.push(float(number(body)?));
        return Ok(());
    };
    let (mut value, step) = match step_of(body) {
        Some((start, negative, step)) => (number(start)?, if negative { -number(step)? } else { number(step)? }),
        None => (number(body)?, 0.0),
    };
    let constant = step_of(body).is_none();
    for i in 0..=times {
        if i > 0 && !constant {
            value += step;
        }
        out.push(float(value));
    }
    Ok(())
}

fn expand_histograms(item: &str, out: &mut Vec<Item>) -> Result<(), String> {
    let first_end = item.find("}}").ok_or("unfinished histogram")? + 2;
    let (mut value, mut has_hint) = histogram(&item[2..first_end - 2])?;
    let rest = &item[first_end..];
    let (step, rest) = match rest.chars().next() {
        Some(sign @ ('+' | '-')) => {
            let body = rest[1..].strip_prefix("{{").ok_or("expected a histogram after the sign")?;
            let end = body.find("}}").ok_or("unfinished histogram")?;
            let (step, hint) = histogram(&body[..end])?;
            has_hint = hint;
            (Some((sign == '-', step)), &body[end + 2..])
        }
        _ => (None, rest),
    };
    let times = match rest.strip_prefix('x') {
        Some(times) => times.parse::<usize>().map_err(|_| format!("bad repetition {rest:?}"))?,
        None if rest.is_empty() && step.is_none() => 0,
        None => return Err(format!("unexpected {rest:?} after a histogram")),
    };
    for i in 0..=times.min(MAX_VALUES) {
        if let (true, Some((negative, step))) = (i > 0, &step) {
            let hint = value.counter_reset_hint;
            let combined = if *negative { value.sub(step) } else { value.add(step) };
            combined.map_err(|error| error.to_string())?;
            value.compact();
            value.counter_reset_hint = if i == 1 { step.counter_reset_hint } else { hint };
        }
        out.push(Item { value: Some(LoadedValue::Histogram(Arc::new(value.clone()))), has_hint });
    }
    Ok(())
}

/// Reads what stands between `{{` and `}}`.
fn histogram(text: &str) -> Result<(FloatHistogram, bool), String> {
    let mut histogram = FloatHistogram::default();
    let (mut offset, mut negative_offset, mut has_hint) = (0, 0, false);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| format!("expected key:value in {rest:?}"))?;
        let (value, after) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("unfinished list")?,
            None => after.split_once([' ', '\t']).unwrap_or((after, "")),
        };
        let list = || value.split_whitespace().map(number).collect::<Result<Vec<f64>, String>>();
        let integer = || value.parse::<i32>().map_err(|_| format!("bad integer {value:?}"));
        match key.trim() {
            "schema" => histogram.schema = integer()?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "buckets" => histogram.positive_buckets = list()?,
            "n_buckets" => histogram.negative_buckets = list()?,
            "custom_values" => histogram.custom_values = list()?,
            "offset" => offset = integer()?,
            "n_offset" => negative_offset = integer()?,
            "counter_reset_hint" => {
                has_hint = true;
                histogram.counter_reset_hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::Reset,
                    "not_reset" => CounterResetHint::NotReset,
                    "gauge" => CounterResetHint::Gauge,
                    other => return Err(format!("bad counter reset hint {other:?}")),
                };
            }
            other => return Err(format!("unknown histogram key {other:?}")),
        }
        rest = after.trim_start();
    }
    let span =
        |offset, length: usize| if length == 0 { Vec::new() } else { vec![Span { offset, length: length as u32 }] };
    histogram.positive_spans = span(offset, histogram.positive_buckets.len());
    histogram.negative_spans = span(negative_offset, histogram.negative_buckets.len());
    Ok((histogram, has_hint))
}

/// Reads the start timestamps of a sequence: relative to each sample, in milliseconds.
pub(super) fn starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        let (body, times) = repetition(item)?;
        if body == "_" {
            out.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            continue;
        }
        let (start, step) = match step_of(body) {
            Some((start, negative, step)) => (signed(start)?, if negative { -signed(step)? } else { signed(step)? }),
            None => (signed(body)?, 0),
        };
        for i in 0..=times.unwrap_or(0) {
            out.push(Some(start + step * i as i64));
        }
    }
    Ok(out)
}

fn signed(text: &str) -> Result<i64, String> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let duration = model::parse_duration(text).map_err(|why| why.to_string())?;
    let millis = duration.as_millis() as i64;
    Ok(if negative { -millis } else { millis })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        let float = |item: Item| match item.value {
            Some(LoadedValue::Float(value)) => Some(value),
            _ => None,
        };
        values(text).unwrap().into_iter().map(float).collect()
    }

    #[test]
    fn sequences_expand() {
        let some = |v: &[f64]| v.iter().map(|v| Some(*v)).collect::<Vec<_>>();
        assert_eq!(floats("1+2x2"), some(&[1.0, 3.0, 5.0]));
        assert_eq!(floats("1-0.5x1 7x1"), some(&[1.0, 0.5, 7.0, 7.0]));
        assert_eq!(floats("-1e-3x1 -2+-1x1"), some(&[-0.001, -0.001, -2.0, -3.0]));
        assert_eq!(floats("_x2 Inf"), [None, None, Some(f64::INFINITY)]);
        assert_eq!(floats("0x2"), some(&[0.0, 0.0, 0.0]));
        assert!(values("1 abc").is_err() && values("{{count:1").is_err());
    }

    #[test]
    fn histograms_expand() {
        let items = values("{{schema:1 count:2 buckets:[1 1] offset:-1}}+{{count:1 buckets:[1]}}x1").unwrap();
        let Some(LoadedValue::Histogram(last)) = &items[1].value else { panic!("no histogram") };
        assert_eq!((last.schema, last.count), (0, 3.0));
        assert_eq!(items.len(), 2);
    }

    #[test]
    fn lines_split_into_series_and_values() {
        assert_eq!(split_series(r#"a{b="} x"} 1 2"#).unwrap(), (r#"a{b="} x"}"#, " 1 2"));
        assert_eq!(split_series("a 1").unwrap(), ("a", " 1"));
        assert_eq!(split_series("a {{count:1}}").unwrap(), ("a", " {{count:1}}"));
        assert_eq!(split_series(r#"a{b="c"}@st -1m"#).unwrap(), (r#"a{b="c"}"#, "@st -1m"));
    }
}
