//! Pushes that would take far more memory than they bring, and senders that never finish, against a server that has
//! 2 GiB: each is refused in its time, good pushes beside them are stored, and little memory is taken.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Answer, Server, now, wait_for};
use push::{bytes, number};

/// Address space that the server has.
const MEMORY: u64 = 2 << 30;
/// Memory that it may take, its own and that of pushes included.
const RESIDENT: u64 = 600 << 20;

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn server(flags: &[&str]) -> Server {
    let mut all = vec!["--web.enable-remote-write-receiver"];
    all.extend(flags);
    Server::start_within(MEMORY, &all)
}

/// How many bytes of memory the process has had at the most.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn good(server: &Server, name: &str) -> Answer {
    let samples = [((now() * 1000.0) as i64, 1.0)];
    server.post("/api/v1/write", V1, &push::request(&[(&[("__name__", name)], &samples)]))
}

fn metric(server: &Server, name: &str) -> f64 {
    let page = server.get("/metrics").text();
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{name}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// A block of snappy that claims a size, and what follows.
fn claim(mut size: usize, rest: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    while size >= 0x80 {
        block.push(size as u8 | 0x80);
        size >>= 7;
    }
    block.push(size as u8);
    block.extend_from_slice(rest);
    block
}

/// A message of `count` times the field `part`, in a time series with the labels of `name`.
fn series_of(name: &str, part: &[u8], count: usize) -> Vec<u8> {
    let (mut label, mut series, mut message) = (Vec::new(), Vec::new(), Vec::new());
    bytes(&mut label, 1, b"__name__");
    bytes(&mut label, 2, name.as_bytes());
    bytes(&mut series, 1, &label);
    series.extend(std::iter::repeat_n(part, count).flatten());
    bytes(&mut message, 1, &series);
    message
}

/// Requests, each with its content type and the statuses that it may have.
fn bombs() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    const MIB: usize = 1 << 20;
    let repeated = |part: &[u8], bytes: usize| part.repeat(bytes / part.len());
    let mut histogram = Vec::new();
    bytes(&mut histogram, 12, &vec![0; 30 * MIB]);
    let mut of_histogram = Vec::new();
    bytes(&mut of_histogram, 4, &histogram);
    let mut exemplar = Vec::new();
    bytes(&mut exemplar, 3, &repeated(&[0x0a, 0], 30 * MIB));
    let mut refs = Vec::new();
    bytes(&mut refs, 1, &vec![0; 30 * MIB]);
    let mut of_refs = Vec::new();
    bytes(&mut of_refs, 5, &refs);
    let mut labels = Vec::new();
    bytes(&mut labels, 1, &repeated(&[0x0a, 0], 30 * MIB));
    vec![
        // A quarter of a GiB, claimed by five bytes.
        (V1, claim(256 * MIB - 1, &[0]), &[413]),
        (V1, claim(32 * MIB, &[0]), &[400]),
        // The ratio would allow it.
        (V1, claim(32 * MIB, &vec![0; 2 * MIB]), &[400]),
        (V1, claim(64 * MIB, &vec![0xfe; 4 * MIB]), &[413]),
        // Samples of two bytes.
        (V1, push::compress(&series_of("m", &[0x12, 0], 15 * MIB)), &[413, 503]),
        // Symbols, references, labels of two bytes and less.
        (V2, push::compress(&repeated(&[0x22, 0], 30 * MIB)), &[400, 413, 503]),
        (V2, push::compress(&of_refs), &[413, 503]),
        (V1, push::compress(&labels), &[413, 503]),
        // Buckets of one byte, and an exemplar with labels of two.
        (V1, push::compress(&series_of("h", &of_histogram, 1)), &[400, 503]),
        (V1, push::compress(&series_of("e", &exemplar, 1)), &[204, 503]),
        // Families of five bytes.
        (V1, push::compress(&repeated(&[0x1a, 3, 0x12, 1, b'f'], 30 * MIB)), &[413, 503]),
    ]
}

