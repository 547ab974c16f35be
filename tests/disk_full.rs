//! A disk that is really full: a small file system of its own, filled by remote write. Needs the right to mount one.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Answer, Server, now, skip, wait_for};

/// Bytes of the file system, and of the file that is deleted to make room.
const DISK: &str = "size=12m";
const BALLAST_BYTES: usize = 6 << 20;
const SERIES: usize = 500;
const STEP_MS: i64 = 2000;

/// A file system in memory; unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "none"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the server may still be about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn value(i: usize, step: i64) -> f64 {
    ((i as i64 * 7919 + step * 104_729) % 1_000_003) as f64 / 7.0
}

/// Every series at one step.
fn push_step(server: &Server, start_ms: i64, step: i64) -> Answer {
    let ids: Vec<String> = (0..SERIES).map(|i| i.to_string()).collect();
    let labels: Vec<[(&str, &str); 2]> = ids.iter().map(|id| [("__name__", "pushed"), ("i", id.as_str())]).collect();
    let samples: Vec<[(i64, f64); 1]> = (0..SERIES).map(|i| [(start_ms + step * STEP_MS, value(i, step))]).collect();
    let series: Vec<push::Series<'_>> = labels.iter().zip(&samples).map(|(l, s)| (&l[..], &s[..])).collect();
    server.post("/api/v1/write", "application/x-protobuf", &push::request(&series))
}

/// All that was pushed is there: steps 0 to `last`, every series, by value.
fn all_there(server: &Server, start_ms: i64, last: i64) {
    let end = (start_ms + last * STEP_MS) as f64 / 1000.0;
    for i in (0..SERIES).step_by(23).chain([SERIES - 1]) {
        let query = format!("pushed{{i=\"{i}\"}}[7d]");
        let data = server.api("/query", &[("query", &query), ("time", &end.to_string())]);
        let found = data["result"][0]["values"].as_array().unwrap().iter();
        let found: Vec<f64> = found.map(|point| point[1].as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(found, (0..=last).map(|step| value(i, step)).collect::<Vec<_>>(), "series {i}");
    }
    let counted = server.api("/query", &[("query", "count(pushed)"), ("time", &end.to_string())]);
    assert_eq!(common::number_of(&counted), Some(SERIES as f64));
}

fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn a_full_disk_pauses_ingestion_and_it_goes_on_by_itself_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(&dir.path().join("disk")) else { return skip("a tmpfs cannot be mounted here") };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST_BYTES]).unwrap();
    let port = common::free_port();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n- job_name: self\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let flags = [
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=disk/data",
        "--storage.tsdb.wal-segment-size=256KB",
        "--web.enable-remote-write-receiver",
        &listen,
    ];
    let mut server = Server::start_in(dir.path(), &flags);
    // Ready while the log is replayed, too, which takes a moment here.
    wait_for("the store", || server.get("/-/ready").text() == "Silverback is Ready.\n");

    // Until the disk refuses; within the last hour, for the scrapes are of now.
    let start_ms = (now() * 1000.0) as i64 - 3_000_000;
    let mut last = -1;
    let refused = loop {
        let answer = push_step(&server, start_ms, last + 1);
        if answer.status != 204 {
            break answer;
        }
        last += 1;
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("No space left on device"), "{}", refused.text());
    assert!(last > 10, "{last} steps fit");
    wait_for("the pause to show", || server.get("/-/ready").text().contains("paused"));
    let ready = server.get("/-/ready");
    let text = ready.text();
    assert!(ready.status == 200 && text.starts_with("Silverback is Ready.\nIngestion is paused: "), "{text}");
    assert!(text.contains("No space left on device") && text.lines().count() == 2, "{text}");
    assert!(server.get("/metrics").text().contains("\nsilverback_ingestion_paused 1\n"));
    wait_for("the banner", || server.get("/query").text().contains("Ingestion is paused, queries go on: "));
    let mut target = serde_json::Value::Null;
    wait_for("the failed scrape", || {
        target = server.api("/targets", &[])["activeTargets"][0].take();
        target["health"] == "down"
    });
    assert!(target["lastError"].as_str().is_some_and(|why| why.contains("No space left on device")), "{target}");
    // Again and again, to no avail, and the log says so once.
    for _ in 0..20 {
        assert_eq!(push_step(&server, start_ms, last + 1).status, 503);
    }
    all_there(&server, start_ms, last);
    assert_eq!(times(server.read_log(), "ingestion is paused"), 1, "{}", server.log);
    assert_eq!(times(&server.log, "ingestion goes on"), 0, "{}", server.log);

    // Room, and nobody tells the server.
    std::fs::remove_file(&ballast).unwrap();
    wait_for("ingestion to go on", || server.get("/-/ready").text() == "Silverback is Ready.\n");
    for _ in 0..5 {
        let answer = push_step(&server, start_ms, last + 1);
        assert_eq!(answer.status, 204, "{}", answer.text());
        last += 1;
    }
    wait_for("the message", || times(server.read_log(), "ingestion goes on") == 1);
    wait_for("the banner to go", || !server.get("/query").text().contains("Ingestion is paused"));
    assert!(server.get("/metrics").text().contains("\nsilverback_ingestion_paused 0\n"));
    wait_for("a scrape", || server.api("/targets", &[])["activeTargets"][0]["health"] == "up");
    all_there(&server, start_ms, last);

    // Nothing is lost by a crash either.
    server.kill();
    let server = Server::start_in(dir.path(), &flags);
    all_there(&server, start_ms, last);
}

