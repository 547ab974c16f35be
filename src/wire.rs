//! Builds the parts, connects them, reloads and stops them. The one place that knows all crates.

mod clock;
mod server;
mod sources;
mod watcher;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use model::RegexError;
use query::{Engine, Features};
use scraper::{Clock, ScrapeManager};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tsdb::{Db, DiskFs, Fs, Opening, Retention, SyncPolicy, Timestamp};
use web::{AppState, Connections, Limits, Queries};

use crate::config::{Config, Storage, check_web_file};
use crate::flags::{DEFAULT_RETENTION, Flags, WalSync};
use crate::{memory, process};
use clock::{ClockWatch, Reading};
use server::ServerInfo;

/// How long open connections may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Why the server cannot run, in one line, with the cure.
#[derive(Debug)]
pub(crate) struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn failed<T>(what: impl Into<String>) -> Result<T, StartError> {
    Err(StartError(what.into()))
}

/// Runs the server until it is told to stop.
pub(crate) fn serve(flags: Flags) -> Result<(), StartError> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "silverback starts");
    let memory = memory::limit();
    tracing::info!(bytes = memory.bytes, set_by = %memory.set_by, "memory that may be used");
    process::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("silverback").build();
    let runtime = runtime.map_err(|e| StartError(format!("threads cannot be started: {e}")))?;
    let outcome = runtime.block_on(run(flags));
    // What still runs on the blocking pool is a query whose client is gone; it has been told to stop.
    runtime.shutdown_timeout(GRACE);
    outcome
}

async fn run(flags: Flags) -> Result<(), StartError> {
    let listen = listen_addresses(&flags);
    let (prefix, external_url) = addresses(&flags)?;
    if !flags.web_config.is_empty() {
        check_web_file(Path::new(&flags.web_config)).map_err(|e| StartError(e.to_string()))?;
    }
    let config = match &flags.config {
        Some(path) => Some(Config::load(path).map_err(|e| StartError(e.to_string()))?),
        None => None,
    };
    let features = features(&flags.features);
    let mut listeners = Vec::new();
    for address in &listen {
        listeners.push(bind(address).await?);
    }
    // The port answers from now on, so that who waits can see what it waits for.
    let (answer, answers) = watch::channel(starting());
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    let mut bound = Vec::new();
    let connections = Arc::new(Connections::new(limits(&flags)));
    for listener in listeners {
        bound.extend(listener.local_addr().ok());
        servers.spawn(web::listen(listener, answers.clone(), Arc::clone(&connections), stopped.clone()));
    }
    let storage = config.as_ref().map(|config| config.storage).unwrap_or_default();
    let options = web_options(&flags, prefix.clone());
    let engine = Arc::new(Engine::new(engine_options(&flags, config.as_ref(), features), monotonic));
    let queries = Queries::new(engine, &options);
    let bad_origin = |e: RegexError| StartError(format!("--web.cors.origin: {e}"));
    let (open, opened) = watch::channel(None);
    let mut clock = ClockWatch::begin(&flags.data, Reading::now());
    let opening = begin_opening(&flags, storage, clock.clock()).await?;
    let early = web::early(queries.clone(), Arc::new(opening.early()), &options, opened).map_err(bad_origin)?;
    drop(answer.send_replace(early));
    let db = open_store(&flags, opening).await?;
    db.set_clock(clock.tick(Reading::now()));
    tell_of_expired(&db, clock.clock());
    let manager = Arc::new(ScrapeManager::new(Arc::clone(&db), Clock::system(), seed(&flags)));
    let (quit, mut quits) = watch::channel(false);
    let info = Arc::new(ServerInfo::new(
        Arc::clone(&db),
        Arc::clone(&manager),
        connections,
        &flags,
        external_url.as_deref(),
        quit,
        bound.first().copied(),
    ));
    info.apply(config).await.map_err(StartError)?;
    let watcher = tokio::spawn(watcher::watch(Arc::clone(&db), info.paused(), clock));
    let state =
        AppState::new(Arc::clone(&db), queries, Arc::<ServerInfo>::clone(&info), options, Clock::system().now());
    let router = web::router(state.map_err(bad_origin)?);
    drop(answer.send_replace(router.clone()));
    open.send_replace(Some(router));
    announce(&flags, &bound, &prefix);
    wait_for_end(&info, &mut quits).await?;
    tracing::info!("stopping");
    watcher.abort();
    stop.send_replace(true);
    manager.stop().await;
    let drained = tokio::time::timeout(GRACE, async { while servers.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!("connections were cut that did not end by themselves");
        servers.shutdown().await;
    }
    drop(answer);
    let closed = tokio::task::spawn_blocking(move || db.end_segment()).await;
    match closed {
        Ok(Ok(())) => {
            tracing::info!("stopped");
            Ok(())
        }
        Ok(Err(error)) => failed(format!("the store could not be synced: {error}")),
        Err(panic) => failed(format!("the store could not be synced: {panic}")),
    }
}

/// The addresses asked for, or the default: this machine only, or, with a configuration, every interface.
fn listen_addresses(flags: &Flags) -> Vec<String> {
    if !flags.listen.is_empty() {
        return flags.listen.clone();
    }
    if flags.config.is_some() { vec!["0.0.0.0:9090".into()] } else { vec!["127.0.0.1:9090".into()] }
}

/// The prefix of all paths and the address for links, from the flags.
fn addresses(flags: &Flags) -> Result<(String, Option<String>), StartError> {
    let url = flags.external_url.trim_end_matches('/');
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None if url.is_empty() => "",
        None => return failed(format!("--web.external-url: {url:?} is no URL; it begins with http:// or https://")),
    };
    let prefix = if flags.route_prefix.is_empty() { path } else { &flags.route_prefix };
    let prefix = prefix.trim_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    Ok((prefix, (!url.is_empty()).then(|| url.to_owned())))
}

