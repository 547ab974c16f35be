//! The built server, started on a free port in a directory of its own, and what it takes to talk to it.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of this")]
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// How long anything may take that should take a moment.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    pub url: String,
    pub dir: PathBuf,
    lines: Mutex<Receiver<String>>,
    /// What it has logged so far.
    pub log: String,
    _temp: Option<tempfile::TempDir>,
}

/// An answer: status, 0 if none came, headers, body.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

impl Server {
    /// Starts a server with `flags` in a new directory.
    pub fn start(flags: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(temp.path(), flags);
        server._temp = Some(temp);
        server
    }

    /// Starts a server with a configuration.
    pub fn with_config(yaml: &str, flags: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("prometheus.yml"), yaml).unwrap();
        let mut all = vec!["--config.file=prometheus.yml"];
        all.extend(flags);
        let mut server = Self::start_in(temp.path(), &all);
        server._temp = Some(temp);
        server
    }

    /// Starts a server in `dir` and waits until it is ready.
    pub fn start_in(dir: &Path, flags: &[&str]) -> Self {
        let mut server = Self::spawn(dir, flags);
        wait_for("the server to be ready", || server.get("/-/ready").status == 200);
        server.read_log();
        server
    }

    /// Starts a server in `dir` and waits until it listens.
    pub fn spawn(dir: &Path, flags: &[&str]) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_silverback")), dir, flags)
    }

    /// Starts a server that may have so many bytes of address space, and waits until it is ready.
    pub fn start_within(bytes: u64, flags: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let limited = format!("ulimit -v {}; exec \"$0\" \"$@\"", bytes >> 10);
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_silverback")]);
        Self::start_by(command, temp, flags)
    }

    /// Starts what `command` runs with `flags` in a directory of its own, and waits until it is ready.
    pub fn start_by(command: Command, temp: tempfile::TempDir, flags: &[&str]) -> Self {
        let mut server = Self::spawn_by(command, temp.path(), flags);
        wait_for("the server to be ready", || server.get("/-/ready").status == 200);
        server._temp = Some(temp);
        server
    }

    /// Starts a server in the control group whose `cgroup.procs` file is `procs`, and waits until it is ready.
    pub fn start_in_group(procs: &Path, flags: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let entered = format!("echo $$ > '{}'; exec \"$0\" \"$@\"", procs.display());
        command.args(["-c", &entered, env!("CARGO_BIN_EXE_silverback")]);
        let mut server = Self::spawn_by(command, temp.path(), flags);
        wait_for("the server to be ready", || server.get("/-/ready").status == 200);
        server._temp = Some(temp);
        server
    }

    /// Starts what `command` runs with `flags`.
    pub fn spawn_by(mut command: Command, dir: &Path, flags: &[&str]) -> Self {
        command.current_dir(dir).args(flags).stdout(Stdio::null()).stderr(Stdio::piped());
        let asked = flags.iter().find_map(|flag| flag.strip_prefix("--web.listen-address=127.0.0.1:"));
        let port = asked.map_or_else(free_port, |port| port.parse().unwrap());
        if asked.is_none() {
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        }
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let url = format!("http://127.0.0.1:{port}");
        let lines = Mutex::new(lines);
        let mut server = Self { child, url, dir: dir.to_owned(), lines, log: String::new(), _temp: None };
        wait_for("the server to listen", || {
            if let Some(status) = server.child.try_wait().unwrap() {
                server.read_log();
                panic!("the server ended with {status}: {}", server.log);
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes over what has been logged since.
    pub fn read_log(&mut self) -> &str {
        for line in self.lines.get_mut().unwrap().try_iter() {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        &self.log
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = agent().get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call())
    }

    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        answer(agent().post(format!("{}{path}", self.url)).header("Content-Type", content_type).send(body))
    }

    /// Posts a form.
    pub fn post_form(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let body = encode(pairs);
        self.post(path, "application/x-www-form-urlencoded", body.as_bytes())
    }

    /// The `data` of an answer of the API, which must be a success.
    pub fn api(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        let answer = self.get(&format!("/api/v1{path}?{}", encode(pairs)));
        let mut json = answer.json();
        assert_eq!((answer.status, json["status"].as_str()), (200, Some("success")), "{path} {pairs:?}: {json}");
        json["data"].take()
    }

    /// The only value of an instant query, if it has one.
    pub fn number(&self, query: &str) -> Option<f64> {
        let data = self.api("/query", &[("query", query)]);
        number_of(&data)
    }

    /// Tells it to stop and waits until it has; gives the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        signal(self.pid(), "TERM");
        self.wait()
    }

    /// Waits until it has ended; gives the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut code = None;
        wait_for("the server to stop", || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        self.read_log();
        code
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let status = self.child.wait();
        if std::thread::panicking() {
            println!("the server ended with {status:?}: {}", self.read_log());
        }
    }
}

/// The number in the data of an instant query.
pub fn number_of(data: &Value) -> Option<f64> {
    let result = &data["result"];
    let value = if data["resultType"] == "scalar" { &result[1] } else { &result[0]["value"][1] };
    value.as_str()?.parse().ok()
}

/// Sends a signal to a process that a test has started.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    config.max_redirects(0).build().into()
}

pub fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = match result {
        Ok(response) => response,
        Err(error) => return Answer { status: 0, headers: Vec::new(), body: error.to_string().into_bytes() },
    };
    let headers = response.headers().iter();
    let headers = headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_owned())).collect();
    let mut body = Vec::new();
    if let Err(error) = response.body_mut().as_reader().read_to_end(&mut body) {
        // The server was killed meanwhile.
        return Answer { status: 0, headers, body: error.to_string().into_bytes() };
    }
    Answer { status: response.status().as_u16(), headers, body }
}

/// Fetches an address.
pub fn fetch(url: &str) -> Answer {
    answer(agent().get(url).call())
}

/// A query string.
pub fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Seconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "tests are about the present")]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `done`; fails after [`PATIENCE`].
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = now();
    while !done() {
        assert!(now() - begun < PATIENCE.as_secs_f64(), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says that a test cannot run here, past the capture that keeps the output of tests that pass. CI sets
/// `SILVERBACK_NO_SKIP`: there everything must be there.
pub fn skip(why: &str) {
    assert!(std::env::var_os("SILVERBACK_NO_SKIP").is_none(), "skipped although nothing may be: {why}");
    std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}

/// A program of the folder that `PEERS` names, or on the path.
pub fn program(name: &str) -> Option<PathBuf> {
    let peers = std::env::var_os("PEERS").map(PathBuf::from).map(|dir| dir.join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(name));
    peers.into_iter().chain(on_path).find(|path| path.is_file())
}

/// A process that a test has started; killed when dropped.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real node_exporter on a free port; `None`, told of, where there is none.
pub fn node_exporter() -> Option<(Process, String)> {
    let Some(path) = program("prometheus-node-exporter") else {
        skip("prometheus-node-exporter is not installed");
        return None;
    };
    let address = format!("127.0.0.1:{}", free_port());
    let process = Process::start(Command::new(path).arg(format!("--web.listen-address={address}")));
    let url = format!("http://{address}/metrics");
    wait_for("node_exporter", || fetch(&url).status == 200);
    Some((process, address))
}