#[test]
fn a_server_started_on_a_full_disk_answers_queries_and_takes_samples_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(&dir.path().join("disk")) else { return skip("a tmpfs cannot be mounted here") };
    let port = common::free_port();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n- job_name: self\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let flags = [
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=disk/data",
        "--storage.tsdb.wal-segment-size=256KB",
        "--web.enable-remote-write-receiver",
        &listen,
    ];
    let mut server = Server::start_in(dir.path(), &flags);
    let start_ms = (now() * 1000.0) as i64 - 3_000_000;
    let mut last = 4;
    (0..=last).for_each(|step| assert_eq!(push_step(&server, start_ms, step).status, 204));
    server.kill();

    // Not a page is left.
    let mut bytes = vec![1; 8 << 20];
    let mut n = 0;
    while bytes.len() >= 512 {
        let path = disk.0.join(format!("ballast{n}"));
        n += 1;
        if std::fs::write(&path, &bytes).is_err() {
            let _ = std::fs::remove_file(&path);
            bytes.truncate(bytes.len() / 2);
        }
    }
    let mut server = Server::start_in(dir.path(), &flags);
    all_there(&server, start_ms, last);
    let ready = server.get("/-/ready");
    let text = ready.text();
    assert!(ready.status == 200 && text.contains("Ingestion is paused: "), "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    let refused = push_step(&server, start_ms, last + 1);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(server.get("/metrics").text().contains("\nsilverback_ingestion_paused 1\n"));
    wait_for("the banner", || server.get("/query").text().contains("Ingestion is paused, queries go on: "));
    wait_for("the failed scrape", || server.api("/targets", &[])["activeTargets"][0]["health"] == "down");
    wait_for("the message", || times(server.read_log(), "ingestion is paused") == 1);

    for entry in std::fs::read_dir(&disk.0).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    wait_for("ingestion to go on", || server.get("/-/ready").text() == "Silverback is Ready.\n");
    last += 1;
    assert_eq!(push_step(&server, start_ms, last).status, 204);
    wait_for("a scrape", || server.api("/targets", &[])["activeTargets"][0]["health"] == "up");
    all_there(&server, start_ms, last);
    server.kill();
    let server = Server::start_in(dir.path(), &flags);
    all_there(&server, start_ms, last);
}
