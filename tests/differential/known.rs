//! Where Prometheus 3.14, which we follow, answers otherwise than the 3.5.3 that is asked.

use serde_json::Value;

use crate::compare::{Order, close, difference};

/// Why the answers differ on purpose, if they do. `ours` and `theirs` are the answers' bodies.
pub fn reason(query: &str, order: Order, ours: &Value, theirs: &Value) -> Option<&'static str> {
    let has = |text: &str| query.contains(text);
    let answered = ours["status"] == "success" && theirs["status"] == "success";
    if difference(order, &without_sort_warning(ours), theirs).is_none() {
        return Some("sorting in range queries is warned of (range_queries.test, line 110)");
    }
    if ours["error"].as_str().is_some_and(|error| error.starts_with("multiple matches for labels")) {
        return Some("ambiguous matches are errors even where the result is filtered away (operators.test, line 328)");
    }
    if answered && has("histogram_fraction(") && has("latency_bucket") && differ_where(ours, theirs, |_, b| b.is_nan())
    {
        return Some(
            "histogram_fraction sorts classic buckets (histograms.test); 3.5 answers NaN, as +Inf sorts first",
        );
    }
    if answered && has("info(") && has("target_info") && holds_all(ours, theirs) {
        return Some("info() keeps series that have all info labels already (info.test, line 43)");
    }
    if answered && has("timestamp(") && has(" @ ") && has("offset") {
        return Some("timestamp() of a selector with @ forgets the offset in 3.5");
    }
    let refused = |answer: &Value| answer["error"].as_str().is_some_and(|error| error.contains("parse error"));
    if (has("start()") || has("end()")) && ours["status"] == "success" && refused(theirs) {
        return Some("start() and end() are functions, too");
    }
    if theirs["status"] == "success"
        && ours["error"].as_str().is_some_and(|e| e.contains(" in subquery or range, expected"))
    {
        return Some("3.5 reads a letter behind a space in brackets as a colon");
    }
    if answered
        && has("((")
        && difference(order, &without_aggregation_places(ours), &without_aggregation_places(theirs)).is_none()
    {
        return Some("parentheses around the operand of an aggregation are dropped before it is evaluated");
    }
    let unnamed = |answer: &Value| {
        let mut answer = answer.clone();
        for row in answer["data"]["result"].as_array_mut().into_iter().flatten() {
            if let Some(labels) = row["metric"].as_object_mut() {
                labels.remove("__name__");
            }
        }
        answer
    };
    if answered && has(" or ") && has("__name__") && difference(order, &unnamed(ours), &unnamed(theirs)).is_none() {
        return Some("a name that any series of a group is to lose is lost (name_label_dropping.test, line 96)");
    }
    let values = |answer: &Value| rows(answer).map(|row| row["value"].clone()).collect::<Vec<_>>();
    let conditions = has("job=\"") && (has("job!") || has("job=~"));
    if answered && has("absent") && conditions && values(ours) == values(theirs) {
        return Some("absent() reads conditions in the order of the text; the index of 3.5 may have reordered them");
    }
    let native = has("native") || has("mixed");
    if native && any_histogram(&theirs["data"], &inconsistent) {
        return Some("3.5 mixes up buckets of the native histograms of a range: they do not add up to their count");
    }
    if answered && native && (has("rate(") || has("increase(")) {
        return Some("counts of native histograms are not extrapolated below zero (native_histograms.test, line 1660)");
    }
    None
}

/// The first call of `mad_over_time` in a query.
pub fn mad_call(query: &str) -> Option<&str> {
    let call = &query[query.find("mad_over_time(")?..];
    let mut depth = 0;
    let end = call.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ')' && depth == 0
    })?;
    Some(&call[..=end])
}

/// Why answers to such a call differ, if they do on purpose.
pub fn mad_reason(ours: &Value, theirs: &Value) -> Option<&'static str> {
    let there = rows(ours).next().is_some() && !differ_where(ours, theirs, |_, _| false);
    (there && differ_where(ours, theirs, |a, _| a.is_nan()))
        .then_some("mad_over_time of NaN is NaN (functions.test, line 1307)")
}

/// The answer with notes of aggregations that have no place.
fn without_aggregation_places(answer: &Value) -> Value {
    let mut answer = answer.clone();
    for key in ["warnings", "infos"] {
        for note in answer[key].as_array_mut().into_iter().flatten() {
            let end = note.as_str().and_then(|text| Some(text.find(" aggregation (")? + " aggregation".len()));
            if let (Some(end), Some(text)) = (end, note.as_str()) {
                *note = text[..end].into();
            }
        }
    }
    answer
}

/// The answer without what 3.5 does not warn of.
fn without_sort_warning(answer: &Value) -> Value {
    let mut answer = answer.clone();
    let left = answer["warnings"].as_array().map(|warnings| {
        let other = |warning: &&Value| !warning.as_str().is_some_and(|text| text.contains("sort is ineffective"));
        warnings.iter().filter(other).cloned().collect::<Vec<_>>()
    });
    if let (Some(left), Some(fields)) = (left, answer.as_object_mut()) {
        fields.remove("warnings");
        if !left.is_empty() {
            fields.insert("warnings".into(), left.into());
        }
    }
    answer
}

fn rows(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["data"]["result"].as_array().into_iter().flatten()
}

/// Whether `ours` has all that `theirs` has, and something else.
fn holds_all(ours: &Value, theirs: &Value) -> bool {
    let same = |row: &Value| rows(ours).any(|other| other == row);
    rows(theirs).all(same) && rows(ours).count() > rows(theirs).count()
}

/// Whether both have the same series and times, and values that differ only as `test` says.
fn differ_where(ours: &Value, theirs: &Value, test: impl Fn(f64, f64) -> bool) -> bool {
    let points = |answer: &Value| -> Vec<(String, Vec<Value>)> {
        let of_row = |row: &Value| {
            let many = row["values"].as_array().cloned();
            (row["metric"].to_string(), many.unwrap_or_else(|| vec![row["value"].clone()]))
        };
        let mut points: Vec<_> = rows(answer).map(of_row).collect();
        points.sort_by(|a, b| a.0.cmp(&b.0));
        points
    };
    let number = |point: &Value| point[1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY);
    let (ours, theirs) = (points(ours), points(theirs));
    ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|((labels, points), (its_labels, its))| {
            labels == its_labels
                && points.len() == its.len()
                && points.iter().zip(its).all(|(a, b)| {
                    let (x, y) = (number(a), number(b));
                    a[0] == b[0] && (close(x, y) || test(x, y))
                })
        })
}

/// Whether any histogram of an answer fulfils `test`.
fn any_histogram(answer: &Value, test: &impl Fn(&Value) -> bool) -> bool {
    match answer {
        Value::Object(fields) if fields.contains_key("buckets") => test(answer),
        Value::Object(fields) => fields.values().any(|value| any_histogram(value, test)),
        Value::Array(values) => values.iter().any(|value| any_histogram(value, test)),
        _ => false,
    }
}

fn inconsistent(histogram: &Value) -> bool {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    let buckets = histogram["buckets"].as_array().into_iter().flatten();
    let sum: f64 = buckets.map(|bucket| number(&bucket[3])).sum();
    let count = number(&histogram["count"]);
    (sum - count).abs() > 1e-6 * count.abs().max(1.0)
}
