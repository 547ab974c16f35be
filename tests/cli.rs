//! The subcommands over real data: a directory that a server writes, also while it runs, and files.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Server, now, wait_for};
use serde_json::Value;

const SERIES: usize = 12;
const MINUTE: i64 = 60_000;
/// Samples of each series: five hours.
const STEPS: i64 = 300;

/// A server that scrapes nothing and into which samples of five hours have been pushed, so that some of it is in blocks.
fn filled() -> (Server, i64) {
    let server = Server::with_config("scrape_configs: []\n", &["--web.enable-remote-write-receiver"]);
    let start_ms = (now() * 1000.0) as i64 / MINUTE * MINUTE - STEPS * MINUTE;
    let ids: Vec<String> = (0..SERIES).map(|i| i.to_string()).collect();
    let labels: Vec<[(&str, &str); 3]> =
        ids.iter().map(|id| [("__name__", "pushed"), ("i", id.as_str()), ("text", "a\"b\\c")]).collect();
    for hour in 0..STEPS / 60 {
        let samples: Vec<Vec<(i64, f64)>> = (0..SERIES)
            .map(|i| (hour * 60..hour * 60 + 60).map(|n| (start_ms + n * MINUTE, n as f64 + i as f64 / 8.0)).collect())
            .collect();
        let series: Vec<push::Series<'_>> = labels.iter().zip(&samples).map(|(l, s)| (&l[..], &s[..])).collect();
        let traced = |n: i64| (start_ms + (hour * 60 + n) * MINUTE - 100, n as f64, format!("trace{n}"));
        let body = push::request_with(&series, |_| [20, 50].map(traced).to_vec());
        let answer = server.post("/api/v1/write", "application/x-protobuf", &body);
        assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
    }
    (server, start_ms)
}

fn silverback(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_silverback")).args(args).output().unwrap()
}

