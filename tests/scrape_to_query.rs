//! A real node_exporter, scraped for a minute: what is answered is what it said, and what a real Prometheus makes of it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use common::{Process, Server, encode, fetch, free_port, node_exporter, now, program, skip, wait_for};
use serde_json::Value;

/// Metrics that stand still, or nearly so, from one moment to the next.
const STEADY: [&str; 20] = [
    "node_boot_time_seconds",
    "node_cpu_seconds_total",
    "node_disk_reads_completed_total",
    "node_disk_written_bytes_total",
    "node_filefd_maximum",
    "node_filesystem_files",
    "node_filesystem_size_bytes",
    "node_forks_total",
    "node_load15",
    "node_memory_HugePages_Total",
    "node_memory_MemTotal_bytes",
    "node_memory_SwapTotal_bytes",
    "node_netstat_Tcp_ActiveOpens",
    "node_network_mtu_bytes",
    "node_network_receive_packets_total",
    "node_network_up",
    "node_os_info",
    "node_scrape_collector_success",
    "node_timex_tick_seconds",
    "node_uname_info",
];

/// `(labels as written) → value` of one metric in an exposition.
fn exposed(page: &str, metric: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| line.starts_with(metric) && line[metric.len()..].starts_with(['{', ' ']));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            // A label without a value is none.
            let labels =
                name[metric.len()..].trim_matches(['{', '}']).split(',').filter(|label| !label.ends_with("=\"\""));
            let labels = labels.collect::<Vec<_>>().join(",");
            (if labels.is_empty() { labels } else { format!("{{{labels}}}") }, value.parse().unwrap())
        })
        .collect()
}

/// The same of an instant vector, less the labels that scraping adds.
fn answered(data: &Value) -> BTreeMap<String, f64> {
    let samples = data["result"].as_array().unwrap().iter().map(|sample| {
        let labels = sample["metric"].as_object().unwrap().iter();
        let labels: Vec<String> = labels
            .filter(|(name, _)| !["__name__", "instance", "job"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        (labels, sample["value"][1].as_str().unwrap().parse().unwrap())
    });
    samples.collect()
}

#[test]
fn a_minute_of_node_exporter_is_answered_as_it_was_said_and_as_prometheus_answers() {
    let Some((_exporter, address)) = node_exporter() else { return };
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    let server = Server::with_config(&config, &[]);
    let peer = prometheus(&config);
    let begun = now();
    wait_for("the first scrape", || server.number("up") == Some(1.0));
    while now() - begun < 62.0 {
        std::thread::sleep(Duration::from_millis(250));
    }
    // Every scrape is there.
    let scrapes = server.number("count_over_time(up[60s])").unwrap();
    assert!(scrapes >= 59.0, "{scrapes} of 60");
    assert_eq!(server.number("sum_over_time(up[60s])"), Some(scrapes));
    for _ in 0..5 {
        if compare_with_exporter(&server, &address) {
            break;
        }
    }
    assert!(compare_with_exporter(&server, &address), "twenty metrics are answered as they are exposed");
    match peer {
        Some((_peer, url, _dir)) => compare_with_prometheus(&server, &url),
        None => skip("prometheus is not there; name its folder in PEERS"),
    }
}

/// Whether a direct fetch and the answers agree: series for series, and value for value within what can move in the
/// second between them.
fn compare_with_exporter(server: &Server, address: &str) -> bool {
    std::thread::sleep(Duration::from_millis(700));
    let page = fetch(&format!("http://{address}/metrics")).text();
    STEADY.iter().all(|metric| {
        let (exposed, answered) = (exposed(&page, metric), answered(&server.api("/query", &[("query", metric)])));
        assert!(exposed.keys().eq(answered.keys()), "{metric}: {exposed:?} {answered:?}");
        let close = |(said, stored): (&f64, &f64)| (said - stored).abs() <= said.abs() * 0.02 + 60.0;
        let fine = exposed.values().zip(answered.values()).all(close);
        let exact = exposed.values().zip(answered.values()).filter(|(a, b)| a == b).count();
        fine && (exact > 0 || exposed.values().all(|v| *v != 0.0))
    })
}

/// A real Prometheus that scrapes the same.
fn prometheus(config: &str) -> Option<(Process, String, tempfile::TempDir)> {
    let path = program("prometheus")?;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let port = free_port();
    let process = Process::start(Command::new(path).current_dir(dir.path()).args([
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ]));
    let url = format!("http://127.0.0.1:{port}");
    wait_for("prometheus", || fetch(&format!("{url}/-/ready")).status == 200);
    Some((process, url, dir))
}

/// Both have scraped the same exporter over the same minute, a fraction of a second apart: rates, sums and quantiles
/// agree within what such a shift can make.
fn compare_with_prometheus(server: &Server, peer: &str) {
    let time = format!("{:.3}", now() - 1.0);
    for (query, tolerance) in [
        ("sum by (mode) (rate(node_cpu_seconds_total[50s]))", 0.15),
        ("count by (mode) (node_cpu_seconds_total)", 0.0),
        ("sum(node_memory_MemTotal_bytes)", 0.0),
        ("sum by (fstype) (node_filesystem_size_bytes)", 0.0),
        ("avg_over_time(node_load15[50s])", 0.02),
        ("sum(increase(node_context_switches_total[50s]))", 0.15),
        ("max_over_time(node_memory_MemAvailable_bytes[50s])", 0.05),
        ("histogram_quantile(0.9, sum by (le) (rate(go_gc_pauses_seconds_bucket[50s])))", 0.5),
        ("count(count by (__name__) ({job=\"node\"}))", 0.0),
        ("topk(1, node_network_mtu_bytes)", 0.0),
    ] {
        let ours = server.api("/query", &[("query", query), ("time", &time)]);
        let theirs = fetch(&format!("{peer}/api/v1/query?{}", encode(&[("query", query), ("time", &time)]))).json();
        let (ours, theirs) = (answered(&ours), answered(&theirs["data"]));
        assert!(ours.keys().eq(theirs.keys()), "{query}: {ours:?} {theirs:?}");
        for (labels, ours) in &ours {
            let theirs = theirs[labels];
            let same = ours.is_nan() && theirs.is_nan()
                || (ours - theirs).abs() <= tolerance * theirs.abs() + tolerance / 10.0;
            assert!(same, "{query} {labels}: {ours} here, {theirs} there");
        }
    }
}
