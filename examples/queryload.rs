//! Queries as load for a metrics server: a wall of dashboards, the pickers of an editor, or ever larger questions. Works
//! with any server that has the HTTP API of Prometheus; the data come from the example `loadgen`.
//!
//! ```text
//! # A day of 10 000 series, then 20 viewers beside 100 000 samples per second that come in. The server is to read
//! # loadgen.yml only once the day is pushed: begin with an empty one, then `kill -HUP`.
//! loadgen --push http://127.0.0.1:9090/api/v1/write --push-series 10000 --steps 5760
//! loadgen --targets 100 --series 1000 --interval 1s --config loadgen.yml
//! queryload dashboard --viewers 20 --for 30s
//!
//! # Names, values and series among a million.
//! loadgen --push http://127.0.0.1:9090/api/v1/write --push-series 1000000 --steps 2 --unique
//! queryload labels
//!
//! # What a query costs as series and time grow, as a chart.
//! loadgen --push http://127.0.0.1:9090/api/v1/write --push-series 100000 --steps 1440 --step 1m
//! queryload growth --chart growth.svg
//! ```
//!
//! `--param nocache=1` goes along with every request: what turns the caches of a server off.

#![expect(clippy::disallowed_methods, reason = "the example measures time")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use query::Series;
use serde_json::Value;
use tsdb::{Labels, TimeRange};
use web::chart::{ChartOptions, Line, Unit, draw};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Queries as load for a metrics server.
#[derive(Clone, Debug, Parser)]
struct Flags {
    /// Where the server answers, without `/api/v1`.
    #[arg(long, default_value = "http://127.0.0.1:9090", global = true)]
    url: String,
    /// A parameter that goes along with every request.
    #[arg(long, value_name = "NAME=VALUE", global = true)]
    param: Vec<String>,
    #[command(subcommand)]
    load: Load,
}

#[derive(Clone, Debug, Subcommand)]
enum Load {
    /// Panels of dashboards, many at once; then whether scrapes were missed meanwhile.
    Dashboard {
        /// Requests on their way at once.
        #[arg(long, default_value_t = 20)]
        viewers: usize,
        /// How long.
        #[arg(long = "for", default_value = "30s", value_parser = duration)]
        length: Duration,
        /// How often the targets of the job `load` are scraped; 0s if there are none.
        #[arg(long, default_value = "1s", value_parser = duration)]
        interval: Duration,
    },
    /// Label names, label values and series, one after the other.
    Labels,
    /// One question over 1000, 10 000, 100 000 series and 1, 6, 24 hours.
    Growth {
        /// Where the chart goes.
        #[arg(long)]
        chart: Option<PathBuf>,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    model::parse_duration(text).map_err(|_| "must be a duration like 500ms, 15s or 5m".into())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A server that is asked.
struct Server {
    agent: ureq::Agent,
    url: String,
    params: Vec<(String, String)>,
}

/// A request: path below `/api/v1`, and parameters.
type Request = (&'static str, Vec<(&'static str, String)>);

impl Server {
    fn new(flags: &Flags) -> Self {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(120)));
        let params = flags.param.iter().map(|param| {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            (name.to_owned(), value.to_owned())
        });
        Self { agent: config.build().into(), url: flags.url.clone(), params: params.collect() }
    }

    /// Asks, and reads the answer to its end; its bytes and how long that took.
    fn ask(&self, (path, params): &Request) -> Result<(Vec<u8>, Duration), Failure> {
        let begun = Instant::now();
        let own = self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let params = params.iter().map(|(name, value)| (*name, value.as_str())).chain(own);
        let mut response = self.agent.get(format!("{}/api/v1{path}", self.url)).query_pairs(params).call()?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        if !response.status().is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(format!("{path}: {}: {text:.300}", response.status()).into());
        }
        Ok((body, begun.elapsed()))
    }
}

fn instant(query: &str, at: f64) -> Request {
    ("/query", vec![("query", query.into()), ("time", format!("{at:.3}"))])
}

/// A range that ends at `end`, on a whole number of steps.
fn range(query: &str, end: f64, hours: f64, step: u32) -> Request {
    let end = (end / f64::from(step)).floor() * f64::from(step);
    let start = end - hours * 3600.0;
    let times = [("start", start.to_string()), ("end", end.to_string()), ("step", step.to_string())];
    ("/query_range", [("query", query.to_owned())].into_iter().chain(times).collect())
}

