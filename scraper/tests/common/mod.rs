//! A target on loopback that says what it is told to say, and a manager that scrapes it.
#![allow(dead_code, clippy::unwrap_used, reason = "test code; each test binary uses a part of this")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scraper::testing::Recorder;
use scraper::{ActiveTarget, Clock, Discovery, ScrapeConfig, ScrapeManager, TargetGroup, TargetHealth};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a target answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Never answer at all.
    pub(crate) silent: bool,
}

impl Reply {
    pub(crate) fn text(body: &str) -> Self {
        Self::new("text/plain; version=0.0.4", body.as_bytes())
    }

    pub(crate) fn new(content_type: &str, body: &[u8]) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status: 200, headers, body: body.to_vec(), silent: false }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::text("") }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn silent() -> Self {
        Self { silent: true, ..Self::text("") }
    }
}

#[derive(Default)]
struct Shared {
    replies: Mutex<Vec<(String, Reply)>>,
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

/// An HTTP/1.1 server that keeps connections alive.
pub(crate) struct Server {
    pub(crate) address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers requests for paths that begin with `/` so.
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::start_with(reply, None).await
    }

    pub(crate) async fn start_with(reply: Reply, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        Self::start_on("127.0.0.1:0", reply, tls).await.unwrap()
    }

    /// Listens on `address`; an error if this machine has none of its kind.
    pub(crate) async fn start_on(
        address: &str,
        reply: Reply,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        shared.replies.lock().unwrap().push(("/".to_owned(), reply));
        let state = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&state), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &state).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { address, shared, task })
    }

    pub(crate) fn set(&self, reply: Reply) {
        self.set_at("/", reply);
    }

    /// Answers requests for paths that begin with `path` so. The longest such path counts.
    pub(crate) fn set_at(&self, path: &str, reply: Reply) {
        let mut replies = self.shared.replies.lock().unwrap();
        replies.retain(|(at, _)| at != path);
        replies.push((path.to_owned(), reply));
    }

    /// All requests so far: line and headers.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let mut buffer = Vec::new();
    loop {
        while !buffer.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => buffer.push(byte),
                Err(_) => return,
            }
        }
        let request = String::from_utf8(std::mem::take(&mut buffer)).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        shared.requests.lock().unwrap().push(request);
        let reply = {
            let replies = shared.replies.lock().unwrap();
            let fits = replies.iter().filter(|(at, _)| path.starts_with(at.as_str()));
            fits.max_by_key(|(at, _)| at.len()).unwrap().1.clone()
        };
        if reply.silent {
            tokio::time::sleep(PATIENCE).await;
            return;
        }
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let answer = [head.as_bytes(), b"\r\n", &reply.body].concat();
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// A target that answers whatever it is sent with these bytes, and closes; gives its address.
pub(crate) async fn raw_target(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                // A client that goes early misses the rest.
                if stream.read(&mut request).await.is_ok() && stream.write_all(&answer).await.is_ok() {
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

pub(crate) type Manager = ScrapeManager<Recorder>;

pub(crate) fn manager() -> (Manager, Recorder) {
    let store = Recorder::default();
    (ScrapeManager::new(store.clone(), Clock::system(), 0), store)
}

/// A job that scrapes `addresses` every 100 ms.
pub(crate) fn job(name: &str, addresses: &[&str]) -> ScrapeConfig {
    let targets = addresses.iter().map(|&address| address.to_owned()).collect();
    ScrapeConfig {
        job_name: name.to_owned(),
        // A loaded machine may be late by a tenth of a second.
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        discovery: vec![Discovery::Static(vec![TargetGroup { targets, ..TargetGroup::default() }])],
        ..ScrapeConfig::default()
    }
}

/// Waits until `found` finds something.
pub(crate) async fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = tokio::time::Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the only target is in this state.
pub(crate) async fn wait_health(manager: &Manager, health: TargetHealth) -> ActiveTarget {
    wait_for(health.as_str(), || manager.targets().active.pop().filter(|t| t.last.health == health)).await
}

/// Waits until `series` has `count` samples; milliseconds and value, `None` for a stale marker.
pub(crate) async fn wait_samples(store: &Recorder, series: &str, count: usize) -> Vec<(i64, Option<f64>)> {
    wait_for(series, || Some(store.samples_of(series)).filter(|samples| samples.len() >= count)).await
}

/// Waits until the last sample of `series` is a stale marker.
pub(crate) async fn wait_stale(store: &Recorder, series: &str) -> Vec<(i64, Option<f64>)> {
    wait_for(series, || Some(store.samples_of(series)).filter(|s| s.last().is_some_and(|(_, v)| v.is_none()))).await
}

/// `name{instance="…",job="a"}` as it prints.
pub(crate) fn series(name: &str, server: &Server) -> String {
    format!("{name}{{instance=\"{}\", job=\"a\"}}", server.address)
}
