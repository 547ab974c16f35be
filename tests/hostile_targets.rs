//! Targets that mean harm beside targets that do not: each harm ends as its own target's error.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::{Server, now, wait_for};

const HOSTILE: usize = 66;
const GOOD: usize = 10;

/// Seconds for which the good targets are watched, at one scrape a second.
const WATCHED: u64 = 20;

/// Most bytes that the server may have resident at any moment.
const PEAK_BYTES: u64 = 256 << 20;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";

fn gzip(bytes: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for part in bytes {
        encoder.write_all(&part).unwrap();
    }
    encoder.finish().unwrap()
}

/// `mib` mebibytes of the line `a 1`, packed.
fn bomb(mib: usize) -> Vec<u8> {
    let mebibyte = b"a 1\n".repeat(1 << 18);
    gzip((0..mib).map(|_| mebibyte.clone()))
}

/// Writes a harm of kind `kind` until the client has had enough.
type Harm = Box<dyn Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync>;

fn whole(content_type: &str, encoding: &str, body: Vec<u8>) -> Harm {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{encoding}Content-Length: {}\r\n\r\n", body.len());
    Box::new(move |stream| {
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)
    })
}

fn text(body: Vec<u8>) -> Harm {
    whole("text/plain; version=0.0.4", "", body)
}

fn packed(body: Vec<u8>) -> Harm {
    whole("text/plain; version=0.0.4", "Content-Encoding: gzip\r\n", body)
}

/// Begins with `start`, then writes `part` again and again.
fn endless(start: String, part: &'static [u8], pause: Duration) -> Harm {
    Box::new(move |stream| {
        stream.write_all(start.as_bytes())?;
        loop {
            stream.write_all(part)?;
            std::thread::sleep(pause);
        }
    })
}