/// The panels of three dashboards.
fn panels(end: f64) -> Vec<Request> {
    vec![
        instant("count({job=\"load\"})", end),
        instant("load_1_level{instance=\"host-2\"}", end),
        instant("sum by (instance) (load_5_level)", end),
        instant("sum by (part) (rate(load_1_level[5m]))", end),
        instant("topk(5, sum by (instance) (rate(load_9_level[5m])))", end),
        instant("quantile_over_time(0.95, load_2_level[24h])", end),
        instant("avg_over_time(load_6_level[24h])", end),
        instant("max_over_time(sum by (instance) (rate(load_13_level[5m]))[6h:1m])", end),
        instant("load_2_level / on (instance, part) load_6_level", end),
        range("sum by (part) (rate(load_1_level[5m]))", end, 1.0, 15),
        range("load_2_level{part=\"3\"}", end, 1.0, 15),
        range("sum by (instance) (rate(load_5_level[5m]))", end, 6.0, 60),
        range("avg by (instance) (load_10_level)", end, 6.0, 60),
        range("sum({job=\"load\",instance=~\"host-.\"})", end, 6.0, 300),
        range("avg_over_time(rate(load_9_level[5m])[1h:1m])", end, 6.0, 300),
        range("100 * (1 - avg by (instance) (rate(load_13_level[5m])))", end, 24.0, 60),
        range("rate(load_17_level{part=\"1\"}[1m])", end, 24.0, 60),
        range("quantile_over_time(0.9, load_14_level{part=\"0\"}[30m])", end, 24.0, 300),
        range("max by (part) (load_3_level) - min by (part) (load_3_level)", end, 24.0, 300),
        range("load_1_level > bool 100", end, 1.0, 60),
    ]
}

/// How long each request took, by its query.
#[derive(Debug, Default)]
struct Times(Mutex<BTreeMap<String, Vec<Duration>>>);

impl Times {
    fn add(&self, name: &str, took: Duration) {
        let mut times = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        times.entry(name.to_owned()).or_default().push(took);
    }

    /// A line for each query, and one for all.
    fn report(self) {
        let times = self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, took) in &times {
            println!("{} {name}", shown(took));
        }
        let all: Vec<Duration> = times.into_values().flatten().collect();
        println!("{} all {} requests", shown(&all), all.len());
    }
}

fn percentile(took: &[Duration], part: f64) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

fn shown(took: &[Duration]) -> String {
    format!("ms p50 {:9.2} p95 {:9.2} max {:9.2}", percentile(took, 0.5), percentile(took, 0.95), percentile(took, 1.0))
}

fn dashboard(server: &Server, viewers: usize, length: Duration, interval: Duration) -> Result<(), Failure> {
    let (times, next, begun) = (Times::default(), AtomicUsize::new(0), Instant::now());
    let view = || -> Result<(), Failure> {
        while begun.elapsed() < length {
            let panels = panels(now());
            let panel = &panels[next.fetch_add(1, Relaxed) % panels.len()];
            let (_, took) = server.ask(panel)?;
            times.add(&format!("{} {}", panel.0, panel.1[0].1), took);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let viewers: Vec<_> = (0..viewers.max(1)).map(|_| scope.spawn(view)).collect();
        viewers.into_iter().try_for_each(|viewer| viewer.join().map_err(|_| "a viewer panicked")?)
    })?;
    times.report();
    if !interval.is_zero() {
        missed(server, length, interval)?;
    }
    Ok(())
}

/// Says how many scrapes of the job `load` failed or were left out during the last `length`.
fn missed(server: &Server, length: Duration, interval: Duration) -> Result<(), Failure> {
    let (body, _) = server.ask(&instant(&format!("up{{job=\"load\"}}[{}s]", length.as_secs()), now()))?;
    let answer: Value = serde_json::from_slice(&body)?;
    let (mut targets, mut scrapes, mut failed, mut left_out) = (0, 0, 0, 0);
    for series in answer["data"]["result"].as_array().ok_or("there is no result")? {
        targets += 1;
        let mut last = None;
        for point in series["values"].as_array().ok_or("there are no values")? {
            let at = point[0].as_f64().ok_or("a point has no time")?;
            scrapes += 1;
            failed += usize::from(point[1] != "1");
            if let Some(last) = last {
                let intervals: f64 = (at - last) / interval.as_secs_f64();
                left_out += (intervals.round() as usize).saturating_sub(1);
            }
            last = Some(at);
        }
    }
    println!("{scrapes} scrapes of {targets} targets: {failed} failed, {left_out} left out");
    Ok(())
}

