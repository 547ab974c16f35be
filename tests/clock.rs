//! The built server with a wall clock that is set: nothing is lost, samples of now are taken, and it says so.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{PATIENCE, Server, skip, wait_for};

/// Adds the seconds in the file of `CLOCK_OFFSET` to the wall clock of a program, and leaves the others alone.
const OFFSET_C: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

static long long offset(void) {
    char text[32] = {0};
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atoll(text);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at) != 0;
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += offset();
    return failed ? -1 : 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;

const DAY: i64 = 86_400;
const YEAR: i64 = 366 * DAY;
const FLAGS: [&str; 4] = [
    "--config.file=prometheus.yml",
    "--web.enable-remote-write-receiver",
    "--web.enable-admin-api",
    "--web.enable-lifecycle",
];

/// A directory with a configuration and a clock that can be set.
struct World {
    dir: tempfile::TempDir,
    library: PathBuf,
}

impl World {
    /// `None` without a C compiler.
    fn new(yaml: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (dir.path().join("offset.c"), dir.path().join("offset.so"));
        std::fs::write(&source, OFFSET_C).unwrap();
        std::fs::write(dir.path().join("prometheus.yml"), yaml).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
        let world = Self { dir, library };
        world.set(0);
        built.is_ok_and(|status| status.success()).then_some(world)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Sets the clock so many seconds ahead.
    fn set(&self, seconds: i64) {
        // Whole at any moment: the program reads it at every look at the clock.
        let (file, new) = (self.path().join("offset"), self.path().join("offset.new"));
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(&new, &file).unwrap();
    }

    fn start(&self, flags: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silverback"));
        command.env("LD_PRELOAD", &self.library).env("CLOCK_OFFSET", self.path().join("offset"));
        let all: Vec<&str> = FLAGS.iter().chain(flags).copied().collect();
        let mut server = Server::spawn_by(command, self.path(), &all);
        wait_for("the server to be ready", || server.get("/-/ready").status == 200);
        server.read_log();
        server
    }

    /// Imports samples of three days ago.
    fn import_old(&self) {
        let from = now() - 3 * DAY;
        let lines: String =
            (0..300).map(|i| format!("old_metric{{i=\"{}\"}} {i} {}\n", i % 3, from + i * 10)).collect();
        std::fs::write(self.path().join("old.om"), format!("{lines}# EOF\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_silverback"));
        let imported = command.current_dir(self.path()).args(["tsdb", "import", "data", "old.om"]).output().unwrap();
        assert!(imported.status.success(), "{imported:?}");
    }
}

fn now() -> i64 {
    common::now() as i64
}

/// Pushes a sample so many seconds from the real time.
fn push_one(server: &Server, name: &str, from_now: i64) -> u16 {
    let body = push::request(&[(&[("__name__", name)], &[((now() + from_now) * 1000, 1.0)])]);
    server.post("/api/v1/write", "application/x-protobuf", &body).status
}

/// How many samples of `selector` there are within the last ten days.
fn count(server: &Server, selector: &str) -> f64 {
    let at = (now() + 1).to_string();
    let query = format!("sum(count_over_time({selector}[10d]))");
    let data = server.api("/query", &[("query", &query), ("time", &at)]);
    common::number_of(&data).unwrap_or(0.0)
}

fn scraping_itself() -> String {
    let port = common::free_port();
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{{job_name: own, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
}

fn port_of(yaml: &str) -> &str {
    let at = yaml.rfind("127.0.0.1:").unwrap() + "127.0.0.1:".len();
    yaml[at..].split('\'').next().unwrap()
}

/// The newest time that `up` has, in seconds from the real time.
fn newest_up(server: &Server, at: i64) -> Option<f64> {
    let data = server.api("/query", &[("query", "timestamp(up)"), ("time", &at.to_string())]);
    Some(common::number_of(&data)? - now() as f64)
}

#[test]
fn samples_of_now_are_scraped_and_pushed_after_the_clock_was_ahead() {
    for jump in [1200, 2 * 3600, YEAR] {
        let yaml = scraping_itself();
        let Some(world) = World::new(&yaml) else { return skip("there is no C compiler") };
        let listen = format!("--web.listen-address=127.0.0.1:{}", port_of(&yaml));
        let mut server = world.start(&[&listen]);
        wait_for("a scrape", || newest_up(&server, now()).is_some());
        assert_eq!(push_one(&server, "pushed", 0), 204);
        world.set(jump);
        wait_for("a scrape of the future", || newest_up(&server, now() + jump + 5).is_some());
        wait_for("a notice of the jump", || server.get("/-/ready").text().contains("ahead of where it should be"));
        world.set(0);
        let begun = now();
        wait_for("a scrape of now", || {
            newest_up(&server, now() + 1).is_some_and(|at| now() as f64 + at > begun as f64)
        });
        assert_eq!(push_one(&server, "pushed", 0), 204);
        assert_eq!(push_one(&server, "new", -5), 204);
        wait_for("a notice of what came of it", || server.get("/-/ready").text().contains("samples of the future"));
        assert_eq!(server.get("/-/ready").status, 200);
        assert!(server.get("/targets").text().contains("samples of the future"), "a notice on the pages");
        let metrics = server.get("/metrics").text();
        let future = metrics.lines().find_map(|line| line.strip_prefix("silverback_future_samples_seconds "));
        let future: f64 = future.unwrap().parse().unwrap();
        assert!((future - jump as f64).abs() < PATIENCE.as_secs_f64() * 2.0, "{future}");
        // After a restart as well.
        assert_eq!(server.stop(), Some(0), "{}", server.log);
        server = world.start(&[&listen]);
        let begun = now();
        wait_for("a scrape of now", || {
            newest_up(&server, now() + 1).is_some_and(|at| now() as f64 + at > begun as f64)
        });
        assert_eq!(push_one(&server, "pushed", 0), 204);
        // Once they are deleted, all is as if they had not been.
        let start = (now() + 300).to_string();
        let matched = ("match[]", "{__name__=~\".+\"}");
        let deleted = server.post_form("/api/v1/admin/tsdb/delete_series", &[matched, ("start", &start)]);
        assert_eq!(deleted.status, 204, "{}", deleted.text());
        assert_eq!(server.post("/api/v1/admin/tsdb/clean_tombstones", "", b"").status, 204);
        wait_for("nothing to say", || server.get("/-/ready").text() == "Silverback is Ready.\n");
        assert_eq!(push_one(&server, "pushed", 1), 204);
        assert_eq!(newest_up(&server, now() + jump + 5), None);
    }
}

#[test]
fn a_clock_that_is_ahead_deletes_nothing() {
    for jump in [20 * DAY, YEAR] {
        for first in ["right", "ahead"] {
            let yaml = scraping_itself();
            let Some(world) = World::new(&yaml) else { return skip("there is no C compiler") };
            let listen = format!("--web.listen-address=127.0.0.1:{}", port_of(&yaml));
            let flags = [listen.as_str(), "--storage.tsdb.retention.time=15d"];
            world.import_old();
            if first == "right" {
                let mut server = world.start(&flags);
                assert_eq!(push_one(&server, "pushed", 0), 204);
                wait_for("a scrape", || newest_up(&server, now()).is_some());
                assert_eq!(server.stop(), Some(0));
            }
            world.set(jump);
            let mut server = world.start(&flags);
            wait_for("a scrape of the future", || newest_up(&server, now() + jump + 5).is_some());
            wait_for("a notice", || server.get("/-/ready").text().contains("later than this store was last used"));
            wait_for("retention to wait", || server.get("/-/ready").text().contains("It holds back"));
            // Neither does a reload make it delete.
            let shorter = format!("{yaml}storage: {{tsdb: {{retention: {{time: 4d}}}}}}\n");
            std::fs::write(world.path().join("prometheus.yml"), shorter).unwrap();
            assert_eq!(server.post("/-/reload", "", b"").status, 200);
            let scrapes = "count_over_time(up[1m])";
            let at = || (now() + jump + 5).to_string();
            let scraped = || common::number_of(&server.api("/query", &[("query", scrapes), ("time", &at())]));
            wait_for("a few scrapes more", || scraped().is_some_and(|n| n >= 6.0));
            assert_eq!(server.stop(), Some(0));
            assert!(!server.log.contains("retention dropped"), "{}", server.log);
            assert!(server.log.contains("retention waits"), "{}", server.log);
            world.set(0);
            let mut server = world.start(&flags);
            assert_eq!(count(&server, "old_metric"), 300.0, "{jump} {first}");
            assert_eq!(count(&server, "pushed"), if first == "right" { 1.0 } else { 0.0 });
            // What is meant works.
            wait_for("a sample of now", || push_one(&server, "pushed", 0) == 204);
            let shorter = format!("{yaml}storage: {{tsdb: {{retention: {{time: 1d}}}}}}\n");
            std::fs::write(world.path().join("prometheus.yml"), shorter).unwrap();
            assert_eq!(server.post("/-/reload", "", b"").status, 200);
            wait_for("retention to drop what is old", || count(&server, "old_metric") == 0.0);
            wait_for("word of it", || server.read_log().contains("retention dropped blocks"));
        }
    }
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let yaml = scraping_itself();
    let Some(world) = World::new(&yaml) else { return skip("there is no C compiler") };
    let server = world.start(&[&format!("--web.listen-address=127.0.0.1:{}", port_of(&yaml))]);
    wait_for("a scrape", || newest_up(&server, now()).is_some());
    for back in [60, 3 * 3600, 2 * YEAR] {
        world.set(-back);
        let begun = (now() - back) as f64;
        wait_for("a scrape in the past", || {
            newest_up(&server, now() - back + 1).is_some_and(|at| now() as f64 + at > begun)
        });
        world.set(0);
        let begun = now() as f64;
        wait_for("a scrape", || newest_up(&server, now() + 1).is_some_and(|at| now() as f64 + at > begun));
    }
    assert_eq!(push_one(&server, "pushed", 0), 204);
}

#[test]
fn names_of_deleted_series_are_gone() {
    let server = Server::start(&["--web.enable-remote-write-receiver", "--web.enable-admin-api"]);
    let body = push::request(&[(&[("__name__", "typo_metric"), ("only_here", "gone")], &[(now() * 1000, 1.0)])]);
    assert_eq!(server.post("/api/v1/write", "application/x-protobuf", &body).status, 204);
    let listed = || {
        let all = [
            server.api("/labels", &[]),
            server.api("/label/only_here/values", &[]),
            server.api("/label/__name__/values", &[]),
            server.api("/series", &[("match[]", "{__name__=~\".+\"}")]),
        ];
        all.iter()
            .filter(|list| list.to_string().contains("typo_metric") || list.to_string().contains("only_here"))
            .count()
    };
    assert_eq!(listed(), 3, "the value itself is `gone`");
    assert_eq!(server.api("/label/only_here/values", &[]), serde_json::json!(["gone"]));
    let deleted = server.post_form("/api/v1/admin/tsdb/delete_series", &[("match[]", "typo_metric")]);
    assert_eq!(deleted.status, 204);
    assert_eq!(server.post("/api/v1/admin/tsdb/clean_tombstones", "", b"").status, 204);
    assert_eq!(listed(), 0);
    assert_eq!(server.api("/label/only_here/values", &[]), serde_json::json!([]));
}

/// Serves one page to whoever asks, for as long as the test runs. Gives the address.
fn serve(page: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let length = page.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(format!("{head}{page}").as_bytes());
        }
    });
    address
}

#[test]
fn a_target_whose_samples_are_left_out_says_so() {
    let at = (now() - 2 * 3600) * 1000;
    let config = |target: &str| {
        format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{{job_name: j, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
    };
    // An empty store takes a sample of any age: another target comes first.
    let server = Server::with_config(&config(&serve("good 1\n".to_owned())), &["--web.enable-lifecycle"]);
    wait_for("a sample of now", || server.number("up") == Some(1.0));
    let target = serve(format!("good 1\nold 1 {at}\nahead 1 {}\n", at + 4 * 3_600_000));
    std::fs::write(server.dir.join("prometheus.yml"), config(&target)).unwrap();
    assert_eq!(server.post("/-/reload", "text/plain", b"").status, 200);
    wait_for("a note", || {
        let page = server.get("/targets").text();
        page.contains("samples of the last scrape were left out") && page.contains("1 too old, 1 out of bounds")
    });
    let up = format!("up{{instance=\"{target}\"}}");
    assert_eq!(server.number(&up), Some(1.0));
}
