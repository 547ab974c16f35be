//! The built-in host collector against the real node_exporter, and as a target.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{job, manager, wait_health};
use scraper::host::Collector;
use scraper::parse::{Entry, Format, MetricKind, Parser};
use scraper::{Discovery, TargetHealth};
use tsdb::Labels;

#[derive(Default)]
struct Family {
    kind: MetricKind,
    help: String,
    series: BTreeMap<Labels, f64>,
}

fn families(page: &[u8]) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut parser = Parser::new(page, Format::Text);
    while let Some(entry) = parser.entry().unwrap() {
        match entry {
            Entry::Type { family, kind } => families.entry(family.into_owned()).or_default().kind = kind,
            Entry::Help { family, help } => families.entry(family.into_owned()).or_default().help = help.into_owned(),
            Entry::Sample(sample) => {
                let labels: Labels = parser.labels().collect();
                let family = labels.metric_name().unwrap().to_owned();
                families.entry(family).or_default().series.insert(labels, sample.value);
            }
            Entry::Unit { .. } | Entry::Comment => {}
        }
    }
    families
}

/// A running exporter.
struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    Some(answer.split_off(body))
}

const UPSTREAM_EXCLUDED: &str =
    "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";

/// The page of the real exporter, if it is installed.
fn exporter_page() -> Option<Vec<u8>> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let child = ["prometheus-node-exporter", "node_exporter"].into_iter().find_map(|program| {
        let mut command = Command::new(program);
        // Distributions leave out other mounts than the exporter itself does.
        command.arg(format!("--collector.filesystem.mount-points-exclude={UPSTREAM_EXCLUDED}"));
        command.arg(format!("--web.listen-address={address}")).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().ok()
    })?;
    let _exporter = Exporter(child);
    for _ in 0..1000 {
        if let Some(page) = get(&address) {
            return Some(page);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the exporter does not answer at {address}");
}

/// Families whose values need not be alike, even at the same moment.
const RESTLESS: [&str; 9] = [
    "node_time_seconds",
    "node_procs_running",
    "node_procs_blocked",
    "node_disk_io_now",
    "node_sockstat_TCP_",
    "node_sockstat_sockets_used",
    "node_netstat_Tcp_CurrEstab",
    "node_filefd_allocated",
    "node_memory_",
];

/// Families that exporters older than 1.11 do not have, or not for every kernel.
const YOUNG: [&str; 5] = [
    "node_filesystem_mount_info",
    "node_filesystem_purgeable_bytes",
    "node_memory_",
    "node_netstat_Tcp",
    "node_pressure_irq_stalled_seconds_total",
];

#[test]
fn families_are_those_of_node_exporter() {
    let Some(theirs) = exporter_page() else {
        eprintln!("SKIPPED: no node_exporter on PATH");
        return;
    };
    let mut ours = Vec::new();
    Collector::default().collect(0.0, Duration::from_secs(5), &mut ours);
    let (ours, theirs) = (families(&ours), families(&theirs));
    let mut compared = 0;
    let older = !theirs.contains_key("node_filesystem_mount_info");
    for (name, our) in &ours {
        let Some(their) = theirs.get(name) else {
            assert!(YOUNG.iter().any(|prefix| name.starts_with(prefix)), "node_exporter has no {name}");
            continue;
        };
        assert_eq!((our.kind, &our.help), (their.kind, &their.help), "{name}");
        if name.starts_with("node_scrape_collector_") {
            continue;
        }
        let our_series: Vec<_> = our.series.keys().collect();
        // Whether disks in memory are shown depends on the exporter's version.
        let is_zram = |labels: &Labels| labels.get("device").is_some_and(|device| device.starts_with("zram"));
        let their_series: Vec<_> = their.series.keys().filter(|labels| !is_zram(labels)).collect();
        // Older exporters leave out what newer ones show: the loopback device, a label.
        if !older {
            assert_eq!(our_series, their_series, "{name}");
        }
        for (labels, value) in &our.series {
            let Some(expected) = their.series.get(labels) else { continue };
            let near = (value - expected).abs() <= 5.0 + expected.abs() * 0.05;
            assert!(near || RESTLESS.iter().any(|prefix| name.starts_with(prefix)), "{labels}: {value}, {expected}");
            compared += 1;
        }
    }
    assert!(ours.len() > 150 && compared > 250, "{} families, {compared} values", ours.len());
}

#[tokio::test]
async fn the_host_is_a_target_like_any_other() {
    let (manager, store) = manager();
    let mut config = job("node", &[]);
    config.discovery = vec![Discovery::Host];
    (config.interval, config.timeout) = (Duration::from_millis(500), Duration::from_millis(500));
    manager.apply(vec![config]).await.unwrap();
    let target = wait_health(&manager, TargetHealth::Up).await;
    manager.stop().await;
    assert_eq!(target.spec.url, "host://localhost/metrics");
    assert_eq!(target.spec.labels.to_string(), r#"{instance="localhost", job="node"}"#);
    let loads = store.samples_of(r#"node_load1{instance="localhost", job="node"}"#);
    assert!(loads[0].1.unwrap() >= 0.0);
    assert_eq!(store.recorded().families["node_load1"].help, "1m load average.");
}
