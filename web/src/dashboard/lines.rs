//! The series of a picture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use query::{ABSENT, Point, Series, Steps, Value};
use tsdb::{Labels, Queryable};

use super::slice::Slice;
use super::variables::{series_name, telling_names};
use crate::api::ApiError;
use crate::chart::Line;
use crate::queries::{Query, Run};

/// Most that a picture draws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) series: usize,
    /// Of all its series.
    pub(crate) points: usize,
}

/// Series that a picture draws.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    pub(crate) lines: Vec<Line>,
    /// Series beyond the most that it draws.
    pub(crate) left_out: usize,
}

/// Evaluates several expressions over a slice of time, one after the other; names their series by their templates. Series
/// that are not drawn are dropped as soon as they are known.
///
/// # Errors
/// If an expression cannot be evaluated, a limit is passed, or the work is to stop.
pub(crate) fn lines(
    run: &mut Run,
    source: &dyn Queryable,
    queries: &[(String, String)],
    slice: Slice,
    most: Most,
) -> Result<Drawn, ApiError> {
    let moments = slice.moments();
    run.take(size_of_val(&moments[..]))?;
    let mut drawn = Drawn::default();
    for (expr, template) in queries {
        let expr = query::parse(expr).map_err(|why| ApiError::parameter("query", why))?;
        let mut query = Query { expr, steps: slice.steps(), lookback: None, count_all: false, timeout: Duration::ZERO };
        let Value::Matrix(mut series) = run.evaluate(source, &query)?.value else { continue };
        if let Some(newest) = slice.newest() {
            query.steps = Steps::Instant(newest);
            let value = run.evaluate(source, &query)?.value;
            run.take((series.len() + value_count(&value)) * 8)?;
            append(&mut series, value, &moments);
        }
        let kept = most.series.saturating_sub(drawn.lines.len()).min(series.len());
        drawn.left_out += series.len() - kept;
        run.give_back(series.drain(kept..).map(|series| series.size_bytes()).sum());
        check_points((drawn.lines.len() + series.len()).saturating_mul(moments.len()), most)?;
        let names = if template.is_empty() {
            telling_names(series.iter().map(|series| &series.labels))
        } else {
            series.iter().map(|series| series_name(template, &series.labels)).collect()
        };
        for (name, series) in names.into_iter().zip(series) {
            run.take(name.len())?;
            drawn.lines.push(Line { name, series });
        }
    }
    Ok(drawn)
}

fn check_points(points: usize, most: Most) -> Result<(), ApiError> {
    if points <= most.points {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "a chart has at most {} points, the limit set by --web.max-chart-points; here are {points}: try a larger step or \
         fewer series",
        most.points
    )))
}

fn value_count(value: &Value) -> usize {
    match value {
        Value::Vector(samples) => samples.len(),
        Value::Matrix(_) | Value::Scalar(_) | Value::String(_) => 1,
    }
}

/// Appends the values of the newest moment to series of the moments before it. Series may begin with it.
fn append(series: &mut Vec<Series>, newest: Value, moments: &Arc<[i64]>) {
    let mut newest: BTreeMap<Labels, f64> = match newest {
        Value::Scalar(value) => [(Labels::empty(), value)].into(),
        Value::Vector(samples) => samples
            .into_iter()
            .filter_map(|sample| match sample.point {
                Point::Float(value) => Some((sample.labels, value)),
                Point::Histogram(_) => None,
            })
            .collect(),
        Value::Matrix(_) | Value::String(_) => BTreeMap::new(),
    };
    for one in series.iter_mut() {
        one.values.reserve_exact(1);
        one.values.push(newest.remove(&one.labels).unwrap_or(ABSENT));
        one.timestamps_ms = Arc::clone(moments);
    }
    if newest.is_empty() {
        return;
    }
    series.extend(newest.into_iter().map(|(labels, value)| {
        let mut values = vec![ABSENT; moments.len() - 1];
        values.push(value);
        Series { labels, timestamps_ms: Arc::clone(moments), values, histograms: Vec::new() }
    }));
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
}

#[cfg(test)]
mod tests {
    use query::VectorSample;

    use super::*;

    #[test]
    fn the_newest_values_follow_those_of_the_steps() {
        let labels = |text: &str| Labels::from_pairs([("i", text)]);
        let moments: Arc<[i64]> = vec![0, 10, 13].into();
        let one = Series {
            labels: labels("b"),
            timestamps_ms: vec![0, 10].into(),
            values: vec![1.0, 2.0],
            histograms: Vec::new(),
        };
        let sample = |text: &str, value| VectorSample { labels: labels(text), point: Point::Float(value) };
        let mut series = vec![one];
        append(&mut series, Value::Vector(vec![sample("b", 3.0), sample("a", 4.0)]), &moments);
        let names: Vec<_> = series.iter().map(|one| one.labels.get("i").unwrap().to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(series[1].values, [1.0, 2.0, 3.0]);
        assert!(query::is_absent(series[0].values[0]) && series[0].values[2] == 4.0);
        append(&mut series, Value::Vector(Vec::new()), &vec![0, 10, 13, 14].into());
        assert!(series.iter().all(|one| one.values.len() == 4 && query::is_absent(one.values[3])));
    }
}
