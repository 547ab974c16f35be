//! `/query`, `/query_range`, `/format_query`, `/parse_query`.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use query::{Answer, Expr, Request, Stats, Steps, StopFlag, Value};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tsdb::Timestamp;

use super::envelope::{self, Notes};
use super::error::{ApiError, ErrorType};
use super::explain::{self, Explain};
use super::json::ResultWriter;
use super::params::{Params, parse_seconds};
use super::success;
use crate::state::{AppState, now};

/// Points that a series of a range query may have.
const MAX_POINTS: i64 = 11_000;

/// `/query`: the value of an expression at one moment.
pub(crate) async fn instant(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let at = params.time("time")?.unwrap_or_else(now);
    answer(&state, &params, Steps::Instant(at), at).await
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
    answer(&state, &params, steps, end).await
}

/// A query that is ready to run.
pub(crate) struct Query {
    pub(crate) expr: Expr,
    pub(crate) steps: Steps,
    pub(crate) lookback: Option<Duration>,
    /// Whether statistics are asked for, as Prometheus counts them.
    pub(crate) count_all: bool,
    pub(crate) timeout: Duration,
}

/// How long a request may take.
pub(crate) fn timeout(state: &AppState, params: &Params) -> Result<Duration, ApiError> {
    let most = state.options.query_timeout;
    Ok(params.duration("timeout")?.map_or(most, |asked| asked.min(most)))
}

impl Query {
    fn from_params(state: &AppState, params: &Params, steps: Steps) -> Result<Self, ApiError> {
        let timeout = timeout(state, params)?;
        let lookback = params.duration("lookback_delta")?.filter(|d| !d.is_zero());
        let expr = query::parse(params.get("query")).map_err(|why| ApiError::parameter("query", why))?;
        let count_all = !params.get("stats").is_empty();
        Ok(Self { expr, steps, lookback, count_all, timeout })
    }
}

/// Stops a query when whoever waits for it has gone.
struct StopOnDrop<'a> {
    stop: StopFlag,
    state: &'a AppState,
    is_done: bool,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.stop.cancel();
            self.state.metrics.query_ended("canceled");
        }
    }
}

/// Runs a query, as [`guarded`] work.
pub(crate) async fn run(state: &AppState, query: Query) -> Result<Answer, ApiError> {
    run_timed(state, query).await.map(|(answer, _)| answer)
}

/// The same, and how long the query waited for its place.
async fn run_timed(state: &AppState, query: Query) -> Result<(Answer, Duration), ApiError> {
    let of_work = state.clone();
    let outcome = guarded(state, query.timeout, move |stop| {
        let Query { expr, steps, lookback, count_all, .. } = query;
        let request = Request { expr: &expr, steps, lookback, count_all, stop };
        of_work.engine.run(&*of_work.db, &request).map_err(|why| stopped(&of_work, why))
    })
    .await;
    state.metrics.query(outcome.is_ok());
    outcome
}

/// Counts what a limit has stopped.
pub(crate) fn stopped(state: &AppState, why: query::Error) -> ApiError {
    if let query::Error::Limit(limit, _) = &why {
        state.metrics.query_ended(limit.as_str());
    }
    why.into()
}

/// Runs work on the blocking pool, once there is a place among the queries for it. It is told to stop when its time is
/// over, and when the caller goes away; its place is free once it has stopped. Gives how long it waited, too.
pub(crate) async fn guarded<T: Send + 'static>(
    state: &AppState,
    timeout: Duration,
    work: impl FnOnce(StopFlag) -> Result<T, ApiError> + Send + 'static,
) -> Result<(T, Duration), ApiError> {
    let begun = tokio::time::Instant::now();
    let deadline = begun + timeout;
    let outcome = match place(state, deadline.min(begun + state.options.query_wait)).await {
        Ok(place) => {
            let waited = begun.elapsed();
            evaluate(state, work, place, deadline).await.map(|done| (done, waited))
        }
        Err(why) => Err(why),
    };
    if let Err(why) = &outcome
        && why.kind == ErrorType::Timeout
    {
        state.metrics.query_ended(if why.message.ends_with("queue") { "queue" } else { "timeout" });
    }
    outcome
}

