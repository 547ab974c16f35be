//! Data of a real Prometheus as blocks. `PEERS` names the folder with `prometheus` and `promtool`; without it these skip.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tsdb::testing::FaultFs;
use tsdb::testing::blocks::OpenedBlock;
use tsdb::{
    BlockId, Columns, DiskFs, Exemplar, FloatHistogram, Fs, Imported, Importer, Labels, Omission, PrometheusDir, Span,
    TimeRange, Timestamp,
};

const HOUR_MS: i64 = 3_600_000;

fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PEERS").map(|dir| PathBuf::from(dir).join(name)).filter(|path| path.exists());
    if path.is_none() {
        let skipped = format!("skipped: {name} is not there; name its folder in PEERS");
        assert!(std::env::var_os("SILVERBACK_NO_SKIP").is_none(), "{skipped}");
        eprintln!("{skipped}");
    }
    path
}

/// What a store holds: per series floats by time, and histograms as text by time.
type Contents = BTreeMap<String, (BTreeMap<i64, u64>, BTreeMap<i64, String>)>;

/// Exemplars with the series that they are of.
type Exemplars = Vec<(Labels, Exemplar)>;

fn import(from: &Path) -> (Contents, Exemplars, Imported) {
    let (source, target): (Arc<dyn Fs>, Arc<dyn Fs>) = (Arc::new(DiskFs), Arc::new(FaultFs::default()));
    let blocks_dir = Path::new("/blocks");
    let mut number = 0;
    let mut importer = Importer::new(&target, blocks_dir, 24 * HOUR_MS, move || {
        number += 1;
        BlockId::new(Timestamp::from_millis(0), number)
    });
    let mut last = (0, 0);
    PrometheusDir::open(&source, from).unwrap().import(&mut importer, |done, total| last = (done, total)).unwrap();
    let imported = importer.finish().unwrap();
    assert!(imported.is_complete(), "{:?} {:?}", imported.faults, imported.left_out);
    assert!(last.0 == last.1 && last.1 > 0, "{last:?} of the bytes were read");
    let (mut contents, mut exemplars) = (Contents::new(), Exemplars::new());
    for meta in &imported.blocks {
        let block = OpenedBlock::open(&target, blocks_dir, meta.ulid).unwrap();
        block.verify().unwrap();
        exemplars.extend(block.exemplars(&[]).unwrap());
        let set = block.select(&[], TimeRange::ALL).unwrap();
        for i in 0..set.len() {
            let mut columns = Columns::default();
            set.read(i, TimeRange::ALL, &mut columns).unwrap();
            let (floats, histograms) = contents.entry(set.labels(i).to_string()).or_default();
            floats.extend(columns.timestamps_ms.iter().copied().zip(columns.values.iter().map(|v| v.to_bits())));
            histograms.extend(columns.histograms.iter().map(|h| (h.timestamp.millis(), text(&h.histogram))));
        }
    }
    (contents, exemplars, imported)
}

/// A histogram without what is the source's choice: the hint, and buckets of nothing.
fn text(h: &FloatHistogram) -> String {
    let side = |spans: &[Span], buckets: &[f64]| {
        let mut index = 0;
        let mut places = Vec::new();
        for span in spans {
            index += span.offset;
            places.extend(index..index + span.length as i32);
            index += span.length as i32;
        }
        assert_eq!(places.len(), buckets.len());
        places.into_iter().zip(buckets.to_vec()).filter(|(_, count)| *count != 0.0).collect::<Vec<_>>()
    };
    let (positive, negative) =
        (side(&h.positive_spans, &h.positive_buckets), side(&h.negative_spans, &h.negative_buckets));
    let buckets: f64 = positive.iter().chain(&negative).map(|(_, count)| count).sum();
    assert!(h.is_stale() || buckets + h.zero_count == h.count, "buckets do not add up: {h:?}");
    format!("{} {} {} {:x} {positive:?} {negative:?}", h.schema, h.zero_threshold, h.count, h.sum.to_bits())
}

