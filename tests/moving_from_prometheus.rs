//! A stopped Prometheus' data directory: refused as ours, unchanged, and imported to the last sample. Needs a real Prometheus
//! and its promtool.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{Process, Server, fetch, free_port, now, program, skip, wait_for};
use serde_json::Value;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const SERIES: usize = 6;

/// Values by series and time; a native histogram is its count.
type Samples = BTreeMap<(BTreeMap<String, String>, i64), u64>;

/// All files below `dir` and their bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

fn silverback(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_silverback")).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A Prometheus that takes pushed samples, also late ones, and scrapes itself; by its data directory.
fn prometheus(program: &Path, dir: &Path) -> (Process, String) {
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nstorage: {{tsdb: {{out_of_order_time_window: 3h}}}}\nscrape_configs:\n- job_name: self\n  \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    );
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    let process = Process::start(
        Command::new(program)
            .current_dir(dir)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=old", "--web.enable-remote-write-receiver"])
            .arg("--enable-feature=native-histograms")
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    );
    let url = format!("http://127.0.0.1:{port}");
    wait_for("prometheus", || fetch(&format!("{url}/-/ready")).status == 200);
    (process, url)
}

fn stop(mut process: Process) {
    common::signal(process.0.id(), "TERM");
    process.0.wait().unwrap();
}

/// Pushes a sample of every series at each of `times`.
fn push_at(url: &str, times: &(impl Iterator<Item = i64> + Clone)) {
    let ids: Vec<String> = (0..SERIES).map(|i| i.to_string()).collect();
    let labels: Vec<[(&str, &str); 3]> =
        ids.iter().map(|id| [("__name__", "pushed"), ("i", id.as_str()), ("text", "a\"b\\c")]).collect();
    let samples: Vec<Vec<(i64, f64)>> = (0..SERIES)
        .map(|i| times.clone().map(|at| (at, (at / 1000 % 1009) as f64 + i as f64 / 8.0)).collect())
        .collect();
    let series: Vec<push::Series<'_>> = labels.iter().zip(&samples).map(|(l, s)| (&l[..], &s[..])).collect();
    let request = common::agent().post(format!("{url}/api/v1/write")).header("Content-Type", "application/x-protobuf");
    let request = request.header("Content-Encoding", "snappy");
    let answer = common::answer(request.send(&push::request(&series)[..]));
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// Samples as `promtool tsdb dump` prints them.
fn theirs(promtool: &Path, dir: &Path) -> Samples {
    let output = Command::new(promtool).args(["tsdb", "dump"]).arg(dir).stderr(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    let mut samples = Samples::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (labels, rest) = line.rsplit_once("} ").map(|(labels, rest)| (&labels[1..], rest)).unwrap();
        // A native histogram is printed in braces of its own.
        let (labels, value) = match labels.split_once("} {count:") {
            Some((labels, histogram)) => (labels, histogram.split(',').next().unwrap()),
            None => (labels, rest.split(' ').next().unwrap()),
        };
        let at: i64 = rest.rsplit(' ').next().unwrap().parse().unwrap();
        samples.insert((labels_of(labels), at), value.parse::<f64>().unwrap().to_bits());
    }
    samples
}

/// Labels as they are printed between braces.
fn labels_of(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, rest)) = text.split_once('=') {
        let mut quoted = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let value = quoted.next().unwrap().unwrap();
        text = rest[quoted.byte_offset()..].trim_start_matches(", ");
        labels.insert(name.to_owned(), value);
    }
    labels
}

/// Samples as `silverback tsdb dump --format=json` prints them.
fn ours(dir: &Path) -> Samples {
    let output = silverback(&["tsdb", "dump", text(dir), "--format=json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let number = |value: &Value| match value.as_str() {
        Some("stale") => f64::NAN.to_bits(),
        Some(text) => text.parse::<f64>().unwrap().to_bits(),
        None => value.as_f64().unwrap().to_bits(),
    };
    let mut samples = Samples::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let labels: BTreeMap<String, String> = serde_json::from_value(line["metric"].clone()).unwrap();
        let list = |name: &str| line[name].as_array().cloned().unwrap_or_default();
        for (at, value) in list("timestamps").iter().zip(&list("values")) {
            samples.insert((labels.clone(), at.as_i64().unwrap()), number(value));
        }
        for histogram in list("histograms") {
            let count = &histogram[1]["count"];
            let count = if histogram[1] == "stale" { f64::NAN.to_bits() } else { number(count) };
            samples.insert((labels.clone(), histogram[0].as_i64().unwrap()), count);
        }
    }
    samples
}

/// The same bits for every NaN: the tools print them alike.
fn plain(samples: Samples) -> Samples {
    let plain = |bits: u64| if f64::from_bits(bits).is_nan() { f64::NAN.to_bits() } else { bits };
    samples.into_iter().map(|(key, bits)| (key, plain(bits))).collect()
}