/// A place among the queries that run at once.
async fn place(state: &AppState, until: tokio::time::Instant) -> Result<OwnedSemaphorePermit, ApiError> {
    let waiting = state.metrics.waiting();
    let place = tokio::time::timeout_at(until, state.gate.clone().acquire_owned()).await;
    drop(waiting);
    let timed_out = || ApiError { kind: ErrorType::Timeout, message: "query timed out in query queue".into() };
    place.map_err(|_| timed_out())?.map_err(|_| ApiError::unavailable("the server is stopping"))
}

async fn evaluate<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(StopFlag) -> Result<T, ApiError> + Send + 'static,
    place: OwnedSemaphorePermit,
    deadline: tokio::time::Instant,
) -> Result<T, ApiError> {
    let stop = StopFlag::default();
    let mut guard = StopOnDrop { stop: stop.clone(), state, is_done: false };
    let job = {
        let stop = stop.clone();
        move || {
            let _place = place;
            work(stop)
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
    guard.is_done = true;
    outcome.map_err(|panic| {
        tracing::error!(%panic, "a query ended in a panic");
        ApiError::internal("the query failed for a defect of the server; the log says more")
    })?
}

/// Answers a query, or explains it. `at` is the time of what has no time of its own.
async fn answer(state: &AppState, params: &Params, steps: Steps, at: Timestamp) -> Result<Response, ApiError> {
    let query = Query::from_params(state, params, steps)?;
    let explain = Explain::parse(params.get("explain"))?;
    if explain == Some(Explain::Plan) {
        return Ok(success(&json!({ "explain": explain::tree(&query.expr, &[]) })));
    }
    let expr = explain.map(|_| query.expr.clone());
    let (answer, waited) = run_timed(state, query).await?;
    let mut beside = Vec::new();
    match (explain, expr) {
        (Some(Explain::Analyze), Some(expr)) => {
            beside.push(("explain", explain::tree(&expr, &answer.stats.nodes).to_string().into_bytes()));
        }
        (Some(Explain::Empty), Some(expr)) if is_empty(&answer.value) => {
            let missing = explain::why_empty(state, expr, steps).await?;
            let missing: Vec<_> = missing.iter().map(|missing| explain::missing_json(state, missing)).collect();
            beside.push(("empty", json!(missing).to_string().into_bytes()));
        }
        _ => {}
    }
    respond(answer, waited, at, params, beside)
}

/// Whether there is no series in it.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Vector(samples) => samples.is_empty(),
        Value::Matrix(series) => series.is_empty(),
        Value::Scalar(_) | Value::String(_) => false,
    }
}

/// The answer as JSON, cut to the `limit` asked for.
fn respond(
    answer: Answer,
    waited: Duration,
    at: Timestamp,
    params: &Params,
    mut beside: Vec<(&str, Vec<u8>)>,
) -> Result<Response, ApiError> {
    let Answer { mut value, annotations, stats, lease } = answer;
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
    match params.get("stats") {
        "" => {}
        level => beside.insert(0, ("stats", stats_json(&stats, waited, level == "all"))),
    }
    Ok(envelope::result(ResultWriter::new(value, at), &notes, &beside, lease))
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
pub(crate) async fn format(params: Params) -> Result<Response, ApiError> {
    let expr = query::parse(params.get("query")).map_err(|why| ApiError::parameter("query", why))?;
    Ok(success(&expr.pretty()))
}

/// `/parse_query`: the expression as a tree.
pub(crate) async fn parse(params: Params) -> Result<Response, ApiError> {
    let expr = query::parse(params.get("query")).map_err(|why| ApiError::parameter("query", why))?;
    Ok(success(&super::ast::tree(&expr)))
}
