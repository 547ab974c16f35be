//! `/query`, `/query_range`, `/format_query`, `/parse_query`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use query::{Stats, Steps, Value};
use serde_json::json;
use tsdb::{Queryable, Timestamp};

use super::envelope::{self, Notes};
use super::error::ApiError;
use super::explain::{self, Explain};
use super::params::Params;
use super::result::ResultWriter;
use super::time::parse_nanos;
use super::{listed, send_moment, success};
use crate::queries::{Evaluated, Queries, Run};
use crate::reply::Reply;
use crate::state::{AppState, now};

/// Points that a series of a range query may have.
const MAX_POINTS: i64 = 11_000;

const NANOS_PER_MS: i64 = 1_000_000;

/// `/query`: the value of an expression at one moment.
pub(crate) async fn instant(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    explained(&state, &params, Asked::instant(&params)?).await
}

/// `/query_range`: the value of an expression at every step of a range.
pub(crate) async fn range(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    explained(&state, &params, Asked::range(&params)?).await
}

/// When a request asks for values.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    steps: Steps,
    /// The time of what has no time of its own.
    at: Timestamp,
}

impl Asked {
    pub(crate) fn instant(params: &Params) -> Result<Self, ApiError> {
        params.limit()?;
        let at = params.time("time")?.unwrap_or_else(now);
        Ok(Self { steps: Steps::Instant(at), at })
    }

    pub(crate) fn range(params: &Params) -> Result<Self, ApiError> {
        params.limit()?;
        let (start, end) = (params.required_time("start")?, params.required_time("end")?);
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        let step = parse_nanos(params.get("step")).map_err(|why| ApiError::parameter("step", why))?;
        if step <= 0 {
            let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(ApiError::parameter("step", why));
        }
        let span_ms = end.millis().saturating_sub(start.millis());
        // As Prometheus, whose spans end at 64 bits of nanoseconds.
        if span_ms.saturating_mul(NANOS_PER_MS) / step > MAX_POINTS {
            let why = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
            return Err(ApiError::bad(why));
        }
        let step_ms = (step / NANOS_PER_MS).max(1);
        let (start, end) = addressable(start, end, step_ms);
        Ok(Self { steps: Steps::Range { start, end, step: Duration::from_millis(step_ms as u64) }, at: end })
    }
}

/// The part of a range of points that nanoseconds of 64 bits can address, years 1677 to 2262, where the whole of it has
/// more than [`MAX_POINTS`]: clients ask for all of time at once, and no sample lies beyond.
fn addressable(start: Timestamp, end: Timestamp, step_ms: i64) -> (Timestamp, Timestamp) {
    const LAST_MS: i64 = i64::MAX / NANOS_PER_MS;
    let span = i128::from(end.millis()) - i128::from(start.millis());
    if span / i128::from(step_ms) <= i128::from(MAX_POINTS) {
        return (start, end);
    }
    // The first point from there on that is a whole number of steps after the start.
    let before = (-i128::from(LAST_MS) - i128::from(start.millis())).max(0);
    let first =
        i128::from(start.millis()) + ((before + i128::from(step_ms) - 1) / i128::from(step_ms)) * i128::from(step_ms);
    let first = i64::try_from(first).unwrap_or(i64::MAX);
    (Timestamp::from_millis(first), Timestamp::from_millis(end.millis().min(LAST_MS).max(first)))
}

/// Answers a query over `source`, without explaining anything.
pub(crate) async fn plain(
    queries: &Queries,
    source: Arc<dyn Queryable>,
    params: &Params,
    asked: Asked,
) -> Result<Response, ApiError> {
    let query = queries.query(params, asked.steps).await?;
    let (timeout, shape) = (query.timeout, Shape::new(params, asked.at)?);
    let reply = queries.run(source, query, move |run, evaluated| shape.reply(run, evaluated, Vec::new())).await?;
    Ok(reply.send(queries, timeout))
}

