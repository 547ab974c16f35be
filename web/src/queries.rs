//! Running queries: how many at once, for how long, and what ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use query::{Answer, Engine, Expr, Request, Steps, StopFlag};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tsdb::Queryable;

use crate::api::params::Params;
use crate::api::{ApiError, ErrorType};
use crate::state::Options;

/// What ends queries before their time: limits, and what else.
pub(crate) const ENDINGS: [&str; 8] =
    ["memory", "memory_total", "samples", "series", "steps", "timeout", "queue", "canceled"];

/// Who runs queries, whatever store they read. Cheap to clone.
#[derive(Clone)]
pub struct Queries(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    /// Places for queries.
    gate: Arc<Semaphore>,
    concurrency: usize,
    /// How long a query may take, and how much of that it may wait for its place.
    timeout: Duration,
    wait: Duration,
    counts: Counts,
}

/// What became of queries.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) all: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) waiting: AtomicU64,
    /// By [`ENDINGS`].
    pub(crate) ended: [AtomicU64; ENDINGS.len()],
}

impl Counts {
    /// Counts a query that ended for one of [`ENDINGS`].
    fn end(&self, why: &str) {
        if let Some(at) = ENDINGS.iter().position(|ending| *ending == why) {
            self.ended[at].fetch_add(1, Relaxed);
        }
    }
}

/// A query that waits for a place.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
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

/// Stops a query when whoever waits for it has gone.
struct StopOnDrop<'a> {
    stop: StopFlag,
    counts: &'a Counts,
    is_done: bool,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.stop.cancel();
            self.counts.end("canceled");
        }
    }
}

impl Queries {
    /// Queries are run by `engine`, within the limits of `options`.
    #[must_use]
    pub fn new(engine: Arc<Engine>, options: &Options) -> Self {
        let concurrency = options.query_concurrency.max(1);
        Self(Arc::new(Inner {
            engine,
            gate: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            timeout: options.query_timeout,
            wait: options.query_wait,
            counts: Counts::default(),
        }))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Queries that may run at once, and that run now.
    pub(crate) fn places(&self) -> (usize, usize) {
        (self.0.concurrency, self.0.concurrency.saturating_sub(self.0.gate.available_permits()))
    }

    /// How long a request may take.
    pub(crate) fn timeout(&self, params: &Params) -> Result<Duration, ApiError> {
        let most = self.0.timeout;
        Ok(params.duration("timeout")?.map_or(most, |asked| asked.min(most)))
    }

    /// The query that the parameters ask for.
    pub(crate) fn query(&self, params: &Params, steps: Steps) -> Result<Query, ApiError> {
        let timeout = self.timeout(params)?;
        let lookback = params.duration("lookback_delta")?.filter(|d| !d.is_zero());
        let expr = query::parse(params.get("query")).map_err(|why| ApiError::parameter("query", why))?;
        let count_all = !params.get("stats").is_empty();
        Ok(Query { expr, steps, lookback, count_all, timeout })
    }

    /// Runs a query over `source`: a small one here and now, others as [`guarded`](Self::guarded) work. Gives how long it waited
    /// for its place, too.
    pub(crate) async fn run(&self, source: Arc<dyn Queryable>, query: Query) -> Result<(Answer, Duration), ApiError> {
        let of_work = self.clone();
        let small = query.lookback.is_none() && self.engine().is_small(&*source, &query.expr, query.steps);
        let place = if small { self.0.gate.try_acquire().ok() } else { None };
        let timeout = query.timeout;
        let work = move |stop| {
            let Query { expr, steps, lookback, count_all, .. } = query;
            let request = Request { expr: &expr, steps, lookback, count_all, stop };
            of_work.engine().run(&*source, &request).map_err(|why| of_work.stopped(why))
        };
        let outcome = match place {
            Some(_place) => work(StopFlag::default()).map(|answer| (answer, Duration::ZERO)),
            None => self.guarded(timeout, work).await,
        };
        // One that cannot be answered yet is asked again.
        if outcome.as_ref().err().is_none_or(|why| why.kind != ErrorType::Unavailable) {
            self.counts().all.fetch_add(1, Relaxed);
            self.counts().failed.fetch_add(u64::from(outcome.is_err()), Relaxed);
        }
        outcome
    }

    /// Counts what a limit has stopped.
    pub(crate) fn stopped(&self, why: query::Error) -> ApiError {
        if let query::Error::Limit(limit, _) = &why {
            self.counts().end(limit.as_str());
        }
        why.into()
    }

    /// Runs work on the blocking pool, once there is a place among the queries for it. It is told to stop when its time is
    /// over, and when the caller goes away; its place is free once it has stopped. Gives how long it waited, too.
    pub(crate) async fn guarded<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(StopFlag) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<(T, Duration), ApiError> {
        let begun = Instant::now();
        let deadline = begun + timeout;
        let outcome = match self.place(deadline.min(begun + self.0.wait)).await {
            Ok(place) => {
                let waited = begun.elapsed();
                self.evaluate(work, place, deadline).await.map(|done| (done, waited))
            }
            Err(why) => Err(why),
        };
        if let Err(why) = &outcome
            && why.kind == ErrorType::Timeout
        {
            self.counts().end(if why.message.ends_with("queue") { "queue" } else { "timeout" });
        }
        outcome
    }

    /// A place among the queries that run at once.
    async fn place(&self, until: Instant) -> Result<OwnedSemaphorePermit, ApiError> {
        let waiting = Waiting::begin(&self.counts().waiting);
        let place = tokio::time::timeout_at(until, self.0.gate.clone().acquire_owned()).await;
        drop(waiting);
        let timed_out = || ApiError { kind: ErrorType::Timeout, message: "query timed out in query queue".into() };
        place.map_err(|_| timed_out())?.map_err(|_| ApiError::unavailable("the server is stopping"))
    }

    async fn evaluate<T: Send + 'static>(
        &self,
        work: impl FnOnce(StopFlag) -> Result<T, ApiError> + Send + 'static,
        place: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<T, ApiError> {
        let stop = StopFlag::default();
        let mut guard = StopOnDrop { stop: stop.clone(), counts: self.counts(), is_done: false };
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
}
