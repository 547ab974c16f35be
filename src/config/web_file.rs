//! The file of `--web.config.file`: TLS and passwords for those who ask this server, neither of which it has.

use std::path::Path;

use super::findings::{ConfigError, Finding};
use super::tree::{Fault, Key, Node, Place, Value};

/// Checks that the file at `path` asks for nothing.
///
/// # Errors
/// If the file cannot be read, or asks for anything: a server that leaves it out would answer openly.
pub(crate) fn check_web_file(path: &Path) -> Result<(), ConfigError> {
    let wrong = |fault| ConfigError::one(Finding::new(path, fault));
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(Fault { place: Place::default(), what: error.to_string() }))?;
    let root = Node::parse(&text).map_err(wrong)?;
    let entries = match &root.value {
        Value::Map(entries) => entries,
        Value::Null => return Ok(()),
        _ => return Err(wrong(root.fault("the file must hold a map"))),
    };
    let asking: Vec<&Key> = entries.iter().filter(|(_, node)| asks(node)).map(|(key, _)| key).collect();
    let Some(first) = asking.first() else { return Ok(()) };
    let mut wanted: Vec<&str> = asking.iter().map(|key| wish(&key.name)).collect();
    wanted.dedup();
    let what = format!(
        "{} cannot be had in this version: the server would answer everyone in the clear; put a proxy that has them before \
         it, listen on 127.0.0.1 only, and leave --web.config.file out",
        wanted.join(" and ")
    );
    Err(wrong(Fault { place: first.place, what }))
}

fn asks(node: &Node) -> bool {
    match &node.value {
        Value::Null => false,
        Value::Map(entries) => !entries.is_empty(),
        _ => true,
    }
}

/// Names the wish that a key stands for. A key that is not known is not quoted: it may hold a password.
fn wish(key: &str) -> &'static str {
    match key {
        "tls_server_config" => "TLS (tls_server_config)",
        "basic_auth_users" => "passwords (basic_auth_users)",
        "http_server_config" => "HTTP/2 and headers (http_server_config)",
        "rate_limit" => "a limit of requests (rate_limit)",
        _ => "a key that is not known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_file_that_asks_for_anything_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        let check = |text: &str| {
            std::fs::write(&path, text).unwrap();
            check_web_file(&path).map_err(|error| error.to_string())
        };
        for nothing in ["", "# nothing\n", "{}\n", "---\n", "tls_server_config: {}\nbasic_auth_users:\n"] {
            assert_eq!(check(nothing), Ok(()), "{nothing:?}");
        }
        let error = check("# users\nbasic_auth_users:\n  admin: hunter2\n").unwrap_err();
        assert!(
            error.contains("web.yml:2:1: passwords (basic_auth_users) cannot be had") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(check("tls_server_config: {cert_file: x}").is_err() && check("[1]").is_err() && check("a: [").is_err());
        assert!(check_web_file(&folder.path().join("none.yml")).unwrap_err().to_string().contains("No such file"));
    }
}