/// Asks each several times, and says what the middle one took.
fn labels(server: &Server) -> Result<(), Failure> {
    let end = now();
    let times = || vec![("start", format!("{:.0}", end - 3600.0)), ("end", format!("{end:.0}"))];
    let requests: [(&'static str, &[(&'static str, &str)]); 10] = [
        ("/labels", &[]),
        ("/labels", &[("match[]", "load_7_level")]),
        ("/label/__name__/values", &[]),
        ("/label/id/values", &[("limit", "100")]),
        ("/label/id/values", &[("match[]", "load_7_level"), ("limit", "100")]),
        ("/label/id/values", &[("match[]", "load_7_level{instance=~\"host-1.*\"}")]),
        ("/label/instance/values", &[("match[]", "{part=\"3\"}")]),
        ("/series", &[("match[]", "load_7_level{instance=\"host-1\"}")]),
        ("/series", &[("match[]", "{instance=\"host-1\"}")]),
        ("/series", &[("match[]", "load_7_level"), ("limit", "1000")]),
    ];
    for (path, params) in requests {
        let request = (path, params.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(times()).collect());
        let (first, _) = server.ask(&request)?;
        let (begun, mut took) = (Instant::now(), Vec::new());
        while took.len() < 10 || (begun.elapsed() < Duration::from_millis(300) && took.len() < 200) {
            took.push(server.ask(&request)?.1);
        }
        let count = serde_json::from_slice::<Value>(&first)?["data"].as_array().map_or(0, Vec::len);
        let named: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        println!("{} {path} {} ({count} found)", shown(&took), named.join(" "));
    }
    Ok(())
}

const HOURS: [u32; 3] = [1, 6, 24];

fn growth(server: &Server, chart: Option<PathBuf>) -> Result<(), Failure> {
    let end = now();
    let mut lines = Vec::new();
    for (count, hosts) in [(1000.0, "host-0"), (10_000.0, "host-."), (100_000.0, "host-.+")] {
        let query = format!("sum by (part) ({{job=\"load\",instance=~\"{hosts}\"}})");
        let mut per_series = Vec::new();
        for hours in HOURS {
            let request = range(&query, end, f64::from(hours), 60);
            let runs = if count * f64::from(hours) > 1e6 { 3 } else { 7 };
            let mut took = Vec::new();
            for _ in 0..runs {
                took.push(server.ask(&request)?.1);
            }
            let ms = percentile(&took, 0.5);
            println!(
                "{count:7} series, {hours:2} h: {ms:9.2} ms, {:6.2} µs per series and hour",
                ms * 1000.0 / count / f64::from(hours)
            );
            per_series.push(ms / 1000.0 / count);
        }
        // Hours are drawn as the hours of a day.
        let series = Series {
            labels: Labels::empty(),
            timestamps_ms: HOURS.iter().map(|&hours| i64::from(hours) * 3_600_000).collect(),
            values: per_series,
            histograms: Vec::new(),
        };
        lines.push(Line { name: format!("{count} series"), series });
    }
    if let Some(path) = chart {
        let options = ChartOptions {
            title: "Time per series (y) over the length of the range (x, in hours)".into(),
            unit: Unit::Seconds,
            min: Some(0.0),
            ..ChartOptions::default()
        };
        std::fs::write(&path, draw(&lines, TimeRange::from_millis(0, 24 * 3_600_000), &options))?;
        println!("the chart is in {}", path.display());
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let flags = Flags::parse();
    let server = Server::new(&flags);
    match flags.load {
        Load::Dashboard { viewers, length, interval } => dashboard(&server, viewers, length, interval),
        Load::Labels => labels(&server),
        Load::Growth { chart } => growth(&server, chart),
    }
}