async fn bind(address: &str) -> Result<TcpListener, StartError> {
    // As in Prometheus, an address may leave the host out.
    let full = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
    TcpListener::bind(&full).await.map_err(|error| {
        StartError(match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{address} is in use by another program: stop that one, or choose another port with \
                 --web.listen-address=127.0.0.1:9091"
            ),
            io::ErrorKind::PermissionDenied => {
                format!("{address} may not be listened on by this user: choose a port from 1024 on with --web.listen-address")
            }
            _ => format!("cannot listen on {address}: {error}; --web.listen-address takes HOST:PORT"),
        })
    })
}

/// The limits of connections: as the flags have it, but so that scraping, the log and blocks have files to open.
fn limits(flags: &Flags) -> Limits {
    let connections = process::fitting_connections(flags.max_connections);
    if connections < flags.max_connections {
        tracing::warn!(
            asked = flags.max_connections,
            connections,
            "--web.max-connections is lowered to what the limit of open files (ulimit -n) leaves"
        );
    }
    let read_timeout = Some(flags.read_timeout).filter(|timeout| !timeout.is_zero());
    Limits { connections, read_timeout }
}

/// What is answered until it is known what is in the store.
fn starting() -> Router {
    Router::new().fallback(|| async {
        let headers = [("X-Prometheus-Stopping", "false"), ("Retry-After", "1")];
        (StatusCode::SERVICE_UNAVAILABLE, headers, "Service Unavailable\n")
    })
}

/// How long samples are kept, by the configuration, else the flags, else 15 days; and how late they may come.
fn kept(flags: &Flags, storage: Storage) -> (Retention, Duration) {
    let max_bytes = storage.retention_bytes.or(flags.retention_bytes).filter(|&bytes| bytes > 0);
    let time = storage.retention_time.or(flags.retention_time).or(max_bytes.is_none().then_some(DEFAULT_RETENTION));
    let retention_ms = time.filter(|time| !time.is_zero()).map(|time| time.as_millis() as i64);
    let late_window = storage.late_window.unwrap_or_else(|| tsdb::Options::default().late_window);
    (Retention { retention_ms, max_bytes }, late_window)
}

