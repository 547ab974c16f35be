//! `/query`: an expression, its chart and its table.

use askama::Template;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use model::format_duration;
use query::{Answer, PlanNode, Point, Steps, Value, is_absent};

use super::page::{Chart, Frame, html};
use crate::api::Notes;
use crate::api::explain;
use crate::api::params::Params;
use crate::api::query::is_empty;
use crate::chart::Unit;
use crate::dashboard::evaluate;
use crate::picture::slice;
use crate::state::{AppState, now};

/// Spans of time that the page offers.
const RANGES: [&str; 10] = ["5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "1w", "4w"];
/// Rows of the table at the most.
const MAX_ROWS: usize = 500;

#[derive(Template)]
#[template(path = "query.html")]
struct Page {
    frame: Frame,
    expr: String,
    /// Spans to choose from, and whether each is the chosen one.
    ranges: Vec<(String, bool)>,
    end: String,
    step: String,
    stacked: bool,
    /// Whether to show what each part of the expression took.
    explain: bool,
    nodes: Vec<Node>,
    /// Why there is no result, selector by selector.
    reasons: Vec<String>,
    /// If there is one to draw.
    chart: Option<Chart>,
    kind: &'static str,
    rows: Vec<Row>,
    rows_left_out: usize,
    notes: Vec<String>,
    error: Option<Failure>,
    took: String,
}

/// A part of the expression, and what it took.
struct Node {
    depth: usize,
    text: String,
    kind: &'static str,
    notes: String,
    series: String,
    samples: String,
    /// How many were read, and their bytes.
    chunks: String,
    bytes: String,
    time: String,
}

impl Node {
    fn new(node: PlanNode) -> Self {
        let number = |of: fn(&query::NodeStats) -> u64| node.stats.as_ref().map(of).filter(|n| *n > 0);
        let text = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        Self {
            depth: node.depth,
            kind: node.kind,
            notes: node.notes.join("; "),
            series: text(number(|stats| stats.series)),
            samples: text(number(|stats| stats.samples)),
            chunks: number(|stats| stats.chunks).map_or_else(String::new, |n| {
                let bytes = node.stats.as_ref().map_or(0, |stats| stats.chunk_bytes);
                format!("{n}, {}", explain::readable_bytes(bytes))
            }),
            bytes: number(|stats| stats.bytes).map_or_else(String::new, explain::readable_bytes),
            time: node.stats.as_ref().map_or_else(String::new, |s| format!("{:.2}", s.time.as_secs_f64() * 1000.0)),
            text: node.text,
        }
    }
}

struct Row {
    name: String,
    value: String,
    /// The value as people write it; empty if that says no more.
    readable: String,
}

/// What is wrong, and where in the expression.
struct Failure {
    message: String,
    before: String,
    there: String,
    after: String,
}

/// `/query`.
pub(crate) async fn query(
    State(state): State<AppState>,
    OriginalUri(address): OriginalUri,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let expr = [params.get("query"), params.get("expr"), params.get("g0.expr")];
    let expr = expr.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned();
    let range = match params.get("range") {
        "" => "1h",
        text => text,
    };
    let mut page = Page {
        frame: Frame::new(&state, &headers, "query", address.to_string()),
        ranges: ranges(range),
        end: params.get("end").to_owned(),
        step: params.get("step").to_owned(),
        stacked: params.get("type") == "area",
        explain: !params.get("explain").is_empty(),
        nodes: Vec::new(),
        reasons: Vec::new(),
        chart: None,
        kind: "",
        rows: Vec::new(),
        rows_left_out: 0,
        notes: Vec::new(),
        error: None,
        took: String::new(),
        expr: expr.clone(),
    };
    let status = if expr.is_empty() { StatusCode::OK } else { fill(&mut page, &state, &expr, &params).await };
    html(status, &page)
}

/// Spans that the page offers, and `chosen` beside them: a zoom stays when the expression is executed again.
fn ranges(chosen: &str) -> Vec<(String, bool)> {
    let own = (!RANGES.contains(&chosen)).then_some(chosen);
    own.into_iter().chain(RANGES).map(|choice| (choice.to_owned(), choice == chosen)).collect()
}

async fn fill(page: &mut Page, state: &AppState, expr: &str, params: &Params) -> StatusCode {
    let parsed = match query::parse(expr) {
        Ok(parsed) => parsed,
        Err(why) => {
            let (from, to) = (floor(expr, why.span.start), floor(expr, why.span.end.max(why.span.start)));
            page.error = Some(Failure {
                message: why.to_string(),
                before: expr[..from].to_owned(),
                there: expr[from..to].to_owned(),
                after: expr[to..].to_owned(),
            });
            return StatusCode::BAD_REQUEST;
        }
    };
    let slice = match slice(params, now()) {
        Ok(slice) => slice,
        Err(why) => return fail(page, why.message, StatusCode::BAD_REQUEST),
    };
    let answer = match evaluate(state, expr, Steps::Instant(slice.at)).await {
        Ok(answer) => answer,
        Err(why) => return fail(page, why.message, why.kind.status()),
    };
    if matches!(parsed.value_type(), query::ValueType::Vector | query::ValueType::Scalar) {
        let mut chart = form_urlencoded::Serializer::new(String::new());
        chart.append_pair("query", expr).append_pair("start", &slice.start.to_string());
        chart.append_pair("end", &slice.end.to_string()).append_pair("step", &slice.step.as_secs_f64().to_string());
        chart.append_pair("type", if page.stacked { "area" } else { "line" });
        let title = format!("Chart of {expr}");
        page.chart = Some(Chart { query: chart.finish(), title, width: 1180, height: 380 });
    }
    page.took = format!(
        "{} series, {} samples, {:.1} ms, step {}",
        answer.stats.series,
        answer.stats.samples,
        (answer.stats.prepare + answer.stats.exec).as_secs_f64() * 1000.0,
        format_duration(slice.step),
    );
    if page.explain {
        page.nodes = query::plan(&parsed, &answer.stats.nodes).into_iter().map(Node::new).collect();
    }
    if is_empty(&answer.value) {
        match explain::why_empty(state, parsed, Steps::Instant(slice.at)).await {
            Ok(missing) => {
                for one in &missing {
                    page.reasons.push(explain::sentence(one));
                    let down = if one.why.is_some() { explain::targets_down(state, one) } else { Vec::new() };
                    page.reasons.extend(down.into_iter().map(|target| format!("Target down: {target}")));
                }
            }
            Err(why) => page.reasons.push(why.message),
        }
    }
    tabulate(page, answer, Unit::guess(expr));
    StatusCode::OK
}

fn fail(page: &mut Page, message: String, status: StatusCode) -> StatusCode {
    page.error = Some(Failure { message, before: String::new(), there: String::new(), after: String::new() });
    status
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The answer as rows.
fn tabulate(page: &mut Page, answer: Answer, unit: Unit) {
    page.notes = Notes::new(&answer.annotations).warnings().map(str::to_owned).collect();
    let exact = |value: f64| {
        let mut out = Vec::new();
        crate::api::put_float(&mut out, value);
        String::from_utf8(out).unwrap_or_default()
    };
    let row = |name: String, value: f64| {
        let (value, readable) = (exact(value), unit.format(value));
        Row { name, readable: if readable == value { String::new() } else { readable }, value }
    };
    match answer.value {
        Value::String(text) => {
            page.kind = "string";
            page.rows.push(Row { name: String::new(), value: text, readable: String::new() });
        }
        Value::Scalar(value) => {
            page.kind = "scalar";
            page.rows.push(row("scalar".into(), value));
        }
        Value::Vector(samples) => {
            page.kind = "vector";
            page.rows_left_out = samples.len().saturating_sub(MAX_ROWS);
            let rows = samples.into_iter().take(MAX_ROWS).map(|sample| match sample.point {
                Point::Float(value) => row(sample.labels.to_string(), value),
                Point::Histogram(h) => {
                    let value = format!("histogram of {} observations, sum {}", exact(h.count), exact(h.sum));
                    Row { name: sample.labels.to_string(), value, readable: String::new() }
                }
            });
            page.rows = rows.collect();
        }
        Value::Matrix(series) => {
            page.kind = "matrix";
            page.rows_left_out = series.len().saturating_sub(MAX_ROWS);
            let rows = series.into_iter().take(MAX_ROWS).map(|series| {
                let points = series.timestamps_ms.iter().zip(&series.values).filter(|(_, value)| !is_absent(**value));
                let points: Vec<String> =
                    points.map(|(&ms, &value)| format!("{} @{}", exact(value), exact(ms as f64 / 1000.0))).collect();
                Row { name: series.labels.to_string(), value: points.join("\n"), readable: String::new() }
            });
            page.rows = rows.collect();
        }
    }
}
