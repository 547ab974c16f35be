//! A program that measures itself and lets itself be scraped: a counter, a gauge and a histogram.
//!
//! ```text
//! cargo run --example exporter -- 127.0.0.1:9101
//! curl http://127.0.0.1:9101/work          # some of these
//! curl http://127.0.0.1:9101/metrics
//! curl -H 'Accept: application/openmetrics-text' http://127.0.0.1:9101/metrics
//! ```
//!
//! Then scrape it: `examples/silverback.yml` has the job.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// Upper bounds of the histogram's buckets, in seconds.
const BOUNDS: [f64; 6] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5];

/// What is measured. Counting costs an atomic addition.
#[derive(Default)]
struct Measured {
    requests: AtomicU64,
    in_progress: AtomicI64,
    /// Observations up to each bound and above the bound before it; the last is for those above all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_microseconds: AtomicU64,
}

impl Measured {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_microseconds.fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// The page that is scraped. The formats differ in how a counter's family is named, and in the end.
    fn page(&self, openmetrics: bool) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        let family = if openmetrics { "work_requests" } else { "work_requests_total" };
        writeln!(page, "# HELP {family} Requests for work.\n# TYPE {family} counter")?;
        writeln!(page, "work_requests_total {}", self.requests.load(Relaxed))?;
        writeln!(page, "# HELP work_in_progress Requests being worked on.\n# TYPE work_in_progress gauge")?;
        writeln!(page, "work_in_progress {}", self.in_progress.load(Relaxed))?;
        writeln!(page, "# HELP work_duration_seconds How long work takes.\n# TYPE work_duration_seconds histogram")?;
        let mut count = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            count += bucket.load(Relaxed);
            writeln!(page, "work_duration_seconds_bucket{{le=\"{bound}\"}} {count}")?;
        }
        count += self.buckets[BOUNDS.len()].load(Relaxed);
        writeln!(page, "work_duration_seconds_bucket{{le=\"+Inf\"}} {count}")?;
        writeln!(page, "work_duration_seconds_sum {}", self.sum_microseconds.load(Relaxed) as f64 / 1e6)?;
        writeln!(page, "work_duration_seconds_count {count}")?;
        if openmetrics {
            page.push_str("# EOF\n");
        }
        Ok(page)
    }
}

async fn metrics(State(measured): State<Arc<Measured>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let openmetrics = accept.contains("application/openmetrics-text");
    let content_type = if openmetrics {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, content_type)], measured.page(openmetrics).unwrap_or_default())
}

/// Works for a while that is longer now and then.
#[expect(clippy::disallowed_methods, reason = "the example measures time")]
async fn work(State(measured): State<Arc<Measured>>) -> &'static str {
    let started = Instant::now();
    let request = measured.requests.fetch_add(1, Relaxed);
    measured.in_progress.fetch_add(1, Relaxed);
    tokio::time::sleep(Duration::from_millis(if request % 10 == 9 { 80 } else { 3 })).await;
    measured.in_progress.fetch_sub(1, Relaxed);
    measured.observe(started.elapsed());
    "done\n"
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9101".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}/metrics", listener.local_addr()?);
    let measured = Arc::new(Measured::default());
    let app = Router::new().route("/metrics", get(metrics)).route("/work", get(work)).with_state(measured);
    axum::serve(listener, app).await
}
