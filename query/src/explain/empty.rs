//! Why a query found nothing: the selectors of its expression, asked condition by condition.

use tsdb::{Columns, METRIC_NAME, MatchOp, Matcher, Querier, TimeRange, Timestamp, is_stale};

use crate::engine::Steps;
use crate::error::Error;
use crate::parser::{At, DurationExpr, Expr, Modifiers, QueryTimes, SelectorUse};

/// Names that are offered instead of one that is not there.
const MAX_NEAREST: usize = 5;
/// Names that are looked through for that.
const MAX_CANDIDATES: usize = 20_000;
/// Series whose samples are looked at for the last one.
const MAX_SERIES: usize = 50;
/// Selectors that are looked at.
const MAX_SELECTORS: usize = 20;

/// What a selector found.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// The selector as text.
    pub selector: String,
    /// Its conditions, for who wants to look further.
    pub matchers: Vec<Matcher>,
    /// Series that have samples where it looks.
    pub series: usize,
    /// The first moment it looks at, and the last.
    pub range: TimeRange,
    /// Why there are none; `None` if there are some.
    pub why: Option<Why>,
}

/// Why a selector finds nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// One of its conditions took the last series away.
    Condition {
        /// The condition.
        condition: String,
        /// How many series those before it had left.
        before: usize,
        /// The label, if no series that is left has it.
        unknown_label: Option<String>,
        /// What there is instead: values of the label, or names of labels, the nearest first.
        nearest: Vec<String>,
    },
    /// There are such series, but they have no samples where the selector looks.
    Time {
        /// How many there are.
        series: usize,
        /// When the newest of their samples before that time was taken, as far as was looked.
        last_sample: Option<Timestamp>,
        /// Whether all that were looked at ended with a stale marker: their targets went away, or stopped exposing them.
        went_stale: bool,
        /// When the oldest sample after that time was taken, if there are only later ones.
        first_sample: Option<Timestamp>,
    },
}

/// Looks at each selector of `expr` by itself.
///
/// Cost: the conditions are asked one by one; of the series that are left the samples of a few are read.
///
/// # Errors
/// If the store fails.
pub fn why_empty(expr: &Expr, steps: Steps, lookback_ms: i64, querier: &dyn Querier) -> Result<Vec<Missing>, Error> {
    let (start, end, step_ms) = match steps {
        Steps::Instant(at) => (at.millis(), at.millis(), 0),
        Steps::Range { start, end, step } => {
            (start.millis(), end.millis(), i64::try_from(step.as_millis()).unwrap_or(i64::MAX))
        }
    };
    let times = QueryTimes { step: step_ms as f64 / 1000.0, range: (end.saturating_sub(start)) as f64 / 1000.0 };
    let mut all = Vec::new();
    collect(expr, Window { first: start, last: end }, (start, end), times, &mut all);
    all.truncate(MAX_SELECTORS);
    all.into_iter().map(|(selector, window)| look(&selector, window, lookback_ms, times, querier)).collect()
}

/// The moments that a part of an expression is evaluated at.
#[derive(Clone, Copy)]
struct Window {
    first: i64,
    last: i64,
}

impl Window {
    fn shifted(self, modifiers: &Modifiers, (start, end): (i64, i64), times: QueryTimes) -> Self {
        let offset = modifiers.offset.as_ref().map_or(0, |offset| millis(offset, times));
        let at = match modifiers.at {
            None => None,
            Some(At::Time(at)) => Some(at.millis()),
            Some(At::Start) => Some(start),
            Some(At::End) => Some(end),
        };
        let (first, last) = at.map_or((self.first, self.last), |at| (at, at));
        Self { first: first.saturating_sub(offset), last: last.saturating_sub(offset) }
    }
}

fn millis(duration: &DurationExpr, times: QueryTimes) -> i64 {
    duration.to_millis(times).unwrap_or(0)
}

fn collect<'e>(
    expr: &'e Expr,
    window: Window,
    query: (i64, i64),
    times: QueryTimes,
    out: &mut Vec<(SelectorUse<'e>, Window)>,
) {
    match expr {
        Expr::Selector(selector) => {
            let window = window.shifted(&selector.modifiers, query, times);
            out.push((SelectorUse { selector, range: None }, window));
        }
        Expr::Matrix(matrix) => {
            let window = window.shifted(&matrix.selector.modifiers, query, times);
            out.push((SelectorUse { selector: &matrix.selector, range: Some(&matrix.range) }, window));
        }
        Expr::Subquery(subquery) => {
            let mut window = window.shifted(&subquery.modifiers, query, times);
            window.first = window.first.saturating_sub(millis(&subquery.range, times));
            collect(&subquery.inner, window, query, times, out);
        }
        Expr::Binary(last) => {
            // Chains lean to the left and may be long.
            let (mut chain, mut first) = (vec![last], &*last.lhs);
            while let Expr::Binary(inner) = first {
                chain.push(inner);
                first = &inner.lhs;
            }
            collect(first, window, query, times, out);
            chain.into_iter().rev().for_each(|e| collect(&e.rhs, window, query, times, out));
        }
        other => other.children().for_each(|child| collect(child, window, query, times, out)),
    }
}

fn look(
    used: &SelectorUse<'_>,
    window: Window,
    lookback_ms: i64,
    times: QueryTimes,
    querier: &dyn Querier,
) -> Result<Missing, Error> {
    let reach = used.range.map_or(lookback_ms, |range| millis(range, times));
    let range = TimeRange::from_millis(window.first.saturating_sub(reach).saturating_add(1), window.last);
    let matchers = used.matchers();
    let series = with_samples(querier, matchers, range)?;
    let why = if series > 0 { None } else { Some(why(querier, matchers, range)?) };
    Ok(Missing { selector: used.selector.to_string(), matchers: matchers.to_vec(), series, range, why })
}

