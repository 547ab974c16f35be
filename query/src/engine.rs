//! The engine: expression, store and steps in, answer out.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tsdb::{Columns, Labels, Queryable, Timestamp};

use crate::annotations::Annotations;
use crate::budget::{Budget, Lease, Reserve, StopFlag};
use crate::error::{Error, Limit};
use crate::eval::grid::{Grid, Rows};
use crate::eval::nodes::Nodes;
use crate::eval::notes::Notes;
use crate::eval::pool::Pool;
use crate::eval::query::{Counters, Query};
use crate::eval::source::{SharedSource, Source, without_metadata};
use crate::eval::table::{Cell, NameOf, Table};
use crate::eval::window::RangeVector;
use crate::eval::{Eval, Output};
use crate::parser::{Expr, ValueType};
use crate::value::{ABSENT, Point, Series, Value, VectorSample, is_absent};

/// How queries are answered.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a sample counts as current.
    pub lookback: Duration,
    /// Samples that a query may hold in memory at once.
    pub max_samples: u64,
    /// Bytes that a query may hold in memory at once.
    pub max_bytes: u64,
    /// Bytes that all queries together may hold, results that are being sent included.
    pub max_total_bytes: u64,
    /// Series that the selectors of a query may find; 0 for no limit.
    pub max_series: u64,
    /// Steps that a query or subquery may have.
    pub max_steps: usize,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
    /// The step of subqueries that name none.
    pub default_subquery_step: Duration,
    /// Called on each worker thread as it starts.
    pub on_thread_start: fn(),
    /// What changes the results of queries that Prometheus accepts by default.
    pub features: Features,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(300),
            max_samples: 50_000_000,
            max_bytes: 4 << 30,
            max_total_bytes: 8 << 30,
            max_series: 0,
            max_steps: 5_000_000,
            threads: 0,
            default_subquery_step: Duration::from_secs(60),
            on_thread_start: || {},
            features: Features::default(),
        }
    }
}

/// Switches. All are off by default, as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Metric names are dropped at the end of a query rather than by each operation.
    pub delayed_name_removal: bool,
    /// `__type__` and `__unit__` are dropped together with the metric name.
    pub type_and_unit_labels: bool,
    /// `rate` and its kin use the start timestamps of samples.
    pub use_start_timestamps: bool,
    /// [`Stats::samples_per_step`] is counted.
    pub per_step_stats: bool,
}

/// Evaluates expressions. Owns its worker threads.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    clock: fn() -> Duration,
    pool: Option<Pool>,
    reserve: Reserve,
}

/// One query.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What is asked.
    pub expr: &'a Expr,
    /// When.
    pub steps: Steps,
    /// How long a sample counts as current, if not as the engine's options say.
    pub lookback: Option<Duration>,
    /// Whether [`Stats::samples`] is to count all samples of each window, also those that need not be looked at.
    pub count_all: bool,
    /// Stops it from outside.
    pub stop: StopFlag,
}

/// The moments that a query is evaluated at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// One.
    Instant(Timestamp),
    /// From `start` to at most `end`, both included.
    Range {
        /// The first.
        start: Timestamp,
        /// The last, if `step` meets it.
        end: Timestamp,
        /// How far they lie apart; whole milliseconds, at least one.
        step: Duration,
    },
}

/// What a query gives.
#[derive(Debug)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// What should be known about it.
    pub annotations: Annotations,
    /// What it took.
    pub stats: Stats,
    /// The memory of `value`, to be dropped with it.
    pub lease: Lease,
}

/// What a query took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Samples that selectors looked at, counted as Prometheus counts `totalQueryableSamples`: a sample in two windows
    /// counts twice, a histogram for its size. Where only the newest of a window is needed, few others count unless
    /// [`Request::count_all`] is set.
    pub samples: u64,
    /// The same by step; empty unless [`Features::per_step_stats`] is on.
    pub samples_per_step: Vec<(Timestamp, u64)>,
    /// The most samples that were held in memory at once.
    pub peak_samples: u64,
    /// Samples decoded from the store.
    pub decoded_samples: u64,
    /// Series that selectors found.
    pub series: u64,
    /// The most bytes that were held in memory at once.
    pub peak_bytes: u64,
    /// Time until the evaluation began.
    pub prepare: Duration,
    /// Time of the evaluation.
    pub exec: Duration,
    /// What the nodes of the expression took, parents first. Literals and parentheses are left out.
    pub nodes: Vec<NodeStats>,
}

/// What one node of an expression took. What was evaluated several times counts as often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Where it stands in the text, in bytes.
    pub span: Range<usize>,
    /// How many nodes lie around it.
    pub depth: usize,
    /// Series that it has, or reads.
    pub series: u64,
    /// Samples that it decoded from the store.
    pub samples: u64,
    /// Chunks that these were in.
    pub chunks: u64,
    /// Bytes of those chunks.
    pub chunk_bytes: u64,
    /// Values computed, holes included; of a range vector from the store, its samples.
    pub values: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Time, summed over threads. What its parts took on the way is included.
    pub time: Duration,
}