#[test]
fn blocks_that_promtool_made_come_over_sample_by_sample() {
    let Some(promtool) = peer("promtool") else { return };
    let temp = tempfile::tempdir().unwrap();
    let start_s = 1_790_000_000 / 7200 * 7200;
    let mut text = String::new();
    let mut expected = Contents::new();
    for name in ["first", "second"] {
        writeln!(text, "# TYPE {name} gauge").unwrap();
        for n in 0..3 {
            let labels = Labels::from_pairs([("__name__", name), ("n", &n.to_string()), ("ü", "a\"b")]).to_string();
            let (floats, _) = expected.entry(labels).or_default();
            for i in 0..1000 {
                let (at_s, value) = (start_s + i * 15 + n, f64::from(n as i32) + (i * i % 977) as f64 / 7.0);
                writeln!(text, "{{\"{name}\",n=\"{n}\",\"ü\"=\"a\\\"b\"}} {value} {at_s}").unwrap();
                floats.insert(at_s * 1000, value.to_bits());
            }
        }
    }
    text.push_str("# EOF\n");
    let (input, output) = (temp.path().join("in.om"), temp.path().join("data"));
    std::fs::write(&input, text).unwrap();
    let made =
        Command::new(promtool).args(["tsdb", "create-blocks-from", "openmetrics"]).args([&input, &output]).output();
    assert!(made.as_ref().unwrap().status.success(), "{made:?}");
    let (contents, exemplars, imported) = import(&output);
    assert_eq!(exemplars, []);
    assert!(imported.blocks.len() >= 2, "{imported:?}");
    assert!(contents == expected, "{} series of {}", contents.len(), expected.len());
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn request(port: u16, head: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 2").then_some(answer)
}

/// A target that counts how often it is scraped, in OpenMetrics, each time with an exemplar of this. Gives its port; it lives as
/// long as the test.
fn target_with_exemplars() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                request.push(byte[0]);
            }
            let body = format!("# TYPE hits counter\nhits_total {n} # {{trace_id=\"{n:x}\",k=\"é\"}} {n}.5\n# EOF\n");
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: {}",
                body.len()
            );
            let _ = write!(stream, "{head}\r\n\r\n{body}");
        }
    });
    port
}

/// Asserts that these are what that target shows, without a gap.
fn check_exemplars(found: &Exemplars) {
    assert!(found.len() > 4, "{found:?}");
    for ((labels, exemplar), n) in found.iter().zip(found[0].1.value as i64..) {
        assert_eq!(labels.metric_name(), Some("hits_total"));
        assert_eq!(exemplar.labels, Labels::from_pairs([("trace_id", format!("{n:x}").as_str()), ("k", "é")]));
        assert_eq!(exemplar.value, n as f64 + 0.5);
    }
}