/// Answers a query, or explains it.
async fn explained(state: &AppState, params: &Params, asked: Asked) -> Result<Response, ApiError> {
    let Some(explain) = Explain::parse(params.get("explain"))? else {
        return plain(&state.queries, state.db.clone(), params, asked).await;
    };
    let query = state.queries.query(params, asked.steps).await?;
    if explain == Explain::Plan {
        return Ok(success(&json!({ "explain": explain::tree(&query.expr, &[]) })));
    }
    let (timeout, shape, of_work) = (query.timeout, Shape::new(params, asked.at)?, state.clone());
    let expr = query.expr.clone();
    let explained = move |run: Run, evaluated: Evaluated| {
        let mut beside = Vec::new();
        match explain {
            Explain::Analyze => {
                let tree = explain::tree(&expr, &evaluated.stats.nodes);
                beside.push(("explain", tree.to_string().into_bytes()));
            }
            Explain::Empty if is_empty(&evaluated.value) => {
                let missing = explain::why_empty(&of_work, &expr, asked.steps)?;
                let missing: Vec<_> = missing.iter().map(|missing| explain::missing_json(&of_work, missing)).collect();
                beside.push(("empty", json!(missing).to_string().into_bytes()));
            }
            Explain::Empty | Explain::Plan => {}
        }
        shape.reply(run, evaluated, beside)
    };
    // Why there is nothing may take a search through the index.
    let work = {
        let db = state.db.clone();
        move |mut run: Run| {
            let evaluated = run.evaluate(&*db, &query)?;
            explained(run, evaluated)
        }
    };
    Ok(state.queries.guarded(timeout, work).await?.send(&state.queries, timeout))
}

/// Whether there is no series in it.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Vector(samples) => samples.is_empty(),
        Value::Matrix(series) => series.is_empty(),
        Value::Scalar(_) | Value::String(_) => false,
    }
}

/// The parts of an answer that parameters ask for.
struct Shape {
    at: Timestamp,
    limit: Option<usize>,
    stats: StatsLevel,
}

/// Statistics beside an answer.
#[derive(PartialEq)]
enum StatsLevel {
    None,
    Some,
    All,
}

impl Shape {
    fn new(params: &Params, at: Timestamp) -> Result<Self, ApiError> {
        let stats = match params.get("stats") {
            "" => StatsLevel::None,
            "all" => StatsLevel::All,
            _ => StatsLevel::Some,
        };
        Ok(Self { at, limit: params.limit()?, stats })
    }

    /// The answer as JSON, cut to the limit; `beside` is JSON by name.
    fn reply(
        &self,
        run: Run,
        evaluated: Evaluated,
        mut beside: Vec<(&'static str, Vec<u8>)>,
    ) -> Result<Reply, ApiError> {
        let Evaluated { mut value, annotations, stats } = evaluated;
        let mut notes = Notes::new(&annotations);
        if let Some(limit) = self.limit {
            let cut = match &mut value {
                Value::Vector(samples) => truncate(samples, limit),
                Value::Matrix(series) => truncate(series, limit),
                Value::Scalar(_) | Value::String(_) => false,
            };
            if cut {
                notes.warn("results truncated due to limit");
            }
        }
        if self.stats != StatsLevel::None {
            beside.insert(0, ("stats", stats_json(&stats, run.waited(), self.stats == StatsLevel::All)));
        }
        envelope::result(run, ResultWriter::new(value, self.at), &notes, &beside)
    }
}

/// `stats`, as Prometheus has it, with what it does not count beside it.
fn stats_json(stats: &Stats, waited: Duration, all: bool) -> Vec<u8> {
    let waited = waited.as_secs_f64();
    let (prepare, exec) = (stats.prepare.as_secs_f64(), stats.exec.as_secs_f64());
    let mut samples = json!({ "totalQueryableSamples": stats.samples, "peakSamples": stats.peak_samples });
    if all && !stats.samples_per_step.is_empty() {
        let steps = stats.samples_per_step.iter();
        let steps: Vec<_> = steps.map(|(at, n)| json!([at.millis() as f64 / 1000.0, n])).collect();
        samples["totalQueryableSamplesPerStep"] = steps.into();
    }
    let stats = json!({
        "timings": {
            "evalTotalTime": prepare + exec,
            "resultSortTime": 0,
            "queryPreparationTime": prepare,
            "innerEvalTime": exec,
            "execQueueTime": waited,
            "execTotalTime": waited + prepare + exec,
        },
        "samples": samples,
        "series": stats.series,
        "decodedSamples": stats.decoded_samples,
        "peakBytes": stats.peak_bytes,
    });
    serde_json::to_vec(&stats).expect("numbers can be written as JSON")
}

fn truncate<T>(items: &mut Vec<T>, limit: usize) -> bool {
    let cut = items.len() > limit;
    items.truncate(limit);
    cut
}

/// `/functions`: the names of all functions, for completion.
pub(crate) async fn functions() -> Response {
    success(&query::FUNCTIONS.iter().map(|function| function.name).collect::<Vec<_>>())
}

/// `/format_query`: the expression, laid out for reading.
pub(crate) async fn format(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let expr = state.queries.parse(params.get("query")).await?;
    send_moment(&state, move |run| listed(run, &expr.pretty())).await
}

/// `/parse_query`: the expression as a tree.
pub(crate) async fn parse(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let expr = state.queries.parse(params.get("query")).await?;
    send_moment(&state, move |run| listed(run, &super::ast::tree(&expr))).await
}