/// A stopped Prometheus' directory with blocks of its own and of promtool, a log with a checkpoint, a log of late samples
/// and mapped chunks.
fn fill(program: &Path, promtool: &Path, dir: &Path) {
    let end = (now() * 1000.0) as i64 / MINUTE * MINUTE;
    let mut lines = String::from("# TYPE backfilled gauge\n");
    for n in 0..400 {
        writeln!(lines, "backfilled{{i=\"{}\"}} {n}.5 {}", n % 4, (end - 72 * HOUR) / 1000 + n * 60).unwrap();
    }
    lines.push_str("# EOF\n");
    std::fs::write(dir.join("back.om"), lines).unwrap();
    let made = Command::new(promtool)
        .current_dir(dir)
        .args(["tsdb", "create-blocks-from", "openmetrics", "back.om", "old"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Restarts begin segments; the more there are, the sooner a checkpoint is worth writing.
    let old = dir.join("old");
    let begun = end - 20 * HOUR;
    for hours in (0..20).step_by(4) {
        let (process, url) = prometheus(program, dir);
        for hour in hours..hours + 4 {
            let from = begun + hour * HOUR;
            push_at(&url, &(0..240).map(|n| from + n * HOUR / 240));
            push_at(&url, &(0..20).map(|n| from + 30 * MINUTE + n * 7001).filter(|at| at % 15_000 != 0));
        }
        let blocks = |count: usize| {
            std::fs::read_dir(&old).unwrap().filter(|e| e.as_ref().unwrap().file_name().len() == 26).count() >= count
        };
        wait_for("blocks", || blocks(2) || hours == 0);
        stop(process);
    }
    let (process, url) = prometheus(program, dir);
    wait_for("a checkpoint", || {
        std::fs::read_dir(old.join("wal"))
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with("checkpoint."))
    });
    wait_for("native histograms", || {
        let query = common::encode(&[("query", "count({__name__=~\"prometheus_.*_seconds\"})")]);
        common::number_of(&fetch(&format!("{url}/api/v1/query?{query}")).json()["data"]).is_some_and(|n| n > 1.0)
    });
    stop(process);
}

#[test]
fn a_directory_of_prometheus_is_refused_unchanged_and_its_import_brings_every_sample() {
    let (Some(program), Some(promtool)) = (program("prometheus"), program("promtool")) else {
        return skip("prometheus and promtool are not in the folder of PEERS");
    };
    let temp = tempfile::tempdir().unwrap();
    let (old, new) = (temp.path().join("old"), temp.path().join("new"));
    fill(&program, &promtool, temp.path());
    let before = contents(&old);
    let parts: BTreeSet<&str> =
        before.keys().map(|path| path.strip_prefix(&old).unwrap().iter().next().unwrap().to_str().unwrap()).collect();
    assert!(parts.contains("wal") && parts.contains("wbl") && parts.contains("chunks_head"), "{parts:?}");

    // The server, and whatever else would write or read there.
    let config = temp.path().join("none.yml");
    std::fs::write(&config, "scrape_configs: []\n").unwrap();
    let (config, path) =
        (format!("--config.file={}", config.display()), format!("--storage.tsdb.path={}", old.display()));
    let listen = format!("--web.listen-address=127.0.0.1:{}", free_port());
    let om = temp.path().join("back.om");
    for (args, flag) in [
        (&[config.as_str(), &path, &listen][..], true),
        (&["tsdb", "import", text(&old), text(&om)], false),
        (&["tsdb", "list", text(&old)], false),
        (&["tsdb", "verify", text(&old)], false),
        (&["tsdb", "dump", text(&old)], false),
        (&["tsdb", "analyze", text(&old)], false),
        (&["query", "up", "--from", text(&old)], false),
    ] {
        let output = silverback(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?}");
        let cure = format!("silverback tsdb import NEW {}", old.display());
        let last = told.lines().last().unwrap_or_default();
        assert!(last.contains(&cure) && last.contains("Prometheus"), "{args:?}: {told}");
        assert_eq!(last.contains("--storage.tsdb.path"), flag, "{args:?}: {told}");
        assert!(contents(&old) == before, "{args:?} has changed the directory");
    }

    let imported = silverback(&["tsdb", "import", text(&new), text(&old)]);
    let told = String::from_utf8_lossy(&imported.stderr);
    assert_eq!(imported.status.code(), Some(0), "{told}");
    assert!(!told.contains("left out"), "{told}");
    assert!(contents(&old) == before, "the import has changed its source");
    let (theirs, ours) = (plain(theirs(&promtool, &old)), plain(ours(&new)));
    assert!(theirs.len() > 20_000, "{} samples", theirs.len());
    // JSON numbers are read here to the last bit but one.
    let is_same = |a: u64, b: u64| a.abs_diff(b) <= 1;
    let is_lost = |key, value| !ours.get(key).is_some_and(|ours| is_same(*ours, value));
    let lost: Vec<_> = theirs.iter().filter(|(key, value)| is_lost(*key, **value)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost or changed: {:?}",
        lost.len(),
        theirs.len(),
        &lost[..lost.len().min(3)]
    );
    // Of a series of native histograms promtool leaves the first two out.
    let mut first = BTreeMap::new();
    let more: Vec<_> = ours.keys().filter(|key| !theirs.contains_key(key)).collect();
    more.iter().for_each(|(labels, _)| *first.entry(labels).or_insert(0) += 1);
    let more: Vec<_> = more.iter().filter(|(labels, _)| first[labels] > 2).collect();
    assert!(more.is_empty(), "{} are made up: {:?}", more.len(), &more[..more.len().min(3)]);

    // And the server goes on with it.
    let server = Server::start_in(temp.path(), &[&config, "--storage.tsdb.path=new"]);
    assert_eq!(server.number("count(count_over_time(pushed[2d]))"), Some(SERIES as f64));
}