#[test]
fn the_log_and_a_snapshot_of_a_running_prometheus_come_over_alike() {
    let Some(prometheus) = peer("prometheus") else { return };
    let temp = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (config, data) = (temp.path().join("prometheus.yml"), temp.path().join("data"));
    let traced = target_with_exemplars();
    let each = "scrape_interval: 500ms, scrape_timeout: 500ms, static_configs:";
    let targets = format!(
        "scrape_configs: [{{job_name: self, {each} [{{targets: ['127.0.0.1:{port}']}}]}}, {{job_name: traced, {each} [{{targets: \
         ['127.0.0.1:{traced}']}}]}}]\n"
    );
    std::fs::write(&config, targets).unwrap();
    let server = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--web.enable-admin-api", "--enable-feature=native-histograms,exemplar-storage", "--log.level=error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let server = Ended(server.unwrap());
    let scraped = |n: u32| {
        let query = "GET /api/v1/query?query=count_over_time(up%5B1m%5D)";
        let count =
            request(port, query).and_then(|answer| answer.rsplit(",\"").next()?.split('"').next()?.parse::<u32>().ok());
        count.is_some_and(|count| count >= n)
    };
    for _ in 0..200 {
        if scraped(8) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let delete = "POST /api/v1/admin/tsdb/delete_series?match%5B%5D=prometheus_build_info";
    request(port, delete).expect("series can be deleted");
    let snapshot = request(port, "POST /api/v1/admin/tsdb/snapshot").expect("a snapshot can be taken");
    let name = snapshot.split("\"name\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    drop(server);
    let (from_blocks, in_blocks, _) = import(&data.join("snapshots").join(name));
    let (from_log, in_log, imported) = import(&data);
    assert_eq!((in_blocks, imported.is_complete()), (Exemplars::new(), true), "no block of Prometheus has any");
    check_exemplars(&in_log);
    let histograms: usize = from_blocks.values().map(|(_, histograms)| histograms.len()).sum();
    let floats: usize = from_blocks.values().map(|(floats, _)| floats.len()).sum();
    assert!(histograms > 20 && floats > 3000, "{histograms} histograms, {floats} floats");
    for contents in [&from_blocks, &from_log] {
        let first = |name: &str| {
            let series = contents.iter().filter(|(labels, _)| labels.starts_with(name));
            series.flat_map(|(_, (floats, _))| floats.keys()).min().copied()
        };
        let (up, deleted) = (first("up{").unwrap(), first("prometheus_build_info{"));
        assert!(deleted.is_none_or(|deleted| deleted > up + 3000), "what was deleted came over");
    }
    // The server went on after the snapshot: the log has all that is in it, and more.
    for (labels, (floats, histograms)) in &from_blocks {
        let (logged_floats, logged_histograms) = &from_log[labels];
        assert!(floats.iter().all(|(at, value)| logged_floats.get(at) == Some(value)), "{labels}");
        for (at, histogram) in histograms {
            assert_eq!(logged_histograms.get(at), Some(histogram), "{labels} at {at}");
        }
    }
    assert!(from_log.values().flat_map(|(_, histograms)| histograms.values()).any(|text| text.contains("[(")));
}

#[test]
fn chunks_of_a_block_that_cannot_be_read_cost_only_themselves_and_are_counted() {
    let Some(promtool) = peer("promtool") else { return };
    let temp = tempfile::tempdir().unwrap();
    let start_s = 1_790_000_000 / 7200 * 7200;
    let mut text = String::new();
    for i in 0..300 {
        for name in ["a", "b"] {
            writeln!(text, "{name} {i} {}", start_s + i * 15).unwrap();
        }
    }
    text.push_str("# EOF\n");
    let (input, output) = (temp.path().join("in.om"), temp.path().join("data"));
    std::fs::write(&input, text).unwrap();
    let made =
        Command::new(promtool).args(["tsdb", "create-blocks-from", "openmetrics"]).args([&input, &output]).output();
    assert!(made.as_ref().unwrap().status.success(), "{made:?}");
    let block = std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let chunks = block.unwrap().join("chunks/000001");
    let whole = std::fs::read(&chunks).unwrap();
    // The first chunk begins behind the header of the file, with its length.
    let (length, at) = match whole[8..] {
        [low, high, ..] if low >= 0x80 => (usize::from(low & 0x7f) | usize::from(high) << 7, 10),
        [low, ..] => (usize::from(low), 9),
        [] => unreachable!(),
    };
    let run = |bytes: &[u8]| {
        std::fs::write(&chunks, bytes).unwrap();
        let (source, target): (Arc<dyn Fs>, Arc<dyn Fs>) = (Arc::new(DiskFs), Arc::new(FaultFs::default()));
        let mut number = 0;
        let mut importer = Importer::new(&target, Path::new("/blocks"), 24 * HOUR_MS, move || {
            number += 1;
            BlockId::new(Timestamp::from_millis(0), number)
        });
        PrometheusDir::open(&source, &output).unwrap().import(&mut importer, |_, _| ()).unwrap();
        let imported = importer.finish().unwrap();
        let samples: u64 = imported.blocks.iter().map(|block| block.stats.num_samples).sum();
        let left_out: Vec<_> =
            imported.left_out.iter().map(|(why, count, first)| (why, count, first.to_owned())).collect();
        (samples, left_out)
    };
    assert_eq!(run(&whole), (600, vec![]));
    let mut damaged = whole.clone();
    damaged[at + 20] ^= 1;
    let (samples, left_out) = run(&damaged);
    assert!((300..600).contains(&samples), "{samples}");
    assert!(matches!(&left_out[..], [(Omission::DamagedChunk, 1, first)] if first.starts_with("a: ")), "{left_out:?}");
    let mut unknown = whole;
    unknown[at] = 77;
    let checksum = crc_fast::crc32_iscsi(&unknown[at..at + 1 + length]);
    unknown[at + 1 + length..at + 5 + length].copy_from_slice(&checksum.to_be_bytes());
    let (again, left_out) = run(&unknown);
    assert_eq!(again, samples);
    assert!(
        matches!(&left_out[..], [(Omission::UnknownEncoding, 1, first)] if first.contains("encoding 77")),
        "{left_out:?}"
    );
}
