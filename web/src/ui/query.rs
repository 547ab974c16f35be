//! `/query`: an expression, its chart and its table.

use std::time::Duration;

use askama::Template;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use model::format_duration;
use query::{PlanNode, Point, Steps, Value, is_absent};

use super::page::{Chart, Frame, html, rendered};
use crate::api::params::Params;
use crate::api::query::is_empty;
use crate::api::{ApiError, Notes, explain};
use crate::chart::Unit;
use crate::dashboard::Slice;
use crate::picture::slice;
use crate::queries::{Evaluated, Query, Run};
use crate::state::{AppState, now};

/// Spans of time that the page offers.
const RANGES: [&str; 10] = ["5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "1w", "4w"];
/// Rows of the table at the most.
const MAX_ROWS: usize = 500;
/// Samples of range vectors in the table at the most.
const MAX_POINTS: usize = 20_000;

#[derive(Clone, Template)]
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
#[derive(Clone)]
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

#[derive(Clone)]
struct Row {
    name: String,
    value: String,
    /// The value as people write it; empty if that says no more.
    readable: String,
}

/// What is wrong, and where in the expression.
#[derive(Clone)]
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
    let page = Page {
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
        expr,
    };
    if page.expr.is_empty() {
        return html(&state, StatusCode::OK, page).await;
    }
    let timeout = state.options.query_timeout;
    let (mut filled, of_work) = (page.clone(), state.clone());
    let work = move |mut run: Run| {
        let status = fill(&mut filled, &of_work, &mut run, &params)?;
        rendered(run, status, &filled)
    };
    match state.queries.guarded(timeout, work).await {
        Ok(reply) => reply.send(&state.queries, timeout),
        Err(why) => {
            let mut page = page;
            let status = fail(&mut page, why.message, why.kind.status());
            html(&state, status, page).await
        }
    }
}

/// Spans that the page offers, and `chosen` beside them: a zoom stays when the expression is executed again.
fn ranges(chosen: &str) -> Vec<(String, bool)> {
    let own = (!RANGES.contains(&chosen)).then_some(chosen);
    own.into_iter().chain(RANGES).map(|choice| (choice.to_owned(), choice == chosen)).collect()
}

/// Evaluates the expression and fills the page with what came of it.
fn fill(page: &mut Page, state: &AppState, run: &mut Run, params: &Params) -> Result<StatusCode, ApiError> {
    let text = page.expr.clone();
    let expr = match query::parse(&text) {
        Ok(expr) => expr,
        Err(why) => {
            let (from, to) = (floor(&text, why.span.start), floor(&text, why.span.end.max(why.span.start)));
            page.error = Some(Failure {
                message: why.to_string(),
                before: text[..from].to_owned(),
                there: text[from..to].to_owned(),
                after: text[to..].to_owned(),
            });
            return Ok(StatusCode::BAD_REQUEST);
        }
    };
    let slice = slice(params, now())?;
    let steps = Steps::Instant(slice.at);
    let query = Query { expr, steps, lookback: None, count_all: false, timeout: Duration::ZERO };
    let evaluated = run.evaluate(&*state.db, &query)?;
    if matches!(query.expr.value_type(), query::ValueType::Vector | query::ValueType::Scalar) {
        page.chart = Some(chart(&text, slice, page.stacked));
    }
    page.took = format!(
        "{} series, {} samples, {:.1} ms, step {}",
        evaluated.stats.series,
        evaluated.stats.samples,
        (evaluated.stats.prepare + evaluated.stats.exec).as_secs_f64() * 1000.0,
        format_duration(slice.step),
    );
    if page.explain {
        page.nodes = query::plan(&query.expr, &evaluated.stats.nodes).into_iter().map(Node::new).collect();
    }
    if is_empty(&evaluated.value) {
        match explain::why_empty(state, &query.expr, steps) {
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
    tabulate(page, run, evaluated, Unit::guess(&text))?;
    Ok(StatusCode::OK)
}

fn chart(expr: &str, slice: Slice, stacked: bool) -> Chart {
    let mut chart = form_urlencoded::Serializer::new(String::new());
    chart.append_pair("query", expr).append_pair("start", &slice.start.to_string());
    chart.append_pair("end", &slice.at.to_string()).append_pair("step", &slice.step.as_secs_f64().to_string());
    chart.append_pair("type", if stacked { "area" } else { "line" });
    Chart { query: chart.finish(), title: format!("Chart of {expr}"), width: 1180, height: 380 }
}

fn fail(page: &mut Page, message: String, status: StatusCode) -> StatusCode {
    page.error = Some(Failure { message, before: String::new(), there: String::new(), after: String::new() });
    status
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The result as rows.
fn tabulate(page: &mut Page, run: &mut Run, evaluated: Evaluated, unit: Unit) -> Result<(), ApiError> {
    page.notes = Notes::new(&evaluated.annotations).warnings().map(str::to_owned).collect();
    let exact = |value: f64| {
        let mut out = Vec::new();
        crate::api::put_float(&mut out, value);
        String::from_utf8(out).unwrap_or_default()
    };
    let row = |name: String, value: f64| {
        let (value, readable) = (exact(value), unit.format(value));
        Row { name, readable: if readable == value { String::new() } else { readable }, value }
    };
    match evaluated.value {
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
            let mut points_left = MAX_POINTS;
            for series in series.into_iter().take(MAX_ROWS) {
                let points = series.timestamps_ms.iter().zip(&series.values).filter(|(_, value)| !is_absent(**value));
                let shown = points.clone().take(points_left);
                let mut lines: Vec<String> =
                    shown.map(|(&ms, &value)| format!("{} @{}", exact(value), exact(ms as f64 / 1000.0))).collect();
                points_left -= lines.len();
                let left_out = points.count() - lines.len();
                if left_out > 0 {
                    lines.push(format!("and {left_out} more"));
                }
                page.rows.push(Row {
                    name: series.labels.to_string(),
                    value: lines.join("\n"),
                    readable: String::new(),
                });
            }
        }
    }
    run.take(page.rows.iter().map(|row| row.name.len() + row.value.len() + row.readable.len()).sum())
}
