//! The metrics of the web and the store, in the classic text format, under Prometheus' names where they mean the same.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use tsdb::Committed;

use crate::api::write::Tally;
use crate::queries::ENDINGS;
use crate::state::AppState;

/// Counters of the web.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pushed_requests: AtomicU64,
    pushed_samples: AtomicU64,
    refused_samples: AtomicU64,
    pushed_exemplars: AtomicU64,
}

impl Metrics {
    pub(crate) fn pushed(&self, committed: &Committed, tally: &Tally) {
        self.pushed_requests.fetch_add(1, Relaxed);
        self.pushed_samples.fetch_add(committed.appended as u64, Relaxed);
        self.refused_samples.fetch_add((committed.refused() + tally.ahead + tally.skipped) as u64, Relaxed);
        self.pushed_exemplars.fetch_add(tally.exemplars as u64, Relaxed);
    }
}

/// `/metrics`.
pub(crate) async fn metrics(State(state): State<AppState>) -> Response {
    let text = tokio::task::spawn_blocking(move || render(&state)).await.unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn render(state: &AppState) -> String {
    let mut out = String::with_capacity(16 << 10);
    let stats = state.db.head_stats();
    let metrics = &state.metrics;
    let (queries, (places, running)) = (state.queries.counts(), state.queries.places());
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n").expect("writing to a string");
    };
    let flag = |on: bool| if on { 1.0 } else { 0.0 };
    let (loaded, reloaded) = state.server.config_loaded();
    put("prometheus_ready", "gauge", "Whether startup is complete.", 1.0);
    put(
        "prometheus_config_last_reload_successful",
        "gauge",
        "Whether the last load of the configuration succeeded.",
        flag(reloaded),
    );
    put(
        "prometheus_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the configuration in use was loaded.",
        loaded.millis() as f64 / 1000.0,
    );
    put("prometheus_tsdb_head_series", "gauge", "Series in the head.", stats.series as f64);
    put("prometheus_tsdb_head_chunks", "gauge", "Chunks in the head, open and sealed.", stats.chunks as f64);
    put("prometheus_tsdb_head_samples_appended_total", "counter", "Samples appended.", stats.commits.appended as f64);
    put("silverback_head_samples_appended_total", "counter", "Samples appended.", stats.commits.appended as f64);
    put(
        "silverback_head_commits_total",
        "counter",
        "Commits logged: scrapes and pushed requests.",
        stats.commits.commits as f64,
    );
    put(
        "prometheus_tsdb_out_of_order_samples_total",
        "counter",
        "Samples refused for being older than the last of their series.",
        stats.commits.out_of_order as f64,
    );
    put(
        "prometheus_tsdb_out_of_order_samples_appended_total",
        "counter",
        "Samples appended that came after newer ones of their series.",
        stats.commits.late as f64,
    );
    put(
        "prometheus_tsdb_too_old_samples_total",
        "counter",
        "Samples refused for being older than late ones may be.",
        stats.commits.too_old as f64,
    );
    put(
        "prometheus_tsdb_out_of_bound_samples_total",
        "counter",
        "Samples refused for being older than the head may begin, where no out-of-order sample is taken.",
        stats.commits.out_of_bounds as f64,
    );
    put(
        "silverback_head_duplicate_samples_total",
        "counter",
        "Samples refused for differing from the one at their time.",
        stats.commits.duplicate as f64,
    );
    put("silverback_head_chunk_bytes", "gauge", "Bytes that the chunks of the head take.", stats.chunk_bytes as f64);
    put(
        "silverback_head_index_bytes",
        "gauge",
        "Bytes that labels and postings of the head take.",
        stats.index_bytes as f64,
    );
    put("silverback_head_symbols", "gauge", "Distinct label names and values in the head.", stats.symbols as f64);
    put(
        "prometheus_tsdb_head_min_time_seconds",
        "gauge",
        "Time of the oldest sample in the head.",
        stats.min_time.millis() as f64 / 1000.0,
    );
    put(
        "prometheus_tsdb_head_max_time_seconds",
        "gauge",
        "Time of the newest sample in the head.",
        stats.max_time.millis() as f64 / 1000.0,
    );
    put("prometheus_tsdb_wal_storage_size_bytes", "gauge", "Bytes in the write-ahead log.", stats.wal_bytes as f64);
    put(
        "prometheus_tsdb_wal_segment_current",
        "gauge",
        "The segment of the write-ahead log that is written to.",
        stats.wal_segment as f64,
    );
    put(
        "prometheus_tsdb_wal_corruptions_total",
        "counter",
        "Damaged places found in the write-ahead log at start.",
        state.db.recovery().damage.len() as f64,
    );
    let families = state.db.family_stats();
    put("silverback_metadata_families", "gauge", "Metric families whose metadata are kept.", families.families as f64);
    put("silverback_metadata_bytes", "gauge", "Bytes of their names, help texts and units.", families.bytes as f64);
    put(
        "silverback_metadata_refused_total",
        "counter",
        "Times that metadata were refused: too many, or a name that is too long.",
        families.refused as f64,
    );
    put(
        "silverback_metadata_evicted_total",
        "counter",
        "Metric families evicted with the last of their series.",
        families.evicted as f64,
    );
    maintenance(state, &mut put);
    put("silverback_queries_total", "counter", "Queries evaluated.", queries.all.load(Relaxed) as f64);
    put(
        "silverback_queries_failed_total",
        "counter",
        "Queries that ended in an error.",
        queries.failed.load(Relaxed) as f64,
    );
    put("prometheus_engine_queries_concurrent_max", "gauge", "Queries that may run at once.", places as f64);
    put("prometheus_engine_queries", "gauge", "Queries that run now.", running as f64);
    put(
        "silverback_queries_waiting",
        "gauge",
        "Queries that wait for a place among those that run.",
        queries.waiting.load(Relaxed) as f64,
    );
    let limits = state.queries.engine().options();
    for (name, help, value) in [
        (
            "silverback_query_memory_bytes",
            "Bytes that queries and results on their way hold now.",
            state.queries.engine().reserve().held_bytes(),
        ),
        ("silverback_query_memory_total_limit_bytes", "Bytes that all queries may hold.", limits.max_total_bytes),
        ("silverback_query_memory_limit_bytes", "Bytes that one query may hold.", limits.max_bytes),
        ("silverback_query_samples_limit", "Samples that one query may hold.", limits.max_samples),
        ("silverback_query_series_limit", "Series that one query may find; 0 for no limit.", limits.max_series),
        ("silverback_query_steps_limit", "Steps that a query or subquery may have.", limits.max_steps as u64),
    ] {
        put(name, "gauge", help, value as f64);
    }
    put(
        "silverback_remote_write_requests_total",
        "counter",
        "Remote write requests received.",
        metrics.pushed_requests.load(Relaxed) as f64,
    );
    put(
        "silverback_remote_write_samples_total",
        "counter",
        "Samples stored from remote write.",
        metrics.pushed_samples.load(Relaxed) as f64,
    );
    put(
        "silverback_remote_write_refused_total",
        "counter",
        "Samples and series of remote write that were refused.",
        metrics.refused_samples.load(Relaxed) as f64,
    );
    put(
        "silverback_remote_write_exemplars_total",
        "counter",
        "Exemplars received by remote write.",
        metrics.pushed_exemplars.load(Relaxed) as f64,
    );
    put(
        "silverback_http_panics_total",
        "counter",
        "Requests whose handler panicked; they were answered with status 500.",
        state.front_counts.panics.load(Relaxed) as f64,
    );
    put(
        "silverback_http_foreign_origin_refused_total",
        "counter",
        "Requests to change something that pages of other origins made; they were refused.",
        state.front_counts.foreign.load(Relaxed) as f64,
    );
    pushes(state, &mut out);
    out.push_str("# HELP silverback_queries_ended_total Queries that were ended, by the limit that they passed.\n");
    out.push_str("# TYPE silverback_queries_ended_total counter\n");
    for (why, count) in ENDINGS.iter().zip(&queries.ended) {
        let count = count.load(Relaxed);
        writeln!(out, "silverback_queries_ended_total{{limit=\"{why}\"}} {count}").expect("writing to a string");
    }
    let version = &state.options.version;
    write!(
        out,
        "# HELP silverback_build_info A metric with the constant value 1, labelled with what was built.\n# TYPE silverback_build_info gauge\nsilverback_build_info{{version=\"{version}\",revision=\"{}\"}} 1\n",
        state.options.revision
    )
    .expect("writing to a string");
    state.server.metrics(&mut out);
    out
}

