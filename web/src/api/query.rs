//! `/query`, `/query_range`, `/format_query`, `/parse_query`.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use query::{Answer, Expr, Request, Stats, Steps, StopFlag, Value};
use serde_json::json;
use tsdb::Timestamp;

use super::envelope::{self, Notes};
use super::error::{ApiError, ErrorType};
use super::json::ResultWriter;
use super::params::{Params, parse_seconds};
use super::success;
use crate::state::{AppState, now};

/// Points that a series of a range query may have.
const MAX_POINTS: i64 = 11_000;

/// `/query`: the value of an expression at one moment.
pub(crate) async fn instant(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let at = params.time("time")?.unwrap_or_else(now);
    let query = Query::from_params(&state, &params, Steps::Instant(at))?;
    let answer = run(&state, query).await?;
    respond(answer, at, &params)
}

/// `/query_range`: the value of an expression at every step of a range.
pub(crate) async fn range(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let (start, end) = (params.required_time("start")?, params.required_time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parse_seconds(params.get("step")).map_err(|why| ApiError::parameter("step", why))?;
    if step <= 0.0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", why));
    }
    let step_ms = ((step * 1000.0) as i64).max(1);
    if (end.millis().saturating_sub(start.millis())) / step_ms > MAX_POINTS {
        let why = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::bad(why));
    }
    let steps = Steps::Range { start, end, step: Duration::from_millis(step_ms as u64) };
    let query = Query::from_params(&state, &params, steps)?;
    let answer = run(&state, query).await?;
    respond(answer, end, &params)
}

/// A query that is ready to run.
pub(crate) struct Query {
    pub(crate) expr: Expr,
    pub(crate) steps: Steps,
    pub(crate) lookback: Option<Duration>,
    pub(crate) timeout: Duration,
}

impl Query {
    fn from_params(state: &AppState, params: &Params, steps: Steps) -> Result<Self, ApiError> {
        let timeout =
            params.duration("timeout")?.map_or(state.options.query_timeout, |t| t.min(state.options.query_timeout));
        let lookback = params.duration("lookback_delta")?.filter(|d| !d.is_zero());
        let expr = query::parse(params.get("query")).map_err(|why| ApiError::parameter("query", why))?;
        Ok(Self { expr, steps, lookback, timeout })
    }
}

/// Stops a query when whoever waits for it has gone.
struct StopOnDrop(StopFlag);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a query on the blocking pool, once there is a place for it. It stops when its time is over, and when the caller
/// goes away.
pub(crate) async fn run(state: &AppState, query: Query) -> Result<Answer, ApiError> {
    let timed_out =
        |during: &str| ApiError { kind: ErrorType::Timeout, message: format!("query timed out in {during}") };
    let deadline = tokio::time::Instant::now() + query.timeout;
    let place = tokio::time::timeout_at(deadline, state.gate.acquire()).await;
    let _place =
        place.map_err(|_| timed_out("query queue"))?.map_err(|_| ApiError::unavailable("the server is stopping"))?;
    let stop = StopFlag::default();
    let _guard = StopOnDrop(stop.clone());
    let job = {
        let (state, stop) = (state.clone(), stop.clone());
        move || {
            let Query { expr, steps, lookback, .. } = query;
            state.engine.run(&*state.db, &Request { expr: &expr, steps, lookback, stop })
        }
    };
    let mut job = tokio::task::spawn_blocking(job);
    let outcome = match tokio::time::timeout_at(deadline, &mut job).await {
        Ok(outcome) => outcome,
        Err(_) => {
            stop.time_out();
            job.await
        }
    };
    let answer = outcome.map_err(|panic| {
        tracing::error!(%panic, "a query ended in a panic");
        ApiError::internal("the query failed for a defect of the server; the log says more")
    })?;
    state.metrics.query(answer.is_ok());
    Ok(answer?)
}

/// The answer as JSON, cut to the `limit` asked for.
fn respond(answer: Answer, at: Timestamp, params: &Params) -> Result<Response, ApiError> {
    let Answer { mut value, annotations, stats } = answer;
    let mut notes = Notes::new(&annotations);
    if let Some(limit) = params.limit()? {
        let cut = match &mut value {
            Value::Vector(samples) => truncate(samples, limit),
            Value::Matrix(series) => truncate(series, limit),
            Value::Scalar(_) | Value::String(_) => false,
        };
        if cut {
            notes.warn("results truncated due to limit");
        }
    }
    let stats = match params.get("stats") {
        "" => None,
        level => Some(stats_json(&stats, level == "all")),
    };
    Ok(envelope::result(ResultWriter::new(value, at), &notes, stats))
}

/// `stats`, as Prometheus has it, with what it does not count beside it.
fn stats_json(stats: &Stats, all: bool) -> Vec<u8> {
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
            "execQueueTime": 0,
            "execTotalTime": prepare + exec,
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
pub(crate) async fn format(params: Params) -> Result<Response, ApiError> {
    let expr = query::parse(params.get("query")).map_err(|why| ApiError::parameter("query", why))?;
    Ok(success(&expr.pretty()))
}

/// `/parse_query`: the expression as a tree.
pub(crate) async fn parse(params: Params) -> Result<Response, ApiError> {
    let expr = query::parse(params.get("query")).map_err(|why| ApiError::parameter("query", why))?;
    Ok(success(&super::ast::tree(&expr)))
}
