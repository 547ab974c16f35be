//! Where Prometheus 3.14, which we follow, answers otherwise than the 3.5.3 that is asked.

use serde_json::Value;

use crate::compare::{Order, difference};

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
    if answered && has("histogram_fraction(") && has("latency_bucket") {
        return Some(
            "histogram_fraction sorts classic buckets (histograms.test); 3.5 answers NaN, as +Inf sorts first",
        );
    }
    if has("info(") && has("target_info") {
        return Some("info() keeps series that have all info labels already (info.test, line 43)");
    }
    if answered && has("info(") && ours["data"]["resultType"] == "matrix" {
        return Some("info() of 3.5 gives series the info labels of others once info series come and go");
    }
    if answered && has("timestamp(") && has(" @ ") && has("offset") {
        return Some("timestamp() of a selector with @ forgets the offset in 3.5");
    }
    if has("start()") || has("end()") {
        return Some("start() and end() are functions, too");
    }
    if answered && has("absent") && has("job=\"") && (has("job!") || has("job=~")) {
        return Some("absent() reads conditions in the order of the text; the index of 3.5 may have reordered them");
    }
    if answered && has("mad_over_time(") {
        return Some("mad_over_time of NaN is NaN (functions.test, line 1307)");
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
