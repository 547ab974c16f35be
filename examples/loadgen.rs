//! Load for a metrics server: many synthetic targets to scrape, remote write as fast as it is taken, or both. Works with
//! any server that reads a Prometheus configuration or takes remote write 1.0.
//!
//! ```text
//! # 200 targets of 1000 series each on one port; the configuration is written for the server to be loaded.
//! cargo run --release --example loadgen -- --targets 200 --series 1000 --interval 1s --config loadgen.yml
//! silverback --config.file=loadgen.yml          # or: prometheus --config.file=loadgen.yml
//!
//! # 100 steps of 100 000 series, pushed by two senders.
//! silverback --web.enable-remote-write-receiver
//! cargo run --release --example loadgen -- --push http://127.0.0.1:9090/api/v1/write --push-series 100000 --steps 100
//! ```
//!
//! It says each second, and in the end for all of the time, how many samples per second were fetched or taken, and how
//! long it took: of a page, until it was made; of a pushed request, from sending it to its answer.
//!
//! Of the series, a quarter each are constants, counters, gauges with two decimals and bytes in pages. The same flags make
//! the same series with the same values at the same times. Pushed samples end now and begin `--steps` times `--step`
//! before: give a server that has newer samples already a new data directory.

#![expect(clippy::disallowed_methods, reason = "the example measures time")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path as PathOf, State};
use axum::http::StatusCode;
use axum::routing::get;
use clap::Parser;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Load for a metrics server: targets to scrape, remote write, or both.
#[derive(Clone, Debug, Parser)]
struct Flags {
    /// Targets to expose; 0 for none.
    #[arg(long, default_value_t = 0)]
    targets: usize,
    /// Series of each target.
    #[arg(long, default_value_t = 1000)]
    series: usize,
    /// How often the targets are to be scraped; goes to the configuration.
    #[arg(long, default_value = "15s", value_parser = duration)]
    interval: Duration,
    /// Where the targets listen.
    #[arg(long, default_value = "127.0.0.1:9200")]
    listen: SocketAddr,
    /// Where the configuration for the targets is written to; `-` prints it.
    #[arg(long, default_value = "-")]
    config: PathBuf,
    /// Address of remote write to push to.
    #[arg(long)]
    push: Option<String>,
    /// Series to push.
    #[arg(long, default_value_t = 10_000)]
    push_series: usize,
    /// Gives each pushed series a label `id` with a value of its own.
    #[arg(long)]
    unique: bool,
    /// Samples of each pushed series.
    #[arg(long, default_value_t = 100)]
    steps: u64,
    /// Time between two of them.
    #[arg(long, default_value = "15s", value_parser = duration)]
    step: Duration,
    /// Series per pushed request.
    #[arg(long, default_value_t = 2000)]
    batch: usize,
    /// Requests on their way at once; each sender has its own series.
    #[arg(long, default_value_t = 2)]
    senders: usize,
    /// Ends after this time; else once all is pushed, or never.
    #[arg(long = "for", value_parser = duration)]
    length: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    model::parse_duration(text).map_err(|_| "must be a duration like 500ms, 15s or 5m".into())
}

/// What was counted: of one side, since the start and since the last report.
#[derive(Debug, Default)]
struct Tally {
    samples: AtomicU64,
    retried: AtomicU64,
    took: Mutex<Vec<Duration>>,
}

