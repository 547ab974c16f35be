//! Clients that hold connections: what they cost the server, which goes on scraping.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::{Server, wait_for};

/// A target that counts its scrapes.
struct Target {
    address: SocketAddr,
    scrapes: Arc<AtomicU64>,
}

impl Target {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for a test");
        let address = listener.local_addr().expect("its address");
        let scrapes = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&scrapes);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\na 1\n");
                counted.fetch_add(1, Relaxed);
            }
        });
        Self { address, scrapes }
    }

    /// Waits until it has been scraped three times more.
    fn wait_for_scrapes(&self) {
        let before = self.scrapes.load(Relaxed);
        wait_for("scrapes to go on", || self.scrapes.load(Relaxed) >= before + 3);
    }
}

/// A server that scrapes `target` each second and may have `files` open.
fn scraping(target: &Target, files: u32, flags: &[&str]) -> Server {
    let temp = tempfile::tempdir().expect("a directory for a test");
    let yaml = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: own, static_configs: [{{targets: ['{}']}}]}}]\n",
        target.address
    );
    std::fs::write(temp.path().join("prometheus.yml"), yaml).expect("a file for a test");
    let mut all = vec!["--config.file=prometheus.yml"];
    all.extend(flags);
    let mut command = Command::new("sh");
    let limited = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_silverback")]);
    Server::start_by(command, temp, &all)
}

fn connect(server: &Server) -> TcpStream {
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().expect("an address");
    let stream = TcpStream::connect(address).expect("the system takes connections");
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout");
    stream
}

/// The value of a metric with its labels.
fn metric(server: &Server, name: &str) -> f64 {
    let text = server.get("/metrics").text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in {text}"))
}

#[test]
fn scrapes_go_on_while_clients_hold_all_connections_that_they_get() {
    let target = Target::start();
    let mut server = scraping(&target, 256, &["--web.read-timeout=4s"]);
    assert!(server.read_log().contains("--web.max-connections is lowered"), "{}", server.log);
    assert_eq!(metric(&server, "silverback_http_connections_max"), 156.0);
    for sent in ["GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n", "GET /-/ready HTTP/1.1\r\nHost:", ""] {
        let mut held = Vec::new();
        for _ in 0..239 {
            let mut stream = connect(&server);
            // The server may have closed it already.
            let _ = stream.write_all(sent.as_bytes());
            held.push(stream);
        }
        target.wait_for_scrapes();
        for mut stream in held {
            let mut answer = Vec::new();
            // A reset is an end as well.
            let ended = stream.read_to_end(&mut answer);
            let is_timeout = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            assert!(!is_timeout, "a connection was not closed after {sent:?}");
        }
    }
    assert!(metric(&server, "silverback_http_connections_limit_reached_total") > 0.0);
    let closed = metric(&server, "silverback_http_connections_evicted_total")
        + metric(&server, "silverback_http_connections_timed_out_total{while=\"idle\"}")
        + metric(&server, "silverback_http_connections_timed_out_total{while=\"receiving\"}");
    assert!(closed >= 3.0 * 239.0 - 156.0, "{closed}");
    wait_for("the log to tell of it", || server.read_log().contains("there are places for connections again"));
    assert_eq!(server.log.matches("the limit of connections is reached").count(), 1, "{}", server.log);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn heads_as_large_as_prometheus_takes_them_reach_the_api_and_larger_ones_get_its_envelope() {
    let server = Server::with_config("scrape_configs: []\n", &["--web.cors.origin=http://.*"]);
    let ask = |head: String| {
        let mut stream = connect(&server);
        stream.write_all(head.as_bytes()).expect("the server reads on");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head[9..12].to_owned(), head.to_ascii_lowercase(), body.to_owned())
    };
    let query = "GET /api/v1/query?query=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let lines: String = (0..150).map(|i| format!("X-{i}: y\r\n")).collect();
    for taken in [
        format!("{query}{lines}\r\n"),
        format!("{query}X: {}\r\n\r\n", "y".repeat(1 << 20)),
        format!("{query}Origin: http://a\r\n  b\r\n\tc\r\n\r\n"),
        format!("GET /api/v1/query?x={}&query=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "y".repeat(900_000)),
        "GET /api/v1/query?query=vector(1)>bool{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            .replace("bool{}", "0"),
    ] {
        let (status, head, body) = ask(taken);
        assert_eq!(status, "200", "{head}: {body}");
    }
    let (_, head, _) = ask(format!("{query}Origin: http://a\r\n  b\r\n\tc\r\n\r\n"));
    assert!(head.contains("\r\naccess-control-allow-origin: http://a b c"), "{head}");
    for (refused, expected) in [
        (format!("{query}X: {}\r\n\r\n", "y".repeat(2 << 20)), "431"),
        (format!("GET /api/v1/query?x={} HTTP/1.1\r\n\r\n", "y".repeat(2 << 20)), "431"),
        (format!("GET /api/v1/label/{}/values HTTP/1.1\r\n\r\n", "y".repeat(70_000)), "414"),
        (format!("{query}Bad Name: x\r\n\r\n"), "400"),
        ("POST /api/v1/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(), "501"),
    ] {
        let (status, head, body) = ask(refused);
        let json: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!((status.as_str(), json["status"].as_str()), (expected, Some("error")), "{head}: {body}");
        assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    }
}

#[test]
fn a_body_that_is_never_finished_costs_no_more_than_the_read_timeout() {
    let server =
        Server::with_config("scrape_configs: []\n", &["--web.read-timeout=3s", "--web.enable-remote-write-receiver"]);
    let mut stream = connect(&server);
    let head = "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "the connection stays");
    let timed_out = || metric(&server, "silverback_http_connections_timed_out_total{while=\"receiving\"}");
    wait_for("the timeout to be counted", || timed_out() > 0.0);
}