impl Engine {
    /// Makes an engine and starts its worker threads. `clock` gives the time since some fixed moment; it is used for
    /// statistics only.
    #[must_use]
    pub fn new(options: Options, clock: fn() -> Duration) -> Self {
        let pool = Pool::new(options.threads, options.on_thread_start);
        let reserve = Reserve::new(options.max_total_bytes);
        Self { options, clock, pool, reserve }
    }

    /// What all queries together hold.
    #[must_use]
    pub fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// How it answers.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Answers a query on the calling thread, with the help of the engine's own. Blocks until it is done.
    ///
    /// # Errors
    /// If the expression cannot be evaluated over these steps, the store fails, a limit is passed, or the query is
    /// stopped.
    pub fn run(&self, store: &dyn Queryable, request: &Request<'_>) -> Result<Answer, Error> {
        self.run_beside(store, request, 0)
    }

    /// The same for a client that holds `held_bytes` of the answers to earlier queries: all of them together hold what one
    /// query may.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub fn run_beside(&self, store: &dyn Queryable, request: &Request<'_>, held_bytes: u64) -> Result<Answer, Error> {
        let begun = (self.clock)();
        let expr = request.expr;
        let grid = match request.steps {
            Steps::Instant(at) => Grid::instant(at.millis()),
            Steps::Range { start, end, step } => {
                if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
                    let got = expr.value_type().documented();
                    return Err(Error::BadRequest(format!(
                        "invalid expression type {got:?} for range query, must be Scalar or instant Vector"
                    )));
                }
                let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
                if step_ms == 0 {
                    return Err(Error::BadRequest("the step of a range query must be at least one millisecond".into()));
                }
                Grid::range(start.millis(), end.millis(), step_ms)
            }
        };
        check_steps(&self.options, grid.count, "query")?;
        let (is_range, start_ms, end_ms) = match request.steps {
            Steps::Instant(at) => (false, at.millis(), at.millis()),
            Steps::Range { start, end, .. } => (true, start.millis(), end.millis()),
        };
        let lookback = request.lookback.filter(|l| !l.is_zero()).unwrap_or(self.options.lookback);
        let counters = Counters::new(if self.options.features.per_step_stats { grid.count } else { 0 });
        let query = Query {
            options: &self.options,
            querier: store.querier()?,
            lookback_ms: i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4),
            start_ms,
            end_ms,
            step_ms: if is_range { grid.step } else { 0 },
            is_range,
            counts_all: request.count_all || self.options.features.per_step_stats,
            budget: Budget::new(self.reserve.clone(), self.options.max_bytes, self.options.max_samples)
                .beside(held_bytes),
            stop: request.stop.clone(),
            pool: self.pool.as_ref(),
            notes: Notes::default(),
            counters,
            nodes: Nodes::new(self.clock),
            metadata_labels: OnceLock::new(),
        };
        let prepared = (self.clock)();
        let value = answer(&query, expr, grid)?;
        query.stop.check("expression evaluation")?;
        let bytes = value.size_bytes();
        query.budget.take_bytes(bytes)?;
        let stats = stats(&query, expr, grid, prepared.saturating_sub(begun), (self.clock)().saturating_sub(prepared));
        Ok(Answer { value, annotations: query.notes.finish(), stats, lease: query.budget.lease(bytes) })
    }
}

/// Refuses what has too many steps; `what` has them.
pub(crate) fn check_steps(options: &Options, steps: usize, what: &str) -> Result<(), Error> {
    if steps > options.max_steps {
        let message = format!("{what} has more than {} steps, the limit set by --query.max-steps", options.max_steps);
        return Err(Error::Limit(Limit::Steps, message));
    }
    Ok(())
}

fn stats(query: &Query<'_>, expr: &Expr, grid: Grid, prepare: Duration, exec: Duration) -> Stats {
    let counters = &query.counters;
    let per_step = counters.step_samples.iter().enumerate();
    Stats {
        samples: counters.samples.load(Ordering::Relaxed),
        samples_per_step: per_step
            .map(|(k, samples)| (Timestamp::from_millis(grid.at(k)), samples.load(Ordering::Relaxed)))
            .collect(),
        peak_samples: query.budget.peak_samples(),
        decoded_samples: counters.decoded.load(Ordering::Relaxed),
        series: counters.series.load(Ordering::Relaxed),
        peak_bytes: query.budget.peak_bytes(),
        prepare,
        exec,
        nodes: query.nodes.finish(expr),
    }
}

fn answer<'q>(query: &'q Query<'q>, expr: &'q Expr, grid: Grid) -> Result<Value, Error> {
    let eval = Eval { query, grid, stats_only: false, counts: true };
    if expr.value_type() == ValueType::Matrix {
        return windows(eval, expr);
    }
    match eval.eval(expr)? {
        Output::Text(text) => Ok(Value::String(String::from_utf8_lossy(text).into_owned())),
        Output::Scalar(values) if query.is_range => {
            let values = values.into_iter().map(|v| if is_absent(v) { f64::NAN } else { v }).collect::<Vec<_>>();
            let series =
                Series { labels: Labels::empty(), timestamps_ms: timestamps(grid), values, histograms: Vec::new() };
            Ok(Value::Matrix(if grid.count == 0 { Vec::new() } else { vec![series] }))
        }
        Output::Scalar(values) => Ok(Value::Scalar(values.first().copied().unwrap_or(f64::NAN))),
        Output::Series(source) if query.is_range => matrix(eval, source),
        Output::Series(source) => vector(eval, source),
    }
}

