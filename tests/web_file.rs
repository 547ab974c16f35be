//! The real server started with a file of `--web.config.file`, which may ask for nothing yet.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{PATIENCE, Server, now};

/// Starts a server in `dir` with the file at `path`, which must end by itself; gives its exit code and what it wrote.
fn refused(dir: &Path, path: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_silverback"));
    command.current_dir(dir).arg("--web.listen-address=127.0.0.1:0");
    command.arg(format!("--web.config.file={}", path.display()));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = now();
    while child.try_wait().unwrap().is_none() {
        if now() - begun > PATIENCE.as_secs_f64() {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the server runs with {}", path.display());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_server_that_is_asked_for_tls_passwords_or_headers_ends_with_a_line_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    for (text, place, wish) in [
        ("tls_server_config: {cert_file: a.pem, key_file: b.pem}\n", "1:1", "TLS (tls_server_config)"),
        ("# users\nbasic_auth_users:\n  admin: $2b$12$hunter2\n", "2:1", "passwords (basic_auth_users)"),
        ("http_server_config:\n  headers: {X-Frame-Options: deny}\n", "1:1", "HTTP/2 and headers (http_server_config)"),
        (
            "basic_auth_users: {admin: hunter2}\ntls_server_config: {cert_file: a.pem}\n",
            "1:1",
            "passwords (basic_auth_users) and TLS (tls_server_config)",
        ),
        ("admin:hunter2: x\n", "1:1", "a key that is not known"),
        ("basic_auth_users: admin\n", "1:1", "passwords (basic_auth_users)"),
    ] {
        std::fs::write(&path, text).unwrap();
        let (code, written) = refused(dir.path(), &path);
        // Two lines of the log say what starts.
        let lines: Vec<&str> = written.lines().filter(|line| !line.contains(" INFO ")).collect();
        assert!(code.is_some_and(|code| code != 0) && lines.len() == 1, "{text}: {code:?} {written}");
        assert!(lines[0].contains(&format!("web.yml:{place}: {wish} cannot be had")), "{text}: {written}");
        assert!(!written.contains("hunter2"), "{written}");
    }
    let (code, written) = refused(dir.path(), &dir.path().join("none.yml"));
    assert!(code.is_some_and(|code| code != 0) && written.contains("none.yml: No such file"), "{code:?} {written}");
    assert!(!dir.path().join("data").exists(), "nothing is written before");
}

#[test]
fn a_server_starts_with_a_web_file_that_asks_for_nothing() {
    for text in ["", "# nothing yet\n---\n", "tls_server_config:\nbasic_auth_users: {}\n"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("web.yml"), text).unwrap();
        let server = Server::start_in(dir.path(), &["--web.config.file=web.yml"]);
        assert_eq!(server.get("/-/healthy").status, 200, "{text:?}");
    }
}
