//! Sections that have no effect yet, held against what ends the start of Prometheus.

use std::collections::BTreeSet;
use std::path::Path;

use scraper::{HttpUrl, NameScheme, UrlError};

use super::findings::Findings;
use super::http::check_requests;
use super::render::without_password;
use super::scrape::relabels;
use super::tree::{Fault, Node};

/// Headers that remote write and remote read set themselves.
const RESERVED: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "user-agent",
    "www-authenticate",
    "x-prometheus-remote-read-version",
    "x-prometheus-remote-write-version",
];

/// Checks the sections of `root` that have no effect; files, none of which is read, are named from `folder`.
pub(super) fn check(root: &Node, names: NameScheme, folder: &Path, findings: &mut Findings) {
    if let Some(alerting) = root.get("alerting") {
        relabels(alerting, "alert_relabel_configs", names, findings);
        for node in alerting.items_of("alertmanagers") {
            check_alertmanager(node, names, folder, findings);
        }
    }
    for key in ["remote_write", "remote_read"] {
        let mut seen = BTreeSet::new();
        for node in root.items_of(key) {
            check_remote(node, key, folder, findings);
            relabels(node, "write_relabel_configs", names, findings);
            let name = node.text_of("name").filter(|name| !name.is_empty());
            if name.is_some_and(|name| !seen.insert(name.to_owned())) {
                let what = format!("found multiple {} configs with the same name", key.replace('_', " "));
                findings.fault(node.get("name").unwrap_or(node).fault(what));
            }
        }
    }
    if let Some(tracing) = root.get("tracing") {
        check_tracing(tracing, findings);
    }
    if let Some(otlp) = root.get("otlp") {
        findings.keep(otlp, check_otlp(otlp));
    }
}

fn check_alertmanager(node: &Node, names: NameScheme, folder: &Path, findings: &mut Findings) {
    check_requests(node, folder, findings);
    one_of(node, "api_version", &["v2"], findings);
    let relabel = relabels(node, "relabel_configs", names, findings);
    relabels(node, "alert_relabel_configs", names, findings);
    if !relabel.is_empty() {
        return;
    }
    let targets = node.items_of("static_configs").iter().flat_map(|group| group.items_of("targets"));
    for target in targets.filter(|target| target.text().contains('/')) {
        findings.fault(target.fault(format!("{:?} is not a valid hostname", without_password(target.text()))));
    }
}

fn check_remote(node: &Node, key: &str, folder: &Path, findings: &mut Findings) {
    check_requests(node, folder, findings);
    match node.get("url") {
        None if !node.is_flawed() => findings.fault(node.fault(format!("url for {key} is empty"))),
        Some(url) => drop(findings.keep(node, check_url(url))),
        None => {}
    }
    if let Some(sigv4) = node.get("sigv4") {
        let other = ["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"];
        if other.iter().any(|key| node.get(key).is_some()) {
            let what = "at most one of basic_auth, authorization, oauth2, or sigv4 must be configured";
            findings.fault(sigv4.fault(what));
        }
        if sigv4.some_string_of("access_key").is_some() != sigv4.some_string_of("secret_key").is_some() {
            findings.fault(sigv4.fault("access_key and secret_key of sigv4 go together"));
        }
    }
    one_of(node, "protobuf_message", &["prometheus.WriteRequest", "io.prometheus.write.v2.Request"], findings);
    for (header, _) in node.get("headers").map(Node::entries).unwrap_or_default() {
        let name = header.name.to_ascii_lowercase();
        if name == "authorization" || RESERVED.contains(&name.as_str()) {
            let what = format!("header {:?} must not be set here", header.name);
            findings.fault(Fault { place: header.place, what });
        }
    }
}

/// Checks the form of a URL, which may be of any scheme and relative. The text is not quoted: it may hold a password.
fn check_url(node: &Node) -> Result<(), Fault> {
    let url = node.text();
    let parsed = if url.contains("://") { HttpUrl::parse(url) } else { HttpUrl::parse(&format!("http://h/{url}")) };
    match parsed {
        Ok(_) | Err(UrlError::Scheme | UrlError::NoHost) => Ok(()),
        Err(error) => Err(node.fault(format!("malformed URL: {error}"))),
    }
}

fn check_tracing(node: &Node, findings: &mut Findings) {
    one_of(node, "client_type", &["grpc", "http"], findings);
    one_of(node, "compression", &["gzip"], findings);
    if node.text_of("endpoint").is_none_or(str::is_empty) && !node.is_flawed() {
        findings.fault(node.fault("tracing endpoint must be set"));
    }
    for (header, _) in node.get("headers").map(Node::entries).unwrap_or_default() {
        if header.name.eq_ignore_ascii_case("authorization") {
            let what = "custom authorization header configuration is not supported".to_owned();
            findings.fault(Fault { place: header.place, what });
        }
    }
}

const STRATEGIES: [&str; 4] = [
    "UnderscoreEscapingWithSuffixes",
    "UnderscoreEscapingWithoutSuffixes",
    "NoUTF8EscapingWithSuffixes",
    "NoTranslation",
];

fn check_otlp(node: &Node) -> Result<(), Fault> {
    let all = node.bool_of("promote_all_resource_attributes").unwrap_or(false);
    let (promoted, ignored) =
        (node.items_of("promote_resource_attributes"), node.items_of("ignore_resource_attributes"));
    if let Some(first) = promoted.first().filter(|_| all) {
        return Err(first.fault("promote_resource_attributes and promote_all_resource_attributes exclude each other"));
    }
    if let Some(first) = ignored.first().filter(|_| !all) {
        return Err(first.fault("ignore_resource_attributes needs promote_all_resource_attributes"));
    }
    for attributes in [promoted, ignored] {
        let mut seen = BTreeSet::new();
        for attribute in attributes {
            let text = attribute.text().trim();
            if text.is_empty() {
                return Err(attribute.fault("empty resource attribute"));
            }
            if !seen.insert(text) {
                return Err(attribute.fault(format!("duplicated resource attribute {text:?}")));
            }
        }
    }
    match node.get("translation_strategy").filter(|node| !node.text().is_empty()) {
        Some(node) if !STRATEGIES.contains(&node.text()) => {
            Err(node.fault(format!("unsupported OTLP translation strategy {:?}", node.text())))
        }
        _ => Ok(()),
    }
}

/// Refuses a value of `key` that is none of `known`.
fn one_of(node: &Node, key: &str, known: &[&str], findings: &mut Findings) {
    if let Some(value) = node.get(key).filter(|value| !value.text().is_empty() && !known.contains(&value.text())) {
        findings.fault(value.fault(format!("{key} must be one of {}, not {:?}", known.join(", "), value.text())));
    }
}
