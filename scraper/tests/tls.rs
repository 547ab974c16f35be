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
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()))
}

/// Scrapes a server under `options`: the error, or nothing if it went well.
async fn scrape(options: TlsOptions, wants_client: bool) -> String {
    let server = Server::start_with(Reply::text("a 1\n"), Some(acceptor(wants_client))).await;
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