/// What it prints; it must succeed.
#[track_caller]
fn printed(args: &[&str]) -> String {
    let output = silverback(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it complains of; it must fail with this code.
#[track_caller]
fn refused(args: &[&str], code: i32) -> String {
    let output = silverback(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// All files below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_data_directory_is_read_beside_its_server_and_after_it() {
    let (mut server, start_ms) = filled();
    wait_for("a block", || {
        server.api("/status/tsdb/blocks", &[])["blocks"].as_array().is_some_and(|blocks| !blocks.is_empty())
    });
    let dir = server.dir.join("data");
    let data = text(&dir);
    let last = ((start_ms + (STEPS - 1) * MINUTE) / 1000).to_string();
    let start = (start_ms / 1000).to_string();
    let total = "sum(sum_over_time(pushed[6h]))";
    let asked = server.api("/query", &[("query", total), ("time", &last)]);
    let range = [("query", "sum by (i) (pushed)"), ("start", &start), ("end", &last), ("step", "10m")];
    let asked_range = server.api("/query_range", &range);
    for running in [true, false] {
        if !running {
            assert_eq!(server.stop(), Some(0));
        }
        let answer = printed(&["query", total, "--from", data, "--time", &last, "--format=json"]);
        assert_eq!(json(&answer), asked, "running: {running}");
        // Without a time it is that of the newest sample.
        assert_eq!(json(&printed(&["query", total, "--from", data, "--format=json"])), asked);
        let args = ["--start", &start, "--end", &last, "--step", "10m", "--format", "json"];
        let answer = printed(&[&["query", "sum by (i) (pushed)", "--from", data], &args[..]].concat());
        assert_eq!(json(&answer), asked_range);
        let csv = printed(&["query", "pushed{i=\"3\"}", "--from", data, "--format=csv"]);
        assert_eq!(csv, format!("__name__,i,text,time,value\npushed,3,\"a\"\"b\\c\",{last}.000,299.375\n"));
        let table = printed(&["query", "count(pushed)", "--from", data]);
        assert!(table.starts_with("{}  ") && table.ends_with("  12\n"), "{table}");

        let listed = json(&printed(&["tsdb", "list", data, "--json"]));
        let blocks = listed["blocks"].as_array().unwrap();
        assert!(!blocks.is_empty() && blocks.iter().all(|block| block["stats"]["numSeries"] == SERIES), "{listed:#}");
        assert_eq!(listed["head"]["numSeries"], SERIES);
        let lines = printed(&["tsdb", "list", data]);
        assert!(lines.contains(blocks[0]["ulid"].as_str().unwrap()) && lines.contains("12 series"), "{lines}");

        let analyzed = printed(&["tsdb", "analyze", data, "--limit=1"]);
        assert!(analyzed.starts_with("12 series\n") && analyzed.contains("12  pushed\n"), "{analyzed}");

        let dumped = printed(&["tsdb", "dump", data, "--match", "pushed{i=~\"[0-4]\"}"]);
        assert_eq!(dumped.lines().count(), 5 * STEPS as usize + 1);
        assert!(dumped.ends_with("# EOF\n"));
        let first = format!("pushed{{i=\"0\",text=\"a\\\"b\\\\c\"}} 0 {start}.000\n");
        assert!(dumped.starts_with(&first), "{}", &dumped[..200]);
        let lines = printed(&["tsdb", "dump", data, "--format=json", "--min-time", &last]);
        assert_eq!(lines.lines().count(), SERIES);
        let line = json(lines.lines().next().unwrap());
        assert_eq!((&line["values"][0], &line["metric"]["__name__"]), (&299.0.into(), &"pushed".into()));

        let verified = printed(&["tsdb", "verify", data]);
        assert!(verified.contains("all is whole"), "{verified}");
    }
}

#[test]
fn what_is_dumped_can_be_imported_and_a_directory_in_use_is_refused() {
    let (server, _) = filled();
    let dir = server.dir.join("data");
    let file = server.dir.join("dump.om");
    std::fs::write(&file, printed(&["tsdb", "dump", text(&dir)])).unwrap();
    let error = refused(&["tsdb", "import", text(&dir), text(&file)], 1);
    assert!(error.contains("in use"), "{error}");

    let other = server.dir.join("other");
    let told = printed(&["tsdb", "import", text(&other), text(&file)]);
    assert!(told.starts_with(&format!("{} samples in ", SERIES as i64 * STEPS)), "{told}");
    assert_eq!(printed(&["tsdb", "dump", text(&other)]), std::fs::read_to_string(&file).unwrap());
    // Others at the same times: what is there stays, nothing is there twice.
    let changed = server.dir.join("changed.om");
    let lines = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&changed, lines.replace(".125 ", ".0625 ").replace("} 0 ", "} 7 ")).unwrap();
    for _ in 0..4 {
        let error = refused(&["tsdb", "import", text(&other), text(&changed)], 1);
        assert!(error.contains("samples with another value at a time that is taken; the first: pushed{"), "{error}");
    }
    printed(&["tsdb", "import", "--allow-partial", text(&other), text(&changed)]);
    let again = printed(&["tsdb", "import", text(&other), text(&file)]);
    assert!(again.contains("3600 were there already"), "{again}");
    assert_eq!(printed(&["tsdb", "dump", text(&other)]), std::fs::read_to_string(&file).unwrap());
    assert!(printed(&["tsdb", "verify", text(&other)]).contains("all is whole"));
    let of_file = printed(&["query", "sum(pushed)", "--from", text(&file), "--format=csv"]);
    assert_eq!(printed(&["query", "sum(pushed)", "--from", text(&other), "--format=csv"]), of_file);

    // Older than a server keeps by default, which it says; the samples of today are not.
    let old = server.dir.join("old.om");
    std::fs::write(&old, "a 1 1000000000\na 2 1000000015\n# EOF\n").unwrap();
    let warned = |file| String::from_utf8(silverback(&["tsdb", "import", text(&other), file]).stderr).unwrap();
    let warning = warned(text(&old));
    assert!(warning.contains("warning: 2 of the samples, in 1 blocks, are older than the 15 days"), "{warning}");
    assert_eq!(warned(text(&file)), "");

    let untimed = server.dir.join("untimed.om");
    std::fs::write(&untimed, "a 1\n# EOF\n").unwrap();
    let error = refused(&["tsdb", "import", text(&other), text(&untimed)], 1);
    assert!(error.contains("untimed.om: line 1: a has a sample without a time"), "{error}");
    let missing = server.dir.join("missing.om");
    refused(&["tsdb", "import", text(&server.dir.join("never")), text(&missing)], 1);
    assert!(!server.dir.join("never").exists());
}

#[test]
fn exemplars_of_a_text_are_imported() {
    let temp = tempfile::tempdir().unwrap();
    let (file, data) = (temp.path().join("in.om"), temp.path().join("data"));
    let at = now() as i64 - 600;
    let text_of = format!(
        "# TYPE jobs counter\njobs_total{{q=\"a\"}} 1 {at} # {{trace_id=\"a\\\"b\"}} 0.5 {at}.25\njobs_total{{q=\"a\"}} 2 {}.5 \
         # {{}} 2\njobs_total{{q=\"a\"}} 3 {} # {{n=\"1\"}} 1 1000\n# EOF\n",
        at + 60,
        at + 120,
    );
    std::fs::write(&file, text_of).unwrap();
    let output = silverback(&["tsdb", "import", text(&data), text(&file)]);
    assert_eq!(output.status.code(), Some(1), "something was left out");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("3 samples and 2 exemplars in "), "{told}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("left out: 1 exemplars from times without samples; the first: jobs_total{q=\"a\"} at 1000.000"),
        "{error}"
    );
    assert!(printed(&["tsdb", "verify", text(&data)]).contains("all is whole"));
    let first = serde_json::json!({"labels": {"trace_id": "a\"b"}, "value": "0.5", "timestamp": at as f64 + 0.25});
    let second = serde_json::json!({"labels": {}, "value": "2", "timestamp": at as f64 + 60.5});
    let config = |most: usize| {
        let yaml = format!("storage: {{exemplars: {{max_exemplars: {most}}}}}\nscrape_configs: []\n");
        std::fs::write(temp.path().join("prometheus.yml"), yaml).unwrap();
        let server = Server::start_in(temp.path(), &["--config.file=prometheus.yml"]);
        server.get("/api/v1/query_exemplars?query=jobs_total").json()
    };
    let all = config(2);
    assert_eq!(all["data"][0]["seriesLabels"], serde_json::json!({"__name__": "jobs_total", "q": "a"}));
    assert_eq!((&all["data"][0]["exemplars"], all.get("warnings")), (&serde_json::json!([first, second]), None));
    let newest = config(1);
    assert_eq!(newest["data"][0]["exemplars"], serde_json::json!([second]));
    let warning = newest["warnings"][0].as_str().unwrap();
    assert!(warning.contains("the oldest are left out"), "{newest}");
}

#[test]
fn blocks_of_a_real_prometheus_are_imported() {
    let Some(promtool) = common::program("promtool") else {
        return common::skip("promtool is not there");
    };
    let temp = tempfile::tempdir().unwrap();
    let (file, blocks, data) = (temp.path().join("in.om"), temp.path().join("prometheus"), temp.path().join("data"));
    // Two years old, over two days.
    let line = |n: i64| format!("m{{i=\"{}\"}} {n}.5 {}.000\n", n % 3, 1_700_000_000 + n / 3 * 600);
    let mut lines: Vec<String> = (0..900).map(line).collect();
    std::fs::write(&file, lines.concat() + "# EOF\n").unwrap();
    let mut convert = Command::new(promtool);
    convert.args(["tsdb", "create-blocks-from", "openmetrics"]).args([&file, &blocks]);
    assert!(convert.output().unwrap().status.success());
    let told = printed(&["tsdb", "import", text(&data), text(&blocks)]);
    assert!(told.starts_with("900 samples in "), "{told}");
    lines.sort_by_key(|line| line.as_bytes()[5]);
    assert_eq!(printed(&["tsdb", "dump", text(&data)]), lines.concat() + "# EOF\n");
    let error = refused(&["tsdb", "import", text(&data), text(temp.path())], 1);
    assert!(error.contains("neither blocks nor a log of Prometheus"), "{error}");
}

#[test]
fn imports_name_and_count_what_they_leave_out() {
    let temp = tempfile::tempdir().unwrap();
    let import = |name: &str, body: &str, flags: &[&str]| {
        let (file, data) = (temp.path().join(format!("{name}.om")), temp.path().join(name));
        std::fs::write(&file, body.to_owned() + "# EOF\n").unwrap();
        let output = silverback(&[&["tsdb", "import"], flags, &[text(&data), text(&file)]].concat());
        let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        // What is refused as a whole makes no directory, or an empty one.
        let dump = if data.exists() { printed(&["tsdb", "dump", text(&data)]) } else { String::new() };
        (output.status.code(), told.concat(), dump)
    };
    for (name, body, code, why, kept) in [
        (
            "late",
            "foo 1 1\nbar 1 1e300\n",
            1,
            "left out: 1 samples or exemplars at a time that cannot be kept; the first: ",
            "foo 1 1.000\n",
        ),
        ("late", "bar 1 1e300\n", 1, "late.om: line 1: bar 1", "foo 1 1.000\n"),
        (
            "early",
            "foo 1 1\nfoo 1 2\nbar 2 -1e300\nbar 3 -1e300\n",
            1,
            "left out: 2 samples",
            "foo 1 1.000\nfoo 1 2.000\n",
        ),
        ("early-line", "foo 1 1\nbar 2 -1e300\n", 1, "early-line.om: line 2: bar 2", "foo 1 1.000\n"),
        (
            "conflict",
            "foo 1 1\nfoo 2 1\n",
            1,
            "left out: 1 samples with another value at a time that is taken; the first: foo at 1.000: 1 is kept, 2 is not",
            "foo 1 1.000\n",
        ),
        ("conflict-nan", "foo NaN 1\nfoo 2 1\n", 1, "NaN is kept, 2 is not", "foo NaN 1.000\n"),
        ("rounded", "foo 1 1.0001\nfoo 2 1.0002\n", 1, "1 is kept, 2 is not", "foo 1 1.000\n"),
        (
            "twice",
            "foo 1 1\nfoo 1 1\nfoo NaN 2\nfoo NaN 2\n",
            0,
            "2 samples in 1 blocks, ",
            "foo 1 1.000\nfoo NaN 2.000\n",
        ),
        (
            "exemplar",
            "# TYPE a counter\na_total 1 1 # {t=\"x\"} 1 1e300\n",
            1,
            "exemplar of a_total",
            "a_total 1 1.000\n",
        ),
        (
            "exemplars",
            "# TYPE a counter\na_total 1 1 # {t=\"x\"} 1 1\na_total 2 2 # {t=\"y\"} 1 1\n",
            1,
            "1 exemplars other than the one at their time",
            "a_total 1 1.000\na_total 2 2.000\n",
        ),
        ("nan", "foo 1 1\nfoo 1 NaN\n", 1, "line 2: ", ""),
        ("infinite", "foo 1 1\nfoo 1 +Inf\n", 1, "line 2: ", ""),
        ("untimed", "foo 1 1\nfoo 1 2\nfoo 7\n", 1, "line 3: foo has a sample without a time", ""),
        ("labels", "foo 1 1\nfoo{a=\"1\",a=\"2\"} 1 1\n", 1, "line 2: ", ""),
    ] {
        let (status, told, dump) = import(name, body, &[]);
        assert_eq!(status, Some(code), "{name}: {told}");
        assert!(told.contains(why), "{name}: {told}");
        assert_eq!(dump.trim_end_matches("# EOF\n"), kept, "{name}");
        if code == 1 && !kept.is_empty() {
            let (status, told, _) = import(name, body, &["--allow-partial"]);
            assert_eq!(status, Some(0), "{name}: {told}");
            assert!(told.contains("left out: "), "{name}: {told}");
        }
    }
}

#[test]
fn an_openmetrics_file_is_asked() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("some.om");
    let body =
        "# TYPE jobs counter\njobs_total{q=\"a\"} 1 100\njobs_total{q=\"a\"} 4 160\n# TYPE t gauge\nt 7 160\n# EOF\n";
    std::fs::write(&file, body).unwrap();
    let file = text(&file);
    assert_eq!(printed(&["query", "t", "--from", file, "--format=csv"]), "__name__,time,value\nt,160.000,7\n");
    let json_text = printed(&["query", "increase(jobs_total[2m])", "--from", file, "--time=160", "--format=json"]);
    assert_eq!(json(&json_text)["result"][0]["metric"]["q"], "a");
    assert_eq!(printed(&["query", "1 + 1", "--from", file, "--time=0"]), "{}  1970-01-01T00:00:00Z  2\n");
    let error = refused(&["query", "sum(", "--from", file], 2);
    assert!(error.contains("EXPR") && error.contains("parse error"), "{error}");
    refused(&["query", "t", "--from", file, "--start=1"], 2);
    assert!(
        refused(&["query", "t[1m]", "--from", file, "--start=1", "--end=9", "--step=1s"], 1).contains("range query")
    );
    std::fs::write(temp.path().join("bad.om"), "t 7 160\n").unwrap();
    let error = refused(&["query", "t", "--from", text(&temp.path().join("bad.om"))], 1);
    assert!(error.contains("bad.om: line") && error.contains("# EOF"), "{error}");
    let error = refused(&["query", "t", "--from", text(temp.path())], 1);
    assert!(error.contains("not a data directory"), "{error}");
}

