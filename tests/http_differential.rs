//! Hundreds of requests to this server and to a real Prometheus that hold the same data: paths, methods, parameters, times.
//! Status, content type, error type and error text must be the same, but for what [`known`] names.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use common::{Process, Server, fetch, free_port, program, skip, wait_for};
use serde_json::Value;

/// Paths that both servers have, and some that neither has.
const PATHS: [&str; 52] = [
    "/nope",
    "/query/",
    "//query",
    "/-/healthy",
    "/-//ready",
    "//-/ready",
    "/metrics/",
    "/api",
    "/api/",
    "/api/v1",
    "/api/v1/",
    "/api//v1/query?query=1",
    "/api/v1//query?query=1",
    "//api/v1/query?query=1",
    "/api/v1/query/?query=1",
    "/api/v1/query//?query=1",
    "/api/v1/./query?query=1",
    "/api/v1/x/../query?query=1",
    "/api/v1/query?query=1",
    "/api/v1/Query?query=1",
    "/api/v1/QUERY/?query=1",
    "/api/v1/query%2f%2f?query=1",
    "/api/v1%2fquery?query=1",
    "/api/v1/query%3fquery=1",
    "/api/v1/%71uery?query=1",
    "/api/v1/nope",
    "/api/v1/nope/",
    "/api/v1/query/x",
    "/api/v1/labels",
    "/api/v1/labels/",
    "/api/v1/label/x/values",
    "/api/v1/label/x/values/",
    "/api/v1/label//values",
    "/api/v1/label/x",
    "/api/v1/label/a%2fb/values",
    "/api/v1/label/1a/values",
    "/api/v1/label/%20/values",
    "/api/v1/label/%00/values",
    "/api/v1/label/%c3%a4/values",
    "/api/v1/label/U__a_2e_b/values",
    "/api/v1/status/tsdb/",
    "/api/v1/status",
    "/api/v1/%ff",
    "/%ff",
    "/api/v1/write",
    "/api/v1/admin/tsdb/nope",
    "/api/v1/query_range/?query=1&start=0&end=1&step=1",
    "/api/v1/series",
    "/api/v1/query_exemplars?query=1",
    "/api/v2/query",
    "/version/",
    "/graph/",
];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FOO"];

/// Endpoints that take a time, which goes in place of `%s`.
const TIMED: [&str; 9] = [
    "/api/v1/query?query=up&time=%s",
    "/api/v1/query_range?query=up&start=%s&end=%s&step=1",
    "/api/v1/series?match[]=up&start=%s",
    "/api/v1/series?match[]=up&end=%s",
    "/api/v1/labels?start=%s",
    "/api/v1/label/job/values?end=%s",
    "/api/v1/query_exemplars?query=up&start=%s&end=%s",
    "/api/v1/query_range?query=up&start=0&end=1&step=%s",
    "/api/v1/query?query=up&timeout=%s",
];

const TIMES: [&str; 47] = [
    "-292273086-05-16T16:47:06Z",
    "292277025-08-18T07:12:54.999999999Z",
    "292277025-08-18T07:12:54.999Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-23:59",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "%2B10000-01-01T00:00:00Z",
    "2015-07-01T20:10:51.781Z",
    "2015-07-01T20:10:51,781Z",
    "2015-07-01t20:10:51z",
    "2015-07-01%2020:10:51Z",
    "2015-07-01T20:10:51",
    "2015-07-01T20:10:60Z",
    "2015-02-29T20:10:51Z",
    "2015-07-01T24:00:00Z",
    "2015-07-01T20:10:51%2B24:00",
    "2015-07-01T20:10:51%2B0200",
    "2015-07-01T20:10Z",
    "2015-07-01T2:10:51Z",
    "2015-07-01T20:10:51.Z",
    "2015-07-01T20:10:51.1234567891234Z",
    "2015-07-01T20:10:51Z[UTC]",
    "20150701T201051Z",
    "2015-07-01",
    "-5",
    "%2B5",
    "1.5",
    "5.",
    "1e3",
    "1e400",
    "-1e400",
    "1e-400",
    "0x10",
    "0x1p4",
    "0x1p",
    "1_000",
    "1__0",
    "e1",
    "%205",
    "now",
    "5m",
    "1m5h",
    "293y",
    "1793369760",
];

