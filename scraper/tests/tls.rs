//! HTTPS, with certificates made for these tests (`tests/tls`, valid for a hundred years).

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{Reply, Server, job, manager, wait_health};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use scraper::{ClientCertificate, SecretSource, TargetHealth, TlsOptions, TlsVersion};
use tokio_rustls::TlsAcceptor;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn acceptor(wants_client: bool) -> TlsAcceptor {
    acceptor_of("server", wants_client)
}

fn acceptor_of(name: &str, wants_client: bool) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if wants_client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let certificate = CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()))
}

/// Scrapes a server under `options`: the error, or nothing if it went well.
async fn scrape(options: TlsOptions, wants_client: bool) -> String {
    scrape_with(options, acceptor(wants_client)).await
}

async fn scrape_with(options: TlsOptions, acceptor: TlsAcceptor) -> String {
    let server = Server::start_with(Reply::text("a 1\n"), Some(acceptor)).await;
    let (manager, _store) = manager();
    let mut config = job("a", &[&server.address]);
    config.scheme = "https".to_owned();
    config.interval = std::time::Duration::from_secs(1);
    config.timeout = config.interval;

    config.http.tls = options;
    manager.apply(vec![config]).await.unwrap();
    let target = common::wait_for("a scrape", || {
        manager.targets().active.pop().filter(|t| t.last.health != TargetHealth::Unknown)
    })
    .await;
    if target.last.health == TargetHealth::Up {
        wait_health(&manager, TargetHealth::Up).await;
    }
    manager.stop().await;
    target.last.error
}

fn trusting() -> TlsOptions {
    TlsOptions { ca: Some(SecretSource::File(file("ca.pem"))), ..TlsOptions::default() }
}

#[tokio::test]
async fn a_certificate_is_checked_against_the_ca() {
    assert_eq!(scrape(trusting(), false).await, "");
    let error = scrape(TlsOptions::default(), false).await;
    assert!(error.contains("tls: invalid peer certificate: UnknownIssuer"), "{error}");
    let skip = TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() };
    assert_eq!(scrape(skip, false).await, "");
}

#[tokio::test]
async fn the_server_name_may_be_another() {
    let named = |name: &str| TlsOptions { server_name: Some(name.to_owned()), ..trusting() };
    assert_eq!(scrape(named("target.test"), false).await, "");
    let error = scrape(named("other.test"), false).await;
    assert!(error.contains("certificate not valid for name"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let error = scrape(trusting(), true).await;
    assert!(!error.is_empty());
    let certificate = SecretSource::value(std::fs::read_to_string(file("client.pem")).unwrap());
    let client = ClientCertificate { certificate, key: SecretSource::File(file("client.key")) };
    let options = TlsOptions { client: Some(client), max_version: Some(TlsVersion::Tls12), ..trusting() };
    assert_eq!(scrape(options, true).await, "");
}

#[tokio::test]
async fn a_trusted_certificate_that_signed_itself_is_taken_with_its_name_and_dates_checked() {
    let trusting =
        |name: &str| TlsOptions { ca: Some(SecretSource::File(file(&format!("{name}.pem")))), ..TlsOptions::default() };
    let with = |options, name| scrape_with(options, acceptor_of(name, false));
    assert_eq!(with(trusting("self-signed"), "self-signed").await, "");
    let tls12 = TlsOptions { max_version: Some(TlsVersion::Tls12), ..trusting("self-signed") };
    assert_eq!(with(tls12, "self-signed").await, "");
    let named = TlsOptions { server_name: Some("other.test".to_owned()), ..trusting("self-signed") };
    let error = with(named, "self-signed").await;
    assert!(error.contains("certificate not valid for name"), "{error}");
    let error = with(trusting("self-signed-expired"), "self-signed-expired").await;
    assert!(error.contains("certificate expired"), "{error}");
    for (options, name) in [(trusting("ca"), "self-signed"), (TlsOptions::default(), "self-signed")] {
        let error = with(options, name).await;
        assert!(error.contains("invalid peer certificate"), "{error}");
    }
}

#[tokio::test]
async fn plain_http_on_an_https_address_is_named_and_tls_on_an_http_address_is_too() {
    let refusal = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    for (answer, scheme, expected) in [
        (refusal.as_bytes(), "https", "server gave HTTP response to HTTPS client"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "https", "first record does not look like a TLS handshake"),
        (refusal.as_bytes(), "http", "the target answered that it speaks TLS, on an http address"),
        (&[0x15, 3, 1, 0, 2, 2, 22], "http", "the target answered TLS on an http address"),
    ] {
        let address = common::raw_target(answer.to_vec()).await;
        let (manager, _store) = manager();
        let mut config = job("a", &[&address]);
        config.scheme = scheme.to_owned();
        (config.interval, config.timeout) = (std::time::Duration::from_secs(1), std::time::Duration::from_secs(1));
        manager.apply(vec![config]).await.unwrap();
        let error = wait_health(&manager, TargetHealth::Down).await.last.error;
        manager.stop().await;
        assert!(error.contains(expected), "{error}");
    }
}
