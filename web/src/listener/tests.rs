//! Real sockets against the listener: what clients that wait, trickle and do not read may hold.

use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// How long a wait may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// A read timeout that a test can wait for, and that a busy machine does not reach by itself.
const SHORT: Duration = Duration::from_secs(2);

/// A server that ends with its test.
struct Served {
    address: SocketAddr,
    connections: Arc<Connections>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    _answers: watch::Sender<Router>,
}

impl Served {
    async fn start(connections: usize, read_timeout: Duration) -> Self {
        let router = Router::new()
            .route("/", get(|| async { "hello" }).post(|body: String| async move { body }))
            .route("/slow", post(std::future::pending::<()>))
            .route("/large", get(|| async { Body::from(vec![b'x'; 64 << 20]) }))
            .route("/query", get(|params: crate::api::params::Params| async move { params.get("a").len().to_string() }))
            .route("/header", get(|headers: http::HeaderMap| async move { headers["last"].as_bytes().to_vec() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Connections::new(Limits { connections, read_timeout: Some(read_timeout) }));
        let (answers, of_listener) = watch::channel(router);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(listen(listener, of_listener, Arc::clone(&connections), stopped));
        Self { address, connections, stop, task, _answers: answers }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        self.connections.metrics(&mut text);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in {text}"))
    }
}

/// Sends a request and reads answers up to one of `body`, which leaves the connection open.
async fn ask(stream: &mut TcpStream, request: &str, body: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut text)).await;
        let read = read.unwrap_or_else(|_| panic!("no {body} in time: {}", String::from_utf8_lossy(&text)));
        assert!(read.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
    }
    assert!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&text));
}

/// All that comes until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut text = Vec::new();
    // A reset ends it as well.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("an end in time");
    text
}

const HELLO: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn connections_that_keep_the_server_waiting_are_closed() {
    let served = Served::start(16, SHORT).await;
    let mut streams = Vec::new();
    for sent in [
        "",
        "GET / HTT",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
    ] {
        let mut stream = served.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let mut kept = served.connect().await;
    ask(&mut kept, HELLO, "hello").await;
    ask(&mut kept, HELLO, "hello").await;
    streams.push(kept);
    for mut stream in streams {
        assert_eq!(rest(&mut stream).await, b"");
    }
    assert_eq!(served.metric("silverback_http_connections"), 0);
    let timed_out = |wait| served.metric(&format!("silverback_http_connections_timed_out_total{{while=\"{wait}\"}}"));
    assert_eq!((timed_out("idle"), timed_out("receiving"), timed_out("sending")), (2, 3, 0));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let served = Served::start(16, SHORT).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let name = "silverback_http_connections_timed_out_total{while=\"sending\"}";
    let cut = async {
        while served.metric(name) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("the connection is closed");
    assert!(rest(&mut stream).await.len() < 64 << 20);
}

#[tokio::test]
async fn a_request_that_is_answered_has_all_the_time_that_it_takes() {
    let served = Served::start(16, SHORT).await;
    let mut stream = served.connect().await;
    stream.write_all(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").await.unwrap();
    let mut byte = [0];
    let answer = tokio::time::timeout(2 * SHORT, stream.read(&mut byte)).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(served.metric("silverback_http_connections"), 1);
}

#[tokio::test]
async fn the_connection_that_is_idle_longest_makes_room_for_a_new_one() {
    let served = Served::start(3, Duration::from_secs(600)).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = served.connect().await;
        ask(&mut stream, HELLO, "hello").await;
        streams.push(stream);
    }
    for stream in &mut streams[..5] {
        assert_eq!(rest(stream).await, b"");
    }
    for stream in &mut streams[5..] {
        ask(stream, HELLO, "hello").await;
    }
    assert_eq!(served.metric("silverback_http_connections"), 3);
    assert_eq!(served.metric("silverback_http_connections_evicted_total"), 5);
    assert!(served.metric("silverback_http_connections_limit_reached_total") > 0);
}

#[tokio::test]
async fn no_more_connections_are_accepted_than_there_are_places() {
    let served = Served::start(2, Duration::from_secs(600)).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(b"POST /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    let mut waiting = served.connect().await;
    waiting.write_all(HELLO.as_bytes()).await.unwrap();
    let mut byte = [0];
    assert!(tokio::time::timeout(Duration::from_millis(500), waiting.read(&mut byte)).await.is_err());
    assert_eq!(served.metric("silverback_http_connections"), 2);
    assert_eq!(served.metric("silverback_http_connections_limit_reached"), 1);
    busy.pop();
    let answer = tokio::time::timeout(PATIENCE, waiting.read(&mut byte)).await.expect("there is a place");
    assert_eq!((answer.unwrap(), byte), (1, *b"H"));
}

#[tokio::test]
async fn heads_of_every_kind_reach_the_handlers() {
    let served = Served::start(16, PATIENCE).await;
    let mut stream = served.connect().await;
    let lines: String = (0..5000).map(|i| format!("X-{i}: y\r\n")).collect();
    ask(&mut stream, &format!("GET /header HTTP/1.1\r\nHost: a\r\n{lines}last: here\r\n\r\n"), "here").await;
    ask(&mut stream, "GET /header HTTP/1.1\r\nHost: a\r\nLast: one\r\n  two\r\n\tthree\r\n\r\n", "one two three").await;
    ask(&mut stream, &format!("GET /query?a={} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(200_000)), "200000").await;
    ask(&mut stream, "GET /query?a=>\"\u{e4}< HTTP/1.1\r\nHost: a\r\n\r\n", "5").await;
    // Bodies of both kinds, with the next request right behind them.
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: u\r\n\r\n";
    let sized = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX:\r\n y\r\n\r\nfghij";
    ask(&mut stream, chunked, "abcde").await;
    ask(&mut stream, sized, "fghij").await;
    ask(&mut stream, &format!("{chunked}{sized}{chunked}{HELLO}"), "hello").await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_while_it_comes() {
    let served = Served::start(16, PATIENCE).await;
    let mut stream = served.connect().await;
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}", "c".repeat(1_100_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = String::from_utf8(rest(&mut stream).await).unwrap();
    // The router of this test knows nothing of refusals; the front does.
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_waits_for_answers() {
    let served = Served::start(16, PATIENCE).await;
    let mut idle = served.connect().await;
    ask(&mut idle, HELLO, "hello").await;
    let mut busy = served.connect().await;
    busy.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo").await.unwrap();
    while served.metric("silverback_http_connections") < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // So that its request is begun to be answered.
    tokio::time::sleep(Duration::from_millis(200)).await;
    served.stop.send_replace(true);
    assert_eq!(rest(&mut idle).await, b"");
    busy.write_all(b"dy").await.unwrap();
    let answer = String::from_utf8(rest(&mut busy).await).unwrap();
    assert!(answer.ends_with("\r\n\r\nbody"), "{answer}");
    tokio::time::timeout(PATIENCE, served.task).await.expect("the listener ends").unwrap();
}