/// Requests whose parameters are wrong, or only look so.
const PARAMETERS: [&str; 62] = [
    "/api/v1/series?match[]=",
    "/api/v1/series?match[]={}",
    "/api/v1/series?match[]={job=~%22.*%22}",
    "/api/v1/series?match[]=up&match[]={}",
    "/api/v1/series?match[]=up&start=10&end=5",
    "/api/v1/series?match[]=up&limit=x",
    "/api/v1/series?match[]=up&limit=-1",
    "/api/v1/series?match[]=up&limit=1.5",
    "/api/v1/series?match[]=up&limit=99999999999999999999",
    "/api/v1/series?match[]=up[5m]",
    "/api/v1/series?match[]=up&start=x&limit=y",
    "/api/v1/series?start=x",
    "/api/v1/series?match[]=%zz",
    "/api/v1/series?match[]=up&x=1;2",
    "/api/v1/labels?start=10&end=5",
    "/api/v1/labels?match[]=",
    "/api/v1/labels?match[]={}",
    "/api/v1/labels?match[]=up[5m]",
    "/api/v1/labels?start=x&limit=y",
    "/api/v1/labels?match[]=x{&start=y",
    "/api/v1/labels?x=%zz",
    "/api/v1/label/job/values?start=10&end=5",
    "/api/v1/label/job/values?match[]={}",
    "/api/v1/label/job/values?match[]=up{",
    "/api/v1/label/job/values?limit=-1",
    "/api/v1/label/%ff/values",
    "/api/v1/label/a%ffb/values?start=x",
    "/api/v1/query",
    "/api/v1/query?query=up{",
    "/api/v1/query?query=up{&time=x",
    "/api/v1/query?query=up&time=x&timeout=y&limit=z",
    "/api/v1/query?query=up&lookback_delta=x",
    "/api/v1/query?query=up&lookback_delta=-5",
    "/api/v1/query?query=up&limit=-1",
    "/api/v1/query?query=%zz",
    "/api/v1/query?query=1;2",
    "/api/v1/query?query=1&x=%zz",
    "/api/v1/query?query=1&query=2",
    "/api/v1/query?query=%22%ff%22",
    "/api/v1/query_range",
    "/api/v1/query_range?query=1&start=0&end=1",
    "/api/v1/query_range?query=1&start=0&end=1&step=0",
    "/api/v1/query_range?query=1&start=0&end=1&step=-1",
    "/api/v1/query_range?query=1&start=0&end=1&step=1e-10",
    "/api/v1/query_range?query=1&start=0&end=1&step=9223372037",
    "/api/v1/query_range?query=1&start=1&end=0&step=1",
    "/api/v1/query_range?query=1&start=0&end=11000&step=1",
    "/api/v1/query_range?query=1&start=0&end=11001&step=1",
    "/api/v1/query_range?query=up[5m]&start=0&end=1&step=1",
    "/api/v1/query_range?query=1&start=0&end=1&step=1&limit=x",
    "/api/v1/query_exemplars",
    "/api/v1/query_exemplars?query=up{",
    "/api/v1/query_exemplars?query=up&start=5&end=1",
    "/api/v1/format_query?query=up{",
    "/api/v1/metadata?limit=x",
    "/api/v1/metadata?limit=-1",
    "/api/v1/targets/metadata?limit=x",
    "/api/v1/targets/metadata?match_target={}",
    "/api/v1/rules?type=foo",
    "/api/v1/rules?exclude_alerts=x",
    "/api/v1/rules?group_limit=0",
    "/api/v1/status/tsdb?limit=0",
];

/// Requests with a form, and to the admin API.
const FORMS: [(&str, &str); 14] = [
    ("/api/v1/query", "query=1&time=0"),
    ("/api/v1/query", "query=%zz&time=0"),
    ("/api/v1/query?query=1&time=0", "query=up{"),
    ("/api/v1/query?query=1&time=0", ""),
    ("/api/v1/query_range", "query=1&start=0&end=1&step=1"),
    ("/api/v1/series", ""),
    ("/api/v1/series", "match[]=up&limit=x"),
    ("/api/v1/labels", "limit=x"),
    ("/api/v1/query_exemplars", "query=up&start=x"),
    ("/api/v1/admin/tsdb/delete_series", ""),
    ("/api/v1/admin/tsdb/delete_series", "match[]=nope&start=x"),
    ("/api/v1/admin/tsdb/delete_series", "match[]=nope&start=5&end=1"),
    ("/api/v1/admin/tsdb/delete_series", "match[]=nope"),
    ("/api/v1/admin/tsdb/snapshot", "skip_head=x"),
];

struct Request {
    method: &'static str,
    target: String,
    form: &'static str,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.target, self.form)
    }
}

