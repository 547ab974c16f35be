//! What the handlers work with. The root makes it.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::RegexError;
use tsdb::{Db, Timestamp};

use crate::api::write::{Admission, Buffers, Families, SeriesCache};
use crate::dashboard::Dashboards;
use crate::front::FrontCounts;
use crate::metrics::Metrics;
use crate::origin::Origins;
use crate::queries::Queries;
use crate::status::Server;

/// How the web server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a query may take.
    pub query_timeout: Duration,
    /// Queries that run at once; more wait.
    pub query_concurrency: usize,
    /// How long they wait, within their time.
    pub query_wait: Duration,
    /// Called on each thread of queries as it starts.
    pub on_query_thread_start: fn(),
    /// Queries that one chart may have.
    pub max_chart_queries: usize,
    /// Points that one chart may have, of all its series.
    pub max_chart_points: usize,
    /// Whether `/-/reload` and `/-/quit` do anything.
    pub enable_lifecycle: bool,
    /// Whether `/api/v1/write` takes samples.
    pub enable_remote_write: bool,
    /// Whether series can be deleted and snapshots made.
    pub enable_admin_api: bool,
    /// Bytes that a pushed request may have once it is unpacked.
    pub max_write_bytes: usize,
    /// Pushed requests that may be under way at once; more are refused.
    pub max_pushes: usize,
    /// Bytes that the pushed requests under way may hold together.
    pub max_push_bytes: usize,
    /// How long the body of a pushed request may take to come.
    pub push_timeout: Duration,
    /// Origins that browsers may call the API from: a regular expression for all of the origin.
    pub cors_origin: String,
    /// The address under which browsers reach this server: its pages may ask for what other pages may not.
    pub external_url: Option<String>,
    /// What comes before every path; empty or beginning with a slash, not ending with one.
    pub prefix: String,
    /// Where further dashboards lie.
    pub dashboards: Option<PathBuf>,
    /// What stands in the title of every page.
    pub page_title: String,
    /// Our own version.
    pub version: String,
    /// The revision it was built from; empty if unknown.
    pub revision: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            query_timeout: Duration::from_secs(120),
            query_concurrency: 20,
            query_wait: Duration::from_secs(30),
            on_query_thread_start: || {},
            max_chart_queries: 50,
            max_chart_points: 1_000_000,
            enable_lifecycle: false,
            enable_remote_write: false,
            enable_admin_api: false,
            // As in Prometheus.
            max_write_bytes: 32 << 20,
            max_pushes: 256,
            max_push_bytes: 256 << 20,
            push_timeout: Duration::from_secs(60),
            cors_origin: ".*".into(),
            external_url: None,
            prefix: String::new(),
            dashboards: None,
            page_title: "Silverback".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            revision: String::new(),
        }
    }
}

/// The handles that handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// What [`AppState`] points to.
pub struct Inner {
    pub(crate) db: Arc<Db>,
    pub(crate) queries: Queries,
    pub(crate) server: Arc<dyn Server>,
    pub(crate) options: Options,
    pub(crate) series: SeriesCache,
    pub(crate) families: Families,
    pub(crate) write_buffers: Buffers,
    pub(crate) pushes: Arc<Admission>,
    pub(crate) dashboards: Dashboards,
    pub(crate) metrics: Metrics,
    pub(crate) origins: Origins,
    pub(crate) front_counts: Arc<FrontCounts>,
    pub(crate) started: Timestamp,
    pub(crate) stopping: AtomicBool,
}

impl AppState {
    /// Connects the parts. `now` is when the server started.
    ///
    /// # Errors
    /// If the options hold a regular expression that is none.
    pub fn new(
        db: Arc<Db>,
        queries: Queries,
        server: Arc<dyn Server>,
        options: Options,
        now: Timestamp,
    ) -> Result<Self, RegexError> {
        Ok(Self(Arc::new(Inner {
            origins: Origins::new(&options.cors_origin, options.external_url.as_deref())?,
            front_counts: Arc::default(),
            dashboards: Dashboards::new(options.dashboards.clone()),
            pushes: Admission::new(options.max_pushes, options.max_push_bytes),
            db,
            queries,
            server,
            options,
            series: SeriesCache::default(),
            families: Families::default(),
            write_buffers: Buffers::default(),
            metrics: Metrics::default(),
            started: now,
            stopping: AtomicBool::new(false),
        })))
    }
}

impl Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The time now. The one place of this crate that reads the clock.
#[expect(clippy::disallowed_methods, reason = "requests without a time are about now")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}
