//! How requests are made: the part of the schema that jobs and discovery share.

use std::path::Path;

use scraper::{Auth, ClientCertificate, Header, HttpOptions, SecretSource, TlsOptions, TlsVersion};

use super::findings::Findings;
use super::tree::{Fault, Node};
use super::values::within;

/// Headers that have a key of their own, or that no one may set.
const RESERVED: [&str; 14] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "proxy-authenticate",
    "proxy-authorization",
    "user-agent",
    "www-authenticate",
    "x-prometheus-scrape-timeout-seconds",
    "transfer-encoding",
];

/// Reads the keys of `node`; files are looked for from `folder`.
pub(super) fn http_options(node: &Node, folder: &Path, findings: &mut Findings) -> HttpOptions {
    let auth = match node.is_flawed() || ["basic_auth", "authorization"].iter().any(|key| is_flawed(node, key)) {
        true => None,
        false => findings.keep(node, auth(node, folder)).flatten(),
    };
    for (section, key) in [(Some(node), "bearer_token_file"), (node.get("authorization"), "credentials_file")] {
        if let Some(file) = section.and_then(|section| section.get(key)).filter(|file| !file.text().is_empty()) {
            findings.look_at_credentials(file.place, &within(folder, file.text()));
        }
    }
    findings.keep(node, check_proxy(node));
    let tls = node.get("tls_config").map(|tls| {
        let options = findings.keep(tls, tls_options(tls, folder)).unwrap_or_default();
        if options.has_no_version() {
            let what = "tls_config.max_version is below tls_config.min_version: no connection can be made";
            findings.warn(tls.fault(what));
        } else if options != TlsOptions::default() {
            findings.look_at_tls(tls.place, &options);
        }
        options
    });
    HttpOptions {
        auth,
        tls: tls.unwrap_or_default(),
        headers: headers(node, folder, findings),
        follow_redirects: node.bool_of("follow_redirects").unwrap_or(true),
    }
}

/// Checks what `node` says of requests that are not made yet; no file is read.
pub(super) fn check_requests(node: &Node, folder: &Path, findings: &mut Findings) {
    let is_sound = !node.is_flawed() && !["basic_auth", "authorization"].iter().any(|key| is_flawed(node, key));
    if is_sound {
        findings.keep(node, auth(node, folder));
    }
    findings.keep(node, check_proxy(node));
    if let Some(tls) = node.get("tls_config") {
        findings.keep(tls, tls_options(tls, folder));
    }
    headers(node, folder, findings);
}

fn is_flawed(node: &Node, key: &str) -> bool {
    node.get(key).is_some_and(Node::is_flawed)
}

/// Checks that the keys of a proxy, which have no effect yet, do not contradict each other.
fn check_proxy(node: &Node) -> Result<(), Fault> {
    let set = |key| node.get(key).filter(|node| !node.text().is_empty());
    let from_environment = node.bool_of("proxy_from_environment").unwrap_or(false);
    match (set("proxy_url"), set("no_proxy"), from_environment) {
        (Some(url), _, true) => {
            Err(url.fault("if proxy_from_environment is configured, proxy_url must not be configured"))
        }
        (None, Some(no_proxy), true) => {
            Err(no_proxy.fault("if proxy_from_environment is configured, no_proxy must not be configured"))
        }
        (None, Some(no_proxy), false) => {
            Err(no_proxy.fault("if no_proxy is configured, proxy_url must also be configured"))
        }
        _ => Ok(()),
    }
}