impl Tally {
    fn add(&self, samples: usize, took: Duration) {
        self.samples.fetch_add(samples as u64, Relaxed);
        self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    /// A line about what came since `from` samples and `requests` requests, during `time`; answers both as of now.
    fn report(&self, what: &str, (from, requests): (u64, usize), time: Duration) -> (u64, usize) {
        let samples = self.samples.load(Relaxed);
        let mut took = self.took.lock().unwrap_or_else(PoisonError::into_inner)[requests..].to_vec();
        let count = took.len();
        took.sort_unstable();
        let at = |part: f64| {
            let index = ((count as f64 * part) as usize).min(count.saturating_sub(1));
            took.get(index).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
        };
        let rate = (samples - from) as f64 / time.as_secs_f64().max(1e-9);
        println!(
            "{what}: {rate:.0} samples/s, {count} requests, ms p50 {:.2} p90 {:.2} p99 {:.2} max {:.2}, {} retried",
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
            self.retried.load(Relaxed)
        );
        (samples, requests + count)
    }
}

/// The value of series `i` of a target at a time in seconds.
fn value(target: usize, i: usize, seconds: f64) -> f64 {
    let seed = (target as u64 * 1_000_003 + i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let wave = (seconds / (30.0 + (seed % 600) as f64) + seed as f64).sin();
    match i / FAMILY % 4 {
        0 => (seed % 100) as f64,
        1 => (seconds * (seed % 1000 + 1) as f64 / 10.0).floor(),
        2 => ((50.0 + 50.0 * wave) * 100.0).round() / 100.0,
        _ => (2e6 + 1e6 * wave).floor() * 4096.0,
    }
}

/// Series of one metric.
const FAMILY: usize = 20;

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What the targets share.
struct Pages {
    flags: Flags,
    tally: Arc<Tally>,
}

/// The page of one target.
async fn page(State(pages): State<Arc<Pages>>, PathOf(target): PathOf<usize>) -> Result<String, StatusCode> {
    if target >= pages.flags.targets {
        return Err(StatusCode::NOT_FOUND);
    }
    let (begun, seconds) = (Instant::now(), now_seconds());
    let mut page = String::with_capacity(pages.flags.series * 64);
    for i in 0..pages.flags.series {
        let family = i / FAMILY;
        let (name, kind) = if family % 4 == 1 { ("events_total", "counter") } else { ("level", "gauge") };
        if i % FAMILY == 0 {
            let _ = writeln!(page, "# HELP load_{family}_{name} Synthetic.\n# TYPE load_{family}_{name} {kind}");
        }
        let value = value(target, i, seconds);
        let _ = writeln!(page, "load_{family}_{name}{{part=\"{}\",zone=\"z{}\"}} {value}", i % FAMILY, i % 3);
    }
    pages.tally.add(pages.flags.series, begun.elapsed());
    Ok(page)
}

/// The configuration by which a server scrapes the targets: all on one port, each at a path of its own.
fn configuration(flags: &Flags) -> String {
    let interval = model::format_duration(flags.interval);
    let mut yaml = format!(
        "global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\nscrape_configs:\n- job_name: load\n  static_configs:\n"
    );
    for target in 0..flags.targets {
        let _ = writeln!(
            yaml,
            "  - {{targets: ['{}'], labels: {{__metrics_path__: /target/{target}, instance: target-{target}}}}}",
            flags.listen
        );
    }
    yaml
}

/// Pushes what sender `n` has to push. Ends early once `until` has passed.
fn push(flags: &Flags, url: &str, n: usize, tally: &Tally, until: Option<Instant>) -> Result<(), Failure> {
    let own: Vec<usize> = (n..flags.push_series).step_by(flags.senders).collect();
    // The labels of a series are the same in every request.
    let labels: Vec<Vec<u8>> = own.iter().map(|&i| labels_of(i, flags.unique)).collect();
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
    let agent: ureq::Agent = config.build().into();
    let step_ms = flags.step.as_millis() as i64;
    let first_ms = (now_seconds() * 1000.0) as i64 / step_ms * step_ms - step_ms * flags.steps as i64;
    let (mut message, mut series, mut encoder) = (Vec::new(), Vec::new(), snap::raw::Encoder::new());
    for step in 1..=flags.steps as i64 {
        let at_ms = first_ms + step * step_ms;
        for (own, labels) in own.chunks(flags.batch.max(1)).zip(labels.chunks(flags.batch.max(1))) {
            message.clear();
            for (&i, labels) in own.iter().zip(labels) {
                series.clear();
                series.extend_from_slice(labels);
                put_sample(&mut series, at_ms, value(0, i, at_ms as f64 / 1000.0));
                put_bytes(&mut message, 1, &series);
            }
            let body = encoder.compress_vec(&message)?;
            loop {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(());
                }
                let begun = Instant::now();
                let mut response = agent
                    .post(url)
                    .header("Content-Type", "application/x-protobuf")
                    .header("Content-Encoding", "snappy")
                    .header("X-Prometheus-Remote-Write-Version", "0.1.0")
                    .send(&body[..])?;
                let (status, text) = (response.status(), response.body_mut().read_to_string()?);
                if status.is_success() {
                    tally.add(own.len(), begun.elapsed());
                    break;
                }
                if !status.is_server_error() && status.as_u16() != 429 {
                    return Err(format!("{url}: {status}: {text}").into());
                }
                tally.retried.fetch_add(1, Relaxed);
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
    Ok(())
}

/// The labels of pushed series `i`, as fields of a `TimeSeries`, in their order.
fn labels_of(i: usize, unique: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let id = unique.then(|| ("id", format!("id-{i}")));
    let name = ("__name__", format!("load_{}_level", i / FAMILY % 50));
    let place =
        [("instance", format!("host-{}", i / FAMILY / 50)), ("job", "load".into()), ("part", (i % FAMILY).to_string())];
    for (name, value) in std::iter::once(name).chain(id).chain(place) {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut out, 1, &label);
    }
    out
}

fn put_sample(out: &mut Vec<u8>, at_ms: i64, value: f64) {
    let mut sample = vec![1 << 3 | 1];
    sample.extend_from_slice(&value.to_le_bytes());
    sample.push(2 << 3);
    put_varint(&mut sample, at_ms as u64);
    put_bytes(out, 2, &sample);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_config(flags: &Flags) -> Result<(), Failure> {
    if flags.config == Path::new("-") {
        print!("{}", configuration(flags));
    } else {
        std::fs::write(&flags.config, configuration(flags))?;
        println!("the configuration is in {}", flags.config.display());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut flags = Flags::parse();
    flags.senders = flags.senders.clamp(1, flags.push_series.max(1));
    if flags.step.is_zero() || (flags.targets == 0 && flags.push.is_none()) {
        return Err("nothing to do: --targets N exposes targets, --push URL pushes; --step is not zero".into());
    }
    let begun = Instant::now();
    let until = flags.length.map(|length| begun + length);
    let (fetched, pushed) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
    if flags.targets > 0 {
        let listener = tokio::net::TcpListener::bind(flags.listen).await?;
        let pages = Arc::new(Pages { flags: flags.clone(), tally: Arc::clone(&fetched) });
        let app = Router::new().route("/target/{target}", get(page)).with_state(pages);
        tokio::spawn(async move { axum::serve(listener, app).await });
        write_config(&flags)?;
    }
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..flags.push.as_ref().map_or(0, |_| flags.senders) {
        let (flags, tally) = (flags.clone(), Arc::clone(&pushed));
        senders.spawn_blocking(move || push(&flags, flags.push.as_deref().unwrap_or_default(), n, &tally, until));
    }
    let pushes = !senders.is_empty();
    let (mut last, mut of_fetched, mut of_pushed) = (begun, (0, 0), (0, 0));
    loop {
        let second = tokio::time::sleep(Duration::from_secs(1));
        tokio::select! {
            () = second => {}
            Some(sender) = senders.join_next() => sender??,
        }
        let over = until.is_some_and(|until| Instant::now() >= until) && senders.is_empty();
        if over || (pushes && senders.is_empty() && flags.targets == 0) {
            break;
        }
        let time = last.elapsed();
        if time >= Duration::from_secs(1) {
            last = Instant::now();
            if flags.targets > 0 {
                of_fetched = fetched.report("scraped", of_fetched, time);
            }
            if pushes {
                of_pushed = pushed.report("pushed", of_pushed, time);
            }
        }
    }
    println!("in all, {:.1} s:", begun.elapsed().as_secs_f64());
    if flags.targets > 0 {
        fetched.report("scraped", (0, 0), begun.elapsed());
    }
    if pushes {
        pushed.report("pushed", (0, 0), begun.elapsed());
    }
    Ok(())
}
