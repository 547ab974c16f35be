//! Running queries: how many at once, for how long, and what ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use query::{Annotations, Answer, Engine, Expr, Lease, Request, Stats, Steps, StopFlag, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tsdb::Queryable;

use crate::allowance::Allowance;
use crate::api::labels::goes_on;
use crate::api::params::Params;
use crate::api::{ApiError, ErrorType};
use crate::lane::Lane;
use crate::state::Options;

/// Causes that end queries before their time: limits, clients that go away, and clients that read too slowly.
pub(crate) const ENDINGS: [&str; 9] =
    ["memory", "memory_total", "samples", "series", "steps", "timeout", "queue", "canceled", "slow_reader"];

/// Bytes of an expression that is read where its request is.
const MAX_SHORT_TEXT: usize = 4096;
/// Threads of queries beyond one for each that may run: they write the answers of those that have run.
const WRITERS: usize = 4;

/// Who runs queries, whatever store they read. Cheap to clone.
#[derive(Clone)]
pub struct Queries(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    /// Threads of queries.
    lane: Lane,
    /// Time that small queries may take of the threads that serve connections.
    allowance: Allowance,
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
    pub(crate) fn end(&self, why: &str) {
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

/// The result of an expression; its memory is held by the [`Run`] that evaluated it.
pub(crate) struct Evaluated {
    pub(crate) value: Value,
    pub(crate) annotations: Annotations,
    pub(crate) stats: Stats,
}

/// Work in its place among the queries: what it holds, and whether it is to go on.
pub(crate) struct Run {
    queries: Queries,
    stop: StopFlag,
    waited: Duration,
    lease: Lease,
}

impl Run {
    /// How long the work waited for its place.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// The flag that stops the work.
    pub(crate) fn stop(&self) -> &StopFlag {
        &self.stop
    }

    /// Sees whether to go on.
    ///
    /// # Errors
    /// If the time of the work is over or its client has gone.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        self.stop.check("expression evaluation").map_err(|why| self.queries.stopped(why))
    }

    /// Accounts for bytes, and sees whether to go on.
    ///
    /// # Errors
    /// If the work is to stop, or would hold more than a query may.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.check()?;
        self.lease.take_bytes(bytes as u64).map_err(|why| self.queries.stopped(why))
    }

    /// Gives bytes back that were accounted for.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.lease.return_bytes(bytes);
    }

    /// Evaluates an expression. Its result counts as part of this work until it is given back or the work ends.
    ///
    /// # Errors
    /// If the expression cannot be evaluated, a limit is passed, or the work is to stop.
    pub(crate) fn evaluate(&mut self, source: &dyn Queryable, query: &Query) -> Result<Evaluated, ApiError> {
        let Query { expr, steps, lookback, count_all, .. } = query;
        let stop = self.stop.clone();
        let request = Request { expr, steps: *steps, lookback: *lookback, count_all: *count_all, stop };
        let answer = self.queries.engine().run_beside(source, &request, self.lease.bytes());
        let answer = answer.map_err(|why| self.queries.stopped(why));
        // One that cannot be answered yet is asked again.
        if answer.as_ref().err().is_none_or(|why| why.kind != ErrorType::Unavailable) {
            self.queries.counts().all.fetch_add(1, Relaxed);
            self.queries.counts().failed.fetch_add(u64::from(answer.is_err()), Relaxed);
        }
        let Answer { value, annotations, stats, lease } = answer?;
        self.lease.absorb(lease);
        Ok(Evaluated { value, annotations, stats })
    }

    /// Ends the work; what it still holds is held by what came of it.
    pub(crate) fn into_lease(self) -> Lease {
        self.lease
    }
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
            lane: Lane::new("query-run", concurrency + WRITERS, options.on_query_thread_start),
            allowance: Allowance::default(),
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
        match params.duration("timeout")? {
            // Its time is over before it begins.
            Some(Duration::ZERO) => Err(ApiError::timed_out("query timed out in query execution")),
            asked => Ok(asked.map_or(most, |asked| asked.min(most))),
        }
    }

    /// The query that the parameters ask for.
    pub(crate) async fn query(&self, params: &Params, steps: Steps) -> Result<Query, ApiError> {
        let timeout = self.timeout(params)?;
        let lookback = params.lookback()?;
        let expr = self.parse(params.get("query")).await?;
        let count_all = !params.get("stats").is_empty();
        Ok(Query { expr, steps, lookback, count_all, timeout })
    }

    /// The expression that the parameter `query` holds.
    pub(crate) async fn parse(&self, text: &str) -> Result<Expr, ApiError> {
        self.read(text, |why| ApiError::parameter("query", why)).await
    }

    /// The expression that a text stands for, or what `refused` says of why it is none; a long text is read on a thread of
    /// queries.
    pub(crate) async fn read(&self, text: &str, refused: fn(query::ParseError) -> ApiError) -> Result<Expr, ApiError> {
        if text.len() <= MAX_SHORT_TEXT {
            return query::parse(text).map_err(refused);
        }
        let text = text.to_owned();
        self.moment(move |_| query::parse(&text).map_err(refused)).await
    }

    /// Runs work that takes a moment on a thread of queries, without a place among them.
    pub(crate) async fn moment<T: Send + 'static>(
        &self,
        work: impl FnOnce(Run) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let run = self.begin(StopFlag::default(), Duration::ZERO);
        self.spawn(move || work(run)).await.unwrap_or_else(|ended| Err(goes_on(ended)))
    }

    /// Runs work that takes less time than another thread takes to wake up: here, as long as there is time for such work.
    pub(crate) async fn at_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(Run) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if !self.0.allowance.is_open() {
            return self.moment(work).await;
        }
        self.0.allowance.spend(|| work(self.begin(StopFlag::default(), Duration::ZERO)))
    }

    /// Runs a query over `source` and what `finish` makes of its result: a small one here and now, others as
    /// [`guarded`](Self::guarded) work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        source: Arc<dyn Queryable>,
        query: Query,
        finish: impl FnOnce(Run, Evaluated) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let is_small = || {
            let is_usual = self.0.allowance.is_open() && query.lookback.is_none();
            is_usual && self.engine().is_small(&*source, &query.expr, query.steps)
        };
        let place = if is_small() { self.0.gate.try_acquire().ok() } else { None };
        let timeout = query.timeout;
        let work = move |mut run: Run| {
            let evaluated = run.evaluate(&*source, &query)?;
            finish(run, evaluated)
        };
        match place {
            Some(_place) => self.0.allowance.spend(|| work(self.begin(StopFlag::default(), Duration::ZERO))),
            None => self.guarded(timeout, work).await,
        }
    }

    fn begin(&self, stop: StopFlag, waited: Duration) -> Run {
        Run { queries: self.clone(), stop, waited, lease: self.lease() }
    }

    /// A lease of nothing yet, for up to what a query may hold.
    pub(crate) fn lease(&self) -> Lease {
        Lease::new(self.engine().reserve().clone(), self.engine().options().max_bytes)
    }

    /// Runs a piece of work on a thread of queries, without a place among them: for what takes a moment.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.0.lane.spawn(work)
    }

    /// Counts what a limit has stopped.
    pub(crate) fn stopped(&self, why: query::Error) -> ApiError {
        match &why {
            query::Error::Limit(limit, _) => self.counts().end(limit.as_str()),
            query::Error::Timeout { .. } => self.counts().end("timeout"),
            _ => {}
        }
        why.into()
    }

    /// Runs work on a thread of queries, once there is a place among them for it. It is told to stop when its time is over,
    /// and when the caller goes away; its place is free once it has stopped.
    pub(crate) async fn guarded<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(Run) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let begun = Instant::now();
        let deadline = begun + timeout;
        let place = self.place(deadline.min(begun + self.0.wait)).await?;
        let (waited, queries) = (begun.elapsed(), self.clone());
        self.evaluate(move |stop| work(queries.begin(stop, waited)), place, deadline).await
    }

    /// A place among the queries that run at once.
    async fn place(&self, until: Instant) -> Result<OwnedSemaphorePermit, ApiError> {
        let waiting = Waiting::begin(&self.counts().waiting);
        let place = tokio::time::timeout_at(until, self.0.gate.clone().acquire_owned()).await;
        drop(waiting);
        let timed_out = || {
            self.counts().end("queue");
            ApiError { kind: ErrorType::Timeout, message: "query timed out in query queue".into() }
        };
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
        let mut job = self.0.lane.spawn(job);
        let outcome = match tokio::time::timeout_at(deadline, &mut job).await {
            Ok(outcome) => outcome,
            Err(_) => {
                stop.time_out();
                job.await
            }
        };
        guard.is_done = true;
        outcome.map_err(goes_on)?
    }
}