fn requests() -> Vec<Request> {
    let mut all = Vec::new();
    for path in PATHS {
        all.extend(METHODS.map(|method| Request { method, target: path.to_owned(), form: "" }));
    }
    for endpoint in TIMED {
        all.extend(TIMES.map(|time| Request { method: "GET", target: endpoint.replace("%s", time), form: "" }));
    }
    all.extend(PARAMETERS.map(|target| Request { method: "GET", target: target.to_owned(), form: "" }));
    all.extend(FORMS.map(|(target, form)| Request { method: "POST", target: target.to_owned(), form }));
    all
}

/// What is compared of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    content_type: String,
    error_type: String,
    error: String,
}

/// Asks byte by byte: clients mend what is asked for here.
fn ask(port: u16, request: &Request) -> Outcome {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let Request { method, target, form } = request;
    let kind = if form.is_empty() { "" } else { "Content-Type: application/x-www-form-urlencoded\r\n" };
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok()).unwrap_or(0);
    let is_type = |line: &&str| line.to_ascii_lowercase().starts_with("content-type:");
    let content_type = lines.find(is_type).and_then(|line| line.split(':').nth(1)).unwrap_or("").trim().to_owned();
    // In one piece; longer answers are no errors.
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |name: &str| json[name].as_str().unwrap_or("").to_owned();
    Outcome { status, content_type, error_type: text("errorType"), error: text("error") }
}

/// Why the answers may differ.
fn known(request: &Request, ours: &Outcome, theirs: &Outcome) -> Option<&'static str> {
    let is_api = request.target.contains("api") && request.target.contains("v1");
    let same = ours.status == theirs.status;
    if is_api && same && ours.status >= 400 && theirs.content_type.starts_with("text/plain") {
        let is_envelope =
            ours.content_type == "application/json" && (!ours.error.is_empty() || request.method == "HEAD");
        return is_envelope
            .then_some("every error under the API is in the envelope, which Prometheus leaves out at times");
    }
    let pages = ["/-/healthy", "/metrics", "/graph"];
    if request.method == "HEAD" && pages.iter().any(|page| request.target.starts_with(page)) {
        return Some("pages are answered to HEAD; so a slash is mended in other places");
    }
    if request.method == "OPTIONS" && request.target == "/api/v1" {
        return Some("OPTIONS is answered for all of the API");
    }
    if request.target.contains("timeout=") && [ours.status, theirs.status].iter().all(|&status| status >= 400) {
        return Some("Prometheus tells in one of four ways that the time was over before it began");
    }
    if request.target.contains("%ff/values") && request.method != "GET" {
        return Some("a name that is no UTF-8 is told of before the method");
    }
    if request.method == "DELETE" && request.target.ends_with("/series") {
        return Some("Prometheus has a route for it that says that it is not implemented");
    }
    if request.target.starts_with("/graph") {
        return Some("the way to the query page has no body here");
    }
    None
}

#[test]
fn requests_are_answered_and_refused_as_prometheus_does() {
    let Some(path) = program("prometheus") else {
        return skip("prometheus is not there; name its folder in PEERS");
    };
    let flags = ["--web.enable-remote-write-receiver", "--web.enable-admin-api", "--web.enable-lifecycle"];
    let server = Server::with_config("scrape_configs: []\n", &flags);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
    let port = free_port();
    let mut command = Command::new(path);
    command.current_dir(dir.path()).args(flags);
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
    let _peer = Process::start(command.arg(format!("--web.listen-address=127.0.0.1:{port}")));
    let peer = format!("http://127.0.0.1:{port}");
    wait_for("Prometheus", || fetch(&format!("{peer}/-/ready")).status == 200);
    let now_ms = (common::now() * 1000.0) as i64;
    let data = push::request(&[(&[("__name__", "up"), ("job", "a")], &[(now_ms, 1.0)])]);
    for url in [&server.url, &peer] {
        let write =
            common::agent().post(format!("{url}/api/v1/write")).header("Content-Type", "application/x-protobuf");
        let answer = common::answer(write.header("Content-Encoding", "snappy").send(&data[..]));
        assert!([200, 204].contains(&answer.status), "{url}: {}", answer.text());
    }
    let own: u16 = server.url.rsplit(':').next().unwrap().parse().unwrap();
    let (mut differences, mut known_ones) = (Vec::new(), 0);
    let requests = requests();
    for request in &requests {
        let (ours, theirs) = (ask(own, request), ask(port, request));
        // The bodies of redirects and of HEAD are nobody's concern.
        let is_bare = (300..400).contains(&theirs.status) || request.method == "HEAD";
        if ours == theirs || is_bare && ours.status == theirs.status {
            continue;
        }
        match known(request, &ours, &theirs) {
            Some(_) => known_ones += 1,
            None => differences.push(format!("{request}\n    {ours:?}\n    {theirs:?}")),
        }
    }
    println!("{} requests, {known_ones} differ as they should", requests.len());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