fn timestamps(grid: Grid) -> Arc<[i64]> {
    (0..grid.count).map(|k| grid.at(k)).collect()
}

/// The result with the names that are to be dropped dropped.
fn cleaned<'q>(eval: Eval<'q>, source: SharedSource<'q>) -> Result<Table<'q>, Error> {
    let table = Table::of(eval.query, source, eval.grid.count)?;
    if !(0..table.len()).any(|i| table.drops_name(i)) {
        return Ok(table);
    }
    let named = |i: usize| {
        let labels = table.labels(i);
        if table.drops_name(i) { without_metadata(&labels) } else { labels }
    };
    let labels: Vec<Labels> = (0..table.len()).map(named).collect();
    let rows = table.rows.clone();
    drop(table);
    let unnamed: SharedSource<'q> = Arc::new(Table::from_rows(eval.query, labels, rows)?);
    Table::merged(eval.query, unnamed, eval.grid.count, NameOf::FirstSeries)
}

fn vector<'q>(eval: Eval<'q>, source: SharedSource<'q>) -> Result<Value, Error> {
    let table = cleaned(eval, source)?;
    let mut held = eval.query.hold((table.len() * size_of::<VectorSample>()) as u64)?;
    let mut samples = Vec::with_capacity(table.len());
    for series in 0..table.len() {
        let point = match table.get(series, 0) {
            Some(Cell::Float(value)) => Point::Float(value),
            Some(Cell::Histogram(histogram)) => Point::Histogram(histogram.clone()),
            None => continue,
        };
        let labels = table.labels(series);
        held.grow(labels.size_bytes() as u64)?;
        samples.push(VectorSample { labels, point });
    }
    Ok(Value::Vector(samples))
}

fn matrix<'q>(eval: Eval<'q>, source: SharedSource<'q>) -> Result<Value, Error> {
    let table = cleaned(eval, source)?;
    let timestamps = timestamps(eval.grid);
    let mut held = eval.query.hold(table.rows.size_bytes())?;
    let mut result = Vec::with_capacity(table.len());
    for series in (0..table.len()).filter(|series| table.rows.any_present(*series)) {
        let labels = table.labels(series);
        held.grow((labels.size_bytes() + size_of::<Series>()) as u64)?;
        result.push(Series {
            labels,
            timestamps_ms: timestamps.clone(),
            values: table.rows.row(series).to_vec(),
            histograms: histograms(&table.rows, series, eval.grid),
        });
    }
    result.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Value::Matrix(result))
}

fn histograms(rows: &Rows, series: usize, grid: Grid) -> Vec<(Timestamp, Arc<tsdb::FloatHistogram>)> {
    let row = rows.histogram_row(series).iter().enumerate();
    row.filter_map(|(k, h)| Some((Timestamp::from_millis(grid.at(k)), h.clone()?))).collect()
}

/// The samples of a range vector at one moment.
fn windows<'q>(eval: Eval<'q>, expr: &'q Expr) -> Result<Value, Error> {
    let vector = RangeVector::open(eval, expr)?;
    let mut columns = Columns::default();
    let mut result = Vec::new();
    let mut held = eval.query.hold(0)?;
    for index in 0..vector.len() {
        eval.query.stop.check("expression evaluation")?;
        vector.read(index, &mut columns)?;
        let (start, end) = (vector.windows.start(0), vector.windows.end(0));
        let within = |time: i64| time > start && time <= end;
        let mut merged: Vec<(i64, f64)> = Vec::with_capacity(columns.values.len());
        merged
            .extend(columns.timestamps_ms.iter().copied().zip(columns.values.iter().copied()).filter(|s| within(s.0)));
        let histograms: Vec<_> = columns
            .histograms
            .iter()
            .filter(|h| within(h.timestamp.millis()))
            .map(|h| (h.timestamp, h.histogram.clone()))
            .collect();
        merged.extend(histograms.iter().map(|(time, _)| (time.millis(), ABSENT)));
        merged.sort_by_key(|sample| sample.0);
        if merged.is_empty() {
            continue;
        }
        let of_histograms: usize = histograms.iter().map(|(_, h)| h.size_bytes()).sum();
        held.grow((merged.len() * 16 + of_histograms) as u64)?;
        held.grow_points(merged.len() as u64)?;
        eval.query.counters.add_samples(merged.len() as u64);
        let labels = vector.labels(index);
        result.push(Series {
            labels: if vector.drops_name(index) { without_metadata(&labels) } else { labels },
            timestamps_ms: merged.iter().map(|sample| sample.0).collect(),
            values: merged.iter().map(|sample| sample.1).collect(),
            histograms,
        });
    }
    result.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Value::Matrix(result))
}