/// Pushed requests under way, their limits, and those that were refused for them.
fn pushes(state: &AppState, out: &mut String) {
    let ((pushes, max_pushes), (bytes, max_bytes)) = (state.pushes.pushes(), state.pushes.bytes());
    for (name, help, value) in [
        ("silverback_remote_write_in_flight", "Remote write requests under way.", pushes),
        ("silverback_remote_write_in_flight_limit", "Remote write requests that may be under way.", max_pushes),
        ("silverback_remote_write_memory_bytes", "Bytes that remote write requests under way hold.", bytes),
        ("silverback_remote_write_memory_limit_bytes", "Bytes that they may hold.", max_bytes),
    ] {
        write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n").expect("writing to a string");
    }
    let name = "silverback_remote_write_rejected_total";
    let help = "Remote write requests refused before their samples were judged, by reason.";
    write!(out, "# HELP {name} {help}\n# TYPE {name} counter\n").expect("writing to a string");
    for (reason, count) in state.pushes.rejected() {
        writeln!(out, "{name}{{reason=\"{reason}\"}} {count}").expect("writing to a string");
    }
}

/// What the store holds on the disk and did by itself.
fn maintenance(state: &AppState, put: &mut impl FnMut(&str, &str, &str, f64)) {
    let (totals, blocks) = (state.db.maintenance(), state.db.blocks());
    let paused = if state.db.paused().is_some() { 1.0 } else { 0.0 };
    put("silverback_ingestion_paused", "gauge", "Whether the disk takes no samples now; queries go on.", paused);
    let bytes: u64 = blocks.iter().map(|meta| meta.stats.bytes).sum();
    put("prometheus_tsdb_blocks_loaded", "gauge", "Blocks that are live.", blocks.len() as f64);
    put("prometheus_tsdb_storage_blocks_bytes", "gauge", "Bytes that the blocks take.", bytes as f64);
    if let Some(oldest) = blocks.first() {
        let seconds = oldest.range.start_ms as f64 / 1000.0;
        put("prometheus_tsdb_lowest_timestamp_seconds", "gauge", "Where the oldest block begins.", seconds);
    }
    put("silverback_blocks_cut_total", "counter", "Blocks cut from the head.", totals.flushes as f64);
    put("prometheus_tsdb_compactions_total", "counter", "Compactions of blocks.", totals.compactions as f64);
    put("prometheus_tsdb_checkpoint_creations_total", "counter", "Checkpoints written.", totals.checkpoints as f64);
    put("silverback_blocks_dropped_total", "counter", "Blocks dropped by retention.", totals.dropped as f64);
    put("prometheus_tsdb_head_series_removed_total", "counter", "Series that the head let go.", totals.evicted as f64);
    put(
        "prometheus_tsdb_compactions_failed_total",
        "counter",
        "Times that cutting, compacting or a checkpoint failed; it is tried again.",
        totals.failures as f64,
    );
}