fn auth(node: &Node, folder: &Path) -> Result<Option<Auth>, Fault> {
    let set: Vec<&str> = ["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"]
        .into_iter()
        .filter(|key| node.get(key).is_some())
        .collect();
    if let [_, second, ..] = set.as_slice() {
        let at = node.get(second).unwrap_or(node);
        return Err(at.fault(
            "at most one of basic_auth, authorization, oauth2, bearer_token & bearer_token_file must be configured",
        ));
    }
    if let Some(basic) = node.get("basic_auth") {
        let username = either(basic, "username", "username_file", folder, "basic_auth")?;
        let password = either(basic, "password", "password_file", folder, "basic_auth")?;
        return Ok(Some(Auth::Basic { username: username.unwrap_or_else(|| SecretSource::value("")), password }));
    }
    let token = either(node, "bearer_token", "bearer_token_file", folder, "the request")?;
    if let Some(token) = token {
        return Ok(Some(Auth::Other { scheme: "Bearer".to_owned(), credentials: Some(token) }));
    }
    let Some(authorization) = node.get("authorization") else { return Ok(None) };
    let scheme = authorization.text_of("type").unwrap_or_default().trim();
    if scheme.eq_ignore_ascii_case("basic") {
        return Err(authorization.fault("authorization type cannot be set to \"basic\", use \"basic_auth\" instead"));
    }
    let scheme = if scheme.is_empty() { "Bearer" } else { scheme };
    let credentials = either(authorization, "credentials", "credentials_file", folder, "authorization")?;
    Ok(Some(Auth::Other { scheme: scheme.to_owned(), credentials }))
}

/// What is written out or the file that has it, not both.
fn either(node: &Node, value: &str, file: &str, folder: &Path, section: &str) -> Result<Option<SecretSource>, Fault> {
    match (node.some_string_of(value), node.some_string_of(file)) {
        (Some(_), Some(_)) => Err(node.fault(format!("at most one of {section} {value} & {file} must be configured"))),
        (Some(text), None) => Ok(Some(SecretSource::value(text))),
        (None, Some(path)) => Ok(Some(SecretSource::File(within(folder, &path)))),
        (None, None) => Ok(None),
    }
}

fn tls_options(node: &Node, folder: &Path) -> Result<TlsOptions, Fault> {
    let source = |value: &str, file: &str| either(node, value, file, folder, "tls_config");
    let client = match (source("cert", "cert_file")?, source("key", "key_file")?) {
        (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(
                node.fault("exactly one of key or key_file must be configured when a client certificate is configured")
            );
        }
        (None, Some(_)) => {
            return Err(
                node.fault("exactly one of cert or cert_file must be configured when a client key is configured")
            );
        }
    };
    let (min_version, max_version) = (tls_version(node, "min_version")?, tls_version(node, "max_version")?);
    Ok(TlsOptions {
        ca: source("ca", "ca_file")?,
        client,
        server_name: node.some_string_of("server_name"),
        insecure_skip_verify: node.bool_of("insecure_skip_verify").unwrap_or(false),
        min_version,
        max_version,
    })
}

fn tls_version(node: &Node, key: &str) -> Result<Option<TlsVersion>, Fault> {
    let Some(version) = node.get(key) else { return Ok(None) };
    match (version.text(), key) {
        // What is older than 1.2 is not spoken; a lower bound below that is met all the same.
        ("TLS10" | "TLS11" | "TLS12", "min_version") | ("TLS12", _) => Ok(Some(TlsVersion::Tls12)),
        ("TLS13", _) => Ok(Some(TlsVersion::Tls13)),
        ("TLS10" | "TLS11", _) => Err(version.fault("TLS versions older than 1.2 are not supported")),
        (text, _) => Err(version.fault(format!("unknown TLS version: {text:?}"))),
    }
}

fn headers(node: &Node, folder: &Path, findings: &mut Findings) -> Vec<Header> {
    let mut headers = Vec::new();
    for (key, header) in node.get("http_headers").map(Node::entries).unwrap_or_default() {
        if RESERVED.contains(&key.name.to_ascii_lowercase().as_str()) {
            let what = format!("setting header {:?} is not allowed", key.name);
            findings.fault(Fault { place: key.place, what });
        }
        let written = ["values", "secrets"].into_iter().flat_map(|key| header.texts_of(key));
        let files = header.texts_of("files").into_iter().map(|path| SecretSource::File(within(folder, &path)));
        let values = written.map(SecretSource::value).chain(files).collect();
        headers.push(Header { name: key.name.clone(), values });
    }
    headers
}
