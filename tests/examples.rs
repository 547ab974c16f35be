//! The examples run, and do what they say.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Process, Server, fetch, free_port, wait_for};

/// An example that cargo has built beside the tests.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_silverback")).parent().unwrap().join("examples").join(name)
}

#[test]
fn embed_tsdb_stores_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(example("embed_tsdb")).arg(dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("rate"), "{text}");
}

#[test]
fn render_chart_draws_a_picture() {
    let output = Command::new(example("render_chart")).output().unwrap();
    let svg = String::from_utf8(output.stdout).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("<polyline") && svg.contains("Memory in use"), "{svg}");
}

#[test]
fn exporter_is_scraped_under_the_example_configuration() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let _exporter = Process::start(Command::new(example("exporter")).arg(&address));
    wait_for("the exporter", || fetch(&format!("http://{address}/metrics")).status == 200);
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: example\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    let server = Server::with_config(&config, &[]);
    wait_for("the exporter's counter", || {
        server.number("count({job=\"example\", __name__!~\"up|scrape_.*\"})").is_some_and(|n| n >= 3.0)
    });
    let kinds = server.api("/metadata", &[]);
    assert!(kinds.as_object().unwrap().values().any(|entry| entry[0]["type"] == "histogram"), "{kinds}");
    // The configuration in the folder is sound.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/silverback.yml");
    let check = Command::new(env!("CARGO_BIN_EXE_silverback")).args(["check", "config"]).arg(file).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn the_dashboards_of_the_folder_are_shown() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dashboards");
    let server = Server::start(&[&format!("--web.dashboards={}", folder.display())]);
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let page = server.get(&format!("/d/{name}"));
        assert_eq!(page.status, 200, "{name}: {}", page.text());
    }
}

#[test]
fn loadgen_is_scraped_and_pushes() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("loadgen.yml");
    let port = free_port();
    let mut serving = Command::new(example("loadgen"));
    serving.args(["--targets=7", "--series=50", "--interval=1s", "--config"]).arg(&config);
    let _serving = Process::start(serving.arg(format!("--listen=127.0.0.1:{port}")));
    wait_for("the targets", || fetch(&format!("http://127.0.0.1:{port}/target/6")).status == 200);
    wait_for("the configuration", || config.exists());
    assert_eq!(fetch(&format!("http://127.0.0.1:{port}/target/7")).status, 404);
    let server =
        Server::with_config(&std::fs::read_to_string(&config).unwrap(), &["--web.enable-remote-write-receiver"]);
    wait_for("all series of all targets", || server.number("count({job=\"load\", zone!=\"\"})") == Some(350.0));
    wait_for("all targets to be up", || server.number("count(up == 1)") == Some(7.0));
    // Pushed to another server, for these samples end now.
    let server = Server::with_config("scrape_configs: []\n", &["--web.enable-remote-write-receiver"]);
    let mut pushing = Command::new(example("loadgen"));
    pushing.arg(format!("--push={}/api/v1/write", server.url)).args(["--push-series=500", "--steps=20", "--batch=100"]);
    let output = pushing.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("pushed: "), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.number("count({job=\"load\"})"), Some(500.0), "{text}");
    assert_eq!(server.number("count(count_over_time(load_7_level[10m]) == 20)"), Some(20.0), "{text}");
}

#[test]
fn queryload_asks_as_viewers_and_pickers_do() {
    let config = "scrape_configs: []\n";
    let server = Server::with_config(config, &["--web.enable-remote-write-receiver"]);
    let mut pushing = Command::new(example("loadgen"));
    pushing.arg(format!("--push={}/api/v1/write", server.url));
    let pushed = pushing.args(["--push-series=2000", "--steps=20", "--unique"]).output().unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    let dir = tempfile::tempdir().unwrap();
    let chart = dir.path().join("growth.svg");
    let ask = |arguments: &[&str]| {
        let mut asking = Command::new(example("queryload"));
        let output = asking.arg(format!("--url={}", server.url)).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let text = ask(&["dashboard", "--viewers=4", "--for=1s", "--interval=0s", "--param=nocache=1"]);
    assert!(text.contains(" all ") && text.lines().count() > 10, "{text}");
    let text = ask(&["labels"]);
    assert!(
        text.contains("limit=100 (100 found)") && text.contains("/series match[]={instance=\"host-1\"} (1000 found)"),
        "{text}"
    );
    ask(&["growth", &format!("--chart={}", chart.display())]);
    let svg = std::fs::read_to_string(chart).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("100000 series"), "{svg}");
}