#[test]
fn damage_is_told_with_its_file_and_never_read_as_data() {
    let (mut server, _) = filled();
    wait_for("a block", || {
        server.api("/status/tsdb/blocks", &[])["blocks"].as_array().is_some_and(|blocks| !blocks.is_empty())
    });
    server.kill();
    let dir = server.dir.join("data");
    let data = text(&dir);
    let ask = ["query", "sum by (i) (sum_over_time(pushed[6h]))", "--from", data, "--format=json"];
    let good = printed(&ask);
    let whole = printed(&["tsdb", "verify", data]);
    // A server that is ended between what makes a file dead and its removal leaves it. Nobody misses it.
    let left = dir.join("wal/00000000");
    std::fs::write(&left, b"what was").unwrap();
    let dead = |path: &Path| {
        let aside = path.with_extension("aside");
        std::fs::rename(path, &aside).unwrap();
        let without = silverback(&["tsdb", "verify", data]);
        std::fs::rename(&aside, path).unwrap();
        without.status.success() && without.stdout == whole.as_bytes()
    };
    let all = files(&dir);
    let log_end = all.iter().filter(|path| path.parent() == Some(&dir.join("wal"))).max().unwrap().clone();
    for path in all.iter().filter(|path| !path.ends_with("lock")) {
        let dead = dead(path);
        assert!(dead || *path != left);
        let bytes = std::fs::read(path).unwrap();
        // The reserved rest of the log is zeros; one place in it does for all.
        let len = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        let places = (0..4).map(|n| len * n / 4).chain([5, len.saturating_sub(1), bytes.len() - 1]);
        for at in places.filter(|&at| at < bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(path, &damaged).unwrap();
            let name = text(path);
            let verified = silverback(&["tsdb", "verify", data]);
            let found = String::from_utf8(verified.stdout).unwrap();
            if dead {
                assert_eq!(found, whole, "{name} at {at}");
                assert_eq!(printed(&ask), good, "{name} at {at}");
                continue;
            }
            // What follows the last whole commit of the log is cut off by the next start, whatever it is.
            let cut = *path == log_end && found.contains("note: ");
            let code = verified.status.code();
            assert!(found.contains(name) && (code == Some(1) || cut && code == Some(0)), "{name} at {at}: {found}");
            let asked = silverback(&ask);
            let told = String::from_utf8(asked.stderr).unwrap();
            match asked.status.code() {
                Some(0) if told.contains("note: ") => assert!(cut, "{name} at {at}: {told}"),
                Some(0) => assert_eq!(String::from_utf8(asked.stdout).unwrap(), good, "{name} at {at}"),
                code => assert!(code == Some(1) && told.contains(name), "{name} at {at}: {code:?}, {told}"),
            }
        }
        std::fs::write(path, &bytes).unwrap();
    }
    assert_eq!(printed(&ask), good);
}

#[test]
fn help_names_the_subcommands_in_a_line_each() {
    let help = printed(&["--help"]);
    for line in ["  check  Check files", "  tsdb   Look into a data directory", "  query  Evaluate an expression"] {
        assert!(help.contains(line), "{help}");
    }
    let help = printed(&["tsdb", "--help"]);
    for name in ["verify", "list", "dump", "analyze", "import"] {
        assert!(help.contains(&format!("\n  {name} ")), "{help}");
    }
}
