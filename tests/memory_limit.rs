//! The real server where memory is short: it believes the least limit, refuses what does not fit, and lives.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::path::PathBuf;
use std::time::Duration;

use common::{PATIENCE, Server, now};

const MIB: u64 = 1 << 20;

/// What a page of metrics says of the limit: bytes, and the rule.
fn limit(server: &Server) -> (u64, String) {
    let metrics = server.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with("silverback_memory_limit_bytes{")).unwrap().to_owned();
    let (rule, bytes) = line.rsplit_once(' ').unwrap();
    (bytes.parse().unwrap(), rule.to_owned())
}

#[test]
fn the_limit_of_the_address_space_is_believed_and_told() {
    let mut server = Server::start_within(900 * MIB, &[]);
    let (bytes, rule) = limit(&server);
    assert!(bytes == 900 * MIB && rule.contains("ulimit -v"), "{bytes} {rule}");
    let flags = server.api("/status/flags", &[]);
    assert_eq!(flags["storage.max-series"], (900 * MIB / 2 / 1024).to_string());
    assert!(server.read_log().contains("memory that may be used bytes=943718400"), "{}", server.log);
}

/// A control group with a limit, nested in another that has none; removed when dropped.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> Option<Self> {
        let (top, file) = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
            .into_iter()
            .find(|(top, file)| {
                std::path::Path::new(top).join("cgroup.procs").exists()
                    && (*file != "memory.max" || std::path::Path::new(top).join("cgroup.controllers").exists())
            })?;
        let outer = PathBuf::from(top).join(format!("silverback-test-{}", std::process::id()));
        let group = Self(outer);
        std::fs::create_dir(&group.0).ok()?;
        if file == "memory.max" {
            std::fs::write(group.0.join("cgroup.subtree_control"), "+memory").ok()?;
        }
        std::fs::create_dir(group.0.join("inner")).ok()?;
        // The limit is that of the outer group, which the inner one does not show.
        std::fs::write(group.0.join(file), bytes.to_string()).ok()?;
        Some(group)
    }

    fn procs(&self) -> PathBuf {
        self.0.join("inner/cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let begun = now();
        // The processes may need a moment to be gone.
        while std::fs::remove_dir(self.0.join("inner")).is_err() && now() - begun < 5.0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Pushes a sample of `count` series from `first` on; gives the status and the text of the answer.
fn push(server: &Server, first: u64, count: u64, at_ms: i64) -> (u16, String) {
    let ids: Vec<String> = (first..first + count).map(|id| format!("series-{id:09}")).collect();
    let labels: Vec<[(&str, &str); 3]> =
        ids.iter().map(|id| [("__name__", "soak"), ("instance", id.as_str()), ("job", "soak")]).collect();
    let samples = [(at_ms, 1.0)];
    let series: Vec<push::Series<'_>> = labels.iter().map(|labels| (&labels[..], &samples[..])).collect();
    let answer = server.post("/api/v1/write", "application/x-protobuf", &push::request(&series));
    (answer.status, answer.text())
}

/// Series of one push.
const BATCH: u64 = 5_000;

/// A server that may use `bytes` gets half again as many series as it takes.
fn soak(server: &Server, bytes: u64) {
    let most = bytes / 2 / 1024;
    let start_ms = (now() * 1000.0) as i64;
    let (mut accepted, mut refused, mut first) = (0, 0, 0);
    let begun = now();
    while first < most * 3 / 2 {
        let (status, text) = push(server, first, BATCH, start_ms);
        assert!((200..300).contains(&status) || status == 400 || status == 429 || status == 503, "{status} {text}");
        if status < 300 {
            accepted += 1;
        } else {
            refused += 1;
        }
        first += BATCH;
        assert!(now() - begun < 10.0 * PATIENCE.as_secs_f64(), "{first} series in vain");
    }
    let series = server.number("count(soak)").unwrap() as u64;
    println!("{accepted} pushes taken, {refused} refused, {series} of {most} series, {} MiB", resident(server) / MIB);
    assert!(refused > 0 && series <= most && series > most - 2 * BATCH, "{refused} refused, {series} of {most}");
    // Known series go on.
    let (status, text) = push(server, 0, BATCH, start_ms + 15_000);
    assert!((200..300).contains(&status), "{status} {text}");
    let moved =
        format!("count(timestamp(soak{{instance=~\"series-00000.*\"}}) >= {})", (start_ms + 15_000) as f64 / 1000.0);
    let data = server.api("/query", &[("query", &moved), ("time", &((start_ms + 16_000) as f64 / 1000.0).to_string())]);
    assert_eq!(common::number_of(&data), Some(BATCH as f64));
    assert!(resident(server) < bytes, "{} MiB of {} MiB", resident(server) / MIB, bytes / MIB);
    assert_eq!(server.get("/-/healthy").status, 200);
}

fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

/// Mebibytes that the server may use; `SILVERBACK_SOAK_MIB=1024` for the long run.
fn soak_bytes(default: u64) -> u64 {
    std::env::var("SILVERBACK_SOAK_MIB").map_or(default, |text| text.parse().unwrap()) * MIB
}

#[test]
fn more_series_than_fit_a_nested_control_group_are_refused_and_the_server_lives() {
    let bytes = soak_bytes(160);
    let Some(group) = Group::new(bytes) else { return common::skip("no control group can be made") };
    let server = Server::start_in_group(&group.procs(), &["--web.enable-remote-write-receiver"]);
    let (found, rule) = limit(&server);
    assert!(found <= bytes && rule.contains("memory"), "{found} {rule}");
    soak(&server, found);
}

#[test]
fn more_series_than_fit_the_address_space_by_default_are_refused_and_the_server_lives() {
    let bytes = soak_bytes(512);
    let server = Server::start_within(bytes, &["--web.enable-remote-write-receiver"]);
    let (found, _) = limit(&server);
    assert_eq!(found, bytes);
    soak(&server, found);
}
