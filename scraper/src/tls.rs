//! TLS for requests: rustls with the `ring` provider.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};

use crate::options::{TlsOptions, TlsVersion};
use crate::secret::SecretSource;

/// Makes the configuration of a connection. Reads the files that `options` names.
///
/// # Errors
/// If a file cannot be read or does not hold what it should.
pub(crate) async fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, String> {
    if options.has_no_version() {
        return Err("tls: max_version is below min_version".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(options))
        .map_err(|e| format!("tls: {e}"))?;
    let builder = if options.insecure_skip_verify {
        let verifier = AnyCertificate(provider.signature_verification_algorithms);
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else if let Some(ca) = &options.ca {
        let verifier = Trusted::new(certificates(ca.read().await?.expose(), "ca")?, provider)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        builder.with_root_certificates(system_roots())
    };
    let config = match &options.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let pem = client.certificate.read().await?;
            let certificates = certificates(pem.expose(), "cert")?;
            let key = client.key.read().await?;
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|e| format!("tls: key: {e}"))?;
            builder.with_client_auth_cert(certificates, key).map_err(|e| format!("tls: {e}"))?
        }
    };
    Ok(Arc::new(config))
}

impl TlsOptions {
    /// Tells if the newest version that is allowed is older than the oldest: no connection can be made.
    #[must_use]
    pub fn has_no_version(&self) -> bool {
        self.min_version.zip(self.max_version).is_some_and(|(min, max)| min > max)
    }

    /// Reads the files that these options name and checks that a connection can be made with what they hold. Blocks.
    ///
    /// # Errors
    /// If a file cannot be read or does not hold what it should.
    pub fn check(&self) -> Result<(), String> {
        // The caller may be a thread of a runtime, which must not run another.
        let checked = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.map_err(|e| e.to_string())?.block_on(client_config(self)).map(drop)
            });
            thread.join()
        });
        checked.unwrap_or_else(|_| Err("tls: the files could not be read".to_owned()))
    }
}

/// The versions between the oldest and the newest that are allowed.
fn versions(options: &TlsOptions) -> Vec<&'static SupportedProtocolVersion> {
    let oldest = options.min_version.unwrap_or(TlsVersion::Tls12);
    let newest = options.max_version.unwrap_or(TlsVersion::Tls13);
    let all = [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)];
    all.into_iter().filter(|(version, _)| (oldest..=newest).contains(version)).map(|(_, version)| version).collect()
}

/// The certificates that the system trusts, read once. Those that cannot be used are left out.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        })
        .clone()
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err(format!("tls: {what}: no certificate in it")),
        Ok(all) => Ok(all),
        Err(e) => Err(format!("tls: {what}: {e}")),
    }
}

/// For `ca_file`: a certificate that hangs from one of those in the file, or is one of them.
///
/// webpki refuses a certificate that says it is an authority as a server's own, which most that sign themselves do. Go
/// takes it where it is trusted.
#[derive(Debug)]
struct Trusted {
    verifier: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn new(certificates: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|e| format!("tls: ca: {e}"))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { verifier: verifier.map_err(|e| format!("tls: ca: {e}"))?, certificates })
    }
}

/// Whether all that webpki has against a certificate is that it is an authority's. It looks at the dates before.
fn is_only_an_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.verifier.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(error) if is_only_an_authority(&error) && self.certificates.iter().any(|own| own == certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// For `insecure_skip_verify`.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl SecretSource {
    /// The secret, read from its file if it has one, without white space at its ends.
    pub(crate) async fn read(&self) -> Result<crate::secret::Secret, String> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) => Ok(crate::secret::Secret::new(text.trim())),
                Err(e) => Err(format!("unable to read file {}: {e}", path.display())),
            },
        }
    }
}