/// Takes the data directory.
async fn begin_opening(flags: &Flags, storage: Storage, clock: tsdb::Clock) -> Result<Opening, StartError> {
    let sync = match flags.wal_sync {
        WalSync::Commit => SyncPolicy::EveryCommit,
        WalSync::Every(every) => SyncPolicy::Interval(every),
        WalSync::Never => SyncPolicy::Never,
    };
    let defaults = tsdb::Options::default();
    let (retention, late_window) = kept(flags, storage);
    let options = tsdb::Options {
        sync,
        max_series: flags.max_series.unwrap_or_else(process::default_max_series),
        late_window,
        max_exemplars: storage.max_exemplars.unwrap_or(defaults.max_exemplars),
        retention,
        clock: Some(clock),
        wal_segment_bytes: flags.wal_segment_bytes,
        max_sealed_bytes: usize::try_from(flags.chunk_memory).unwrap_or(usize::MAX),
        checkpoint_samples: flags.replay_samples,
        ..defaults
    };
    on_disk(flags, move |dir| Opening::begin(&(Arc::new(DiskFs) as Arc<dyn Fs>), dir, &options)).await
}

/// Replays the log and says what recovery found.
async fn open_store(flags: &Flags, opening: Opening) -> Result<Arc<Db>, StartError> {
    on_disk(flags, move |dir| {
        let begun = monotonic();
        let mut told = begun;
        let db = opening.finish(|done, all| {
            if monotonic().saturating_sub(told) > Duration::from_secs(2) {
                told = monotonic();
                tracing::info!(percent = done * 100 / all.max(1), "replaying the write-ahead log");
            }
        })?;
        let found = db.recovery();
        let elapsed_ms = monotonic().saturating_sub(begun).as_millis() as u64;
        tracing::info!(dir = %dir.display(), blocks = found.blocks, series = found.series, samples = found.samples, elapsed_ms, "store opened");
        for damage in &found.damage {
            tracing::warn!(%damage, "the store was damaged");
        }
        if let Some(unfinished) = &found.unfinished {
            tracing::info!(%unfinished, "a crash left a commit unfinished");
        }
        Ok(Arc::new(db))
    })
    .await
}

/// Runs work on the data directory off the threads that serve connections.
async fn on_disk<T: Send + 'static>(
    flags: &Flags,
    work: impl FnOnce(&Path) -> Result<T, tsdb::Error> + Send + 'static,
) -> Result<T, StartError> {
    let dir = flags.data.clone();
    let done = tokio::task::spawn_blocking(move || work(&dir).map_err(|error| StartError(cure(&dir, &error)))).await;
    done.unwrap_or_else(|panic| failed(format!("the store could not be opened: {panic}")))
}

/// Says what retention does not keep: what was imported may be older. Nothing has gone yet, and nothing goes before there are
/// samples of now; what goes is told of when it has.
fn tell_of_expired(db: &Db, clock: tsdb::Clock) {
    let Some(retention_ms) = db.retention().retention_ms else { return };
    let kept_from_ms = clock.retention.millis().saturating_sub(retention_ms);
    let blocks = db.blocks();
    let expired = blocks.iter().filter(|block| block.range.end_ms <= kept_from_ms);
    let (blocks, samples) = expired.fold((0, 0), |(n, samples), block| (n + 1, samples + block.stats.num_samples));
    if blocks > 0 {
        tracing::warn!(
            blocks,
            samples,
            retention_ms,
            "blocks are older than the retention: they are kept until there are samples of now"
        );
    }
}

/// What is wrong with the data directory, and what helps.
fn cure(dir: &Path, error: &tsdb::Error) -> String {
    match error {
        tsdb::Error::Locked { .. } => format!(
            "{} is in use by another process: stop that one, or choose another directory with --storage.tsdb.path",
            dir.display()
        ),
        tsdb::Error::Foreign { dir, found, writer, beside } => {
            crate::cure::foreign(dir, found, *writer, *beside, Some("--storage.tsdb.path"))
        }
        tsdb::Error::Io { path, source } if source.kind() == io::ErrorKind::StorageFull => format!(
            "{}: {source}: free some space there; the store needs a segment of the log, --storage.tsdb.wal-segment-size, \
             to begin with",
            path.display()
        ),
        tsdb::Error::Io { path, source } => format!(
            "{}: {source}: make {} a directory that this user can write to, or choose another with --storage.tsdb.path",
            path.display(),
            dir.display()
        ),
        other => other.to_string(),
    }
}

/// Features by which `_created` lines of OpenMetrics say when counts began, instead of being series.
const START_TIMESTAMPS: [&str; 2] = ["created-timestamp-zero-ingestion", "st-storage"];