#[test]
fn bombs_are_refused_and_take_no_memory_worth_mentioning() {
    let server = server(&[]);
    assert_eq!(good(&server, "before").status, 204);
    let before = peak_bytes(server.pid());
    let bombs = bombs();
    // Many of the small ones that lie about their size, at once.
    std::thread::scope(|scope| {
        for _ in 0..64 {
            let (server, bombs) = (&server, &bombs[..2]);
            scope.spawn(move || {
                for (kind, body, statuses) in bombs.iter().cycle().take(20) {
                    let answer = server.post("/api/v1/write", kind, body);
                    assert!(statuses.contains(&answer.status), "{}: {}", answer.status, answer.text());
                }
            });
        }
    });
    let after = peak_bytes(server.pid());
    println!("{} MiB before, {} MiB after those that lie about their size", before >> 20, after >> 20);
    assert!(after < before + (48 << 20), "{} MiB", after >> 20);
    for (kind, body, statuses) in &bombs {
        let answer = server.post("/api/v1/write", kind, body);
        assert!(statuses.contains(&answer.status), "{}: {}", answer.status, answer.text());
    }
    // A server that is not optimised takes seconds for each.
    let rounds = if cfg!(debug_assertions) { 1 } else { 4 };
    std::thread::scope(|scope| {
        for _ in 0..rounds {
            for (kind, body, statuses) in &bombs {
                let server = &server;
                scope.spawn(move || {
                    let answer = server.post("/api/v1/write", kind, body);
                    assert!(statuses.contains(&answer.status) || answer.status == 503, "{}", answer.text());
                    assert!(answer.status != 503 || answer.header("retry-after") == "1");
                });
            }
        }
    });
    let peak = peak_bytes(server.pid());
    println!("{} MiB at the most", peak >> 20);
    assert!(peak < RESIDENT, "{} MiB", peak >> 20);
    assert_eq!(good(&server, "after").status, 204);
    assert_eq!(server.number("after"), Some(1.0));
    assert_eq!(metric(&server, "silverback_remote_write_in_flight"), 0.0);
    assert_eq!(metric(&server, "silverback_remote_write_memory_bytes"), 0.0);
    assert!(metric(&server, "silverback_remote_write_rejected_total{reason=\"encoding\"}") > 0.0);
}

/// A connection that has sent the head of a push and `part` of its body.
fn unfinished(server: &Server, head: &str, part: &[u8]) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST /api/v1/write HTTP/1.1\r\nHost: {address}\r\nContent-Type: {V1}\r\n{head}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), part].concat()).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // The server may close while the sender still sends.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn pushes_that_are_too_many_or_never_end_make_room_for_good_ones() {
    let server = server(&["--web.max-concurrent-pushes=4", "--web.push-timeout=3s"]);
    let streams: Vec<TcpStream> = (0..4).map(|_| unfinished(&server, "Content-Length: 1000", b"abc")).collect();
    wait_for("four pushes", || metric(&server, "silverback_remote_write_in_flight") == 4.0);
    assert_eq!(metric(&server, "silverback_remote_write_memory_bytes"), 4000.0, "counted before they come");
    let refused = good(&server, "m");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{}", refused.text());
    assert!(metric(&server, "silverback_remote_write_rejected_total{reason=\"concurrency\"}") >= 1.0);
    for stream in streams {
        assert!(answer(stream).starts_with("HTTP/1.1 408 "), "a body that stalls is ended");
    }
    // One that sends a byte now and then, with no end in sight.
    let mut trickle = unfinished(&server, "Transfer-Encoding: chunked", b"");
    let sending = trickle.try_clone().unwrap();
    let begun = now();
    std::thread::spawn(move || {
        let mut sending = sending;
        while sending.write_all(b"1\r\nx\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mut head = [0; 12];
    trickle.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 408", "a body that trickles is ended");
    assert!(now() - begun >= 2.9);
    wait_for("all places to be free", || metric(&server, "silverback_remote_write_in_flight") == 0.0);
    assert_eq!(metric(&server, "silverback_remote_write_memory_bytes"), 0.0);
    assert_eq!(good(&server, "m").status, 204);
    // A sender that goes gives its place back at once.
    let gone = unfinished(&server, "Content-Length: 1000", b"abc");
    wait_for("the push", || metric(&server, "silverback_remote_write_in_flight") == 1.0);
    drop(gone);
    wait_for("its place", || metric(&server, "silverback_remote_write_in_flight") == 0.0);
}

#[test]
fn bytes_are_bounded_before_they_come_and_as_they_do() {
    let server = server(&["--web.max-push-memory=64MB"]);
    let large = unfinished(&server, "Content-Length: 99000000", b"");
    assert!(answer(large).starts_with("HTTP/1.1 413 "), "no body may be so large");
    let first = unfinished(&server, "Content-Length: 36000000", b"");
    wait_for("its bytes", || metric(&server, "silverback_remote_write_memory_bytes") == 36e6);
    let second = answer(unfinished(&server, "Content-Length: 36000000", b""));
    assert!(second.starts_with("HTTP/1.1 503 ") && second.to_lowercase().contains("retry-after: 1\r\n"), "{second}");
    assert_eq!(good(&server, "m").status, 204, "a small one has room");
    drop(first);
    wait_for("its bytes back", || metric(&server, "silverback_remote_write_memory_bytes") == 0.0);
    // Without a declared length, the bytes that come are counted.
    let mut chunked = unfinished(&server, "Transfer-Encoding: chunked", b"");
    let chunk = [b"100000\r\n".as_slice(), &vec![0; 1 << 20], b"\r\n"].concat();
    let sent = (0..60).take_while(|_| chunked.write_all(&chunk).is_ok()).count();
    assert!(answer(chunked).starts_with("HTTP/1.1 413 ") || sent < 60);
    wait_for("all back", || metric(&server, "silverback_remote_write_memory_bytes") == 0.0);
    let mut out = Vec::new();
    number(&mut out, 9, 9);
    assert_eq!(server.post("/api/v1/write", V1, &push::compress(&out)).status, 204, "unknown fields are passed over");
}