/// How many of the series have samples in `range`, as far as was looked; those beyond are taken to have some.
fn with_samples(querier: &dyn Querier, matchers: &[Matcher], range: TimeRange) -> Result<usize, Error> {
    let set = querier.select(matchers, range)?;
    let (mut found, mut columns) = (set.len().saturating_sub(MAX_SERIES), Columns::default());
    for index in 0..set.len().min(MAX_SERIES) {
        columns.clear();
        set.read(index, range, &mut columns)?;
        let floats = columns.values.last().is_some_and(|value| !is_stale(*value));
        let histograms = columns.histograms.last().is_some_and(|sample| !sample.histogram.is_stale());
        found += usize::from(floats || histograms);
    }
    Ok(found)
}

fn why(querier: &dyn Querier, matchers: &[Matcher], range: TimeRange) -> Result<Why, Error> {
    let mut before = None;
    for (i, matcher) in matchers.iter().enumerate() {
        let left = querier.select(&matchers[..=i], TimeRange::ALL)?.len();
        if left == 0 {
            return condition(querier, &matchers[..i], matcher, before);
        }
        before = Some(left);
    }
    time(querier, matchers, range)
}

/// The condition that took the last series away, and what there is instead.
fn condition(
    querier: &dyn Querier,
    earlier: &[Matcher],
    matcher: &Matcher,
    before: Option<usize>,
) -> Result<Why, Error> {
    let before = match before {
        Some(before) => before,
        None => querier.select(&[], TimeRange::ALL)?.len(),
    };
    let values = querier.label_values(matcher.name(), earlier, TimeRange::ALL, MAX_CANDIDATES)?;
    let (unknown_label, nearest) = if values.is_empty() && matcher.name() != METRIC_NAME {
        let names = querier.label_names(earlier, TimeRange::ALL, MAX_CANDIDATES)?;
        (Some(matcher.name().to_owned()), nearest(names, matcher.name()))
    } else if matcher.op() == MatchOp::Equal || matcher.op() == MatchOp::Regex {
        (None, nearest(values, matcher.value()))
    } else {
        (None, values.into_iter().take(MAX_NEAREST).collect())
    };
    Ok(Why::Condition { condition: matcher.to_string(), before, unknown_label, nearest })
}

/// The last sample before the range, or the first one after it.
fn time(querier: &dyn Querier, matchers: &[Matcher], range: TimeRange) -> Result<Why, Error> {
    let (mut last, mut first, mut stale, mut looked) = (None, None, 0, 0);
    let before = TimeRange { start: Timestamp::MIN, end: range.end };
    let after = TimeRange { start: range.end, end: Timestamp::MAX };
    let set = querier.select(matchers, TimeRange::ALL)?;
    let mut columns = Columns::default();
    for index in 0..set.len().min(MAX_SERIES) {
        columns.clear();
        set.read(index, before, &mut columns)?;
        let float = columns.timestamps_ms.last().zip(columns.values.last());
        let histogram = columns.histograms.last();
        let (at, is_marker) = match (float, histogram) {
            (Some((at, _)), Some(sample)) if sample.timestamp.millis() > *at => {
                (Some(sample.timestamp), sample.histogram.is_stale())
            }
            (Some((at, value)), _) => (Some(Timestamp::from_millis(*at)), is_stale(*value)),
            (None, Some(sample)) => (Some(sample.timestamp), sample.histogram.is_stale()),
            (None, None) => (None, false),
        };
        looked += 1;
        stale += usize::from(is_marker);
        last = last.max(at);
        if at.is_none() {
            columns.clear();
            set.read(index, after, &mut columns)?;
            let floats = columns.timestamps_ms.first().map(|at| Timestamp::from_millis(*at));
            let histograms = columns.histograms.first().map(|sample| sample.timestamp);
            let earliest = [floats, histograms, first].into_iter().flatten().min();
            first = earliest;
        }
    }
    let went_stale = looked > 0 && stale == looked;
    let first_sample = first.filter(|_| last.is_none());
    Ok(Why::Time { series: set.len(), last_sample: last, went_stale, first_sample })
}

/// The names that are spelled most like `wanted`; those that contain it, or that it contains, come before others.
fn nearest(names: Vec<String>, wanted: &str) -> Vec<String> {
    let lower = wanted.to_lowercase();
    let mut scored: Vec<(usize, String)> = names
        .into_iter()
        .filter_map(|name| {
            let candidate = name.to_lowercase();
            let contains = !lower.is_empty() && (candidate.contains(&lower) || lower.contains(&candidate));
            let distance = distance(&candidate, &lower);
            let far = distance > lower.chars().count().max(4) / 2 + 1;
            (contains || !far).then_some((if contains { distance / 4 } else { distance }, name))
        })
        .collect();
    scored.sort();
    scored.into_iter().take(MAX_NEAREST).map(|(_, name)| name).collect()
}

/// How many characters have to be put in, taken out or changed to make `b` of `a`; of long texts only the beginning
/// counts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_those_with_few_changes_or_one_within_the_other() {
        let names = ["http_requests_total", "http_request_size", "node_load1", "up"].map(str::to_owned).to_vec();
        assert_eq!(nearest(names.clone(), "http_request_total")[0], "http_requests_total");
        assert_eq!(nearest(names.clone(), "load"), ["node_load1"]);
        assert_eq!(nearest(names.clone(), "UP"), ["up"]);
        assert!(nearest(names, "zzzzzzzzzzzz").is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