/// The switches that are on. Names that Prometheus knows and that need no switch here are accepted in silence.
fn features(names: &[String]) -> Features {
    const NOT_NEEDED: [&str; 14] = [
        "auto-reload-config",
        "concurrent-rule-eval",
        START_TIMESTAMPS[0],
        "exemplar-storage",
        "extra-scrape-metrics",
        "memory-snapshot-on-shutdown",
        "metadata-wal-records",
        "native-histograms",
        "promql-at-modifier",
        "promql-binop-fill-modifiers",
        "promql-duration-expr",
        "promql-experimental-functions",
        "promql-extended-range-selectors",
        START_TIMESTAMPS[1],
    ];
    let mut features = Features::default();
    for name in names {
        match name.as_str() {
            "promql-delayed-name-removal" => features.delayed_name_removal = true,
            "type-and-unit-labels" => features.type_and_unit_labels = true,
            "use-start-timestamps" => features.use_start_timestamps = true,
            "promql-per-step-stats" => features.per_step_stats = true,
            "" => {}
            name if NOT_NEEDED.contains(&name) => {}
            name => tracing::warn!(feature = name, "feature without effect in this version"),
        }
    }
    features
}

fn engine_options(flags: &Flags, config: Option<&Config>, features: Features) -> query::Options {
    query::Options {
        lookback: flags.lookback,
        max_samples: flags.query_samples,
        max_bytes: flags.query_memory(),
        max_total_bytes: flags.query_memory_total(),
        max_series: flags.query_series,
        max_steps: flags.query_steps.max(1),
        default_subquery_step: config.map_or(Duration::from_secs(60), |config| config.evaluation_interval),
        on_thread_start: process::yield_to_others,
        features,
        ..query::Options::default()
    }
}

fn web_options(flags: &Flags, prefix: String) -> web::Options {
    web::Options {
        query_timeout: flags.query_timeout,
        query_concurrency: flags.query_concurrency,
        query_wait: flags.query_wait,
        on_query_thread_start: process::yield_to_others,
        max_chart_queries: flags.chart_queries,
        max_chart_points: flags.chart_points,
        enable_lifecycle: flags.enable_lifecycle,
        enable_remote_write: flags.enable_remote_write,
        max_pushes: flags.max_pushes,
        max_push_bytes: usize::try_from(flags.push_memory()).unwrap_or(usize::MAX),
        push_timeout: flags.push_timeout,
        enable_admin_api: flags.enable_admin_api,
        cors_origin: flags.cors_origin.clone(),
        external_url: (!flags.external_url.is_empty()).then(|| flags.external_url.clone()),
        prefix,
        dashboards: flags.dashboards.clone(),
        page_title: flags.page_title.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..web::Options::default()
    }
}

/// Moves the scrapes of servers with different data directories apart.
fn seed(flags: &Flags) -> u64 {
    let bytes = flags.data.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Says in plain words where to look.
fn announce(flags: &Flags, bound: &[SocketAddr], prefix: &str) {
    for address in bound {
        let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
        let url = format!("http://{host}:{}{prefix}/", address.port());
        if address.ip().is_unspecified() {
            tracing::info!("listening on every interface of this machine at {address}; open {url} in a browser");
        } else {
            tracing::info!("listening at {address}; open {url} in a browser");
        }
    }
    match &flags.config {
        Some(path) => tracing::info!("scraping what {} says; the data are in {}", path.display(), flags.data.display()),
        None => tracing::info!(
            "scraping this server and this machine every 5 s; the data are in {}; --config.file=prometheus.yml scrapes \
             other targets",
            flags.data.display()
        ),
    }
}

/// Waits for a signal or a request to stop. Reloads the configuration on SIGHUP meanwhile.
async fn wait_for_end(info: &ServerInfo, quits: &mut watch::Receiver<bool>) -> Result<(), StartError> {
    let listen = |kind: SignalKind| signal(kind).map_err(|e| StartError(format!("signals cannot be received: {e}")));
    let (mut term, mut int, mut hup) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?);
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = quits.wait_for(|quit| *quit) => return Ok(()),
            // What goes wrong is logged there and shown in the metrics.
            _ = hup.recv() => drop(info.load_again().await),
        }
    }
}

/// Time since the first call.
#[expect(clippy::disallowed_methods, reason = "the root hands the clock to who needs one")]
pub(crate) fn monotonic() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// The time of day.
pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}