/// Harms of all kinds: name and how it is done.
fn harms() -> Vec<(&'static str, Harm)> {
    let lines = |line: &dyn Fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>().into_bytes();
    let never = Duration::ZERO;
    let protobuf = |body| {
        whole("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", "", body)
    };
    let chunk: &'static [u8] = Vec::leak([b"8000\r\n".to_vec(), b"a 1\n".repeat(8192), b"\r\n".to_vec()].concat());
    let mut family = vec![0x0a, 1, b'h', 0x18, 4];
    let metric = [vec![0x3a, 0x80, 0x80, 0x80, 0x04], [0x1a, 0].repeat(4 << 20)].concat();
    family.extend([0x22, 0x85, 0x80, 0x80, 0x04]);
    family.extend(metric);
    vec![
        ("64 MiB of one line, packed to 63 KiB", packed(bomb(64))),
        ("600 MiB, packed", packed(bomb(600))),
        ("a packed body in a packed body", packed(gzip([bomb(64)]))),
        ("many packed members", packed(bomb(4).repeat(40))),
        ("empty packed members", packed(gzip([]).repeat(50_000))),
        ("no gzip", packed(vec![0xff; 1 << 20])),
        ("one byte a second", endless(format!("{HEAD}Content-Length: 1000000\r\n\r\n"), b"a", Duration::from_secs(1))),
        ("one header byte a second", endless("HTTP/1.1 200 OK\r\nX: ".to_owned(), b"a", Duration::from_secs(1))),
        ("chunks without end", endless(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"), chunk, never)),
        ("a body without end", endless(format!("{HEAD}\r\n"), chunk, never)),
        ("headers without end", endless("HTTP/1.1 200 OK\r\n".to_owned(), b"X-Header: value\r\n", never)),
        ("a header line without end", endless("HTTP/1.1 200 OK\r\nX: ".to_owned(), &[b'x'; 4096], never)),
        ("interim answers without end", endless(String::new(), b"HTTP/1.1 100 Continue\r\n\r\n", never)),
        (
            "a chunk of 2^63",
            endless(
                format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n"),
                b"a 1\n",
                Duration::from_millis(1),
            ),
        ),
        ("a chunk size without end", endless(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"), b"0", never)),
        (
            "a length of 2^63",
            endless(format!("{HEAD}Content-Length: 9223372036854775807\r\n\r\n"), b"a 1\n", Duration::from_millis(1)),
        ),
        (
            "a length too long",
            endless(format!("{HEAD}Content-Length: 1000\r\n\r\na 1\n"), b"", Duration::from_secs(60)),
        ),
        ("TYPE lines", text(lines(&|n| format!("# TYPE a{n} gauge\n"), 1_000_000))),
        ("HELP lines in reverse", text(lines(&|n| format!("# HELP a{} x\n", 9_999_999 - n), 1_000_000))),
        ("a help text of 60 MiB", packed(gzip([b"# HELP a ".to_vec(), vec![b'x'; 60 << 20], b"\na 1\n".to_vec()]))),
        ("a label value of 60 MiB", packed(gzip([b"a{x=\"".to_vec(), vec![b'x'; 60 << 20], b"\"} 1\n".to_vec()]))),
        ("a line of 60 MiB", packed(gzip([vec![b'x'; 60 << 20]]))),
        ("a type of 60 MiB", packed(gzip([b"# TYPE a ".to_vec(), vec![b'x'; 60 << 20], b"\n".to_vec()]))),
        ("labels without number", packed(gzip([b"a{".to_vec(), b"x=\"\",".repeat(8 << 20), b"} 1\n".to_vec()]))),
        ("blank lines", packed(gzip([vec![b'\n'; 60 << 20]]))),
        ("comments", packed(gzip([b"#\n".repeat(30 << 20)]))),
        ("a length claimed by protocol buffers", protobuf(vec![0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3])),
        ("buckets without number", protobuf([vec![0x8f, 0x80, 0x80, 0x04], family].concat())),
        ("empty families", protobuf(vec![0; 8 << 20])),
        (
            "redirects in a circle",
            Box::new(|stream| {
                stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /metrics\r\nContent-Length: 0\r\n\r\n")
            }),
        ),
        ("no answer", endless(String::new(), b"", Duration::from_secs(60))),
        ("an error with a body without end", endless("HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(), chunk, never)),
        ("noise", endless(String::new(), &[0x16; 1024], never)),
    ]
}

/// Answers every request with what `answer` writes; gives the address.
fn target(answer: Arc<Harm>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || serve(stream, &answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: &Harm) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        if answer(&mut stream).is_err() {
            return;
        }
    }
}

/// The most bytes that a process has had resident.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn hostile_targets_cost_the_good_ones_no_scrape_and_the_server_little_memory() {
    let harms: Vec<(&str, Arc<Harm>)> = harms().into_iter().map(|(name, harm)| (name, Arc::new(harm))).collect();
    let page: String = (0..500).map(|n| format!("good{{n=\"{n}\"}} {n}\n")).collect();
    let good = Arc::new(text(page.into_bytes()));
    let list =
        |targets: Vec<String>| format!("[{}]", targets.iter().map(|t| format!("'{t}'")).collect::<Vec<_>>().join(","));
    let bad: Vec<String> = (0..HOSTILE).map(|n| target(Arc::clone(&harms[n % harms.len()].1))).collect();
    let good: Vec<String> = (0..GOOD).map(|_| target(Arc::clone(&good))).collect();
    let server = Server::with_config(
        &format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: good\n  static_configs: \
             [{{targets: {}}}]\n- job_name: bad\n  static_configs: [{{targets: {}}}]\n",
            list(good),
            list(bad.clone())
        ),
        &[],
    );
    wait_for("the good targets to be up", || server.number("count(up{job=\"good\"} == 1)") == Some(GOOD as f64));
    let begun = now();
    while now() - begun < WATCHED as f64 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let window = format!("[{}s]", WATCHED - 2);
    let least = server.number(&format!("min(count_over_time(up{{job=\"good\"}}{window}))")).unwrap();
    assert!(least >= (WATCHED - 3) as f64, "{least} scrapes of {}", WATCHED - 2);
    assert_eq!(server.number(&format!("min(min_over_time(up{{job=\"good\"}}{window}))")), Some(1.0));
    assert_eq!(
        server.number(&format!("min(min_over_time(scrape_samples_scraped{{job=\"good\"}}{window}))")),
        Some(500.0)
    );
    let peak = peak_bytes(server.pid());
    println!("peak: {} MiB", peak >> 20);
    assert!(peak <= PEAK_BYTES, "{} MiB resident", peak >> 20);
    let targets = server.api("/targets", &[("scrapePool", "bad")]);
    for target in targets["activeTargets"].as_array().unwrap() {
        let address = target["discoveredLabels"]["__address__"].as_str().unwrap();
        let kind = harms[bad.iter().position(|bad| bad == address).unwrap() % harms.len()].0;
        let error = target["lastError"].as_str().unwrap();
        println!("{kind}: {} {}", target["health"], error.chars().take(150).collect::<String>());
        assert!(error.len() < 2048, "{kind}: {} bytes of error", error.len());
    }
}
